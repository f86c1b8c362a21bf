"""Looks at the topics from outside: every record, in order, and when it was first seen."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from shared import kafka
from shared.cloudevents import Envelope, from_record, number_of
from shared.cluster import Where
from shared.events import DISPATCHES, REPORTS, Event, Topic

TOPICS = (REPORTS, DISPATCHES)
OFFSETS = "__consumer_offsets"


@dataclass(frozen=True, slots=True)
class Seen:
    """One record: where it stands, its number, its time in ms since 1970, and what it says."""

    topic: str
    partition: int
    offset: int
    number: int
    timestamp: int
    envelope: Envelope[Event]


async def read_all(bootstrap: Where, topics: Sequence[Topic] = TOPICS) -> list[Seen]:
    """Every record of these topics up to their present ends, by partition and offset."""
    consumer = kafka.reader(bootstrap, "trial-reader")
    await consumer.start()
    try:
        ends = await kafka.ends(consumer, topics)
        places = [TopicPartition(*place) for place in ends]
        consumer.assign(places)
        found: list[Seen] = []
        while [place for place in places if await consumer.position(place) < ends[place]]:
            for records in (await consumer.getmany(timeout_ms=1_000)).values():
                found += [_seen(record) for record in records]
        return sorted(found, key=lambda seen: (seen.topic, seen.partition, seen.offset))
    finally:
        await kafka.stop_quietly(consumer)


class Tap:
    """Notes when each kind of event of each report was first seen on Kafka, while the trial runs."""

    def __init__(self, bootstrap: Where) -> None:
        self._bootstrap = bootstrap
        self.first_seen: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        consumer = kafka.reader(self._bootstrap, "trial-tap")
        try:
            await consumer.start()
            consumer.assign(
                [TopicPartition(topic.name, number) for topic in TOPICS for number in range(topic.partitions)]
            )
            while True:
                with suppress(KafkaError):
                    self._note(list((await consumer.getmany(timeout_ms=200)).values()))
        finally:
            await kafka.stop_quietly(consumer)

    def _note(self, batches: Sequence[Sequence[ConsumerRecord]]) -> None:
        now = time.monotonic()
        for records in batches:
            for record in records:
                event = _seen(record).envelope.event
                self.first_seen.setdefault((event.key, type(event).__name__), now)


def _seen(record: ConsumerRecord) -> Seen:
    number, _ = number_of(record.headers)
    envelope = from_record(record.topic, record.key, record.value, record.headers)
    return Seen(record.topic, record.partition, record.offset, number, record.timestamp, envelope)


async def offsets_committed(bootstrap: str) -> int:
    """How many offsets Kafka has noted for any group, each with the moment at which it did."""
    consumer = kafka.reader(bootstrap, "offsets")
    await consumer.start()
    try:
        cluster = await consumer._client.fetch_all_metadata()
        places = [TopicPartition(OFFSETS, number) for number in cluster.partitions_for_topic(OFFSETS) or ()]
        ends = await consumer.end_offsets(places) if places else {}
        found = 0
        for place, end in ends.items():
            async for record in kafka.records(consumer, (place.topic, place.partition), 0, end):
                # The first two bytes are the version of the key; 0 and 1 are an offset's.
                found += record.key is not None and record.key[:2] in {b"\0\0", b"\0\1"}
        return found
    finally:
        await kafka.stop_quietly(consumer)
