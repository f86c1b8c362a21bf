"""The worker of webhook subscriptions: takes what is due, calls, and records what became of it.

As services/notify/delivery.py: a row is leased, not locked, and goes again under the same id where a worker
died. Of each key of a subscription only the first row that has not gone is taken, so that no later event goes
before an earlier one; other keys and other subscriptions go on.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import structlog

from services.notify import queries_subscriptions as queries
from services.notify.circuit import Circuit
from services.notify.core.clocks import backoff
from services.notify.core.deliveries import Delivered, Failed
from services.notify.core.subscriptions import Due
from services.notify.metrics import SubscriptionMetrics
from services.notify.queries_subscriptions import PutOff
from services.notify.subscription_calls import CALL_SECONDS
from shared import postgres
from shared.errors import typed

LEASE_SECONDS = 30.0
POLL_SECONDS = 0.2
DRAIN_SECONDS = 5.0
AWAY_SECONDS = 1.0
GAUGE_SECONDS = 5.0
RECORD_AT_ONCE = 500
CIRCUIT_CAP_SECONDS = 60.0

log = structlog.get_logger()
Send = Callable[[Due], Awaitable[Delivered | Failed]]


@dataclass(frozen=True, slots=True)
class Manner:
    """How much at once, in all and to one subscriber; how a failure is tried again (seconds); after how long
    of nothing but failures a subscription is disabled; how long a lease lasts, and a call (seconds)."""

    concurrency: int
    per_subscription: int
    base: float
    cap: float
    disable_after: timedelta
    lease: float = LEASE_SECONDS
    call: float = CALL_SECONDS


class _Ended(NamedTuple):
    """A call that waits to be recorded; the future is done when it is."""

    due: Due
    outcome: Delivered | Failed
    recorded: "asyncio.Future[None]"


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
        self._under_way: Counter[uuid.UUID] = Counter()
        # Not to be taken again here: a result that waits for the database may outlive its lease.
        self._held: set[uuid.UUID] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Queue[_Ended] = asyncio.Queue()
        self._woken = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Say that something committed may be due."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        parts = [
            asyncio.create_task(part)
            for part in (self._claim_for_ever(), self._record_for_ever(), self._watch_for_ever())
        ]
        claiming = parts[0]
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
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS)
            for task in (*self._tasks, *parts):
                task.cancel()
            await asyncio.gather(*self._tasks, *parts, return_exceptions=True)

    async def _claim_for_ever(self) -> None:
        while not self._stopping:
            try:
                # The lease counts from before it is asked for.
                begun = asyncio.get_running_loop().time()
                claimed = await self._claim()
            except Exception as error:
                if not postgres.is_transient(error):
                    raise
                log.warning("database_away", error=type(error).__name__)
                await asyncio.sleep(AWAY_SECONDS)
                continue
            for due in claimed:
                self._held.add(due.id)
                self._under_way[due.subscription_id] += 1
                task = asyncio.create_task(self._attempt(due, begun + self._manner.lease))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if not claimed:
                await self._rest()

    async def _claim(self) -> list[Due]:
        limit = self._manner.concurrency - self._under_way.total()
        if limit <= 0:
            return []
        now = self._clock()
        async with self._pool.acquire() as connection:
            rooms = self._rooms(await queries.due_subscriptions(connection, now), limit)
            if not rooms:
                return []
            return await queries.claim(connection, rooms, limit, self._held, now, now + self._lease)

    def _rooms(self, due: Sequence[uuid.UUID], limit: int) -> dict[uuid.UUID, int]:
        time = asyncio.get_running_loop().time()
        rooms = {}
        for one in due:
            room = self._circuit(one).room(time, self._manner.per_subscription, self._under_way[one])
            if room > 0:
                rooms[one] = min(room, limit)
        return rooms

    def _circuit(self, subscription_id: uuid.UUID) -> Circuit:
        if subscription_id not in self._circuits:
            cap = min(self._manner.cap, CIRCUIT_CAP_SECONDS)
            self._circuits[subscription_id] = Circuit(self._manner.base, cap, self._chance)
        return self._circuits[subscription_id]

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._woken.wait()
        self._woken.clear()

    async def _attempt(self, due: Due, lease_ends: float) -> None:
        try:
            if asyncio.get_running_loop().time() + self._manner.call > lease_ends:
                # This process stood still. Another one may have it by now, and what comes after it.
                return
            try:
                outcome = Delivered() if due.superseded else await self._send(due)
            except Exception as error:
                # Whatever it is, it must not end the deliveries of all others; it counts as a failure.
                log.error("subscription_error", exc_info=error)
                outcome = Failed("error")
            if not due.superseded:
                self._note_circuit(due, outcome)
            recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._ended.put_nowait(_Ended(due, outcome, recorded))
            await recorded
        finally:
            self._held.discard(due.id)
            self._under_way[due.subscription_id] -= 1
            self._woken.set()

    def _note_circuit(self, due: Due, outcome: Delivered | Failed) -> None:
        circuit = self._circuit(due.subscription_id)
        was_closed = circuit.closed
        if isinstance(outcome, Delivered) or outcome.unit_up:
            circuit.succeeded()
        else:
            circuit.failed(asyncio.get_running_loop().time())
        if circuit.closed != was_closed:
            log.warning("subscription_circuit", name=due.name, state="closed" if circuit.closed else "open")
            self._metrics.circuit.labels(due.name).set(0 if circuit.closed else 1)

    async def _record_for_ever(self) -> None:
        while True:
            # What has ended while the last transaction was under way goes in the next one, together.
            ended = [await self._ended.get()]
            while not self._ended.empty() and len(ended) < RECORD_AT_ONCE:
                ended.append(self._ended.get_nowait())
            await self._record(ended)
            for one in ended:
                if not one.recorded.done():
                    one.recorded.set_result(None)

    async def _record(self, ended: Sequence[_Ended]) -> None:
        now = self._clock()
        gone = [one.due for one in ended if isinstance(one.outcome, Delivered)]
        failed = {one.due: one.outcome for one in ended if isinstance(one.outcome, Failed)}
        waits = [self._put_off(due, outcome, now) for due, outcome in failed.items()]
        while True:
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    deleted, put_off, disabled = await self._write(connection, gone, failed, waits, now)
                break
            except Exception as error:
                if not postgres.is_transient(error):
                    raise
                log.warning("database_away", error=type(error).__name__)
                await asyncio.sleep(AWAY_SECONDS)
        self._metrics.attempts.labels("done").inc(len(deleted))
        self._metrics.attempts.labels("open").inc(len(put_off))
        self._metrics.attempts.labels("late").inc(len(ended) - len(deleted) - len(put_off))
        for subscription_id, name in disabled:
            self._metrics.disabled.labels("failing").inc()
            enable = typed("notify", f"subscriptions enable {name} --by NAME")
            mend = f"ask its contact what its system lacks, then run {enable}"
            log.error("subscription_disabled", subscription=str(subscription_id), name=name, mend=mend)

    async def _write(
        self,
        connection: Any,
        gone: Sequence[Due],
        failed: Mapping[Due, Failed],
        waits: Sequence[PutOff],
        now: datetime,
    ) -> tuple[set[uuid.UUID], set[uuid.UUID], list[tuple[uuid.UUID, str]]]:
        deleted = await queries.delete_gone(connection, [due.id for due in gone]) if gone else set()
        put_off = await queries.put_off(connection, waits) if waits else set()
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
        return deleted, put_off, disabled

    def _put_off(self, due: Due, outcome: Failed, now: datetime) -> PutOff:
        wait = backoff(due.attempts + 1, self._manner.base, self._manner.cap, self._chance())
        return PutOff(due.id, due.leased_until, now + timedelta(seconds=wait), outcome.reason)

    async def _watch_for_ever(self) -> None:
        longest = max(self._lease, timedelta(seconds=self._manner.cap))
        while True:
            try:
                async with self._pool.acquire() as connection:
                    now = self._clock()
                    # Times in rows outlive a clock that was ahead.
                    if brought := await queries.bring_forward(connection, now, longest):
                        log.warning("clock_went_back", subscription_deliveries=brought)
                        self._woken.set()
                    found = await queries.backlog(connection)
            except Exception as error:
                if not postgres.is_transient(error):
                    raise
            else:
                self._metrics.open.set(found.open)
                self._metrics.oldest.set(max(0.0, (now - (found.since or now)).total_seconds()))
                self._metrics.disabled.labels("failing").set(found.failing)
                self._metrics.disabled.labels("command").set(found.command)
            await asyncio.sleep(GAUGE_SECONDS)
