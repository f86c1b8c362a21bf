"""What the watchdog promises: it ends a process that stands still although it could move, and no other.

Every test of what it must bear ends with the excuse taken away, and then it must not bear it any longer.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from shared import kafka, outbox
from shared import watchdog as watchdog_module
from shared.events import DISPATCHES, REPORTS
from shared.metrics import ConsumerMetrics, RelayMetrics, SurroundingsMetrics
from shared.watchdog import Health, Stuck, Watchdog
from tests.conftest import Infrastructure, Server
from tests.spine import (
    Database,
    add_partitions,
    delete_records,
    delete_topics,
    envelope,
    key_in,
    reading,
    running,
    until,
    writing,
)

PATIENCE = 1.0
# Long enough for the watchdog to have lost its patience twice.
LONG = 2.5


@pytest.fixture(autouse=True)
def quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog_module, "TICK_SECONDS", 0.05)


@dataclass
class Watch:
    """A watchdog that runs, and what it shows."""

    task: "asyncio.Task[None]"
    health: Health
    registry: CollectorRegistry

    async def bears_it(self) -> None:
        """It looks on for LONG seconds and ends nothing."""
        ticked = self.health.ticked
        await asyncio.sleep(LONG)
        assert not self.task.done(), self.task.exception()
        assert self.health.ticked > ticked

    async def is_stuck(self, match: str, seconds: float = 10) -> None:
        with pytest.raises(Stuck, match=match):
            async with asyncio.timeout(seconds):
                await self.task

    def metric(self, name: str, partition: int | None = None) -> float | None:
        labels = {} if partition is None else {"topic": REPORTS.name, "partition": str(partition)}
        return self.registry.get_sample_value(name, labels)


@contextlib.asynccontextmanager
async def watching(
    bootstrap: str, database: Database, assigned: Iterable[int] = range(12)
) -> AsyncIterator[Watch]:
    """The watchdog of a `notify` that consumes those partitions of REPORTS."""
    places = {(REPORTS.name, partition) for partition in assigned}
    health, registry = Health(), CollectorRegistry()
    dog = Watchdog(
        database.pool,
        bootstrap,
        "notify",
        [REPORTS],
        lambda: places,
        health,
        RelayMetrics(registry),
        ConsumerMetrics(registry),
        SurroundingsMetrics(registry),
        patience=PATIENCE,
    )
    task = asyncio.create_task(dog.run())
    try:
        yield Watch(task, health, registry)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _wait_in(bootstrap: str, partition: int, count: int = 3, first: int = 1) -> None:
    """Put events where the group reads."""
    async with writing(bootstrap) as writer:
        await writer.events(partition, range(first, first + count))


async def _stand(database: Database, partition: int, offset: int, *, gap: bool = False) -> None:
    """Set the group's fence, as its consumer does."""
    await database.fetch(
        """INSERT INTO fence (consumer_group, topic, partition, next_offset, gap)
           VALUES ('notify', $1, $2, $3, $4)
           ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET next_offset = $3, gap = $4""",
        REPORTS.name,
        partition,
        offset,
        gap,
    )


# What must end.


async def test_records_that_nobody_consumes_end_the_process(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Records wait, Kafka and the database answer, the fence stands still; no sooner than patience says."""
    await _wait_in(infrastructure.bootstrap, 3)
    began = asyncio.get_running_loop().time()
    async with watching(infrastructure.bootstrap, spine) as watch:
        await watch.is_stuck(f"{REPORTS.name} partition 3 is not consumed")
    assert asyncio.get_running_loop().time() - began > PATIENCE


async def test_what_another_replica_consumes_is_for_its_own_watchdog(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Only who was given no partition at all may have lost its place in the group without knowing it."""
    await _wait_in(infrastructure.bootstrap, 3)
    async with watching(infrastructure.bootstrap, spine, assigned=[2, 4]) as watch:
        await watch.bears_it()
    async with watching(infrastructure.bootstrap, spine, assigned=[2, 3]) as watch:
        await watch.is_stuck(f"{REPORTS.name} partition 3 is not consumed")
    async with watching(infrastructure.bootstrap, spine, assigned=[]) as watch:
        await watch.is_stuck(f"{REPORTS.name} partition 3 is not consumed")


async def test_a_fence_that_stops_halfway_ends_the_process(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """However slowly a consumer moves, it is left alone; when it stops before the end, it is not."""
    await _wait_in(infrastructure.bootstrap, 3, count=20)
    async with watching(infrastructure.bootstrap, spine) as watch:
        for offset in range(6):
            await _stand(spine, 3, offset)
            await asyncio.sleep(0.6 * PATIENCE)
            assert not watch.task.done()
        await watch.is_stuck("partition 3 is not consumed")


async def test_a_row_that_nobody_claims_ends_the_process(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """An outbox row waits and there is no relay."""
    await spine.append(envelope(key_in(3)))
    async with watching(infrastructure.bootstrap, spine) as watch:
        await watch.is_stuck("the relay does not move")
        assert watch.metric("outbox_depth") == 1


async def test_a_batch_that_was_claimed_and_is_never_sent_ends_the_process(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """The outbox is empty then, and yet the event has not left."""
    await spine.append(envelope(key_in(3)))
    async with spine.pool.acquire() as connection:
        assert await outbox.claim(connection, None)
    async with watching(infrastructure.bootstrap, spine) as watch:
        await watch.is_stuck("the relay does not move")
        assert watch.metric("outbox_depth") == 0
        assert (watch.metric("outbox_oldest_seconds") or 0) >= PATIENCE / 2


# What must not.


async def test_nothing_ends_where_nothing_waits(infrastructure: Infrastructure, spine: Database) -> None:
    """All that came is applied, nothing is to be sent: a quiet night is no fault, and the first event after
    it gets the whole of the patience."""
    await _wait_in(infrastructure.bootstrap, 3)
    async with running(reading(infrastructure.bootstrap, spine).consumer.run()):
        await spine.applied(3)
    async with watching(infrastructure.bootstrap, spine) as watch:
        await watch.bears_it()
        assert watch.metric("consumer_lag_records", 3) == 0
        await spine.append(envelope(key_in(3)))
        await asyncio.sleep(0.6 * PATIENCE)
        assert not watch.task.done()
        await watch.is_stuck("the relay does not move")


async def test_what_retention_has_deleted_is_not_waited_for(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """It cannot be consumed any more; what is left of the partition still can."""
    await _wait_in(infrastructure.bootstrap, 3, count=5)
    await delete_records(infrastructure.bootstrap, REPORTS.name, 3, 5)
    async with watching(infrastructure.bootstrap, spine) as watch:
        await watch.bears_it()
        assert watch.metric("consumer_lag_records", 3) == 0
        await _wait_in(infrastructure.bootstrap, 3, first=6)
        await watch.is_stuck("partition 3 is not consumed")
        assert watch.metric("consumer_lag_records", 3) == 3


async def test_nothing_ends_while_kafka_is_away(
    infrastructure: Infrastructure, spine: Database, local_kafka: Server
) -> None:
    """A restart would not bring Kafka back. Once it is there, the patience begins anew."""
    await spine.append(envelope(key_in(3)))
    await _wait_in(infrastructure.bootstrap, 3)
    local_kafka.kill()
    async with watching(infrastructure.bootstrap, spine) as watch:
        await watch.bears_it()
        await asyncio.to_thread(local_kafka.start)
        await watch.is_stuck("although Kafka and the database answer|although it could be", 30)


async def test_nothing_ends_while_the_database_is_away(
    infrastructure: Infrastructure, spine: Database, local_postgres: Server
) -> None:
    """The same for PostgreSQL, also when it goes while the watchdog runs."""
    await spine.append(envelope(key_in(3)))
    async with watching(infrastructure.bootstrap, spine) as watch:
        await until(lambda: watch.metric("outbox_depth"))
        local_postgres.kill()
        await watch.bears_it()
        await asyncio.to_thread(local_postgres.start)
        await watch.is_stuck("the relay does not move", 30)


async def test_a_partition_with_a_gap_is_left_to_a_person(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """A number is missing and the alarm says so: a restart does not bring it. Other partitions are watched
    all the same."""
    await _wait_in(infrastructure.bootstrap, 3)
    await _stand(spine, 3, 0, gap=True)
    async with watching(infrastructure.bootstrap, spine) as watch:
        await watch.bears_it()
        assert watch.metric("consumer_lag_records", 3) == 3
        await _wait_in(infrastructure.bootstrap, 8)
        await watch.is_stuck("partition 8 is not consumed")


async def test_a_relay_that_refused_is_left_to_a_person(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """And so is the consumer, which waits for it."""
    await spine.append(envelope(key_in(3)))
    await _wait_in(infrastructure.bootstrap, 3)
    async with watching(infrastructure.bootstrap, spine) as watch:
        watch.health.refusals["relay"] = "database and topics disagree"
        await watch.bears_it()
        del watch.health.refusals["relay"]
        await watch.is_stuck("the relay does not move")


async def test_a_consumer_that_refused_excuses_itself_only(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Too much poison stops the consumer until a person mends it; the relay has to go on."""
    await _wait_in(infrastructure.bootstrap, 3)
    async with watching(infrastructure.bootstrap, spine) as watch:
        watch.health.refusals["consumer"] = "too much poison"
        await watch.bears_it()
        await spine.append(envelope(key_in(3)))
        await watch.is_stuck("the relay does not move")


# What it shows.


async def test_the_lag_is_shown_in_records_and_in_seconds(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """It grows with what comes and with time, and is 0 once all is applied."""
    await _wait_in(infrastructure.bootstrap, 3)
    await spine.append(envelope(key_in(3)))
    async with watching(infrastructure.bootstrap, spine) as watch:
        await until(lambda: watch.metric("consumer_lag_records", 3) == 3)
        await until(lambda: (watch.metric("consumer_lag_seconds", 3) or 0) > 0.3)
        assert watch.metric("outbox_depth") == 1
        assert (watch.metric("outbox_oldest_seconds") or 0) > 0.2
        assert watch.metric("consumer_lag_records", 4) == 0
        assert watch.metric("consumer_lag_seconds", 4) == 0
        await _stand(spine, 3, 2)
        await until(lambda: watch.metric("consumer_lag_records", 3) == 1)
        await _stand(spine, 3, 3)
        await spine.fetch("DELETE FROM outbox")
        await until(lambda: watch.metric("consumer_lag_records", 3) == 0)
        await until(lambda: watch.metric("outbox_oldest_seconds") == 0)
        assert watch.metric("consumer_lag_seconds", 3) == 0
        assert watch.metric("outbox_depth") == 0


@pytest.mark.parametrize("missing", [REPORTS.name, REPORTS.dead_letters("notify")])
async def test_a_missing_topic_is_named_with_its_mend_until_it_is_there(
    infrastructure: Infrastructure, spine: Database, missing: str
) -> None:
    """In the refusals, which the probes answer with; it ends nothing: a restart does not make topics."""
    await delete_topics(infrastructure.bootstrap, [missing])
    async with watching(infrastructure.bootstrap, spine) as watch:
        said = await until(lambda: watch.health.refusals.get("topics"))
        assert f"topic {missing} is missing" in said
        assert "run `docker compose up -d`" in said
        await spine.append(envelope(key_in(3)))
        await watch.bears_it()
        await kafka.create_topics(infrastructure.bootstrap)
        await until(lambda: "topics" not in watch.health.refusals)
        await watch.is_stuck("the relay does not move")


async def test_a_topic_of_another_number_of_partitions_is_named(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """With both numbers; topics that this service does not read are not looked at."""
    await add_partitions(infrastructure.bootstrap, DISPATCHES.name, DISPATCHES.partitions + 1)
    async with watching(infrastructure.bootstrap, spine) as watch:
        await until(lambda: watch.metric("consumer_lag_records", 3) is not None)
        assert not watch.health.refusals
        await add_partitions(infrastructure.bootstrap, REPORTS.name, REPORTS.partitions + 1)
        said = await until(lambda: watch.health.refusals.get("topics"))
        assert f"has {REPORTS.partitions + 1} partitions, the contract says {REPORTS.partitions}" in said
