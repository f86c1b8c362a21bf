"""What a consumer promises of what it cannot read or apply: that is set aside alone, or it stops."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from shared.cloudevents import Envelope
from shared.dead_letters import POISON_MAX_RUN
from shared.errors import Poison, Refusal
from shared.events import REPORTS, Event
from tests.conftest import Infrastructure
from tests.spine import (
    Database,
    apply,
    broken_batch,
    delete_records,
    envelope,
    headers,
    key_in,
    reading,
    running,
    set_aside,
    writing,
)


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
            await spine.fence_is(5, sequence=20)
    (letter,) = await set_aside(infrastructure.bootstrap)
    dead = dict(letter.headers)
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
    assert row["sequence"] + len(await set_aside(infrastructure.bootstrap)) <= POISON_MAX_RUN * 2
    mended = reading(infrastructure.bootstrap, spine)
    async with running(mended.consumer.run()):
        await spine.fence_is(5, sequence=len(ids))
    dead = await set_aside(infrastructure.bootstrap)
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
    assert await set_aside(infrastructure.bootstrap) == []


async def test_what_the_client_cannot_take_apart_stops_the_consumer_where_it_stands(
    infrastructure: Infrastructure, spine: Database
) -> None:
    """A header's name that is not UTF-8: everything before it is applied; the refusal names topic, partition
    and offset; after its mend, the rest is, in every partition and in order."""
    async with writing(infrastructure.bootstrap) as writer:
        before, beside = await writer.events(5, range(1, 101)), await writer.events(6, range(1, 101))
        offset = await broken_batch(infrastructure.bootstrap, REPORTS.name, 5)
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


@pytest.mark.parametrize("restarted", [True, False])
async def test_it_stops_where_it_stands_also_directly_behind_what_was_applied(
    infrastructure: Infrastructure, spine: Database, restarted: bool
) -> None:
    """Whether it comes to a consumer that runs or to one that starts: whoever looks for the last that was
    applied is not stopped by what lies behind it."""
    found = reading(infrastructure.bootstrap, spine)
    async with writing(infrastructure.bootstrap) as writer:
        task = asyncio.create_task(found.consumer.run())
        await writer.events(5, range(1, 11))
        await spine.applied(10)
        if restarted:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        offset = await broken_batch(infrastructure.bootstrap, REPORTS.name, 5)
        if restarted:
            found = reading(infrastructure.bootstrap, spine)
            task = asyncio.create_task(found.consumer.run())
        with pytest.raises(
            Refusal, match=rf"{REPORTS.name} partition 5 .* offset {offset}: .*delete-records"
        ):
            await asyncio.wait_for(task, 60)
    assert found.count("consumer_stopped") == 1


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
        await spine.fence_is(5, sequence=1900)
    assert len(await set_aside(infrastructure.bootstrap)) == 1900 - len(good) > POISON_MAX_RUN


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
        await writer.unreadable(5, [1])
        ids = await writer.events(5, [2])
    found = reading(infrastructure.bootstrap, spine, using=busy)
    async with running(found.consumer.run()):
        assert await spine.applied(1) == ids
    assert found.count("consumer_not_now_total") == 3
    assert len(await set_aside(infrastructure.bootstrap)) == 1
