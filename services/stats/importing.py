"""Publish a police export: each line that is an incident once, the others to a reject file.

FILE.progress holds how many bytes are published; it is written after Kafka has acknowledged them. What a kill
leaves between the two is sent again under the same id, and counts once.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

from services.stats.core.export import ExportMapping, Rejected, cells_of, incident_of, row_of
from shared import kafka
from shared.cloudevents import Envelope, to_record
from shared.cluster import Where
from shared.command import say
from shared.errors import Refusal
from shared.events import IncidentRecorded

CHUNK, LONGEST, FATES = 5_000, 100_000, 1_000
SOURCE = "/ibuurt/import"


class Place(NamedTuple):
    """How far an import is: a byte of the export, its line, and the size of the reject file."""

    byte: int
    line: int
    rejected: int


async def import_file(where: Where, file: Path, by: ExportMapping) -> Counter[str]:
    """Publish what is not published yet; returns how many of which fate. Raises Refusal, KafkaError."""
    progress, rejects = (file.with_name(file.name + end) for end in (".progress", ".rejects"))
    fates: Counter[str] = Counter()
    producer = kafka.producer(where, "import-incidents")
    try:
        await producer.start()
        with file.open("rb") as lines, rejects.open("a+", encoding="utf-8") as refused:
            header = None if file.suffix == ".jsonl" else cells_of(_decoded(lines.readline(LONGEST), by))
            number = resume(progress, lines, refused, 0 if header is None else 1)
            while True:
                events, number, ended = read_chunk(lines, refused, number, header, by, fates)
                records = [to_record(_wrapped(e)) for e in events]
                sent = [
                    await producer.send(r.topic, r.value, r.key, headers=list(r.headers)) for r in records
                ]
                await asyncio.gather(*sent)
                fates["published"] += len(sent)
                save(progress, lines, refused, number)
                say(f"line {number}: {fates['published']} published")
                if ended:
                    return fates
    except Rejected as why:
        raise Refusal(f"the first line of {file.name} names no columns: {why}") from why
    finally:
        await producer.stop()


def resume(progress: Path, lines: IO[bytes], refused: IO[str], number: int) -> int:
    """Go to where the last import of this file ended; returns its line. Raises Refusal."""
    place = Place(lines.tell(), number, 0)
    if progress.exists():
        place = Place(*json.loads(progress.read_text()))
    if place.byte > os.fstat(lines.fileno()).st_size:
        raise Refusal(
            f"the export is shorter than what was imported of it; where it is another file, remove "
            f"{progress.name} and do this again"
        )
    lines.seek(place.byte)
    refused.truncate(place.rejected)
    return place.line


def save(progress: Path, lines: IO[bytes], refused: IO[str], number: int) -> None:
    """Write down how far this is, whole or not at all."""
    refused.flush()
    os.fsync(refused.fileno())
    place = Place(lines.tell(), number, os.fstat(refused.fileno()).st_size)
    new = progress.with_name(progress.name + ".new")
    new.write_text(json.dumps(place))
    new.replace(progress)


def read_chunk(
    lines: IO[bytes],
    refused: IO[str],
    number: int,
    header: Sequence[str] | None,
    by: ExportMapping,
    fates: Counter[str],
) -> tuple[list[IncidentRecorded], int, bool]:
    """The next incidents, the number of the last line read, and whether it was the file's last."""
    events: list[IncidentRecorded] = []
    now = datetime.now(UTC)
    for _ in range(CHUNK):
        if not (raw := lines.readline(LONGEST)):
            return events, number, True
        number += 1
        rest = raw
        while len(rest) == LONGEST and not rest.endswith(b"\n"):
            rest = lines.readline(LONGEST)
        try:
            if raw.strip():
                events.append(incident_of(row_of(_decoded(raw, by), header), by, now))
        except Rejected as why:
            fates[str(why)[:80] if len(fates) < FATES else "rejected otherwise"] += 1
            refused.write(f"{number},{json.dumps(str(why)[:200])}\n")
    return events, number, False


def _decoded(raw: bytes, by: ExportMapping) -> str:
    try:
        return raw.decode(by.encoding)
    except UnicodeDecodeError as error:
        raise Rejected(f"not {by.encoding}") from error


def _wrapped(event: IncidentRecorded) -> Envelope[IncidentRecorded]:
    return Envelope.of(event, id=event.incident_id, source=SOURCE, now=datetime.now(UTC))
