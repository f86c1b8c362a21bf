"""Photos: decoded to pixels in a process of their own, encoded anew, sealed, stored.

What is named here is what residents may send and what becomes of it. Nothing that Pillow needs is imported by
the service itself: only the processes that decode load it.
"""

from enum import IntEnum

# One file, as it is sent.
MAX_PHOTO_BYTES = 15 * 2**20
# Width × height, by the file's header, before anything is decoded.
MAX_PIXELS = 64_000_000
# The largest edge of what is stored, and its JPEG quality: a house number stays readable, in about 1 MB.
LARGEST_EDGE = 2_560
QUALITY = 80
# What a report or a message may have.
MAX_PHOTOS = 5
KINDS = "JPEG, PNG, WebP or HEIC"


class Fault(IntEnum):
    """Why a photo cannot be taken; the value is the decoding process's exit code."""

    NOT_A_PHOTO = 10
    TOO_MANY_PIXELS = 11
    BROKEN = 12
