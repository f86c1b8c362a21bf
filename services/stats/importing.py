"""Publish a police export: each line that is an incident once, the others to a reject file.

FILE.progress says how far it is and what all before that was; it is written after Kafka has acknowledged it.
What a kill leaves between the two is sent again under the same id, and counts once.
"""

import asyncio
import gzip
import hashlib
import json
import os
import sqlite3
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple, cast

from services.stats.core.export import (
    ExportMapping,
    Rejected,
    Span,
    cells_of,
    check_mapping,
    counted,
    identity_of,
    incident_of,
    repeated,
    row_of,
)
from shared import kafka
from shared.cloudevents import Envelope, to_record
from shared.cluster import Where
from shared.command import say
from shared.errors import Refusal
from shared.events import IncidentRecorded
from shared.municipality import Municipality

CHUNK, LONGEST, FATES = 5_000, 100_000, 100
# Who writes the topic of incidents (shared/events.py), in the municipality's name.
WRITER = "police"
SAY_SECONDS = 2.0
# The fate of a last line that does not end.
HALF = "half a row"
CACHE_KIB = 32_768


class Place(NamedTuple):
    """How far an import is: a byte of the export (unpacked), its line, the SHA-256 of all before it, and the
    size of the reject file."""

    byte: int
    line: int
    digest: str
    rejected: int


async def import_file(where: Where, file: Path, by: ExportMapping, town: Municipality) -> Counter[str]:
    """Publish what is not published yet; returns how many of which fate. Raises Refusal, KafkaError."""
    check_mapping(by, town)
    progress, rejects = (file.with_name(file.name + end) for end in (".progress", ".rejects"))
    is_json = file.name.removesuffix(".gz").endswith(".jsonl")
    producer = kafka.producer(where, "import-incidents")
    try:
        with (
            _opened(file) as lines,
            rejects.open("a+", encoding="utf-8") as refused,
            closing(Repeats()) as repeats,
        ):
            span = counted(town, datetime.now(UTC))
            reading = Reading(file.name, lines, refused, by, span, repeats)
            reading.begin(is_json=is_json)
            reading.go_on(progress)
            await producer.start()
            told = time.monotonic()
            while True:
                events = reading.chunk(CHUNK)
                records = [to_record(_wrapped(event, f"/{town.slug}/{WRITER}")) for event in events]
                sent = [
                    await producer.send(r.topic, r.value, r.key, headers=list(r.headers)) for r in records
                ]
                await asyncio.gather(*sent)
                reading.fates["published"] += len(sent)
                reading.save(progress)
                if reading.ended or time.monotonic() - told > SAY_SECONDS:
                    told = time.monotonic()
                    say(f"line {reading.place.line}: {reading.fates['published']} published")
                if reading.ended:
                    reading.note_half()
                    return reading.fates
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Refusal(
            f"{file.name} is packed wrongly, or only a part of it is here ({error}); get it anew and import "
            "it again: what was published counts once"
        ) from error
    finally:
        await producer.stop()


def check_fates(name: str, fates: Mapping[str, int]) -> None:
    """Raise Refusal where an import rejected everything that it read: then the mapping is more likely wrong
    than the rows. A last line that does not end is not read yet."""
    rejected = Counter({fate: count for fate, count in fates.items() if fate not in ("published", HALF)})
    if rejected and not fates["published"]:
        ((most, _),) = rejected.most_common(1)
        raise Refusal(
            f"every row was rejected, most as {most!r}: see {name}.rejects, correct the mapping (encoding, "
            f"delimiter, columns, codes), remove {name}.progress and import again"
        )


def _opened(file: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(file)) if file.suffix == ".gz" else file.open("rb")


class Reading:
    """An export on its way, from line to line; what becomes of them is in `fates`."""

    def __init__(
        self,
        name: str,
        lines: IO[bytes],
        refused: IO[str],
        by: ExportMapping,
        span: Span,
        repeats: "Repeats",
    ) -> None:
        self.fates: Counter[str] = Counter()
        self.ended = False
        self._name = name
        self._lines = lines
        self._refused = refused
        self._by = by
        self._span = span
        self._repeats = repeats
        self._header: list[str] | None = None
        self._byte = self._line = self._rejected = 0
        self._digest = hashlib.sha256()
        # Whether the file ends in the middle of a line.
        self._half = False

    @property
    def place(self) -> Place:
        return Place(self._byte, self._line, self._digest.hexdigest(), self._rejected)

    def begin(self, *, is_json: bool) -> None:
        """Read the names of the columns. Raises Refusal where the mapping's are not among them."""
        if is_json:
            return
        try:
            self._header = cells_of(self._decoded(self._next() or b""), self._by.delimiter)
        except Rejected as why:
            raise Refusal(f"the first line of {self._name} names no columns: {why}") from why
        if missing := [name for name in self._by.columns() if name not in self._header]:
            raise Refusal(
                f"the first line of {self._name} names no columns: {', '.join(missing)}, which the mapping "
                f"reads; correct the mapping (columns, or the `delimiter`, which is {self._by.delimiter!r}); "
                f"the line has {', '.join(self._header) or 'nothing'}"[:1_000]
            )
        if twice := [name for name in self._by.columns() if self._header.count(name) > 1]:
            raise Refusal(
                f"the first line of {self._name} names {', '.join(twice)} more than once, and nothing says "
                "which of them counts; rename the others in the export"
            )

    def go_on(self, progress: Path) -> None:
        """Go to where the last import of this file ended. Raises Refusal where what was imported of it is no
        longer its beginning."""
        try:
            until = Place(*json.loads(progress.read_text()))
        except FileNotFoundError:
            self._refused.truncate(0)
            return
        except (ValueError, TypeError) as error:
            raise Refusal(
                f"{progress.name} cannot be read; remove it and import again: what was published counts once"
            ) from error
        while self._byte < until.byte and (raw := self._next()) is not None:
            if self._by.key_repeats and raw.strip():
                with suppress(Rejected):
                    self._identity(self._row(raw))
        if self.place[:3] != until[:3]:
            raise Refusal(
                f"{self._name} does not begin with what was imported of it; give another export another "
                f"name, or remove {progress.name} to import this one from its start: what is the same counts "
                "once"
            )
        self.ended = self._half = False
        # It is shorter where somebody has taken it away: made longer, it would have zeros.
        self._rejected = min(until.rejected, os.fstat(self._refused.fileno()).st_size)
        self._refused.truncate(self._rejected)

    def chunk(self, most: int) -> list[IncidentRecorded]:
        """The incidents of the next lines, so many at most."""
        events: list[IncidentRecorded] = []
        for _ in range(most):
            if (raw := self._next()) is None:
                break
            try:
                if raw.strip():
                    row = self._row(raw)
                    events.append(incident_of(row, self._by, self._identity(row), self._span))
            except Rejected as why:
                self._reject(self._line, why)
        return events

    def save(self, progress: Path) -> None:
        """Write down how far this is, whole or not at all."""
        self._refused.flush()
        os.fsync(self._refused.fileno())
        self._rejected = os.fstat(self._refused.fileno()).st_size
        new = progress.with_name(progress.name + ".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(self.place, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(progress)

    def note_half(self) -> None:
        """Name a last line that does not end, after `save`: the next import reads it again."""
        if self._half:
            self._reject(self._line + 1, Rejected(HALF, "the last line does not end; end it"))

    def _row(self, raw: bytes) -> Mapping[str, str]:
        return row_of(self._decoded(raw), self._header, self._by.delimiter)

    def _identity(self, row: Mapping[str, str]) -> uuid.UUID | None:
        identity = identity_of(row, self._by)
        if identity is None or not self._by.key_repeats:
            return identity
        return repeated(identity, self._repeats.count(identity))

    def _reject(self, line: int, why: Rejected) -> None:
        fate = why.fate[:80]
        self.fates[fate if fate in self.fates or len(self.fates) < FATES else "rejected otherwise"] += 1
        self._refused.write(f"{line},{json.dumps(str(why)[:200])}\n")

    def _next(self) -> bytes | None:
        """The next line, of one that is too long its beginning; None where no whole one is left."""
        first = piece = self._lines.readline(LONGEST)
        if piece.endswith(b"\n"):
            self._digest.update(piece)
            self._byte += len(piece)
        else:
            digest, size = self._digest.copy(), 0
            while piece and not piece.endswith(b"\n"):
                digest.update(piece)
                size += len(piece)
                piece = self._lines.readline(LONGEST)
            if not piece:
                self.ended, self._half = True, size > 0
                return None
            digest.update(piece)
            self._digest, self._byte = digest, self._byte + size + len(piece)
        self._line += 1
        return first

    def _decoded(self, raw: bytes) -> str:
        try:
            return raw.decode(self._by.encoding)
        except UnicodeDecodeError as error:
            raise Rejected(f"not {self._by.encoding}") from error


class Repeats:
    """How often an id was there before. On disk where there are many, so that memory stays flat; by 63 bits
    of the id: two that have them in common are still two incidents."""

    def __init__(self) -> None:
        self._seen = sqlite3.connect("", isolation_level=None)
        for setting in (f"cache_size = -{CACHE_KIB}", "journal_mode = OFF", "synchronous = OFF"):
            self._seen.execute(f"PRAGMA {setting}")
        self._seen.execute("CREATE TABLE seen (id INTEGER PRIMARY KEY, times INTEGER NOT NULL)")
        self._seen.execute("BEGIN")

    def count(self, identity: uuid.UUID) -> int:
        """Count one more; returns how many there were."""
        (times,) = self._seen.execute(
            """INSERT INTO seen VALUES (?, 0) ON CONFLICT DO UPDATE SET times = times + 1
               RETURNING times""",
            (identity.int >> 65,),
        ).fetchone()
        return int(times)

    def close(self) -> None:
        self._seen.close()


def _wrapped(event: IncidentRecorded, source: str) -> Envelope[IncidentRecorded]:
    return Envelope.of(event, id=event.incident_id, source=source, now=datetime.now(UTC))
