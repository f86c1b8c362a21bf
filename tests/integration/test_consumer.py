"""What a consumer promises: each event once, whatever repeats, jumps, dies or comes back."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from deploy.local.tap import offsets_committed
from shared import consumer as consumer_module
from shared import fence, kafka, subscription
from shared.cloudevents import Envelope
from shared.consumer import Consumer
from shared.dead_letters import POISON_MAX_RUN
from shared.errors import Poison, Refusal, Superseded
from shared.events import REPORTS, Event
from shared.examine import Plan
from tests.conftest import Infrastructure, Server
from tests.spine import (
    Database,
    Writer,
    apply,
    delete_records,
    delete_topics,
    envelope,
    headers,
    key_in,
    read_topic,
    reading,
    running,
    until,
    writing,
)

DEAD = REPORTS.dead_letters("notify")


@pytest.fixture
def quick_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number is missing for long after one second."""
    monkeypatch.setattr(consumer_module, "GAP_SECONDS", 1.0)
    monkeypatch.setattr(consumer_module, "WATCH_SECONDS", 0.1)


async def _fence_is(database: Database, partition: int, **expected: Any) -> None:
    async def so() -> bool:
        row = await database.fence(partition)
        return bool(row) and all(row[name] == value for name, value in expected.items())

    await until(so)


async def _dead(bootstrap: str) -> list[dict[str, bytes]]:
    """The headers of every dead letter."""
    found = await read_topic(bootstrap, DEAD)
    return [dict(record.headers) for records in found.values() for record in records]


# Repeats, jumps, gaps.


async def test_repeats_are_skipped(infrastructure: Infrastructure, spine: Database) -> None:
    """What the relay sends again after a crash has no second effect."""
    found = reading(infrastructure.bootstrap, spine)
    known = {number: envelope(key_in(5), number) for number in range(1, 5)}
    async with writing(infrastructure.bootstrap) as writer, running(found.consumer.run()):
        ids = await writer.events(5, [1, 2, 3, 1, 2, 3, 4], known)
        await _fence_is(spine, 5, sequence=4, next_offset=7, event_id=known[4].id)
    assert await spine.effects() == [ids[0], ids[1], ids[2], ids[6]]
    assert found.count("consumer_repeats_total", topic=REPORTS.name) == 3
    assert found.count("consumer_applied_total", topic=REPORTS.name) == 4


async def test_a_jump_waits_for_what_is_missing(infrastructure: Infrastructure, spine: Database) -> None:
    """A number that comes too early is left; neither the fence nor the offset moves past what is missing,
    and when it comes all is applied in order."""
    found = reading(infrastructure.bootstrap, spine)
    known = {number: envelope(key_in(5), number) for number in range(1, 6)}
    async with writing(infrastructure.bootstrap) as writer, running(found.consumer.run()):
        await writer.events(5, [1, 2, 4, 5], known)
        await until(lambda: found.count("consumer_early_total", topic=REPORTS.name) == 2)
        await _fence_is(spine, 5, sequence=2, next_offset=2, gap=False)
        await writer.events(5, [1, 2, 3, 4, 5], known)
        assert await spine.applied(5) == [known[number].id for number in range(1, 6)]
        await _fence_is(spine, 5, sequence=5, next_offset=9)


async def test_a_restart_in_front_of_a_jump_passes_over_nothing(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """The offset that is stored while a number is missing is that of the first record that came too early."""
    known = {number: envelope(key_in(5), number) for number in range(1, 6)}
    async with writing(infrastructure.bootstrap) as writer:
        for numbers in ([1, 2, 4, 5], []):
            found = reading(infrastructure.bootstrap, spine)
            await writer.events(5, numbers, known)
            async with running(found.consumer.run()):
                await until(lambda found=found: found.total("consumer_early_total") == 2)  # type: ignore[misc]
        await writer.events(5, [3, 4, 5], known)
        async with running(reading(infrastructure.bootstrap, spine).consumer.run()):
            assert await spine.applied(5) == [known[number].id for number in range(1, 6)]


async def test_a_number_that_does_not_come_is_an_alarm_that_ends_when_it_does(
    infrastructure: Infrastructure, spine: Database, quick_gaps: None
) -> None:
    """Metric, row and log say that data is missing; other partitions go on; the number itself ends it."""
    found = reading(infrastructure.bootstrap, spine)
    known = {number: envelope(key_in(5), number) for number in range(1, 4)}
    gap = {"topic": REPORTS.name, "partition": "5"}
    async with writing(infrastructure.bootstrap) as writer, running(found.consumer.run()):
        await writer.events(5, [1, 3], known)
        await until(lambda: found.count("consumer_early_total", topic=REPORTS.name))
        assert found.count("consumer_gap", **gap) == 0
        await until(lambda: found.count("consumer_gap", **gap) == 1)
        await _fence_is(spine, 5, sequence=1, gap=True)
        await writer.events(6, [1])
        await spine.applied(2)
        await writer.events(5, [2, 3], known)
        await spine.applied(4)
        await _fence_is(spine, 5, sequence=3, gap=False)
        await until(lambda: found.count("consumer_gap", **gap) == 0)


@pytest.mark.parametrize("alarmed", [True, False])
async def test_an_accepted_gap_is_read_past_without_a_restart(
    infrastructure: Infrastructure, spine: Database, quick_gaps: None, alarmed: bool
) -> None:
    """A person moves the row over the missing number, as `consumer accept-gap` does: the running consumer
    notices within seconds, before or after its alarm, and the alarm ends."""
    found = reading(infrastructure.bootstrap, spine)
    known = {number: envelope(key_in(5), number) for number in range(1, 6)}
    gap = {"topic": REPORTS.name, "partition": "5"}
    async with writing(infrastructure.bootstrap) as writer, running(found.consumer.run()):
        await writer.events(5, [1, 2, 4, 5], known)
        await until(lambda: found.count("consumer_early_total", topic=REPORTS.name) >= 2)
        if alarmed:
            await until(lambda: found.count("consumer_gap", **gap) == 1)
        await spine.pool.execute("UPDATE fence SET sequence = 3, gap = false WHERE partition = 5")
        assert await spine.applied(4, 5) == [known[number].id for number in (1, 2, 4, 5)]
        await until(lambda: found.count("consumer_gap", **gap) == 0)
        await _fence_is(spine, 5, sequence=5, gap=False)


async def test_a_first_number_other_than_one_is_a_gap(
    infrastructure: Infrastructure, spine: Database, quick_gaps: None
) -> None:
    """A new group that finds a topic without its beginning has missed something, and says so."""
    found = reading(infrastructure.bootstrap, spine)
    async with writing(infrastructure.bootstrap) as writer, running(found.consumer.run()):
        await writer.events(5, [2, 3])
        await until(lambda: found.count("consumer_gap", topic=REPORTS.name, partition="5"))
        await _fence_is(spine, 5, sequence=0, next_offset=0, gap=True)
    assert await spine.effects() == []


async def test_the_same_number_under_another_id_is_an_alarm(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Somebody else writes to the topic, or a database was restored: the second one is set aside, counted,
    and reading goes on."""
    found = reading(infrastructure.bootstrap, spine)
    async with writing(infrastructure.bootstrap) as writer, running(found.consumer.run()):
        first = await writer.events(5, [1, 2])
        second = await writer.events(5, [2, 3])
        assert await spine.applied(3) == [*first, second[1]]
    assert found.count("consumer_conflicts_total", topic=REPORTS.name) == 1
    assert found.count("consumer_poison_total", topic=REPORTS.name, reason="number_used_twice") == 1
    (dead,) = await _dead(infrastructure.bootstrap)
    assert (dead["ce_id"], dead["dlt_reason"]) == (str(second[0]).encode(), b"number_used_twice")


# Where it reads on.


async def test_a_batch_at_hand_is_not_read_again_when_partitions_come(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """The first batch may be there before the fences are: reading goes on behind it, so that nothing is read
    twice, and what cannot be read has one dead letter."""
    async with writing(infrastructure.bootstrap) as writer:
        for partition in range(12):
            await writer.record(partition, b"key", b"?", [])
            await writer.events(partition, range(1, 21))
    for group in ("notify", "stats"):
        found = reading(infrastructure.bootstrap, spine, group)
        async with running(found.consumer.run()):
            await until(lambda found=found: found.total("consumer_applied_total") == 240)  # type: ignore[misc]
            await asyncio.sleep(0.3)
        assert found.total("consumer_repeats_total") == 0
        assert found.total("consumer_poison_total") == 12
        letters = await read_topic(infrastructure.bootstrap, REPORTS.dead_letters(group))
        assert [len(letters[partition]) for partition in range(12)] == [1] * 12


async def test_progress_survives_a_restart(infrastructure: Infrastructure, spine: Database) -> None:
    """The next process reads on from the fence, and is not even shown what was applied."""
    async with writing(infrastructure.bootstrap) as writer:
        ids = []
        for numbers in ([1, 2, 3], [4, 5], [6]):
            found = reading(infrastructure.bootstrap, spine)
            async with running(found.consumer.run()):
                ids += await writer.events(5, numbers)
                assert await spine.applied(len(ids)) == ids
            assert found.total("consumer_repeats_total") == 0


@pytest.mark.parametrize("offset", [0, 3, 10])
async def test_an_offset_committed_to_kafka_means_nothing(
    infrastructure: Infrastructure, spine: Database, offset: int
) -> None:
    """Whatever the group's offsets say, at the beginning or at the end: the fence decides, with no record
    lost and none applied again, and also when no new one comes."""
    place = TopicPartition(REPORTS.name, 5)
    async with writing(infrastructure.bootstrap) as writer:
        ids = await writer.events(5, range(1, 6))
        async with running(reading(infrastructure.bootstrap, spine).consumer.run()):
            await spine.applied(5)
        ids += await writer.events(5, range(6, 11))
        meddler = AIOKafkaConsumer(
            bootstrap_servers=infrastructure.bootstrap, group_id="notify", enable_auto_commit=False
        )
        await meddler.start()
        meddler.assign([place])
        await meddler.commit({place: offset})
        await meddler.stop()
        async with running(reading(infrastructure.bootstrap, spine).consumer.run()):
            assert await spine.applied(10) == ids


async def test_kafka_learns_no_offset_and_so_no_time(infrastructure: Infrastructure, spine: Database) -> None:
    """Kafka stamps a committed offset with its own clock: beside the record it would tell a tip's second."""
    before = await offsets_committed(infrastructure.bootstrap)
    consumer = reading(infrastructure.bootstrap, spine).consumer
    async with writing(infrastructure.bootstrap) as writer, running(consumer.run()):
        await writer.events(5, range(1, 4))
        await spine.applied(3)
        await asyncio.sleep(2)
    assert await offsets_committed(infrastructure.bootstrap) == before
    meddler = AIOKafkaConsumer(
        bootstrap_servers=infrastructure.bootstrap, group_id="notify", enable_auto_commit=False
    )
    await meddler.start()
    meddler.assign([place := TopicPartition(REPORTS.name, 5)])
    await meddler.commit({place: 3})
    await meddler.stop()
    assert await offsets_committed(infrastructure.bootstrap) == before + 1


# Other consumers.


async def test_a_rebalance_under_load_doubles_nothing(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Consumers of one group come and go while 3,000 events arrive: each is applied once, each partition's in
    order."""
    ids: dict[int, list[Any]] = {partition: [] for partition in range(12)}

    async def load(writer: Writer) -> None:
        for number in range(1, 251):
            for partition in range(12):
                ids[partition] += await writer.events(partition, [number])

    readers = [reading(infrastructure.bootstrap, spine) for _ in range(3)]
    async with writing(infrastructure.bootstrap) as writer:
        loading = asyncio.create_task(load(writer))
        async with running(readers[0].consumer.run()):
            await until(lambda: readers[0].total("consumer_applied_total") > 100, 60)
            async with running(readers[1].consumer.run()):
                await until(lambda: readers[1].total("consumer_applied_total") > 100, 60)
        async with running(readers[2].consumer.run()):
            await loading
            await spine.applied(3000, 60)
            await asyncio.sleep(0.3)
    rows = await spine.fetch("SELECT id, key, version FROM effect ORDER BY nth")
    assert len(rows) == 3000
    known = {one: (partition, n) for partition, many in ids.items() for n, one in enumerate(many, start=1)}
    order: dict[int, list[int]] = {partition: [] for partition in range(12)}
    for row in rows:
        partition, number = known[row["id"]]
        order[partition].append(number)
    assert all(numbers == list(range(1, 251)) for numbers in order.values())
    assert sum(reader.total("consumer_applied_total") for reader in readers) == 3000


class Held(Consumer):
    """A consumer that stands still with a batch in its hands, before its transaction."""

    holding: asyncio.Event
    release: asyncio.Event
    records: Sequence[ConsumerRecord]

    async def _commit(self, plan: Plan) -> None:
        if not self.release.is_set():
            self.records = plan.records
            self.holding.set()
            await self.release.wait()
        await super()._commit(plan)


@pytest.mark.parametrize("field", ["sequence", "next_offset"])
async def test_a_fence_moves_only_from_where_it_was_seen(spine: Database, field: str) -> None:
    """By its number and by its offset: who saw another one of either is superseded, and changes nothing."""
    place = (REPORTS.name, 5)
    async with spine.pool.acquire() as connection:
        (stored,) = (await fence.load(connection, "notify", [place])).values()
        seen = replace(stored, sequence=7) if field == "sequence" else replace(stored, next_offset=7)
        with pytest.raises(Superseded):
            await fence.move(connection, "notify", {place: seen}, {place: replace(seen, next_offset=9)})
        assert (await fence.load(connection, "notify", [place]))[place] == stored


async def test_a_zombie_is_superseded_and_drops_its_batch(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """While one consumer stands still with a batch, another one applies it and more. When the first wakes up
    it loses at the fence, applies nothing of what it held, and goes on with what comes."""
    zombie, other = reading(infrastructure.bootstrap, spine), reading(infrastructure.bootstrap, spine)
    zombie.consumer.__class__ = Held
    held: Any = zombie.consumer
    held.holding, held.release = asyncio.Event(), asyncio.Event()
    async with writing(infrastructure.bootstrap) as writer, running(zombie.consumer.run()):
        ids = await writer.events(5, [1, 2, 3])
        await asyncio.wait_for(held.holding.wait(), 10)
        held_now = len(held.records)
        await other.consumer.handle(held.records)
        assert await spine.effects() == ids[:held_now]
        held.release.set()
        await until(lambda: zombie.count("consumer_superseded_total") == 1)
        ids += await writer.events(5, [4, 5])
        assert await spine.applied(5) == ids
    assert zombie.total("consumer_applied_total") == 5 - held_now


# Not now.


async def test_a_database_that_is_killed_in_the_middle_is_waited_for(
    infrastructure: Infrastructure, spine: Database, local_postgres: Server
) -> None:
    """Everything of the batch was written, nothing committed: after the restart it is applied once."""
    struck = asyncio.Event()

    async def strike(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        await apply(connection, envelopes)
        if not struck.is_set():
            struck.set()
            await asyncio.to_thread(local_postgres.kill)

    found = reading(infrastructure.bootstrap, spine, using=strike)
    async with writing(infrastructure.bootstrap) as writer, running(found.consumer.run()) as task:
        ids = await writer.events(5, range(1, 11))
        await asyncio.wait_for(struck.wait(), 10)
        await until(lambda: found.count("consumer_not_now_total") >= 2)
        assert not task.done()
        await asyncio.to_thread(local_postgres.start)
        assert await spine.applied(10, 30) == ids
        await asyncio.sleep(0.2)
    assert await spine.effects() == ids
    assert found.count("consumer_stopped") == 0


async def test_a_database_that_is_away_when_partitions_come_is_asked_again(
    infrastructure: Infrastructure, spine: Database, local_postgres: Server
) -> None:
    """A consumer that starts without its database, behind what its group has committed: when the database is
    back it reads on from the fence, although no new record comes."""
    async with writing(infrastructure.bootstrap) as writer:
        ids = await writer.events(5, range(1, 6))
        async with running(reading(infrastructure.bootstrap, spine).consumer.run()):
            await spine.applied(5)
        await spine.pool.execute("UPDATE fence SET sequence = 3, next_offset = 3 WHERE partition = 5")
        await spine.pool.execute("UPDATE fence SET event_id = $1 WHERE partition = 5", ids[2])
        await spine.pool.execute("DELETE FROM effect WHERE version > 3")
        await asyncio.to_thread(local_postgres.kill)
        found = reading(infrastructure.bootstrap, spine)
        async with running(found.consumer.run()):
            await until(lambda: found.consumer._subscription.assigned())
            await asyncio.sleep(0.5)
            await asyncio.to_thread(local_postgres.start)
            assert await spine.applied(5, 30) == ids


async def test_a_stop_while_the_database_is_away_is_quick(
    infrastructure: Infrastructure, spine: Database, local_postgres: Server
) -> None:
    """A handler that waits for its database does not hold up the process; its batch is left to the next."""
    clock = asyncio.get_running_loop().time
    found = reading(infrastructure.bootstrap, spine)
    async with writing(infrastructure.bootstrap) as writer:
        async with running(found.consumer.run()):
            ids = await writer.events(5, [1])
            await spine.applied(1)
            await asyncio.to_thread(local_postgres.kill)
            ids += await writer.events(5, [2])
            await until(lambda: found.count("consumer_not_now_total") >= 3)
            began = clock()
        assert clock() - began < 5
        await asyncio.to_thread(local_postgres.start)
        async with running(reading(infrastructure.bootstrap, spine).consumer.run()):
            assert await spine.applied(2, 30) == ids


async def test_a_stop_in_the_middle_of_a_batch_neither_loses_nor_doubles(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Stopped again and again under load, each time by another process' start."""
    ids: list[Any] = []
    async with writing(infrastructure.bootstrap) as writer:
        for part in range(5):
            ids += await writer.events(5, range(part * 60 + 1, part * 60 + 61))
            found = reading(infrastructure.bootstrap, spine)
            async with running(found.consumer.run()):
                await until(lambda found=found: found.total("consumer_applied_total"))  # type: ignore[misc]
        async with running(reading(infrastructure.bootstrap, spine).consumer.run()):
            assert await spine.applied(300) == ids


async def test_a_consumer_waits_for_a_kafka_that_is_away_at_its_start(
    infrastructure: Infrastructure, spine: Database, local_kafka: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither ends nor needs to be started anew."""
    monkeypatch.setattr(subscription, "START_RETRY_SECONDS", 0.5)
    async with writing(infrastructure.bootstrap) as writer:
        ids = await writer.events(5, [1, 2])
    local_kafka.kill()
    found = reading(infrastructure.bootstrap, spine)
    async with running(found.consumer.run()) as task:
        await asyncio.sleep(1)
        assert not task.done()
        await asyncio.to_thread(local_kafka.start)
        assert await spine.applied(2, 30) == ids


async def test_a_kafka_that_hangs_hinders_no_stop(
    infrastructure: Infrastructure, spine: Database, local_kafka: Server
) -> None:
    """A broker that takes connections and answers nothing, while dead letters are to be sent too."""
    clock = asyncio.get_running_loop().time
    found = reading(infrastructure.bootstrap, spine)
    async with writing(infrastructure.bootstrap) as writer:
        async with running(found.consumer.run()):
            await _unreadable(writer, [1])
            await _fence_is(spine, 5, sequence=1)
            await _unreadable(writer, [2])
            local_kafka.pause()
            await asyncio.sleep(0.5)
            began = clock()
        took = clock() - began
        local_kafka.resume()
    assert took < 12


# What cannot be applied.


def _failing(ids: set[Any], error: Exception) -> Any:
    async def some_fail(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        await apply(connection, envelopes)
        if any(given.id in ids for given in envelopes):
            raise error

    return some_fail


@pytest.mark.parametrize(
    ("error", "reason", "exception"),
    [
        (ZeroDivisionError("words"), b"not_applicable", b"ZeroDivisionError"),
        (asyncpg.UniqueViolationError("words"), b"not_applicable", b"UniqueViolationError"),
        (Poison("wrong_topic"), b"wrong_topic", b"Poison"),
    ],
)
async def test_an_event_that_cannot_be_applied_is_set_aside_alone(
    infrastructure: Infrastructure, spine: Database, error: Exception, reason: bytes, exception: bytes
) -> None:
    """It goes to the dead letters with the reason and the class of the error; the others of its batch are
    applied once, and nothing that it had written stays."""
    bad = envelope(key_in(5), 2)
    async with writing(infrastructure.bootstrap) as writer:
        ids = await writer.events(5, range(1, 21), {2: bad})
        found = reading(infrastructure.bootstrap, spine, using=_failing({bad.id}, error))
        async with running(found.consumer.run()):
            assert await spine.applied(19) == [one for one in ids if one != bad.id]
            await _fence_is(spine, 5, sequence=20)
    (dead,) = await _dead(infrastructure.bootstrap)
    assert (dead["ce_id"], dead["dlt_reason"], dead["dlt_exception"]) == (
        str(bad.id).encode(),
        reason,
        exception,
    )
    assert b"words" not in b"".join(dead.values())
    assert found.total("consumer_applied_total") == 19
    assert found.total("consumer_poison_total") == 1


async def test_an_apply_that_always_fails_stops_the_consumer_and_passes_nothing_over(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """The program is wrong, not sixty events: a refusal with the mend; no dead letter, no fence moved."""
    async with writing(infrastructure.bootstrap) as writer:
        ids = set(await writer.events(5, range(1, POISON_MAX_RUN + 11)))
    found = reading(infrastructure.bootstrap, spine, using=_failing(ids, ZeroDivisionError()))
    with pytest.raises(Refusal, match=r"deploy a mended one"):
        await asyncio.wait_for(found.consumer.run(), 15)
    assert found.count("consumer_stopped") == 1
    row = await spine.fence(5)
    assert row["sequence"] + len(await _dead(infrastructure.bootstrap)) <= POISON_MAX_RUN * 2
    mended = reading(infrastructure.bootstrap, spine)
    async with running(mended.consumer.run()):
        await _fence_is(spine, 5, sequence=len(ids))
    dead = await _dead(infrastructure.bootstrap)
    assert len(dead) + len(await spine.effects()) == len(ids)
    assert len(dead) <= POISON_MAX_RUN


async def test_a_refusal_of_the_service_itself_stops_the_consumer(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Whether it comes in the whole batch or only for the event by itself, it is never a dead letter."""

    async def refuses(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        raise Refusal("mend me") if len(envelopes) == 1 else ZeroDivisionError

    async with writing(infrastructure.bootstrap) as writer:
        await writer.events(5, [1, 2, 3])
    found = reading(infrastructure.bootstrap, spine, using=refuses)
    with pytest.raises(Refusal, match="mend me"):
        await asyncio.wait_for(found.consumer.run(), 15)
    assert (await spine.fence(5))["sequence"] == 0
    assert await _dead(infrastructure.bootstrap) == []


async def _unreadable(writer: Writer, numbers: Sequence[int]) -> None:
    for number in numbers:
        given = envelope(key_in(5), number)
        await writer.record(5, given.event.key.encode(), b"?", headers(number, given))


async def test_too_many_unreadable_records_in_a_row_stop_the_consumer(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """One more than the cap in one batch: nothing is sent aside, the fence has not moved."""
    async with writing(infrastructure.bootstrap) as writer:
        await _unreadable(writer, range(1, POISON_MAX_RUN + 2))
    found = reading(infrastructure.bootstrap, spine)
    with pytest.raises(Refusal, match=f"the last {POISON_MAX_RUN + 1} in a row"):
        await asyncio.wait_for(found.consumer.run(), 15)
    assert (await spine.fence(5))["next_offset"] == 0
    assert await _dead(infrastructure.bootstrap) == []


class _NotUtf8(str):
    def encode(self, *_: str) -> bytes:
        return b"\xff\xfe"


async def _broken_batch(bootstrap: str, partition: int) -> int:
    """Write a batch whose record has a header's name that is not UTF-8; returns its offset."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        batch = producer.create_batch()
        # Only the builder in Python lets such a name through.
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 10_000)
        batch.append(timestamp=None, key=b"key", value=b"value", headers=[(_NotUtf8("name"), b"1")])
        sent = await (await producer.send_batch(batch, REPORTS.name, partition=partition))
    finally:
        await producer.stop()
    return int(sent.offset)


async def test_what_the_client_cannot_take_apart_stops_the_consumer_where_it_stands(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """A header's name that is not UTF-8: everything before it is applied; the refusal names topic, partition
    and offset; after its mend, the rest is, in every partition and in order."""
    async with writing(infrastructure.bootstrap) as writer:
        before, beside = await writer.events(5, range(1, 101)), await writer.events(6, range(1, 101))
        offset = await _broken_batch(infrastructure.bootstrap, 5)
        after = await writer.events(5, range(101, 111))
    found = reading(infrastructure.bootstrap, spine)
    with pytest.raises(Refusal, match=rf"{REPORTS.name} partition 5 .* offset {offset}: .*delete-records"):
        await asyncio.wait_for(found.consumer.run(), 60)
    assert found.count("consumer_stopped") == 1
    assert set(await spine.effects()) >= set(before)
    await delete_records(infrastructure.bootstrap, REPORTS.name, 5, offset + 1)
    async with running(reading(infrastructure.bootstrap, spine).consumer.run()):
        applied = await spine.applied(210)
    assert [one for one in applied if one not in beside] == [*before, *after]
    assert [one for one in applied if one in beside] == beside


async def test_scattered_unreadable_records_do_not(infrastructure: Infrastructure, spine: Database) -> None:
    """Sixty of 1,900, never two together: each is set aside, all others are applied."""
    async with writing(infrastructure.bootstrap) as writer:
        pending = []
        good = []
        for number in range(1, 1901):
            given = envelope(key_in(5), number)
            bad = number % 31 == 0
            value = b"?" if bad else given.event.model_dump_json().encode()
            good += [] if bad else [given.id]
            pending.append(
                await writer.producer.send(
                    REPORTS.name, value, given.event.key.encode(), 5, headers=headers(number, given)
                )
            )
        await asyncio.gather(*pending)
    found = reading(infrastructure.bootstrap, spine)
    async with running(found.consumer.run()):
        assert await spine.applied(len(good)) == good
        await _fence_is(spine, 5, sequence=1900)
    assert len(await _dead(infrastructure.bootstrap)) == 1900 - len(good) > POISON_MAX_RUN


async def test_dead_letters_that_cannot_be_sent_are_waited_for(
    infrastructure: Infrastructure, spine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the dead-letter topic nothing is passed over; once it is there, all goes on."""
    monkeypatch.setattr(kafka, "REQUEST_TIMEOUT_MS", 1_000)
    await delete_topics(infrastructure.bootstrap, [DEAD])
    found = reading(infrastructure.bootstrap, spine)
    async with writing(infrastructure.bootstrap) as writer, running(found.consumer.run()):
        await _unreadable(writer, [1])
        ids = await writer.events(5, [2])
        await until(lambda: found.count("consumer_not_now_total") >= 2)
        assert await spine.effects() == []
        assert (await spine.fence(5))["next_offset"] == 0
        await kafka.create_topics(infrastructure.bootstrap)
        assert await spine.applied(1) == ids
    assert len(await _dead(infrastructure.bootstrap)) == 1


async def test_a_batch_that_is_tried_again_has_one_dead_letter(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """The dead letters leave last: while the database fails, none is sent time and again."""
    fails = iter([True, True, True])

    async def busy(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        if next(fails, False):
            raise asyncpg.DeadlockDetectedError
        await apply(connection, envelopes)

    async with writing(infrastructure.bootstrap) as writer:
        await _unreadable(writer, [1])
        ids = await writer.events(5, [2])
    found = reading(infrastructure.bootstrap, spine, using=busy)
    async with running(found.consumer.run()):
        assert await spine.applied(1) == ids
    assert found.count("consumer_not_now_total") == 3
    assert len(await _dead(infrastructure.bootstrap)) == 1
