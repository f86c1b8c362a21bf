"""Group commit: what comes together is done in one transaction, and each is answered after it.

While one group commits the next gathers, so that a group is as large as the load is and nobody waits for it
to fill. A group that fails for a reason of one of its members is done again one by one: a bad one fails
alone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from shared import postgres

GROUP_ROWS = 128
# One group commits while the next is made; a third would only wait for the same disk.
COMMITTERS = 2
# Above it the database is away, or far too slow.
WAITING_MOST = 2_000

Member = TypeVar("Member")
Outcome = TypeVar("Outcome")


class Busy(Exception):  # noqa: N818 - an outcome
    """More wait than may; nothing was done."""


class _Waiting(NamedTuple, Generic[Member, Outcome]):
    member: Member
    done: "asyncio.Future[Outcome]"


class Grouping(Generic[Member, Outcome]):
    """Does things in groups. `commit` does them in a transaction of its own, and returns the outcome of each
    in their order, after its commit."""

    def __init__(self, commit: Callable[[Sequence[Member]], Awaitable[Sequence[Outcome]]]) -> None:
        self._commit = commit
        self._waiting: deque[_Waiting[Member, Outcome]] = deque()
        self._committers: set[asyncio.Task[None]] = set()

    async def do(self, member: Member) -> Outcome:
        """The outcome, after the commit. Raises Busy, or what `commit` raised for it. Who is cancelled while
        it waits is not done, or is done and not told."""
        if len(self._waiting) >= WAITING_MOST:
            raise Busy
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(member, done))
        if len(self._committers) < COMMITTERS:
            task = asyncio.create_task(self._commit_waiting())
            self._committers.add(task)
            task.add_done_callback(self._committers.discard)
        return await done

    async def _commit_waiting(self) -> None:
        while group := self._next_group():
            try:
                await self._commit_group(group)
            except Exception as error:  # noqa: BLE001 - told to each of those who wait
                if len(group) == 1 or postgres.is_transient(error):
                    _fail(group, error)
                else:
                    await self._commit_one_by_one(group)
            except asyncio.CancelledError:
                _fail(group, Busy())
                raise

    def _next_group(self) -> list[_Waiting[Member, Outcome]]:
        group: list[_Waiting[Member, Outcome]] = []
        while self._waiting and len(group) < GROUP_ROWS:
            one = self._waiting.popleft()
            if not one.done.done():
                group.append(one)
        return group

    async def _commit_one_by_one(self, group: Sequence[_Waiting[Member, Outcome]]) -> None:
        for one in group:
            try:
                await self._commit_group([one])
            except Exception as error:  # noqa: BLE001 - told to the one who waits
                _fail([one], error)

    async def _commit_group(self, group: Sequence[_Waiting[Member, Outcome]]) -> None:
        outcomes = await self._commit([one.member for one in group])
        for one, outcome in zip(group, outcomes, strict=True):
            if not one.done.done():
                one.done.set_result(outcome)


def _fail(group: Sequence[_Waiting[Member, Outcome]], error: Exception) -> None:
    for one in group:
        if not one.done.done():
            one.done.set_exception(error)
