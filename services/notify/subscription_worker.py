"""The worker of webhook subscriptions: takes what is due, calls, and records what became of it.

As units' deliveries (leasing.py). Of each key of a subscription only the first row that has not gone is
taken, so that no later event goes before an earlier one; other keys and other subscriptions go on.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.notify import queries_subscriptions as queries
from services.notify.circuit import Circuit
from services.notify.core.clocks import backoff
from services.notify.core.deliveries import Delivered, Failed
from services.notify.core.subscriptions import Due
from services.notify.leasing import (
    CIRCUIT_CAP_SECONDS,
    CLOCKS_APART,
    LEASE_SECONDS,
    Ended,
    Leasing,
    written,
)
from services.notify.metrics import SubscriptionMetrics
from services.notify.queries_subscriptions import PutOff
from services.notify.subscription_calls import CALL_SECONDS
from shared import postgres
from shared.errors import typed

GAUGE_SECONDS = 5.0

log = structlog.get_logger()
Send = Callable[[Due], Awaitable[Delivered | Failed]]


@dataclass(frozen=True, slots=True)
class Manner:
    """How much at once, in all and to one subscriber; how a failure is tried again (seconds); after how long
    of nothing but failures a subscription is disabled; how often and for how long an event is refused before
    it is set aside; how long a lease lasts, and a call (seconds)."""

    concurrency: int
    per_subscription: int
    base: float
    cap: float
    disable_after: timedelta
    aside_refusals: int
    aside_after: timedelta
    lease: float = LEASE_SECONDS
    call: float = CALL_SECONDS


class SubscriptionWorker:
    """Delivers for as long as it runs. `run` ends by cancellation, after what is under way has ended."""

    def __init__(
        self,
        pool: Any,
        send: Send,
        *,
        manner: Manner,
        metrics: SubscriptionMetrics,
        clock: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._send = send
        self._manner = manner
        self._metrics = metrics
        self._clock = clock
        self._chance = chance
        self._lease = timedelta(seconds=manner.lease)
        self._circuits: dict[uuid.UUID, Circuit] = {}
        self._leasing = Leasing[Due, Delivered | Failed](
            self._claim, self._attempt, self._record, lambda due: due.subscription_id, manner.concurrency
        )

    def wake(self) -> None:
        """Say that something committed may be due."""
        self._leasing.wake()

    async def run(self) -> None:
        """Deliver until cancelled."""
        await self._leasing.run(self._watch_for_ever())

    async def _claim(self) -> list[Due]:
        limit = self._manner.concurrency - self._leasing.under_way.total()
        if limit <= 0:
            return []
        now = self._clock()
        async with self._pool.acquire() as connection:
            rooms = self._rooms(await queries.due_subscriptions(connection, now), limit)
            if not rooms:
                return []
            return await queries.claim(connection, rooms, limit, self._leasing.held, now, now + self._lease)

    def _rooms(self, due: Sequence[uuid.UUID], limit: int) -> dict[uuid.UUID, int]:
        time = asyncio.get_running_loop().time()
        rooms = {}
        for one in due:
            room = self._circuit(one).room(time, self._manner.per_subscription, self._leasing.under_way[one])
            if room > 0:
                rooms[one] = min(room, limit)
        return rooms

    def _circuit(self, subscription_id: uuid.UUID) -> Circuit:
        if subscription_id not in self._circuits:
            cap = min(self._manner.cap, CIRCUIT_CAP_SECONDS)
            self._circuits[subscription_id] = Circuit(self._manner.base, cap, self._chance)
        return self._circuits[subscription_id]

    async def _attempt(self, due: Due, begun: float) -> Delivered | Failed | None:
        if asyncio.get_running_loop().time() + self._manner.call > begun + self._manner.lease:
            # This process stood still. Another one may have it by now, and what comes after it.
            return None
        if due.superseded:
            return Delivered()
        try:
            outcome = await self._send(due)
        except Exception as error:
            # Whatever it is, it must not end the deliveries of all others; it counts as a failure.
            log.error("subscription_error", exc_info=error)
            outcome = Failed("error")
        self._note_circuit(due, outcome)
        return outcome

    def _note_circuit(self, due: Due, outcome: Delivered | Failed) -> None:
        circuit = self._circuit(due.subscription_id)
        up = isinstance(outcome, Delivered) or bool(outcome.unit_up)
        if circuit.note(up, asyncio.get_running_loop().time()):
            log.warning("subscription_circuit", name=due.name, state="closed" if circuit.closed else "open")
            self._metrics.circuit.labels(due.name).set(0 if circuit.closed else 1)

    async def _record(self, ended: Sequence[Ended[Due, Delivered | Failed]]) -> None:
        now = self._clock()
        gone = [one.row for one in ended if isinstance(one.outcome, Delivered)]
        failed = {one.row: one.outcome for one in ended if isinstance(one.outcome, Failed)}
        waits = [self._put_off(due, outcome, now) for due, outcome in failed.items()]
        deleted, put_off, disabled, aside = await written(
            self._pool, lambda connection: self._write(connection, gone, failed, waits, now)
        )
        self._metrics.attempts.labels("done").inc(len(deleted))
        self._metrics.attempts.labels("open").inc(len(put_off))
        self._metrics.attempts.labels("late").inc(len(ended) - len(deleted) - len(put_off))
        for subscription_id, name in disabled:
            self._metrics.disabled.labels("failing").inc()
            enable = typed("notify", f"subscriptions enable {name} --by NAME")
            mend = f"ask its contact what its system lacks, then run {enable}"
            log.error("subscription_disabled", subscription=str(subscription_id), name=name, mend=mend)
        for name in aside:
            enable = typed("notify", f"subscriptions enable {name} --by NAME")
            mend = f"ask its contact why its system refuses what `subscriptions list` says, then run {enable}"
            log.error("subscription_event_set_aside", name=name, mend=mend)

    async def _write(
        self,
        connection: Any,
        gone: Sequence[Due],
        failed: Mapping[Due, Failed],
        waits: Sequence[PutOff],
        now: datetime,
    ) -> tuple[set[uuid.UUID], set[uuid.UUID], list[tuple[uuid.UUID, str]], list[str]]:
        deleted = await queries.delete_gone(connection, [due.id for due in gone]) if gone else set()
        put_off = await queries.put_off(connection, waits, now) if waits else set()
        well = {due.subscription_id for due in gone if not due.superseded}
        ill = {
            due.subscription_id: outcome.reason
            for due, outcome in failed.items()
            if due.id in put_off and due.subscription_id not in well
        }
        if well:
            await queries.note_success(connection, sorted(well))
        disabled = []
        if ill:
            disabled = await queries.note_failures(connection, ill, now, self._manner.disable_after)
        aside: list[str] = []
        if refused := [one.id for one in waits if one.refused and one.id in put_off]:
            most, after = self._manner.aside_refusals, self._manner.aside_after
            aside = await queries.set_aside(connection, refused, most, after, now)
        return deleted, put_off, disabled, aside

    def _put_off(self, due: Due, outcome: Failed, now: datetime) -> PutOff:
        wait = backoff(due.attempts + 1, self._manner.base, self._manner.cap, self._chance())
        again, refused = now + timedelta(seconds=wait), bool(outcome.unit_up)
        return PutOff(due.id, due.leased_until, again, outcome.reason, refused)

    async def _watch_for_ever(self) -> None:
        longest = max(self._lease, timedelta(seconds=self._manner.cap)) + CLOCKS_APART
        while True:
            try:
                async with self._pool.acquire() as connection:
                    now = self._clock()
                    # Times in rows outlive a clock that was ahead.
                    if brought := await queries.bring_forward(connection, now, longest):
                        log.warning("clock_went_back", subscription_deliveries=brought)
                        self._leasing.wake()
                    found = await queries.backlog(connection)
            except Exception as error:
                if not postgres.is_transient(error):
                    raise
            else:
                self._metrics.open.set(found.open)
                self._metrics.set_aside.set(found.set_aside)
                self._metrics.oldest.set(max(0.0, (now - (found.since or now)).total_seconds()))
                self._metrics.disabled.labels("failing").set(found.failing)
                self._metrics.disabled.labels("command").set(found.command)
            await asyncio.sleep(GAUGE_SECONDS)
