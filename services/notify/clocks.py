"""The clocks: again and again, what is due to be told about reports is told.

What is told follows from the rows alone, so that a service that stood still catches up when it starts; and a
unit is told of all of it by one notice, however much there is.
"""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import structlog

from services.notify import noticing, queries, queries_clocks
from services.notify.core.clocks import written
from services.notify.core.overdue import REMINDER, Moment
from services.notify.core.steps import Dispatch, escalate
from services.notify.dispatches import Dispatches
from services.notify.leasing import CLOCKS_APART
from services.notify.metrics import DeliveryMetrics
from services.notify.saying import say
from shared.cloudevents import Envelope
from shared.repeating import once, repeat

SWEEP_SECONDS = 1.0
AT_ONCE = 200
log = structlog.get_logger()


class Sweeper:
    """Tells what is due. `appended` is called after each commit of events."""

    def __init__(
        self,
        pool: Any,
        dispatches: Dispatches,
        *,
        metrics: DeliveryMetrics,
        clock: Callable[[], datetime],
        appended: Callable[[], None],
        every_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._pool = pool
        self._dispatches = dispatches
        self._clocks = dispatches.clocks
        self._metrics = metrics
        self._clock = clock
        self._appended = appended
        self._every = every_seconds
        # When it last looked.
        self._latest: datetime | None = None

    async def run(self) -> None:
        """Set the clocks by this folder, then sweep until cancelled."""
        await once("clocks", self.set_clocks)
        await repeat("clocks", self.sweep, self._every)

    async def set_clocks(self) -> None:
        """Work out anew when each open report's clocks tell something next: the folder may have changed. What
        was told by a clock that was ahead is told once it is due."""
        after: uuid.UUID | None = None
        while True:
            async with self._pool.acquire() as connection, connection.transaction():
                found = await queries_clocks.lock_open(connection, after, AT_ONCE)
                if found:
                    now = self._clock()
                    await queries_clocks.set_clocks(connection, [self._set(one, now) for one in found])
            if len(found) < AT_ONCE:
                return
            after = found[-1].report_id

    def _set(self, one: Dispatch, now: datetime) -> tuple[uuid.UUID, datetime, datetime | None]:
        if one.clocks_until > now + CLOCKS_APART:
            one = one._replace(clocks_until=now)
        return one.report_id, one.clocks_until, self._clocks.next(one)

    async def _mind_the_clock(self) -> None:
        """What was told while the clock was ahead was not late, and nobody would be told once it is."""
        now = self._clock()
        if self._latest and now < self._latest - CLOCKS_APART:
            log.warning("clock_went_back")
            await self.set_clocks()
        self._latest = now

    async def sweep(self) -> int:
        """Tell all that is due by now; how many reports that was about."""
        await self._mind_the_clock()
        count = 0
        while True:
            now = self._clock()
            async with self._pool.acquire() as connection, connection.transaction():
                found = await queries_clocks.lock_due(connection, now, AT_ONCE)
                if found:
                    await self._tell(connection, found, now)
            if found:
                self._appended()
            count += len(found)
            if len(found) < AT_ONCE:
                return count

    async def _tell(self, connection: Any, found: Sequence[Dispatch], now: datetime) -> None:
        said: list[Envelope[Any]] = []
        after: list[Dispatch] = []
        to_tell: set[str] = set()
        due = {one.report_id: self._clocks.due(one, now) for one in found}
        late = {
            _id(one, moment): one.report_id
            for one in found
            for moment in due[one.report_id]
            if moment.level != REMINDER
        }
        # Not what a clock that was ahead has said.
        new = await queries.note_said(connection, late)
        for one in found:
            dispatch = one._replace(clocks_until=now)
            for moment in due[one.report_id]:
                to_tell.add(one.unit)
                if moment.level == REMINDER:
                    dispatch = dispatch._replace(reminded=True)
                    continue
                if other := self._clocks.told_at(moment.level):
                    to_tell.add(other)
                event_id = _id(one, moment)
                if event_id in new:
                    dispatch, event = escalate(dispatch, moment.level, f"{moment.target}_overdue")
                    said.append(Envelope.of(event, id=event_id, source=self._dispatches.source, now=now))
            after.append(dispatch)
        await self._dispatches.update(connection, after, {one.report_id: one for one in found})
        await say(connection, said)
        await noticing.put_down(connection, to_tell, self._dispatches.channels, now)
        self._metrics.escalated.inc(len(said))


def _id(dispatch: Dispatch, moment: Moment) -> uuid.UUID:
    # The moment too: after the resident's answer a target ends later, and is told of again.
    name = f"{dispatch.turn}/{moment.target}/{moment.level}/{written(moment.at)}"
    return uuid.uuid5(dispatch.report_id, f"escalated/{name}")
