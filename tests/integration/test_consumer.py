"""What a consumer promises: each event once, whatever repeats, jumps, dies or comes back."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from deploy.local.tap import offsets_committed
from shared import consumer as consumer_module
from shared import fence, subscription
from shared import standing as standing_module
from shared.cloudevents import Envelope
from shared.consumer import Consumer
from shared.errors import Poison, Superseded
from shared.events import REPORTS, Event
from shared.examine import Plan
from shared.standing import look
from tests.conftest import Infrastructure, Server
from tests.spine import (
    Database,
    Writer,
    apply,
    envelope,
    key_in,
    read_topic,
    reading,
    running,
    set_aside,
    until,
    writing,
)

DEAD = REPORTS.dead_letters("notify")
# After which a group gives a silent member's partitions to others: what aiokafka asks for.
SESSION_SECONDS = 10


@pytest.fixture
def quick_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number is missing for long after one second."""
    monkeypatch.setattr(consumer_module, "GAP_SECONDS", 1.0)
    monkeypatch.setattr(consumer_module, "WATCH_SECONDS", 0.1)


# Repeats, jumps, gaps.


async def test_repeats_are_skipped(infrastructure: Infrastructure, spine: Database) -> None:
    """What the relay sends again after a crash has no second effect."""
    found = reading(infrastructure.bootstrap, spine)
    known = {number: envelope(key_in(5), number) for number in range(1, 5)}
    async with writing(infrastructure.bootstrap) as writer, running(found.consumer.run()):
        ids = await writer.events(5, [1, 2, 3, 1, 2, 3, 4], known)
        await spine.fence_is(5, sequence=4, next_offset=7, event_id=known[4].id)
    assert await spine.effects() == [ids[0], ids[1], ids[2], ids[6]]
    assert found.count("consumer_repeats_total", topic=REPORTS.name) == 3
    assert found.count("consumer_applied_total", topic=REPORTS.name) == 4


async def test_who_is_told_that_something_was_applied_finds_it(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """After the commit, so that a look at the database comes upon it; a repeat tells nothing."""
    known = {1: envelope(key_in(5), 1)}
    looks: list[asyncio.Task[list[Any]]] = []
    found = reading(
        infrastructure.bootstrap, spine, applied=lambda: looks.append(asyncio.create_task(spine.effects()))
    )
    async with writing(infrastructure.bootstrap) as writer, running(found.consumer.run()):
        await writer.events(5, [1], known)
        await spine.applied(1)
        await writer.events(5, [1], known)
        await spine.fence_is(5, next_offset=2)
    assert [await look for look in looks] == [[known[1].id]]


async def test_a_jump_waits_for_what_is_missing(infrastructure: Infrastructure, spine: Database) -> None:
    """A number that comes too early is left; neither the fence nor the offset moves past what is missing,
    and when it comes all is applied in order."""
    found = reading(infrastructure.bootstrap, spine)
    known = {number: envelope(key_in(5), number) for number in range(1, 6)}
    async with writing(infrastructure.bootstrap) as writer, running(found.consumer.run()):
        await writer.events(5, [1, 2, 4, 5], known)
        await until(lambda: found.count("consumer_early_total", topic=REPORTS.name) == 2)
        await spine.fence_is(5, sequence=2, next_offset=2, gap=False)
        await writer.events(5, [1, 2, 3, 4, 5], known)
        assert await spine.applied(5) == [known[number].id for number in range(1, 6)]
        await spine.fence_is(5, sequence=5, next_offset=9)


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
                await found.reaches("consumer_early_total", 2)
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
        await spine.fence_is(5, sequence=1, gap=True)
        await writer.events(6, [1])
        await spine.applied(2)
        await writer.events(5, [2, 3], known)
        await spine.applied(4)
        await spine.fence_is(5, sequence=3, gap=False)
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
        await spine.fence_is(5, sequence=5, gap=False)


async def test_a_first_number_other_than_one_is_a_gap(
    infrastructure: Infrastructure, spine: Database, quick_gaps: None
) -> None:
    """A new group that finds a topic without its beginning has missed something, and says so."""
    found = reading(infrastructure.bootstrap, spine)
    async with writing(infrastructure.bootstrap) as writer, running(found.consumer.run()):
        await writer.events(5, [2, 3])
        await until(lambda: found.count("consumer_gap", topic=REPORTS.name, partition="5"))
        await spine.fence_is(5, sequence=0, next_offset=0, gap=True)
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
    (letter,) = await set_aside(infrastructure.bootstrap)
    dead = dict(letter.headers)
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
            await found.reaches("consumer_applied_total", 240)
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


async def test_who_looks_long_for_what_was_applied_keeps_its_place_in_the_group(
    infrastructure: Infrastructure, spine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine, with many partitions, that takes longer than a group waits for a silent member. Two
    that look so long share the partitions all the same, and apply what comes; they used to throw each other
    out of the group for ever."""

    async def slow(*arguments: Any) -> Any:
        await asyncio.sleep(SESSION_SECONDS + 2)
        return await look(*arguments)

    async with writing(infrastructure.bootstrap) as writer:
        async with running(reading(infrastructure.bootstrap, spine).consumer.run()):
            for partition in range(12):
                await writer.events(partition, [1])
            await spine.applied(12)
        monkeypatch.setattr(standing_module, "look", slow)
        readers = [reading(infrastructure.bootstrap, spine).consumer for _ in range(2)]
        async with running(readers[0].run()), running(readers[1].run()):
            await until(lambda: sorted(len(one.assigned()) for one in readers) == [6, 6], 30)
            for partition in range(12):
                await writer.events(partition, [2])
            await spine.applied(24, 60)
            assert sorted(len(one.assigned()) for one in readers) == [6, 6]


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
        seen = stored._replace(sequence=7) if field == "sequence" else stored._replace(next_offset=7)
        with pytest.raises(Superseded):
            await fence.move(connection, "notify", {place: seen}, {place: seen._replace(next_offset=9)})
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
                await found.reaches("consumer_applied_total", 1)
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
            await writer.unreadable(5, [1])
            await spine.fence_is(5, sequence=1)
            await writer.unreadable(5, [2])
            local_kafka.pause()
            await asyncio.sleep(0.5)
            began = clock()
        took = clock() - began
        local_kafka.resume()
    assert took < 12


async def test_a_batch_that_fails_while_the_next_one_is_read_is_applied_before_it(
    infrastructure: Infrastructure, spine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of 20, of which one in three is tried more than once, and some hold what cannot be applied:
    each event once, each partition in order, and of what cannot be applied one dead letter each."""
    monkeypatch.setattr(subscription, "MAX_RECORDS", 20)
    monkeypatch.setattr(consumer_module, "BACKOFF_SECONDS", (0.001, 0.01))
    chance = random.Random(11)
    known = {part: [envelope(key_in(part), n) for n in range(1, 201)] for part in (1, 5, 9)}
    bad = {one.id for part in known for one in known[part][part::40]}

    async def falter(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        if any(one.id in bad for one in envelopes):
            raise Poison("not_applicable")
        await apply(connection, envelopes)
        if chance.random() < (0.3 if len(envelopes) > 1 else 0.02):
            raise asyncpg.ConnectionDoesNotExistError

    found = reading(infrastructure.bootstrap, spine, using=falter)
    async with writing(infrastructure.bootstrap) as writer:
        for part, envelopes in known.items():
            for number, one in enumerate(envelopes, start=1):
                await writer.event(part, number, one)
        async with running(found.consumer.run()):
            await spine.applied(600 - len(bad), 60)
            for part in known:
                await spine.fence_is(part, sequence=200)
    effects = await spine.effects()
    for envelopes in known.values():
        mine = {one.id for one in envelopes}
        wanted = [one.id for one in envelopes if one.id not in bad]
        assert [one for one in effects if one in mine] == wanted
    dead = [dict(one.headers)["ce_id"].decode() for one in await set_aside(infrastructure.bootstrap)]
    assert set(dead) == {str(one) for one in bad}
    assert found.count("consumer_not_now_total") > 10
