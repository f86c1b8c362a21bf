"""A `stats` of a small town whose clock a test sets: its database, its closing, and when asked its relay and
consumer, on real Kafka and PostgreSQL."""

import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from services.stats import specs
from services.stats.closing import Closing
from services.stats.consumer import Counting
from services.stats.core.spec import Spec
from services.stats.signing import Signer
from shared import kafka, postgres
from shared.cloudevents import Envelope, from_record, to_record
from shared.consumer import Consumer
from shared.events import (
    STATISTICS,
    SUBSCRIPTIONS,
    Event,
    IncidentRecorded,
    ReportAccepted,
    StatisticsReleased,
)
from shared.metrics import ConsumerMetrics, RelayMetrics
from shared.relay import Relay
from tests.spine import running, until
from tests.stats_town import SPEC

ROOT = Path(__file__).parents[2]
MIGRATIONS = [postgres.SHARED_MIGRATIONS, ROOT / "services/stats/migrations"]
BEFORE = datetime(2026, 9, 20, 12, tzinfo=UTC)
SECRET = "s" * 32


def report(hour: datetime, area: str = "oakwood", category: str = "noise") -> ReportAccepted:
    """A report of that hour."""
    return ReportAccepted(
        report_id=uuid.uuid4(),
        kind="tip",
        version=1,
        category=category,
        areas={"district": area},
        hour=hour,
        regime="gdpr",
        urgency="normal",
        source="web",
        language="nl",
        municipality_version="v1",
    )


def incident(hour: datetime, area: str = "oakwood", category: str = "burglary") -> IncidentRecorded:
    """An incident of that hour."""
    return IncidentRecorded(incident_id=uuid.uuid4(), category=category, areas={"district": area}, hour=hour)


class Stats:
    """One service on one database; several may share it."""

    def __init__(self, bootstrap: str, dsn: str, pool: Any, known: list[Spec], secret: str) -> None:
        self.bootstrap, self.dsn, self.pool = bootstrap, dsn, pool
        self.now = BEFORE
        self.signer = Signer(secret)
        self.closing = Closing(
            pool, bootstrap, known, self.signer, source="/town/stats", clock=lambda: self.now
        )
        self._counting = Counting(known[0].tz, "district")

    async def count(self, events: Iterable[Event]) -> None:
        """Count events, as the consumer does with a batch."""
        async with self.pool.acquire() as connection, connection.transaction():
            await self.count_on(connection, events)

    async def count_on(self, connection: Any, events: Iterable[Event]) -> None:
        """The same in the caller's transaction."""
        told = [Envelope.of(one, id=uuid.uuid4(), source="/town/test", now=self.now) for one in events]
        await self._counting.apply(connection, told)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Consumer]:
        """Its relay and consumer run."""
        registry = CollectorRegistry()
        relay = Relay(self.dsn, self.bootstrap, "stats", RelayMetrics(registry))
        broker = kafka.broker(self.bootstrap, "stats", registry)
        consumer = Consumer(
            broker,
            self.bootstrap,
            self.pool,
            "stats",
            SUBSCRIPTIONS["stats"],
            self._counting.apply,
            ConsumerMetrics(registry),
        )
        async with running(relay.run()):
            await until(relay.checked.is_set)
            async with running(consumer.run()):
                await until(consumer.joined.is_set)
                yield consumer

    async def shown(self, number: int) -> None:
        """Wait until so many releases were read back."""

        async def enough() -> bool:
            return bool(
                await self.value("SELECT count(*) >= $1 FROM release WHERE shown_at IS NOT NULL", number)
            )

        await until(enough)

    async def value(self, query: str, *arguments: Any) -> Any:
        return await self.pool.fetchval(query, *arguments)

    async def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.pool.fetch(query, *arguments)]

    async def released(self) -> list[StatisticsReleased]:
        """Every release, as this database has it."""
        rows = await self.pool.fetch("SELECT content FROM release ORDER BY number")
        return [StatisticsReleased.model_validate_json(row["content"]) for row in rows]

    async def chain(self) -> list[bytes]:
        """Their bytes."""
        return [row[0] for row in await self.rows("SELECT content FROM release ORDER BY number")]

    async def counts(self, table: str, name: str) -> dict[tuple[str, ...], int]:
        """What was frozen, by cell."""
        counts = await self.value("SELECT counts FROM period WHERE table_id = $1 AND name = $2", table, name)
        return dict(zip(SPEC.table(table).cells(), counts, strict=True))


async def put(stats: Stats, release: StatisticsReleased) -> None:
    """Write a record on the topic, as whoever may write there can."""
    now = datetime.now(UTC)
    record = to_record(Envelope.of(release, id=release.release_id, source="/town/stats", now=now))
    sender = kafka.producer(stats.bootstrap, "test")
    await sender.start()
    try:
        await sender.send_and_wait(
            STATISTICS.name, record.value, key=record.key, headers=list(record.headers), partition=0
        )
    finally:
        await sender.stop()


@contextlib.asynccontextmanager
async def stats_of(
    bootstrap: str,
    dsn: str,
    spec: Spec = SPEC,
    secret: str = SECRET,
    now: datetime = BEFORE,
    former: Sequence[Spec] = (),
) -> AsyncIterator[Stats]:
    """A stats whose first start is `now`, with its noise drawn."""
    await postgres.migrate(dsn, MIGRATIONS)
    pool = await postgres.open_pool(dsn, "test")
    try:
        async with pool.acquire() as connection, connection.transaction():
            known = await specs.settle(connection, spec, [Signer(secret).public], now, former)
        stats = Stats(bootstrap, dsn, pool, known, secret)
        stats.now = now
        await stats.closing.draw()
        yield stats
    finally:
        await pool.close()


async def on_topic(bootstrap: str) -> list[StatisticsReleased]:
    """Every release on the topic, in its order."""
    reader = kafka.reader(bootstrap, "test")
    found = []
    try:
        await reader.start()
        for place, end in (await kafka.ends(reader, [STATISTICS])).items():
            async for record in kafka.records(reader, place, 0, end):
                event = from_record(record.topic, record.key, record.value, record.headers).event
                assert isinstance(event, StatisticsReleased)
                found.append(event)
    finally:
        await kafka.stop_quietly(reader)
    return found


def days(number: float) -> timedelta:
    return timedelta(days=number)


def detail(topic: str) -> str:
    """What the journal says of numbers that will not come."""
    return json.dumps({"topic": topic, "partition": 0, "first": 1, "last": 2})
