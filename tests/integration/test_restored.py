"""What happens when a database or Kafka is not what it was: the check at start, reading on from a backup."""

import asyncio
import re
import uuid
from typing import Any

import pytest
import pytest_asyncio

from shared import consumer, kafka, outbox, tails
from shared.errors import Refusal
from shared.events import DISPATCHES, REPORTS, all_topics
from tests.conftest import Infrastructure, MakeDatabase
from tests.spine import (
    add_partitions,
    delete_records,
    delete_topics,
    envelope,
    headers,
    key_in,
    make_topics,
    number_sequence,
    opened,
    read_topic,
    reading,
    relaying,
    running,
    until,
    writing,
)


class Servers:
    """A service's database that can be backed up and restored, and its relay."""

    def __init__(self, infrastructure: Infrastructure, make: MakeDatabase) -> None:
        self.bootstrap = infrastructure.bootstrap
        self.make = make

    async def backup(self, dsn: str) -> str:
        """A copy of a database that nobody is connected to; its DSN."""
        return await self.make(template=dsn.rsplit("/", 1)[1])

    async def relay(self, dsn: str, *partitions: int) -> None:
        """Append an event for each of the partitions and send until all is sent."""
        async with opened(dsn) as database:
            await database.append(*(envelope(key_in(partition)) for partition in partitions))
            relay, _ = relaying(self.bootstrap, dsn)
            async with running(relay.run()):
                await asyncio.wait_for(relay.checked.wait(), 10)
                await database.sent()

    async def refusal(self, dsn: str) -> str:
        """What the relay says when it refuses; it never becomes active."""
        relay, registry = relaying(self.bootstrap, dsn)
        with pytest.raises(Refusal) as refusal:
            await asyncio.wait_for(relay.run(), 15)
        assert not relay.checked.is_set()
        assert registry.get_sample_value("outbox_sent_total") == 0
        return str(refusal.value)


@pytest_asyncio.fixture
async def servers(infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase) -> Servers:
    return Servers(infrastructure, database)


async def test_a_writer_restored_from_a_backup_sends_nothing_and_names_the_mend(servers: Servers) -> None:
    """It would give numbers a second time that its readers have already seen."""
    dsn = await servers.make()
    await servers.relay(dsn, 3, 3)
    backup = await servers.backup(dsn)
    await servers.relay(dsn, 3, 5)
    async with opened(backup) as restored:
        await restored.append(envelope(key_in(3)))
    before = await number_sequence(servers.bootstrap, 3)
    said = await servers.refusal(backup)
    assert re.search(r"partition (3 holds number 3|5 holds number 1), which this database has not sent", said)
    assert "docker compose run --rm --no-deps tips outbox recover --by NAME" in said
    assert await number_sequence(servers.bootstrap, 3) == before == [1, 2, 3]


async def test_a_backup_that_held_the_batch_that_was_sent_later_is_no_stranger(servers: Servers) -> None:
    """The copy had claimed the batch, so it knows its numbers and ids: it sends it again and goes on."""
    dsn = await servers.make()
    await servers.relay(dsn, 3)
    async with opened(dsn) as database:
        await database.append(envelope(key_in(3)), envelope(key_in(3)))
        async with database.pool.acquire() as connection:
            assert await outbox.claim(connection)
    backup = await servers.backup(dsn)
    await servers.relay(dsn)
    await servers.relay(backup, 3)
    assert await number_sequence(servers.bootstrap, 3) == [1, 2, 3, 2, 3, 4]


@pytest.mark.parametrize("reached", [0, 2, 4])
async def test_a_batch_that_was_partly_sent_is_no_disagreement(servers: Servers, reached: int) -> None:
    """A crash while sending leaves a topic that is ahead of what is marked; it holds nothing unknown."""
    dsn = await servers.make()
    await servers.relay(dsn, 3)
    async with opened(dsn) as database, writing(servers.bootstrap) as writer:
        await database.append(*(envelope(key_in(3)) for _ in range(4)))
        async with database.pool.acquire() as connection:
            batch = await outbox.claim(connection)
        assert batch is not None
        for record in batch.records[:reached]:
            await writer.record(record.partition, record.key, record.value, record.headers())
    await servers.relay(dsn)
    numbers = await number_sequence(servers.bootstrap, 3)
    assert numbers == [1, *range(2, 2 + reached), 2, 3, 4, 5]


async def test_a_tail_is_explained_by_however_many_batches_it_takes(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batches are searched some at a time; the tail's is found in the oldest of them, or nowhere."""
    monkeypatch.setattr(tails, "BATCHES_AT_ONCE", 2)
    dsn = await servers.make()
    for _ in range(5):
        await servers.relay(dsn, 3)
    records = (await read_topic(servers.bootstrap, REPORTS.name))[3]
    async with writing(servers.bootstrap) as writer:
        first = records[0]
        await writer.record(3, first.key, first.value, first.headers)
    await servers.relay(dsn)
    async with writing(servers.bootstrap) as writer:
        await writer.event(3, 1, envelope(key_in(3)))
    assert "partition 3 holds number 1, which this database has not sent" in await servers.refusal(dsn)


async def test_a_topic_made_anew_stops_the_relay_with_the_mend(servers: Servers) -> None:
    """Kafka has lost what it had acknowledged; sending on would leave a hole that nobody mends."""
    dsn = await servers.make()
    await servers.relay(dsn, 3, 3, 5)
    await delete_topics(servers.bootstrap, [REPORTS.name])
    await make_topics(servers.bootstrap)
    async with opened(dsn) as database:
        await database.append(envelope(key_in(3)))
    said = await servers.refusal(dsn)
    assert re.search(
        r"partition (3 ends at 0, but offset 1|5 ends at 0, but offset 0) was acknowledged", said
    )
    assert "docker compose run --rm --no-deps tips outbox resend --by NAME" in said


async def test_a_topic_that_lost_its_newest_records_stops_the_relay(servers: Servers) -> None:
    """One record less than was acknowledged is enough."""
    dsn = await servers.make()
    await servers.relay(dsn, 3, 3)
    async with opened(dsn) as database:
        await database.pool.execute("UPDATE outbox_partition SET acknowledged_offset = 2")
    assert "ends at 2, but offset 2 was acknowledged" in await servers.refusal(dsn)


async def test_a_missing_topic_is_refused_with_the_command_that_makes_it(servers: Servers) -> None:
    """The relay makes no topic, and does not wait for one."""
    await delete_topics(servers.bootstrap, [REPORTS.name])
    dsn = await servers.make()
    async with opened(dsn):
        pass
    assert "topic ibuurt.reports.v1 is missing; run `docker compose up -d`" in (await servers.refusal(dsn))


async def test_another_number_of_partitions_is_refused(servers: Servers) -> None:
    """Keys would move to other partitions, and their order would be lost."""
    await add_partitions(servers.bootstrap, REPORTS.name, 13)
    dsn = await servers.make()
    async with opened(dsn):
        pass
    said = await servers.refusal(dsn)
    assert "ibuurt.reports.v1 has 13 partitions, the contract says 12" in said
    assert "make the topic anew" in said


async def test_a_stranger_is_refused_when_numbered_and_tolerated_when_not(servers: Servers) -> None:
    """A record without a number upsets nobody's count: its readers set it aside. One with a number does."""
    dsn = await servers.make()
    await servers.relay(dsn, 3)
    async with writing(servers.bootstrap) as writer:
        await writer.record(3, b"?", b"?", [("ce_sequence", b"many"), ("x", None)])
        await writer.record(3, b"?", None, [])
    await servers.relay(dsn, 3)
    async with writing(servers.bootstrap) as writer:
        await writer.event(3, 3, envelope(key_in(3)))
    assert "partition 3 holds number 3, which this database has not sent" in await servers.refusal(dsn)


async def test_a_standby_checks_again_when_its_turn_comes(servers: Servers) -> None:
    """What was right when it began to wait may be wrong when it becomes active."""
    dsn = await servers.make()
    async with opened(dsn) as database:
        await database.append(envelope(key_in(3)))
        first, _ = relaying(servers.bootstrap, dsn)
        standby, registry = relaying(servers.bootstrap, dsn)
        async with running(first.run()):
            await database.sent()
            waiting = asyncio.create_task(standby.run())
            await asyncio.wait_for(standby.checked.wait(), 10)
            await delete_topics(servers.bootstrap, [REPORTS.name])
            await make_topics(servers.bootstrap)
        with pytest.raises(Refusal, match="outbox resend"):
            await asyncio.wait_for(waiting, 10)
        assert registry.get_sample_value("outbox_relay_active") == 0


async def test_each_service_checks_its_own_topics_only(servers: Servers) -> None:
    """Another writer's missing topic is another's trouble."""
    await delete_topics(servers.bootstrap, [t.name for t in all_topics() if t.writer != "tips"])
    await servers.relay(await servers.make(), 3)


async def test_a_reader_restored_from_a_backup_reads_on_from_where_the_backup_stood(servers: Servers) -> None:
    """Its new process finds the old fences in the restored database, whatever the group has committed to
    Kafka: what came after the backup is applied there once, what came before is not applied again."""
    dsn = await servers.make()
    ids: list[uuid.UUID] = []
    async with writing(servers.bootstrap) as writer:
        async with opened(dsn) as database, running(reading(servers.bootstrap, database).consumer.run()):
            for partition in range(12):
                ids += await writer.events(partition, [1, 2])
            await database.applied(24)
        backup = await servers.backup(dsn)
        async with opened(dsn) as database, running(reading(servers.bootstrap, database).consumer.run()):
            for partition in range(12):
                ids += await writer.events(partition, [3])
            await database.applied(36)
            await asyncio.sleep(1.2)  # so that the group's offsets are committed, far beyond the backup
    async with opened(backup) as restored:
        assert len(await restored.effects()) == 24
        found = reading(servers.bootstrap, restored)
        async with running(found.consumer.run()):
            assert sorted(await restored.applied(36)) == sorted(ids)
            await asyncio.sleep(0.3)
            assert len(await restored.effects()) == 36
        assert found.total("consumer_repeats_total") == 0


async def test_a_reader_whose_database_is_restored_under_it_notices_with_the_next_record(
    servers: Servers,
) -> None:
    """The process lives on with fences that are ahead of the database. The first record that comes to one
    partition makes it read on from the backup in all of them; nothing is passed over even for a moment."""
    dsn = await servers.make()
    async with opened(dsn) as database, writing(servers.bootstrap) as writer:
        found = reading(servers.bootstrap, database)
        ids: list[uuid.UUID] = []
        async with running(found.consumer.run()):
            for partition in range(12):
                ids += await writer.events(partition, [1])
            await database.applied(12)
            await database.pool.execute("CREATE TABLE backup AS SELECT * FROM fence")
            for partition in range(12):
                ids += await writer.events(partition, [2, 3])
            await database.applied(36)
            async with database.pool.acquire() as connection, connection.transaction():
                await connection.execute("DELETE FROM effect WHERE version > 1")
                await connection.execute("DELETE FROM fence")
                await connection.execute("INSERT INTO fence SELECT * FROM backup")
            highest: list[Any] = []

            async def watch() -> None:
                # Never beyond what is applied, at any moment: a crash then would be a loss.
                while True:
                    highest.append(await database.value(OVERTAKEN))
                    await asyncio.sleep(0.002)

            async with running(watch()):
                ids += await writer.events(4, [4])
                assert sorted(await database.applied(37)) == sorted(ids)
            assert not any(highest)
        assert found.count("consumer_superseded_total") >= 1
        assert found.total("consumer_early_total") == 0


OVERTAKEN = """SELECT count(*) FROM fence f WHERE next_offset > sequence"""


@pytest.mark.parametrize("refilled", [True, False])
async def test_a_topic_made_anew_and_sent_again_is_read_by_its_numbers(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, refilled: bool
) -> None:
    """After `outbox resend` the offsets are lower than the fences: what was applied is known by its number,
    and what is missing is found, whether or not the new topic already reaches to the fence's offset."""
    monkeypatch.setattr(consumer, "GAP_SECONDS", 1.0)
    monkeypatch.setattr(consumer, "WATCH_SECONDS", 0.1)
    dsn = await servers.make()
    async with opened(dsn) as database:
        known = {number: envelope(key_in(3), number) for number in range(1, 9)}
        found = reading(servers.bootstrap, database)
        async with writing(servers.bootstrap) as writer, running(found.consumer.run()):
            await writer.record(3, None, b"?", [])  # so that offsets and numbers differ
            await writer.events(3, range(1, 6), known)
            await database.applied(5)
        await delete_topics(servers.bootstrap, [REPORTS.name])
        await make_topics(servers.bootstrap)
        again = reading(servers.bootstrap, database)
        async with writing(servers.bootstrap) as writer:
            await writer.events(3, range(1, 9 if refilled else 4), known)
            async with running(again.consumer.run()):
                await writer.events(3, () if refilled else range(4, 9), known)
                assert await database.applied(8) == [known[number].id for number in range(1, 9)]

                async def caught_up() -> bool:
                    row = await database.fence(3)
                    return (row["sequence"], row["next_offset"]) == (8, 8)

                await until(caught_up)


async def test_a_consumer_that_runs_reads_on_when_its_topic_was_made_anew(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a restart, as soon as it has looked at the cluster again."""
    monkeypatch.setattr(kafka, "METADATA_MS", 2_000)
    dsn = await servers.make()
    async with opened(dsn) as database:
        known = {number: envelope(key_in(3), number) for number in range(1, 9)}
        found = reading(servers.bootstrap, database)
        async with running(found.consumer.run()):
            async with writing(servers.bootstrap) as writer:
                await writer.events(3, range(1, 6), known)
            await database.applied(5)
            await delete_topics(servers.bootstrap, [REPORTS.name])
            # Long enough for it to see that there is none.
            await asyncio.sleep(5)
            await make_topics(servers.bootstrap)
            async with writing(servers.bootstrap) as writer:
                await writer.events(3, range(1, 9), known)
            assert await database.applied(8, 60) == [known[number].id for number in range(1, 9)]


async def test_what_kafka_has_deleted_unread_is_a_gap_and_no_endless_seeking(servers: Servers) -> None:
    """The topic begins behind the fence: the consumer reads what there is, sees that a number is missing and
    stays; it neither applies past the hole nor loses its place."""
    dsn = await servers.make()
    async with opened(dsn) as database:
        found = reading(servers.bootstrap, database)
        async with writing(servers.bootstrap) as writer:
            async with running(found.consumer.run()):
                ids = await writer.events(3, [1, 2])
                await database.applied(2)
            await writer.events(3, [3, 4, 5, 6])
            await delete_records(servers.bootstrap, REPORTS.name, 3, 4)
            again = reading(servers.bootstrap, database)
            async with running(again.consumer.run()):
                await until(lambda: again.total("consumer_early_total") == 2)
            assert await database.effects() == ids
            row = await database.fence(3)
            assert (row["sequence"], row["next_offset"]) == (2, 2)


async def test_dispatches_are_checked_by_their_writer(servers: Servers) -> None:
    """`notify`'s relay holds `notify`'s database against `notify`'s topic, and names `notify`'s command."""
    async with writing(servers.bootstrap) as writer:
        given = envelope(key_in(3), topic=DISPATCHES)
        await writer.record(
            3, given.event.key.encode(), given.event.model_dump_json().encode(), headers(1, given), DISPATCHES
        )
    dsn = await servers.make()
    async with opened(dsn):
        relay, _ = relaying(servers.bootstrap, dsn, "notify")
        with pytest.raises(Refusal, match=r"run --rm --no-deps notify outbox recover"):
            await asyncio.wait_for(relay.run(), 15)
