"""What was found where, held against where it may be."""

import re
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass, field

from tests.canary.places import Piece
from tests.searching import Needle, Searcher
from tests.telling_times import Moment, Window

_EIGHT_BYTES = re.compile("[0-9a-f]{16}")
# The only marks that may be in what we keep, and where: words that somebody has approved for the public.
APPROVED = "approved issue: words that are approved"
MAY_BE = {
    APPROVED: {
        "tables of tips",
        "files of tips",
        "write-ahead log",
        "public pages",
        "sent to units",
    }
}
# What goes to those outside, whom it is for: a unit gets the words of a report and the conversation about it,
# the mail server an address.
SENT = {
    "sent to units": {
        "words",
        "words that are approved",
        "name",
        "contact",
        "phone",
        "answer",
        "address",
        "place",
        "when it happened",
        "the unit's question",
        "answer to the unit",
        "what was added",
        "that it is no spam",
        "why it is not solved",
    },
    "sent by mail": {"address for news"},
}
# Where a moment is no tip's trace, and why not. All of these are known limits (docs/adr/0022).
TIMES_MAY_BE = {
    "write-ahead log": "PostgreSQL writes the moment of every commit",
    "PostgreSQL's own files": "its own statistics, in memory while it runs; the time of its last checkpoint",
    "Kafka's own files": "the controller writes a record twice a second, whatever happens",
    "processes": "other programs of this machine",
    "the system's temporary folder": "other programs of this machine",
    "sent to units": "what an urgent tip tells its unit at once",
}
# Files whose own time is finer than an hour: whoever has the disk itself.
FILE_TIMES_TELL = ("photos", "keys", "working folder", "temporary folder", "files elsewhere")


@dataclass
class Evidence:
    """`marks` are (place, name, mark, form); `moments` are (place, name, moment)."""

    marks: set[tuple[str, str, str, str]] = field(default_factory=set)
    moments: list[tuple[str, str, Moment]] = field(default_factory=list)
    # The bytes and the pieces that were searched, by place.
    sizes: dict[str, int] = field(default_factory=dict)
    pieces: dict[str, int] = field(default_factory=dict)

    def where(self, mark: str) -> set[str]:
        return {place for place, _, found, _ in self.marks if found == mark}

    def leaks(self) -> list[tuple[str, str, str, str]]:
        """Marks where they may not be."""
        return sorted(one for one in self.marks if not _may_be(one[2], one[0]))

    def told(self, earlier: Iterable[Piece] = ()) -> list[tuple[str, str, Moment]]:
        """Moments of a tip where none may be. What stood there before the tip is none of its own: the next
        try of a delivery, in a row that is dead."""
        before = b"".join(piece.data for piece in earlier)
        return [one for one in self.moments if not _may_tell(*one) and not _was_there(one[2], before)]


async def gathered(
    pieces: AsyncIterable[Piece], more: Iterable[Piece], needles: Iterable[Needle], window: Window
) -> Evidence:
    """Search everything."""
    evidence, searcher = Evidence(), Searcher(needles)
    async for piece in pieces:
        _look(evidence, searcher, window, piece)
    for piece in more:
        _look(evidence, searcher, window, piece)
    return evidence


def _look(evidence: Evidence, searcher: Searcher, window: Window, piece: Piece) -> None:
    place, name, data, changed = piece
    evidence.sizes[place] = evidence.sizes.get(place, 0) + len(data)
    evidence.pieces[place] = evidence.pieces.get(place, 0) + 1
    evidence.marks |= {(place, name, *found) for found in searcher.look(data + b"\n" + name.encode())}
    evidence.moments += [(place, name, moment) for moment in window.look(data)]
    if changed is not None and place in FILE_TIMES_TELL and window.has(changed):
        evidence.moments.append((place, name, Moment("the file's own time", str(changed), "")))


def _may_be(mark: str, place: str) -> bool:
    return place in MAY_BE.get(mark, ()) or mark.partition(": ")[2] in SENT.get(place, ())


def _may_tell(place: str, _name: str, moment: Moment) -> bool:
    # PostgreSQL and Kafka log what they do by themselves, too; never on whose behalf.
    return place in TIMES_MAY_BE or (place == "servers' logs" and "ibuurt." not in moment.context)


def _was_there(moment: Moment, before: bytes) -> bool:
    return bool(_EIGHT_BYTES.fullmatch(moment.value)) and bytes.fromhex(moment.value) in before
