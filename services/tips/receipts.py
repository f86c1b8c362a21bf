"""The receipt: the only way back to a report. Pure; every secret is passed in.

From the idempotency key, which only the sender has, comes the receipt; from the receipt comes the lookup id,
which is all that is stored. Neither step can be taken back.
"""

import hashlib
import hmac
import re
import unicodedata
import uuid

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# Crockford's base 32: no I, L, O and U.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
DATA_CHARACTERS = 20
LOOKUP_BYTES = 32
# What a code is looked up as when it cannot be a receipt, so that it takes the same way as one that can.
NO_RECEIPT = "0" * DATA_CHARACTERS

KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]{22,128}", re.ASCII)
KEY_DIFFERENT_CHARACTERS = 10

_VALUES = {character: value for value, character in enumerate(ALPHABET)} | {"O": 0, "I": 1, "L": 1}
# Spaces, hyphens and dashes, and what is copied unseen: soft hyphens, marks of no width.
_IGNORED = re.compile(r"[\s\u002d\u00ad\u200b-\u200f\u2010-\u2015\u2043\u2060\u2212\ufeff]+")
_LONGEST_CODE = 100


def is_strong_key(key: str) -> bool:
    """Whether an idempotency key has the form that 128 random bits have. Whether it is random, who knows."""
    return bool(KEY_PATTERN.fullmatch(key)) and len(set(key)) >= KEY_DIFFERENT_CHARACTERS


def from_key(idempotency_key: str, receipt_pepper: bytes) -> str:
    """The receipt's 20 data characters: the first 100 bits of HMAC-SHA-256(pepper, key)."""
    digest = hmac.digest(receipt_pepper, idempotency_key.encode(), hashlib.sha256)
    bits = int.from_bytes(digest, "big") >> (256 - 5 * DATA_CHARACTERS)
    return "".join(ALPHABET[bits >> 5 * place & 31] for place in reversed(range(DATA_CHARACTERS)))


def shown(receipt: str) -> str:
    """As a person sees it: the check character added, in groups of 4, 4, 4, 4 and 5."""
    code = receipt + _check_character(receipt)
    return "-".join((code[0:4], code[4:8], code[8:12], code[12:16], code[16:]))


def read(code: str) -> str | None:
    """The data characters of what a person typed, or None when it cannot be a receipt.

    Forgives case, spaces, hyphens and dashes of every kind, full-width letters and digits, and O for 0, I and
    L for 1. Any one wrong character and any two that changed places are noticed.
    """
    typed = _IGNORED.sub("", unicodedata.normalize("NFKC", code[:_LONGEST_CODE])).upper()
    if len(typed) != DATA_CHARACTERS + 1 or any(character not in _VALUES for character in typed):
        return None
    plain = "".join(ALPHABET[_VALUES[character]] for character in typed)
    receipt = plain[:DATA_CHARACTERS]
    return receipt if plain[DATA_CHARACTERS] == _check_character(receipt) else None


def lookup_id(receipt: str, lookup_pepper: bytes) -> bytes:
    """The 32 bytes under which the report of a receipt's data characters is stored."""
    derive = HKDF(algorithm=SHA256(), length=LOOKUP_BYTES, salt=lookup_pepper, info=b"ibuurt lookup id 1")
    return derive.derive(receipt.encode())


def submission_macs(idempotency_key: str, body: bytes, lookup_pepper: bytes) -> tuple[bytes, bytes]:
    """What is kept of a submission to know it again: 32 bytes for its key, 32 for its body.

    The body's is keyed by the idempotency key, which is not stored: nobody can try likely bodies on it.
    """
    key_mac = hmac.digest(lookup_pepper, b"ibuurt submission key 1\0" + idempotency_key.encode(), "sha256")
    body_key = hmac.digest(lookup_pepper, b"ibuurt submission body 1\0" + idempotency_key.encode(), "sha256")
    return key_mac, hmac.digest(body_key, body, "sha256")


def support_mac(idempotency_key: str, issue_id: uuid.UUID, lookup_pepper: bytes) -> bytes:
    """What is kept of "this is mine too" to know it again: 32 bytes that name neither issue nor sender."""
    return hmac.digest(
        lookup_pepper, b"ibuurt support 1\0" + issue_id.bytes + idempotency_key.encode(), "sha256"
    )


def _check_character(receipt: str) -> str:
    """Makes the sum of value · x^place zero in the field of 32 elements (x^5 = x^2 + 1).

    x has order 31, so that the 21 places have different weights: no single change and no exchange of two
    characters keeps the sum. The check character is from the same alphabet as the others.
    """
    total = 0
    for character in receipt:
        total = _times_x(total) ^ _VALUES[character]
    return ALPHABET[_times_x(total)]


def _times_x(value: int) -> int:
    return value << 1 ^ (0b100101 if value & 0b10000 else 0)
