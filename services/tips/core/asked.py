"""What readers of public issues ask for: filters, the place in the list, and how a cursor is written."""

import base64
import binascii
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from shared.municipality import Municipality

# A cursor: microseconds since 1970 and the id of the last issue that was shown.
_CURSOR_BYTES = 8 + 16
CURSOR_CHARACTERS = 4 * _CURSOR_BYTES // 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_WORDS = 8


class After(NamedTuple):
    """The issue after which a page begins. Issues are listed from the newest to the oldest."""

    accepted_at: datetime
    issue_id: uuid.UUID


class Box(NamedTuple):
    """WGS 84 degrees, borders included."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True)
class Word:
    """A word that is looked for: its beginning in the public texts, and the categories with such a name."""

    text: str
    categories: Sequence[str]


@dataclass(frozen=True, slots=True)
class Asked:
    """The filters of a request. All that are given must hold; of the values of one, any."""

    box: Box | None = None
    area: tuple[str, str] | None = None
    categories: Sequence[str] = ()
    statuses: Sequence[str] = ()
    since: datetime | None = None
    words: Sequence[Word] = ()


def cursor_of(after: After) -> str:
    """The cursor for what comes after an issue: letters, digits, - and _."""
    microseconds = (after.accepted_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(microseconds.to_bytes(8, "big") + after.issue_id.bytes).decode()


def read_cursor(text: str) -> After:
    """What a cursor says. Raises ValueError for what is none."""
    try:
        held = base64.b64decode(text, altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("not a cursor") from None
    if len(held) != _CURSOR_BYTES:
        raise ValueError("not a cursor")
    try:
        moment = _EPOCH + timedelta(microseconds=int.from_bytes(held[:8], "big"))
    except OverflowError:
        raise ValueError("not a cursor") from None
    return After(moment, uuid.UUID(bytes=held[8:]))


def words_of(text: str, municipality: Municipality) -> list[Word]:
    """The first MOST_WORDS words of what somebody looks for; what is no letter or digit ends a word."""
    found = re.findall(r"[^\W_]+", text.lower())[:MOST_WORDS]
    names = {
        category.id: re.findall(r"[^\W_]+", " ".join(category.names.values()).lower())
        for category in municipality.categories.values()
        if category.public
    }
    return [
        Word(word, [one for one, said in names.items() if any(name.startswith(word) for name in said)])
        for word in found
    ]
