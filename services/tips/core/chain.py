"""The log of what is done with words, as two chains: each entry's hash covers the one before.

Whoever changes an entry must change every hash after it, and the head, which an operator has noted elsewhere.
"""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.tips.core.report import Report
from shared.events import Kind, time_of

CHAINS: tuple[Kind, ...] = ("issue", "tip")
NOTHING = bytes(32)
_VERSION = b"ibuurt disclosure 1\0"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The purpose of a reading that takes what was read to a unit's own system.
DELIVERY = "delivery"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log. `kind` names its chain; `actor` is a code of who it was, `resident` for any
    resident; `recipient` who got the words; `at` is UTC, the hour where the report is a tip."""

    report_id: uuid.UUID
    kind: Kind
    at: datetime
    act: str
    actor: str
    service: str
    purpose: str
    recipient: str | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a chain: the number of an entry and its hash; 0 and NOTHING before the first."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Linked:
    """An entry as it is stored."""

    entry: Entry
    mark: Mark


def collected(report: Report) -> Entry:
    """A resident sent a report."""
    return entry(report, report.accepted_at, "collection", "resident", "report")


def entry(
    report: Report,
    now: datetime,
    act: str,
    actor: str,
    purpose: str,
    service: str = "tips",
    recipient: str | None = None,
) -> Entry:
    """What was done with a report, by this service or by the one that asked it to."""
    at = time_of(report.kind, now)
    return Entry(report.report_id, report.kind, at, act, actor, service, purpose, recipient)


def reading(report: Report, now: datetime, purpose: str, reader: str, service: str) -> Entry:
    """Somebody was given what is sealed: words, messages or a photo. A delivery is a disclosure to the
    reader."""
    delivered = purpose == DELIVERY
    act = "disclosure" if delivered else "consultation"
    return entry(report, now, act, reader, purpose, service, reader if delivered else None)


def link(before: Mark, entry: Entry) -> Mark:
    """The place of an entry that follows `before`. Every part is written with its length, so that no two
    entries are the same bytes; the database writes them too (migration 0008)."""
    number = before.number + 1
    parts = (
        entry.kind,
        str(number),
        before.hash.hex(),
        str((entry.at - _EPOCH) // timedelta(microseconds=1)),
        str(entry.report_id),
        entry.act,
        entry.actor,
        entry.service,
        entry.purpose,
        entry.recipient,
    )
    return Mark(number, hashlib.sha256(_VERSION + b"".join(map(_part, parts))).digest())


def fault(before: Mark, stored: Linked) -> str | None:
    """What is wrong with the entry that comes after `before`, as far as it can be told from it alone."""
    if stored.mark.number != before.number + 1:
        return "missing"
    return None if link(before, stored.entry) == stored.mark else "altered"


def moved(before: Mark, stored: Linked, later: Linked) -> str | None:
    """What is wrong in place of "altered" where `later` is what stood in the place of `stored`: an entry was
    put in before it, or entries changed places. None where `later` stood elsewhere."""
    here = link(before, later.entry)
    if here.hash != later.mark.hash:
        return None
    if later.mark.number > stored.mark.number + 1 or link(here, stored.entry).hash == stored.mark.hash:
        return "out of order"
    return "inserted"


def held_against(noted: Mark, cut: Mark, head: Mark, found: bytes | None) -> str | None:
    """What is wrong with a chain from `cut` to `head` in the light of a mark that was noted before; `found`
    is the hash of the entry of that number now."""
    if noted.number > head.number:
        return f"cut off: it ends with {head.number}, and {noted.number} was there"
    if noted.number < cut.number:
        return None
    now = cut.hash if noted.number == cut.number else found
    return None if now == noted.hash else f"written anew: {noted.number} has another hash than was noted"


def _part(text: str | None) -> bytes:
    if text is None:
        return b"-"
    written = text.encode()
    return b"%d:%b," % (len(written), written)
