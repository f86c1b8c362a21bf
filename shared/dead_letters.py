"""Dead letters: what a group could not read, as it came, with why; and how much of it is believable."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer, ConsumerRecord

from shared import kafka
from shared.cloudevents import Headers
from shared.cluster import Where
from shared.errors import Poison, Refusal
from shared.events import DEAD_LETTER_BYTES, TOPICS

# What a record may come to, its own headers and all; the rest of DEAD_LETTER_BYTES is for ours and Kafka's.
MAX_RECORD_BYTES = DEAD_LETTER_BYTES - 65_536
POISON_MAX_RUN = 50
POISON_MAX_SHARE = 0.1
POISON_WINDOW = 1_000


@dataclass
class PoisonCap:
    """How much poison is believable: above it the program is wrong, not the records."""

    seen: int = 0
    bad: int = 0
    run: int = 0

    def count(self, outcomes: Sequence[bool]) -> None:
        """Add what became of records, in the order read: True where one could be read.

        Raises Refusal above POISON_MAX_RUN in a row, or POISON_MAX_SHARE of POISON_WINDOW.
        """
        counted = 0
        while counted < len(outcomes):
            window = outcomes[counted : counted + POISON_WINDOW - self.seen]
            counted += len(window)
            if all(window):
                self._add(len(window), good=True)
            else:
                for good in window:
                    self._add(1, good=good)

    def _add(self, count: int, *, good: bool) -> None:
        self.seen += count
        self.bad += 0 if good else count
        self.run = 0 if good else self.run + count
        full = self.seen == POISON_WINDOW
        if self.run > POISON_MAX_RUN or (full and self.bad > POISON_MAX_SHARE * POISON_WINDOW):
            raise Refusal(
                f"{self.bad} of {self.seen} records could not be read, the last {self.run} in a row: the "
                "program is more likely wrong than the records; deploy a mended one, nothing of this "
                "batch was passed over"
            )
        if full:
            self.seen = self.bad = 0


class DeadLetters:
    """Writes a group's dead letters; the producer is made when the first one comes."""

    def __init__(self, bootstrap: Where, group: str) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._producer: AIOKafkaProducer | None = None

    async def send(self, poison: Sequence[tuple[ConsumerRecord, Poison]]) -> None:
        """Send each record with its fault and wait until all are acknowledged.

        Raises KafkaError or TimeoutError.
        """
        if not poison:
            return
        try:
            # An idempotent producer by itself tries for as long as the broker is away.
            async with asyncio.timeout(kafka.REQUEST_TIMEOUT_MS / 1000):
                await self._send(poison)
        except BaseException:
            await self.close()
            raise

    async def _send(self, poison: Sequence[tuple[ConsumerRecord, Poison]]) -> None:
        if self._producer is None:
            self._producer = kafka.producer(self._bootstrap, f"{self._group}-dead-letters")
            await self._producer.start()
        futures = []
        for record, fault in poison:
            value, key, headers = _what_fits(record)
            sending = self._producer.send(
                TOPICS[record.topic].dead_letters(self._group),
                value,
                key,
                record.partition,
                _this_hour(),
                headers=[*headers, *dead_letter_headers(record, fault, self._group)],
            )
            futures.append(await sending)
        await asyncio.gather(*futures)

    async def close(self) -> None:
        if self._producer:
            await kafka.abandon(self._producer)
            self._producer = None


def _what_fits(record: ConsumerRecord) -> tuple[bytes | None, bytes | None, Headers]:
    """The record's value, key and headers; or, where its topic took it compressed and it is larger than a
    dead letter may be, only how large it is: it stays at its offset until its topic's retention ends."""
    size = len(record.value or b"") + len(record.key or b"")
    size += sum(len(name.encode()) + len(content or b"") + 10 for name, content in record.headers)
    if size > MAX_RECORD_BYTES:
        return b"", None, [("dlt_omitted_bytes", str(size).encode())]
    # The client sends nothing that has neither.
    nothing = record.value is None and record.key is None
    return b"" if nothing else record.value, record.key, record.headers


def _this_hour() -> int:
    """The time of a dead letter, in ms since 1970: the broker's own would tell a tip's minute."""
    return int(time.time() // 3600) * 3_600_000


def dead_letter_headers(record: ConsumerRecord, fault: Poison, group: str) -> list[tuple[str, bytes]]:
    """Where a dead letter came from and why it could not be read."""
    cause = fault.__cause__ or fault
    return [
        ("dlt_reason", fault.reason.encode()),
        ("dlt_exception", type(cause).__name__.encode()),
        ("dlt_topic", record.topic.encode()),
        ("dlt_partition", str(record.partition).encode()),
        ("dlt_offset", str(record.offset).encode()),
        ("dlt_timestamp", str(record.timestamp).encode()),
        ("dlt_group", group.encode()),
    ]
