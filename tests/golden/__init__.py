"""One record per event type and version, as it was written when that version was new. Kept for ever.

A file is `<Type>.v<N>.json`: headers, key and value (null for a tombstone). It is never edited; what it must
be read as is in expected.py. A new version or a new optional field is a new file beside the old ones.
"""
