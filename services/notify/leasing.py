"""What both workers do: take rows under a lease, attempt each, and record together what came of them.

A row is leased, not locked: no transaction is open during a call. A worker that dies leaves its rows to the
end of their lease; they go again then, under the same id, so that the receiver can drop what it has.
"""

import asyncio
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import structlog

from shared import postgres

LEASE_SECONDS = 30.0
POLL_SECONDS = 0.2
DRAIN_SECONDS = 5.0
AWAY_SECONDS = 1.0
RECORD_AT_ONCE = 500
CIRCUIT_CAP_SECONDS = 60.0
# So far the clocks of two workers may lie apart: what one of them puts off, the other takes for right.
CLOCKS_APART = timedelta(seconds=10)
log = structlog.get_logger()


class Leased(Protocol):
    """A row that is held for a while."""

    @property
    def id(self) -> uuid.UUID: ...


Row = TypeVar("Row", bound=Leased)
Outcome = TypeVar("Outcome")
Written = TypeVar("Written")


class Ended(NamedTuple, Generic[Row, Outcome]):
    """An attempt that waits to be recorded."""

    row: Row
    outcome: Outcome


class Leasing(Generic[Row, Outcome]):
    """The loop of a worker.

    `claim` takes rows that are due, none that is `held`; `attempt` gets a row and when it was asked for (of
    the loop's clock), and returns None where nothing is to be recorded; `at_once` of them are made at a time,
    of no destination more than others can still begin: some that hang leave room for all others;
    `record` writes what came of some.
    While at least `many` are under way, what ends within `gather` seconds is recorded together and its room
    filled together.
    """

    def __init__(
        self,
        claim: Callable[[], Awaitable[Sequence[Row]]],
        attempt: Callable[[Row, float], Awaitable[Outcome | None]],
        record: Callable[[Sequence[Ended[Row, Outcome]]], Awaitable[None]],
        destination: Callable[[Row], Hashable],
        at_once: int,
        many: int | None = None,
        gather: float = 0.0,
    ) -> None:
        self._claim = claim
        self._attempt = attempt
        self._record = record
        self._destination = destination
        self._at_once = at_once
        self._many = many
        self._seconds = gather
        self.under_way: Counter[Hashable] = Counter()
        # Not to be taken again here: a result that waits for the database may outlive its lease.
        self.held: set[uuid.UUID] = set()
        # What waits to begin, by destination, whose turn is longest ago first; how many have begun.
        self._claimed: dict[Hashable, deque[tuple[Row, float]]] = {}
        self._begun: Counter[Hashable] = Counter()
        self._beginning: asyncio.Queue[tuple[Row, float]] = asyncio.Queue()
        self._ended: asyncio.Queue[Ended[Row, Outcome]] = asyncio.Queue()
        self._woken = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Say that something committed may be due."""
        self._woken.set()

    async def run(self, beside: Coroutine[Any, Any, None]) -> None:
        """Work until cancelled, with `beside` as a part; ends after what is under way has ended."""
        claiming = asyncio.create_task(self._claim_for_ever())
        working = [self._attempt_for_ever() for _ in range(self._at_once)]
        others = (self._record_for_ever(), *working, beside)
        parts = [claiming, *map(asyncio.create_task, others)]
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part.done():
                    part.result()
        finally:
            # The claim under way ends by itself: cancelled, its rows would wait for the end of their lease.
            self._stopping = True
            self._woken.set()
            await asyncio.wait({claiming}, timeout=1)
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_SECONDS):
                    await self._beginning.join()
                    await self._ended.join()
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _claim_for_ever(self) -> None:
        while not self._stopping:
            # The lease counts from before it is asked for.
            begun = asyncio.get_running_loop().time()
            try:
                # More than can be recorded at once are not taken.
                claimed = await self._claim() if self._ended.qsize() < RECORD_AT_ONCE else ()
            except Exception as error:
                if not postgres.is_transient(error):
                    raise
                await _away(error)
                continue
            for row in claimed:
                destination = self._destination(row)
                self.held.add(row.id)
                self.under_way[destination] += 1
                self._claimed.setdefault(destination, deque()).append((row, begun))
            self._begin()
            if not claimed:
                await self._rest()
            await self._gather()

    def _begin(self) -> None:
        """Hand on what may begin, of whoever has the fewest first."""
        while self._claimed and (room := self._at_once - self._begun.total()):
            destination = min(self._claimed, key=self._begun.__getitem__)
            if self._begun[destination] >= room:
                return
            waiting = self._claimed.pop(destination)
            self._begun[destination] += 1
            self._beginning.put_nowait(waiting.popleft())
            if waiting:
                self._claimed[destination] = waiting

    async def _attempt_for_ever(self) -> None:
        while True:
            row, begun = await self._beginning.get()
            outcome = None
            try:
                outcome = await self._attempt(row, begun)
            finally:
                # Its room is the next one's; that it is recorded need not be waited for.
                self.under_way[self._destination(row)] -= 1
                self._begun[self._destination(row)] -= 1
                self._begin()
                if outcome is None:
                    self.held.discard(row.id)
                else:
                    self._ended.put_nowait(Ended(row, outcome))
                self._woken.set()
                self._beginning.task_done()

    async def _record_for_ever(self) -> None:
        while True:
            # What has ended while the last transaction was under way goes in the next one, together.
            ended = [await self._ended.get()]
            await self._gather()
            while not self._ended.empty() and len(ended) < RECORD_AT_ONCE:
                ended.append(self._ended.get_nowait())
            await self._record(ended)
            for one in ended:
                self.held.discard(one.row.id)
                self._ended.task_done()

    async def _gather(self) -> None:
        if self._many is not None and self.under_way.total() >= self._many and not self._stopping:
            await asyncio.sleep(self._seconds)

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._woken.wait()
        self._woken.clear()


async def written(pool: Any, write: Callable[[Any], Awaitable[Written]]) -> Written:
    """What `write` returns, once its transaction is committed, however long the database is away."""
    while True:
        try:
            async with pool.acquire() as connection, connection.transaction():
                return await write(connection)
        except Exception as error:
            if not postgres.is_transient(error):
                raise
            await _away(error)


async def _away(error: Exception) -> None:
    log.warning("database_away", error=type(error).__name__)
    await asyncio.sleep(AWAY_SECONDS)
