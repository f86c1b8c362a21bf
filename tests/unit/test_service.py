"""What the process of a service promises about its parts."""

import asyncio
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from shared import kafka, postgres, service
from shared.errors import Refusal
from shared.service import Service, _run_unless
from tests.spine import running


async def test_a_relay_that_refuses_stops_its_consumer() -> None:
    """Also long after both began: what is refused ends, whole, before the refusal is told."""
    refused, events = asyncio.Event(), []

    async def consume() -> None:
        try:
            events.append("consumes")
            await asyncio.Event().wait()
        finally:
            events.append("stopped")

    running = asyncio.create_task(_run_unless(consume(), refused))
    await asyncio.sleep(0.01)
    assert events == ["consumes"]
    refused.set()
    with pytest.raises(Refusal, match="stopped with the relay"):
        await running
    assert events == ["consumes", "stopped"]


async def test_a_consumer_that_fails_is_not_held_by_a_relay_that_does_not() -> None:
    """What ended it comes through."""

    async def consume() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await _run_unless(consume(), asyncio.Event())


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (
            asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"),
            True,
        ),
        (asyncpg.CannotConnectNowError(), True),
        (asyncpg.DeadlockDetectedError(), True),
        (asyncpg.InterfaceError("the server expects 1 argument for this query, 2 were passed"), False),
        (asyncpg.DataError("invalid input for query argument $1"), False),
        (asyncpg.UndefinedTableError(), False),
        (asyncpg.UniqueViolationError(), False),
        (KeyError("words"), False),
    ],
)
def test_only_what_passes_by_itself_is_tried_again(error: Exception, passes: bool) -> None:
    """A fault of the program would be tried for ever."""
    assert postgres.is_transient(error) is passes


async def test_a_consumer_reads_nothing_before_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is seen by where a reader stood: once it has read on, nobody sees it."""
    reads = asyncio.Event()

    class Reading:
        def __init__(self, *_: Any) -> None: ...

        async def run(self) -> None:
            reads.set()

    monkeypatch.setattr(service, "Consumer", Reading)
    monkeypatch.setattr(kafka, "broker", lambda *_: None)
    one, after = Service("stats", SimpleNamespace(kafka=None), None), asyncio.Event()  # type: ignore[arg-type] # all that it reads
    one.consume((), lambda *_: asyncio.sleep(0), after=after)
    async with running(one._work["consumer"]()):
        await asyncio.sleep(0.05)
        assert not reads.is_set()
        after.set()
        await asyncio.wait_for(reads.wait(), 1)
