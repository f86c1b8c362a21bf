"""A photo opens with its own report's key only, and its stored length tells no more than its class."""

import uuid

import pytest

from services.tips import sealing
from services.tips.sealing import PHOTO_SIZE_CLASS_BYTES, Unreadable

PHOTO, REPORT, OTHER = (uuid.UUID(int=number) for number in (1, 2, 3))
NAME, MONTH_KEY, REPORT_KEY = "2026-11-upload-1", b"m" * 32, b"r" * 32


def taken(jpeg: bytes) -> tuple[bytes, bytes]:
    """The wrapped key and the sealed photo, as a report holds them."""
    wrapped, sealed = sealing.seal_photo(PHOTO, NAME, MONTH_KEY, jpeg)
    return sealing.take_photo_key(PHOTO, NAME, MONTH_KEY, wrapped, REPORT, REPORT_KEY), sealed


@pytest.mark.parametrize("length", [0, 1, PHOTO_SIZE_CLASS_BYTES - 4, PHOTO_SIZE_CLASS_BYTES, 200_000])
def test_a_photo_is_opened_again_to_the_byte(length: int) -> None:
    """Zeros at its end included, which are what it is padded with."""
    jpeg = b"\xff\xd8"[:length].ljust(length, b"\0")
    assert sealing.unseal_photo(REPORT, REPORT_KEY, PHOTO, *taken(jpeg)) == jpeg


def test_photos_of_about_the_same_size_are_of_the_same_length() -> None:
    """In steps of 64 KiB."""
    lengths = {len(taken(b"\0" * length)[1]) for length in (1, 30_000, PHOTO_SIZE_CLASS_BYTES - 4)}
    assert lengths == {PHOTO_SIZE_CLASS_BYTES + 28}
    assert len(taken(b"\0" * (PHOTO_SIZE_CLASS_BYTES - 3))[1]) == 2 * PHOTO_SIZE_CLASS_BYTES + 28


def test_a_photo_is_bound_to_its_id_its_report_and_the_uploads_key() -> None:
    """Put under another id or report, or with another key or month, it opens nothing."""
    wrapped, sealed = taken(b"a photo")
    for report, key, photo in (
        (OTHER, REPORT_KEY, PHOTO),
        (REPORT, b"x" * 32, PHOTO),
        (REPORT, REPORT_KEY, OTHER),
    ):
        with pytest.raises(Unreadable):
            sealing.unseal_photo(report, key, photo, wrapped, sealed)
    upload, _ = sealing.seal_photo(PHOTO, NAME, MONTH_KEY, b"a photo")
    for photo, name, key in (
        (OTHER, NAME, MONTH_KEY),
        (PHOTO, "2026-12-upload-1", MONTH_KEY),
        (PHOTO, NAME, b"x" * 32),
    ):
        with pytest.raises(Unreadable):
            sealing.take_photo_key(photo, name, key, upload, REPORT, REPORT_KEY)
    for damaged in (b"", sealed[:20], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(Unreadable):
            sealing.unseal_photo(REPORT, REPORT_KEY, PHOTO, wrapped, damaged)
