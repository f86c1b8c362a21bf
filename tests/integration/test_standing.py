"""Whether a topic holds what a group has applied: a reader that is ahead of its restored writer passes over
nothing, says so, and has a mend."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError

from shared import consumer as consumer_module
from shared import kafka
from shared import standing as standing_module
from shared.cloudevents import Envelope
from shared.errors import Refusal
from shared.events import REPORTS, Event
from shared.fence import Fence
from shared.mending.again import read_again
from shared.mending.gaps import accept_gap
from shared.mending.resend import resend
from shared.standing import look, standing
from tests.conftest import Infrastructure, MakeDatabase
from tests.spine import (
    Database,
    Reading,
    delete_records,
    envelope,
    key_in,
    opened,
    reading,
    relaying,
    renew_topics,
    running,
    until,
    writing,
)

GAP = {"topic": REPORTS.name, "partition": "3"}


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there is looked for often, and is missing for long after a second; topics too."""
    monkeypatch.setattr(kafka, "METADATA_MS", 1_000)
    monkeypatch.setattr(consumer_module, "GAP_SECONDS", 1.0)
    monkeypatch.setattr(consumer_module, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(standing_module, "LOOK_AGAIN_SECONDS", 0.2)


async def once(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
    """As the services apply: what is applied again changes nothing."""
    await connection.executemany(
        """INSERT INTO effect (id, key, version) SELECT $1, $2, 0
           WHERE NOT EXISTS (SELECT FROM effect WHERE id = $1)""",
        [(given.id, given.event.key) for given in envelopes],
    )


async def _send(bootstrap: str, dsn: str, count: int) -> list[uuid.UUID]:
    given = [envelope(key_in(3)) for _ in range(count)]
    async with opened(dsn) as database:
        await database.append(*given)
        relay, _ = relaying(bootstrap, dsn)
        async with running(relay.run()):
            await database.sent()
    return [one.id for one in given]


@contextlib.asynccontextmanager
async def _reading(bootstrap: str, database: Database) -> AsyncIterator[Reading]:
    found = reading(bootstrap, database, using=once)
    async with running(found.consumer.run()):
        yield found


@pytest.mark.parametrize(("restarted", "more"), [(True, 1), (False, 4)])
async def test_a_reader_ahead_of_its_restored_writer_passes_over_nothing(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase, restarted: bool, more: int
) -> None:
    """All volumes are lost, and the writer's dump is older than the reader's. The numbers that the reader has
    applied are given to other events: it takes none of them for a repeat, whether they reach its own number
    or go beyond it; it raises the alarm, and after `consumer read-again` has every event, once."""
    bootstrap, said = infrastructure.bootstrap, list[str]()
    writer = await database()
    before = await _send(bootstrap, writer, 3)
    dump = await database(template=writer.rsplit("/", 1)[1])
    async with opened(await database("shared")) as reader, contextlib.AsyncExitStack() as stack:
        found = await stack.enter_async_context(_reading(bootstrap, reader))
        lost = await _send(bootstrap, writer, 2)
        await reader.applied(5)
        if restarted:
            await stack.aclose()
        await renew_topics(bootstrap)
        await resend(dump, bootstrap, "tips", who="an operator", say=said.append)
        new = await _send(bootstrap, dump, more)
        if restarted:
            found = await stack.enter_async_context(_reading(bootstrap, reader))
        await until(lambda: found.count("consumer_gap", **GAP) == 1, 60)
        # The metric says so first: it tells of a gap also where the database is away.
        await reader.fence_is(3, sequence=5, event_id=lost[-1], gap=True)
        assert await reader.effects() == [*before, *lost]

        await read_again(reader.dsn, bootstrap, "notify", REPORTS.name, who=None, say=said.append)
        assert f"{REPORTS.name} partition 3: notify has applied number 5, which is not there" in said
        assert "  it reads again from number 1 on, the lowest there is" in said
        assert (await reader.fence(3))["sequence"] == 5
        await read_again(reader.dsn, bootstrap, "notify", REPORTS.name, who="an operator", say=said.append)
        assert await reader.applied(5 + more) == [*before, *lost, *new]
        await until(lambda: found.count("consumer_gap", **GAP) == 0)
        await reader.fence_is(3, sequence=3 + more, event_id=new[-1], gap=False)
        (noted,) = await reader.fetch("SELECT * FROM mending")
        assert (noted["who"], noted["command"]) == ("an operator", "consumer read-again")
        assert json.loads(noted["detail"]) == {"topic": REPORTS.name, "partitions": {"3": [5, 1]}}
        with pytest.raises(Refusal, match="holds nothing that notify must read again"):
            await read_again(reader.dsn, bootstrap, "notify", REPORTS.name, who=None, say=said.append)


async def test_a_topic_that_is_being_filled_again_is_waited_for(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Until it holds what was applied nothing moves; then reading goes on without anybody's help, and an
    alarm that was raised meanwhile ends. An empty topic is no reason to read again."""
    bootstrap, said = infrastructure.bootstrap, list[str]()
    known = {number: envelope(key_in(3), number) for number in range(1, 8)}
    async with _reading(bootstrap, spine) as found:
        async with writing(bootstrap) as writer:
            await writer.events(3, range(1, 6), known)
            await spine.applied(5)
        await renew_topics(bootstrap)
        await until(lambda: found.count("consumer_gap", **GAP) == 1, 60)
        with pytest.raises(Refusal, match="holds nothing that notify must read again"):
            await read_again(spine.dsn, bootstrap, "notify", REPORTS.name, who="x", say=said.append)
        assert (
            "  nothing is there: run `docker compose run --rm --no-deps tips outbox resend --by NAME` first"
            in said
        )
        async with writing(bootstrap) as writer:
            await writer.events(3, range(1, 5), known)
            await asyncio.sleep(1)
            await spine.fence_is(3, sequence=5, event_id=known[5].id, next_offset=5)
            await writer.events(3, [5, 6, 7], known)
        assert await spine.applied(7) == [known[number].id for number in range(1, 8)]
        await until(lambda: found.count("consumer_gap", **GAP) == 0)
        await spine.fence_is(3, sequence=7, next_offset=7, gap=False)
    assert found.total("consumer_poison_total") == 0


async def test_where_a_group_reads_on_in_what_a_topic_holds(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Behind what it has applied, in a topic that goes on and in one that was made anew; nowhere where that
    is not there."""
    own, other = uuid.uuid4(), uuid.uuid4()
    five = Fence(5, own, 5)
    cases: list[tuple[list[int], uuid.UUID, Fence, int | None]] = [
        ([1, 2, 3, 4, 5, 6], own, five, 5),
        # Sent again after a crash: what lies between was dealt with.
        ([1, 2, 3, 4, 5, 3, 4], own, five._replace(next_offset=7), 7),
        # Made anew, and of it only the last numbers are kept.
        ([3, 4, 5, 6, 7, 8], own, five, 3),
        ([4, 5], own, five, 2),
        ([8, 9], own, five, 0),
        ([], own, five, None),
        ([1, 2, 3], own, five, None),
        ([1, 2, 3, 4, 5], other, five, None),
        ([1, 2, 3, 4, 5, 6, 7], other, five, None),
        # A number that a person accepted as lost has no event.
        ([1, 2, 3, 6, 7], other, Fence(5, None, 3), 3),
        # Nothing was applied yet, but what could not be read.
        ([1], own, Fence(0, None, 4), 0),
    ]
    fences = {}
    async with writing(infrastructure.bootstrap) as writer:
        for partition, (numbers, event_id, at, _) in enumerate(cases):
            fences[REPORTS.name, partition] = at
            for number in numbers:
                given = envelope(key_in(partition), number)
                five_or_not = event_id if number == 5 else given.id
                await writer.event(
                    partition, number, Envelope(five_or_not, given.source, given.time, given.event)
                )
        # What was applied is deleted by retention.
        await writer.events(11, range(1, 7))
        await delete_records(infrastructure.bootstrap, REPORTS.name, 11, 5)
        fences[REPORTS.name, 11] = five
    looked = await look(infrastructure.bootstrap, "notify", fences)
    assert [looked[REPORTS.name, n] for n in range(12)] == [*(expected for *_, expected in cases), 5]


async def test_a_gap_is_not_accepted_where_the_topic_is_behind(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """Nothing is missing in front of it; the refusal names the command that mends this."""
    async with writing(infrastructure.bootstrap) as writer:
        await writer.events(3, [1, 2])
    async with spine.pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO fence VALUES ('notify', $1, 3, 9, $2, 9)", REPORTS.name, uuid.uuid4()
        )
    with pytest.raises(Refusal, match=r"holds no number above 9, where notify stands.*consumer read-again"):
        await accept_gap(
            spine.dsn, infrastructure.bootstrap, "notify", REPORTS.name, 3, who=None, say=lambda _: None
        )


async def test_a_look_at_a_kafka_that_does_not_answer_is_tried_again(
    infrastructure: Infrastructure, spine: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partitions that come while their topics cannot be looked at are read once they can."""
    async with writing(infrastructure.bootstrap) as writer:
        await writer.events(3, [1, 2])
        async with _reading(infrastructure.bootstrap, spine):
            await spine.applied(2)

        async def silent(*_: object) -> None:
            raise KafkaTimeoutError

        monkeypatch.setattr(standing_module, "standing", silent)
        async with _reading(infrastructure.bootstrap, spine) as found:
            await until(lambda: found.consumer.assigned())
            await writer.events(3, [3])
            await asyncio.sleep(1)
            await spine.fence_is(3, sequence=2)
            monkeypatch.setattr(standing_module, "standing", standing)
            await spine.applied(3)
