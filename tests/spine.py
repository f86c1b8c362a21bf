"""What the tests of the spine share: events, an apply that shows every doubling, relays and consumers, and
topics to write to and read by hand."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from prometheus_client import CollectorRegistry

from bench.records import partition_of
from shared import kafka, outbox, postgres
from shared.cloudevents import Envelope, Headers, attributes
from shared.cluster import Where, at
from shared.consumer import Apply, Consumer
from shared.events import (
    DISPATCHES,
    REPORTS,
    Event,
    IssueGone,
    ReportDelivered,
    ReportSupplemented,
    Topic,
    all_topics,
)
from shared.metrics import ConsumerMetrics, RelayMetrics
from shared.relay import Relay

# Recent, since the topics' retention goes by it; neither a whole hour nor a whole second.
NOW = datetime.now(UTC).replace(minute=35, second=21, microsecond=123456) - timedelta(hours=2)
PATIENCE = 15.0
EFFECTS = """CREATE TABLE effect (
    nth bigint GENERATED ALWAYS AS IDENTITY, id uuid NOT NULL, key text NOT NULL, version int NOT NULL)"""


def event(key: uuid.UUID, version: int, topic: Topic = REPORTS) -> Event:
    """The smallest event that goes to the topic; `version` says which of its key's events it is."""
    if topic == DISPATCHES:
        return ReportDelivered(report_id=key, kind="issue", version=version, unit="police", channel="mail")
    return ReportSupplemented(report_id=key, kind="issue", version=version)


def envelope(key: uuid.UUID, version: int = 1, topic: Topic = REPORTS) -> Envelope[Event]:
    """The same with its attributes and a random id."""
    return Envelope.of(event(key, version, topic), id=uuid.uuid4(), source=f"/test/{topic.writer}", now=NOW)


def key_in(partition: int) -> uuid.UUID:
    """A random report id that goes to a partition (of 12)."""
    while partition_of(str(key := uuid.uuid4()).encode(), 12) != partition:
        pass
    return key


async def until(condition: Callable[[], Awaitable[Any] | Any], seconds: float = PATIENCE) -> Any:
    """Wait until the condition, which may be a coroutine function, holds; its value. AssertionError when the
    seconds are over."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert asyncio.get_running_loop().time() < end, f"not within {seconds:g} s: {condition}"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def running(work: Any) -> AsyncIterator["asyncio.Task[Any]"]:
    """Run a coroutine beside the block; cancelled at its end, and what it raised by itself is raised."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        ended = task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            if not ended:
                await task
    if ended and not task.cancelled():
        await task


@dataclass
class Database:
    """A migrated database with the table `effect`."""

    dsn: str
    pool: Any

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        rows: list[Any] = await self.pool.fetch(query, *arguments)
        return rows

    async def value(self, query: str, *arguments: Any) -> Any:
        return await self.pool.fetchval(query, *arguments)

    async def append(self, *envelopes: Envelope[Any]) -> None:
        """Append in a transaction of its own."""
        async with self.pool.acquire() as connection, connection.transaction():
            await outbox.append(connection, envelopes)

    async def sent(self, seconds: float = PATIENCE) -> None:
        """Wait until nothing is left to send."""

        async def nothing() -> bool:
            return not await self.value(
                "SELECT (SELECT count(*) FROM outbox)"
                " + (SELECT count(*) FROM outbox_batch WHERE sent_on IS NULL)"
            )

        await until(nothing, seconds)

    async def applied(self, expected: int, seconds: float = PATIENCE) -> list[uuid.UUID]:
        """Wait until that many effects are there; their ids, in order."""

        async def enough() -> bool:
            return bool(await self.value("SELECT count(*) >= $1 FROM effect", expected))

        await until(enough, seconds)
        return await self.effects()

    async def effects(self) -> list[uuid.UUID]:
        """The ids of what was applied, in that order."""
        return [row["id"] for row in await self.fetch("SELECT id FROM effect ORDER BY nth")]

    async def fence(self, partition: int, group: str = "notify", topic: Topic = REPORTS) -> Any:
        rows = await self.fetch(
            "SELECT * FROM fence WHERE consumer_group = $1 AND topic = $2 AND partition = $3",
            group,
            topic.name,
            partition,
        )
        return rows[0] if rows else None

    async def fence_is(self, partition: int, **expected: Any) -> None:
        """Wait until the row of `notify` for that partition of the reports says so."""

        async def so() -> bool:
            row = await self.fence(partition)
            return bool(row) and all(row[name] == value for name, value in expected.items())

        await until(so)


@contextlib.asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    """The database of a DSN, migrated."""
    await postgres.migrate(dsn, [postgres.SHARED_MIGRATIONS])
    pool = await postgres.open_pool(dsn, "test")
    try:
        await pool.execute(EFFECTS.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
        yield Database(dsn, pool)
    finally:
        with contextlib.suppress(TimeoutError, OSError, asyncpg.PostgresError):
            await asyncio.wait_for(pool.close(), 5)


async def apply(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
    """One row for each event: what is applied twice is there twice."""
    await connection.executemany(
        "INSERT INTO effect (id, key, version) VALUES ($1, $2, $3)",
        [(given.id, given.event.key, getattr(given.event, "version", 0)) for given in envelopes],
    )


@dataclass
class Reading:
    """A consumer with its metrics."""

    consumer: Consumer
    metrics: ConsumerMetrics
    registry: CollectorRegistry

    def count(self, name: str, **labels: str) -> float:
        """The value of a metric; 0 where it has none yet."""
        return self.registry.get_sample_value(name, labels) or 0.0

    def total(self, name: str) -> float:
        """The sum of a metric over its labels."""
        return sum(
            sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == name
        )

    async def reaches(self, name: str, least: float) -> None:
        """Wait until the sum of a metric is at least that."""
        await until(lambda: self.total(name) >= least)


def reading(
    bootstrap: str,
    database: Database,
    group: str = "notify",
    topics: Sequence[Topic] = (REPORTS,),
    using: Apply = apply,
    applied: Callable[[], None] = lambda: None,
) -> Reading:
    """A consumer as a service makes it, not yet running."""
    registry = CollectorRegistry()
    metrics = ConsumerMetrics(registry)
    broker = kafka.broker(bootstrap, group, registry)
    consumer = Consumer(broker, bootstrap, database.pool, group, topics, using, metrics, applied)
    return Reading(consumer, metrics, registry)


def relaying(
    bootstrap: str,
    dsn: str,
    service: str = "tips",
    make_producer: Callable[[str, str], AIOKafkaProducer] = kafka.producer,
) -> tuple[Relay, CollectorRegistry]:
    """A relay as a service makes it, not yet running."""
    registry = CollectorRegistry()
    return Relay(dsn, bootstrap, service, RelayMetrics(registry), make_producer=make_producer), registry


def headers(number: int, given: Envelope[Any]) -> list[tuple[str, bytes | None]]:
    """The headers that the relay would give an event."""
    plain = attributes(given.id, given.source, given.event.type, given.time, given.event.key.encode())
    return [*plain, ("ce_sequence", str(number).encode())]


@dataclass
class Writer:
    """Writes records by hand, as a relay that is steered."""

    producer: AIOKafkaProducer

    async def record(
        self,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        topic: Topic = REPORTS,
    ) -> int:
        """One record as given; its offset."""
        sent = await self.producer.send_and_wait(
            topic.name, value, key, partition, int(NOW.timestamp() * 1000), list(headers)
        )
        return int(sent.offset)

    async def event(self, partition: int, number: int, given: Envelope[Any]) -> int:
        """An event under a number; its offset."""
        value = None if isinstance(given.event, IssueGone) else given.event.model_dump_json().encode()
        return await self.record(
            partition, given.event.key.encode(), value, headers(number, given), given.event.topic
        )

    async def events(
        self, partition: int, numbers: Iterable[int], known: Mapping[int, Envelope[Any]] | None = None
    ) -> list[uuid.UUID]:
        """Events under these numbers, new ones where they are not known; their ids."""
        ids = []
        for number in numbers:
            given = (known or {}).get(number) or envelope(key_in(partition), number)
            await self.event(partition, number, given)
            ids.append(given.id)
        return ids

    async def unreadable(self, partition: int, numbers: Iterable[int]) -> None:
        """Records under these numbers whose value cannot be read."""
        for number in numbers:
            given = envelope(key_in(partition), number)
            await self.record(partition, given.event.key.encode(), b"?", headers(number, given))


@contextlib.asynccontextmanager
async def writing(bootstrap: str) -> AsyncIterator[Writer]:
    producer = kafka.producer(bootstrap, "writer")
    await producer.start()
    try:
        yield Writer(producer)
    finally:
        await producer.stop()


async def read_topic(bootstrap: str, topic: str) -> dict[int, list[ConsumerRecord]]:
    """Everything that a topic holds now, by partition."""
    consumer = kafka.reader(bootstrap, "test-reader")
    await consumer.start()
    try:
        cluster = await consumer._client.fetch_all_metadata()
        places = [TopicPartition(topic, number) for number in cluster.partitions_for_topic(topic) or ()]
        ends = await consumer.end_offsets(places)
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        found: dict[int, list[ConsumerRecord]] = {place.partition: [] for place in places}
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(timeout_ms=1000)).items():
                found[place.partition] += records
        return found
    finally:
        await consumer.stop()


async def set_aside(bootstrap: str) -> list[ConsumerRecord]:
    """What `notify` could not read of the reports."""
    found = await read_topic(bootstrap, REPORTS.dead_letters("notify"))
    return [letter for letters in found.values() for letter in letters]


async def number_sequence(bootstrap: str, partition: int, topic: Topic = REPORTS) -> list[int]:
    """The numbers that a partition holds, in the order of its offsets."""
    records = (await read_topic(bootstrap, topic.name))[partition]
    return [int(dict(record.headers)["ce_sequence"]) for record in records]


async def delete_topics(bootstrap: str, names: Sequence[str]) -> None:
    """Delete topics and wait until they are gone."""
    async with kafka.admin(bootstrap) as admin:
        await admin.delete_topics(list(names))

        async def gone() -> bool:
            return not set(names) & set(await admin.list_topics())

        await until(gone)


async def add_partitions(bootstrap: str, name: str, total: int) -> None:
    async with kafka.admin(bootstrap) as admin:
        await admin.create_partitions({name: NewPartitions(total)})


class _NotUtf8(str):
    def encode(self, *_: str) -> bytes:
        return b"\xff\xfe"


async def broken_batch(where: Where, topic: str, partition: int) -> int:
    """Write a batch whose record has a header's name that is not UTF-8; returns its offset."""
    async with AIOKafkaProducer(**at(where).settings()) as producer:
        batch = producer.create_batch()
        # Only the builder in Python lets such a name through.
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 10_000)
        batch.append(timestamp=None, key=b"key", value=b"value", headers=[(_NotUtf8("name"), b"1")])
        sent = await (await producer.send_batch(batch, topic, partition=partition))
    return int(sent.offset)


async def delete_records(bootstrap: str, name: str, partition: int, before: int) -> None:
    """Delete what lies before an offset, as retention does."""
    async with kafka.admin(bootstrap) as admin:
        await admin.delete_records({TopicPartition(name, partition): RecordsToDelete(before)})


async def renew_topics(bootstrap: str, tries: int = 5) -> None:
    """Make the contract's topics, and make anew those that hold anything or have other partitions.

    A broker that was killed by the test before may not answer at once: it is asked again.
    """
    for left in reversed(range(tries)):
        try:
            await _renew_topics(bootstrap)
        except (KafkaError, TimeoutError):
            if not left:
                raise
            await asyncio.sleep(1)
        else:
            return


async def _renew_topics(bootstrap: str) -> None:
    wanted = {topic.name: topic for topic in all_topics()}
    consumer = kafka.reader(bootstrap, "test-ends")
    await consumer.start()
    try:
        cluster = await consumer._client.fetch_all_metadata()
        there = {name: cluster.partitions_for_topic(name) or set() for name in wanted}
        used = {name for name, numbers in there.items() if len(numbers) not in {0, wanted[name].partitions}}
        # All at once: by itself the consumer asks for one topic after the other, 0.1 s each.
        await consumer._client.set_topics([name for name, numbers in there.items() if numbers])
        places = [TopicPartition(name, number) for name, numbers in there.items() for number in numbers]
        ends = await consumer.end_offsets(places) if places else {}
        used |= {place.topic for place, end in ends.items() if end}
        if used:
            await delete_topics(bootstrap, sorted(used))
    finally:
        await consumer.stop()
    await make_topics(bootstrap)


async def make_topics(bootstrap: str) -> None:
    """Make the contract's topics that are missing; returns when each of their partitions is led. Until then
    the brokers' metadata may lack them, and who asks for an end waits."""
    if not await kafka.create_topics(bootstrap):
        return
    consumer = kafka.reader(bootstrap, "test-made")
    await consumer.start()
    try:
        # All at once: by itself the consumer asks for one topic after the other, 0.1 s each.
        await consumer._client.set_topics([topic.name for topic in all_topics()])
        made = [TopicPartition(topic.name, n) for topic in all_topics() for n in range(topic.partitions)]

        async def led() -> bool:
            with contextlib.suppress(KafkaError):
                return bool(await consumer.end_offsets(made))
            return False

        await until(led, 60)
    finally:
        await consumer.stop()


class FailingProducer(AIOKafkaProducer):  # type: ignore[misc] # aiokafka has no types
    """The real producer, each record in a batch of its own; each that is chosen fails once, before anything
    of it is sent."""

    def __init__(self, bootstrap: str, client_id: str, chosen: "Chosen") -> None:
        super().__init__(
            bootstrap_servers=bootstrap,
            client_id=client_id,
            enable_idempotence=True,
            request_timeout_ms=5000,
            max_batch_size=1,
        )
        self._chosen = chosen

    def create_batch(self) -> BatchBuilder:
        return RememberingBuilder(1, 0)

    async def send_batch(self, batch: "RememberingBuilder", topic: str, *, partition: int) -> Any:
        if self._chosen.fails((partition, batch.number)):
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(self._chosen.error)
            return failed
        return await super().send_batch(batch, topic, partition=partition)


class RememberingBuilder(BatchBuilder):  # type: ignore[misc] # aiokafka has no types
    """A batch that knows the number of its first record."""

    number = 0

    def append(self, *, timestamp: int, key: Any, value: Any, headers: Any = ()) -> Any:
        self.number = self.number or int(dict(headers)["ce_sequence"])
        return super().append(timestamp=timestamp, key=key, value=value, headers=headers)


@dataclass
class Chosen:
    """Which (partition, number) fail, once each, and how."""

    left: set[tuple[int, int]]
    error: Exception = field(default_factory=lambda: TimeoutError("steered"))

    def fails(self, record: tuple[int, int]) -> bool:
        if record not in self.left:
            return False
        self.left.discard(record)
        return True

    def producer(self, bootstrap: str, client_id: str) -> FailingProducer:
        return FailingProducer(bootstrap, client_id, self)
