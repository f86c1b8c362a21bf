"""Records for the benches: events of 480 bytes, where they go, and reading a topic back."""

import uuid
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import NewTopic

from shared import kafka
from shared.events import REPORTS, ReportAccepted, hour_of
from shared.outbox import Numbered

VALUE_BYTES = 480
SOURCE = "/bench/tips"
# What the timestamps go by: the topics drop what is older than their retention.
NOW = hour_of(datetime.now(UTC)) - timedelta(hours=1)
PEER_TOPIC = "bench.reports.v1"
_ID = uuid.UUID(int=0)


def accepted(report_id: uuid.UUID) -> ReportAccepted:
    """An issue as `tips` announces it, with as many answers as make VALUE_BYTES."""
    plain = ReportAccepted(
        report_id=report_id,
        kind="issue",
        version=1,
        category="street_light",
        areas={"district": "oakwood"},
        hour=NOW,
        regime="gdpr",
        urgency="normal",
        source="web",
        language="nl",
        municipality_version="3f9a1c07d2e4b586",
    )
    room = VALUE_BYTES - len(plain.model_dump_json())
    # `,"qN":"…"` is 8 bytes and the answer; the first has no comma, and an answer has at most 64 characters.
    count = -(-(room + 1) // 72)
    sizes = [(room + 1 - 8 * count + index) // count for index in range(count)]
    return plain.model_copy(update={"answers": {f"q{index}": "a" * size for index, size in enumerate(sizes)}})


def partition_of(key: bytes, partitions: int) -> int:
    """Where the relay puts a key: its CRC-32 modulo the topic's partitions."""
    return zlib.crc32(key) % partitions


def template() -> bytes:
    """The JSON of such an event, to put other report ids into: `with_id`."""
    return accepted(_ID).model_dump_json().encode()


def with_id(value: bytes, report_id: bytes) -> bytes:
    """The template's JSON about another report."""
    return value.replace(str(_ID).encode(), report_id)


class Rows:
    """Makes outbox rows of random keys, and knows the numbers that they must get: as the relay's, they go on
    from one call to the next."""

    def __init__(self) -> None:
        self._value = template()
        self._last = dict.fromkeys(range(REPORTS.partitions), 0)

    def make(self, count: int) -> list[Numbered]:
        """That many rows, numbered in order."""
        made = []
        for _ in range(count):
            key = str(uuid.uuid4()).encode()
            partition = partition_of(key, REPORTS.partitions)
            self._last[partition] = number = self._last[partition] + 1
            value = with_id(self._value, key)
            made.append(
                Numbered(
                    uuid.uuid4(),
                    ReportAccepted.type,
                    REPORTS.name,
                    key,
                    value,
                    SOURCE,
                    NOW,
                    partition,
                    number,
                )
            )
        return made


async def fill(connection: Any, rows: list[Numbered]) -> None:
    """Put rows into the outbox, committed at once."""
    columns = ("id", "type", "topic", "key", "value", "source", "time")
    await connection.copy_records_to_table(
        "outbox", columns=columns, records=[tuple(getattr(row, name) for name in columns) for row in rows]
    )


async def make_topics(bootstrap: str) -> None:
    """The contract's topics, and one beside REPORTS with the same settings, for the peer."""
    await kafka.create_topics(bootstrap)
    async with kafka.admin(bootstrap) as client:
        await client.create_topics(
            [NewTopic(PEER_TOPIC, REPORTS.partitions, 1, topic_configs=dict(REPORTS.settings))]
        )


async def ends(consumer: AIOKafkaConsumer, topic: str) -> dict[TopicPartition, int]:
    """The present end of each partition."""
    places = [TopicPartition(topic, number) for number in range(REPORTS.partitions)]
    found: dict[TopicPartition, int] = await consumer.end_offsets(places)
    return found


async def read_back(
    bootstrap: str, topic: str, starts: Mapping[TopicPartition, int]
) -> dict[int, list[ConsumerRecord]]:
    """What the topic holds from `starts` to its present ends, by partition."""
    consumer = kafka.reader(bootstrap, "bench-ledger")
    await consumer.start()
    try:
        until = await ends(consumer, topic)
        consumer.assign(list(until))
        for place, offset in starts.items():
            consumer.seek(place, offset)
        found: dict[int, list[ConsumerRecord]] = {place.partition: [] for place in until}
        while [place for place, end in until.items() if await consumer.position(place) < end]:
            for place, records in (await consumer.getmany(timeout_ms=1_000)).items():
                found[place.partition] += records
        return found
    finally:
        await kafka.stop_quietly(consumer)


def by_partition(rows: list[Numbered]) -> Iterator[tuple[int, list[Numbered]]]:
    """The rows of each partition, in order."""
    for partition in range(REPORTS.partitions):
        yield partition, [row for row in rows if row.partition == partition]
