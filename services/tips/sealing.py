"""Words are sealed with a random key per report; that key is wrapped by the key of its month and regime.

AES-256-GCM both times. The associated data bind what is sealed to its report and month key, so that nothing
can be put under another report.
"""

import json
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# The stored length tells no more than how many of these the words take.
SIZE_CLASS_BYTES = 1024
# And that of a photo no more than how many of these.
PHOTO_SIZE_CLASS_BYTES = 65_536
_NONCE_BYTES = 12
_KEY_BYTES = 32
_LENGTH_BYTES = 4


class Unreadable(Exception):  # noqa: N818 - named by consequence
    """What is stored was changed, belongs to another report, or was sealed with another key."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What the database holds of the words. Both byte strings begin with their nonce (12 bytes)."""

    key_name: str
    wrapped_key: bytes
    sealed: bytes


def key_name(accepted_at: datetime, regime: str, retention_days: int) -> str:
    """The name of the key for reports of a month (UTC), a regime and a retention, such as
    `2026-11-led-365`."""
    return f"{accepted_at.astimezone(UTC):%Y-%m}-{regime}-{retention_days}"


def new_key() -> bytes:
    """A random key for a report."""
    return os.urandom(_KEY_BYTES)


def seal(
    report_id: uuid.UUID,
    name: str,
    month_key: bytes,
    content: dict[str, Any],
    report_key: bytes | None = None,
) -> Sealed:
    """Seal a JSON object under the report's own key, a new one unless it is given."""
    report_key = report_key or new_key()
    return Sealed(
        name,
        _encrypt(month_key, report_key, _wrap_data(report_id, name)),
        _encrypt(report_key, _padded(content), _seal_data(report_id)),
    )


def unseal(report_id: uuid.UUID, sealed: Sealed, month_key: bytes) -> dict[str, Any]:
    """The JSON object again. Raises Unreadable."""
    return _opened(open_key(report_id, sealed, month_key), sealed.sealed, _seal_data(report_id))


def open_key(report_id: uuid.UUID, sealed: Sealed, month_key: bytes) -> bytes:
    """The report's own key, which seals its parts. Raises Unreadable."""
    try:
        return _decrypt(month_key, sealed.wrapped_key, _wrap_data(report_id, sealed.key_name))
    except (InvalidTag, ValueError) as error:
        raise Unreadable(type(error).__name__) from None


def rewrap(report_id: uuid.UUID, sealed: Sealed, key: bytes, name: str, new_key: bytes) -> Sealed:
    """The same words, under the same key of their own, which is under another month's key. Raises
    Unreadable."""
    report_key = open_key(report_id, sealed, key)
    return Sealed(name, _encrypt(new_key, report_key, _wrap_data(report_id, name)), sealed.sealed)


def seal_part(report_key: bytes, report_id: uuid.UUID, part_id: uuid.UUID, content: dict[str, Any]) -> bytes:
    """Seal what belongs to a report besides its words, such as a message, under the report's own key."""
    return _encrypt(report_key, _padded(content), _part_data(report_id, part_id))


def unseal_part(report_key: bytes, report_id: uuid.UUID, part_id: uuid.UUID, sealed: bytes) -> dict[str, Any]:
    """The part again. Raises Unreadable."""
    return _opened(report_key, sealed, _part_data(report_id, part_id))


def seal_photo(photo_id: uuid.UUID, name: str, month_key: bytes, jpeg: bytes) -> tuple[bytes, bytes]:
    """Seal a photo under a new random key; that key, wrapped by the month's upload key of that name, and the
    sealed photo."""
    photo_key = os.urandom(_KEY_BYTES)
    length = len(jpeg).to_bytes(_LENGTH_BYTES, "big")
    padded = (length + jpeg).ljust(_classes(_LENGTH_BYTES + len(jpeg), PHOTO_SIZE_CLASS_BYTES), b"\0")
    return (
        _encrypt(month_key, photo_key, _upload_key_data(photo_id, name)),
        _encrypt(photo_key, padded, _photo_data(photo_id)),
    )


def take_photo_key(
    photo_id: uuid.UUID,
    name: str,
    month_key: bytes,
    wrapped_key: bytes,
    report_id: uuid.UUID,
    report_key: bytes,
) -> bytes:
    """A photo's key, unwrapped with the month's upload key of that name and wrapped by a report's own.
    Raises Unreadable."""
    try:
        photo_key = _decrypt(month_key, wrapped_key, _upload_key_data(photo_id, name))
    except (InvalidTag, ValueError) as error:
        raise Unreadable(type(error).__name__) from None
    return _encrypt(report_key, photo_key, _photo_key_data(report_id, photo_id))


def unseal_photo(
    report_id: uuid.UUID, report_key: bytes, photo_id: uuid.UUID, wrapped_key: bytes, sealed: bytes
) -> bytes:
    """The JPEG of a report's photo. Raises Unreadable."""
    try:
        photo_key = _decrypt(report_key, wrapped_key, _photo_key_data(report_id, photo_id))
        padded = _decrypt(photo_key, sealed, _photo_data(photo_id))
    except (InvalidTag, ValueError) as error:
        raise Unreadable(type(error).__name__) from None
    length = int.from_bytes(padded[:_LENGTH_BYTES], "big")
    return padded[_LENGTH_BYTES : _LENGTH_BYTES + length]


def _opened(key: bytes, sealed: bytes, associated: bytes) -> dict[str, Any]:
    try:
        text = _decrypt(key, sealed, associated)
    except (InvalidTag, ValueError) as error:
        raise Unreadable(type(error).__name__) from None
    content: dict[str, Any] = json.loads(text)
    return content


def _padded(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False).encode()
    # Spaces after a JSON object mean nothing.
    return text.ljust(_classes(len(text), SIZE_CLASS_BYTES))


def _classes(length: int, size: int) -> int:
    return -(-length // size) * size


def _seal_data(report_id: uuid.UUID) -> bytes:
    return b"ibuurt report 1\0" + report_id.bytes


def _part_data(report_id: uuid.UUID, part_id: uuid.UUID) -> bytes:
    return b"ibuurt report part 1\0" + report_id.bytes + part_id.bytes


def _wrap_data(report_id: uuid.UUID, name: str) -> bytes:
    return b"ibuurt report key 1\0" + report_id.bytes + name.encode()


def _photo_data(photo_id: uuid.UUID) -> bytes:
    return b"ibuurt photo 1\0" + photo_id.bytes


def _upload_key_data(photo_id: uuid.UUID, name: str) -> bytes:
    return b"ibuurt upload key 1\0" + photo_id.bytes + name.encode()


def _photo_key_data(report_id: uuid.UUID, photo_id: uuid.UUID) -> bytes:
    return b"ibuurt photo key 1\0" + report_id.bytes + photo_id.bytes


def _encrypt(key: bytes, data: bytes, associated: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, associated)


def _decrypt(key: bytes, data: bytes, associated: bytes) -> bytes:
    return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], associated)
