"""Finds what tells a moment of a stretch of time: in text, in numbers of eight bytes, in ids."""

import re
import struct
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

MOST_PREFIXES = 3
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# PostgreSQL counts from 2000.
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_WRITTEN = re.compile(rb"(20\d\d)-?([01]\d)-?([0-3]\d)[ T_:]?([0-2]\d):?([0-5]\d)(?::?([0-5]\d))?")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MAIL = re.compile(rb"([0-3]?\d)[ /-](%s)[ /-](20\d\d)[ :](\d\d):(\d\d):(\d\d)" % "|".join(_MONTHS).encode())
_EPOCH = re.compile(rb"(?<![\d.])1\d{9}(?=\D|\d{3}(?:\D|\d{3}(?:\D|\d{3}(?:\D|$)|$)|$)|$)")
_SCIENTIFIC = re.compile(rb"1\.\d{5,}e\+?0?9")
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[167][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)
_ULID = re.compile(rb"(?<![0-9A-Za-z])[0-7][0-9A-HJKMNP-TV-Z]{25}(?![0-9A-Za-z])")
# 100 ns between 1582 and 1970: a uuid of version 1 or 6 counts from there.
_GREGORIAN = 0x01B21DD213814000


class Moment(NamedTuple):
    """How it is written, what is written, and what stands around that."""

    form: str
    value: str
    context: str


class Window:
    """A stretch of time, from `begin` to `end` (seconds since 1970)."""

    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.end = begin, end

    def has(self, seconds: float) -> bool:
        return self.begin <= seconds <= self.end

    def look(self, data: bytes) -> list[Moment]:
        """Every moment of it in the bytes, at most one for each way of writing and place."""
        found = [*self._texts(data), *self._ids(data), *self._numbers(data)]
        return list(dict.fromkeys(found))

    def _texts(self, data: bytes) -> Iterator[Moment]:
        for match in _WRITTEN.finditer(data):
            parts = [int(part) for part in match.groups(b"00")]
            # Where no second is written, any of its minute.
            if self._meets(parts, 1 if match[6] else 60):
                yield Moment("written", *_around(data, match))
        for match in _MAIL.finditer(data):
            day, month, year, *time = (part.decode() for part in match.groups())
            if self._meets([int(year), _MONTHS.index(month) + 1, int(day), *map(int, time)], 1):
                yield Moment("as in mail", *_around(data, match))
        for match in _EPOCH.finditer(data):
            if int(self.begin) <= int(match[0]) <= self.end:
                yield Moment("seconds since 1970, or parts of them", *_around(data, match))
        for match in _SCIENTIFIC.finditer(data):
            if self.has(float(match[0])):
                yield Moment("seconds since 1970, scientific", *_around(data, match))

    def _meets(self, parts: Sequence[int], seconds: int) -> bool:
        try:
            begin = datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc] # six numbers
        except ValueError:
            return False
        return begin <= self.end and begin + seconds > self.begin

    def _ids(self, data: bytes) -> Iterator[Moment]:
        for match in _UUID.finditer(data):
            if self.has(_moment_of(uuid.UUID(match[0].decode()))):
                yield Moment("uuid", *_around(data, match))
        for match in _ULID.finditer(data):
            number = 0
            for character in match[0][:10].decode():
                number = number * 32 + CROCKFORD.index(character)
            if self.has(number / 1000):
                yield Moment("ulid", *_around(data, match))

    def _numbers(self, data: bytes) -> Iterator[Moment]:
        """Eight bytes, either end first, wherever they begin."""
        since_2000 = self.begin - POSTGRES_EPOCH, self.end - POSTGRES_EPOCH
        ranges = {
            "seconds": (self.begin, self.end),
            "milliseconds": (self.begin * 1e3, self.end * 1e3),
            "microseconds": (self.begin * 1e6, self.end * 1e6),
            "microseconds since 2000": (since_2000[0] * 1e6, since_2000[1] * 1e6),
        }
        for form, (low, high) in ranges.items():
            yield from _between(data, form, int(low), int(high))
        # The order of positive doubles is that of their bits.
        bits = (struct.unpack("<q", struct.pack("<d", one))[0] for one in (self.begin, self.end))
        yield from _between(data, "double", *bits)


def _between(data: bytes, form: str, low: int, high: int) -> Iterator[Moment]:
    """Numbers from `low` to `high`: found by the first bytes that all of them share, or nearly all."""
    varying = 0
    while (high >> 8 * varying) - (low >> 8 * varying) > MOST_PREFIXES:
        varying += 1
    for prefix in range(low >> 8 * varying, (high >> 8 * varying) + 1):
        head = prefix.to_bytes(8 - varying, "big")
        for order, sought, before in (("big", head, 0), ("little", head[::-1], varying)):
            for match in re.finditer(re.escape(sought), data):
                at = match.start() - before
                number = int.from_bytes(data[max(0, at) : at + 8], order)  # type: ignore[arg-type] # one of two
                if at >= 0 and len(data) >= at + 8 and low <= number <= high:
                    yield Moment(f"{form}, {order} end first", *_place(data, at))


def _moment_of(given: uuid.UUID) -> float:
    if given.version == 7:
        return (given.int >> 80) / 1000
    ticks = given.time
    if given.version == 6:
        ticks = (given.int >> 80 << 12) | (given.int >> 64 & 0xFFF)
    return (ticks - _GREGORIAN) / 10_000_000


def _around(data: bytes, match: re.Match[bytes]) -> tuple[str, str]:
    around = data[max(0, match.start() - 60) : match.end() + 60]
    return match[0].decode("latin-1"), around.decode("latin-1")


def _place(data: bytes, at: int) -> tuple[str, str]:
    here, around = data[at : at + 8], data[max(0, at - 24) : at + 32]
    return here.hex(), f"at {at}: {around.hex()}"
