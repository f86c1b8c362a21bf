"""The published contract, docs/contract/: written from shared/events.py, and held to what was published.

`python -m deploy.contract write` (make contract) and `check` (make check). schemas.py and asyncapi.py make
it, compatibility.py says what a change breaks, record.py keeps the files. Why: docs/adr/0013.
"""
