"""The worker: takes what is due for units, calls, and records what became of it (leasing.py)."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.notify import queries, queries_deliveries
from services.notify.circuit import Circuit
from services.notify.core.deliveries import (
    AWAY,
    DESK,
    MAIL,
    NOTICE_WAIT,
    REVIVED_MOST,
    Delivered,
    Delivery,
    Failed,
    Outcome,
    Retrying,
    level_of,
    settle,
)
from services.notify.dispatches import Dispatches
from services.notify.leasing import (
    CIRCUIT_CAP_SECONDS,
    CLOCKS_APART,
    LEASE_SECONDS,
    Ended,
    Leasing,
    written,
)
from services.notify.metrics import DeliveryMetrics
from services.notify.queries_deliveries import Wordy
from services.notify.recording import Result, record
from shared import postgres
from shared.events import hour_of
from shared.municipality import LONGEST_WAIT_MINUTES, Municipality

# While so many are under way, what ends within a moment is recorded together, and its room filled together: a
# statement for each would cost more than the calls.
MANY, GATHER_SECONDS = 8, 0.02
# So many times what may be under way is taken, so that no call waits for a claim.
AHEAD = 2
# A part of its lease: the calls of an e-mail, the longest, take most of the rest.
WAITS_MOST = 1 / 6
GAUGE_SECONDS = 5.0
# Of so many overdue tips a worker remembers since when; the others are not older by much.
DUE_TIPS = 1_000
LONGEST_FIRST = timedelta(minutes=LONGEST_WAIT_MINUTES)
TIPS_CIRCUIT_CAP_SECONDS = 5.0
TIPS = "tips"
# Connections to the mail server at once: it is the town's own, and others use it.
MAILS_AT_ONCE = 4

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much at once: in all, and to one unit's system, so that one that hangs holds up nobody else."""

    concurrency: int
    per_unit: int


class Late:
    """It waited too long to be called on what is left of its lease, which is given back; nothing counts."""


class Worker:
    """Delivers for as long as it runs. `run` ends by cancellation, after what is under way has ended."""

    def __init__(
        self,
        pool: Any,
        deliver: Callable[[Delivery], Awaitable[Outcome]],
        *,
        units: Sequence[str],
        dispatches: Dispatches,
        limits: Limits,
        retrying: Retrying,
        metrics: DeliveryMetrics,
        clock: Callable[[], datetime],
        chance: Callable[[], float],
        appended: Callable[[], None],
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._pool = pool
        self._deliver = deliver
        self._dispatches = dispatches
        self._limits = limits
        self._retrying = retrying
        self._metrics = metrics
        self._clock = clock
        self._chance = chance
        self._appended = appended
        self._lease = timedelta(seconds=lease_seconds)
        self._longest_again = max(self._lease, timedelta(seconds=retrying.cap), NOTICE_WAIT) + CLOCKS_APART
        self._tips = self._new_circuit(TIPS_CIRCUIT_CAP_SECONDS)
        # What is under way to see whether tips is back.
        self._probes: set[uuid.UUID] = set()
        town = dispatches.municipality
        self._wordy = Wordy(_wordy(town, "webhook"), _wordy(town, "email"))
        # By destination: units' systems, the mail server, and the desk, which never fails.
        self._circuits = {one: self._new_circuit(CIRCUIT_CAP_SECONDS) for one in (*units, MAIL, DESK)}
        # What has taken something since what was given up there was looked at.
        self._taking: set[str] = set()
        self._adopted = False
        self._leasing = Leasing[Delivery, Outcome | Late](
            self._claim,
            self._attempt,
            self._record,
            lambda one: one.destination,
            limits.concurrency,
            MANY,
            GATHER_SECONDS,
        )

    def wake(self) -> None:
        """Say that something committed may be due."""
        self._leasing.wake()

    async def run(self) -> None:
        """Deliver until cancelled."""
        await self._leasing.run(self._watch_backlog())

    def _new_circuit(self, cap: float) -> Circuit:
        return Circuit(self._retrying.base, min(self._retrying.cap, cap), self._chance)

    async def _adopt(self) -> None:
        """What follows from the rows at start. Units that left the municipality's folder: what is open for
        them ends as failed, not forgotten. And who was back before, where nobody has looked since."""
        async with self._pool.acquire() as connection:
            for one in await queries_deliveries.open_destinations(connection):
                self._circuits.setdefault(one, self._new_circuit(CIRCUIT_CAP_SECONDS))
            self._taking |= set(await queries_deliveries.taken_notices(connection, AWAY, REVIVED_MOST))

    async def _claim(self) -> list[Delivery]:
        if not self._adopted:
            await self._adopt()
            self._adopted = True
        limit = max(0, AHEAD * self._limits.concurrency - self._leasing.under_way.total())
        if self._tips.closed:
            return await self._take(limit)
        # While tips is away, what it is asked for waits for it, and nothing else does.
        if self._tips.room(asyncio.get_running_loop().time(), 1, len(self._probes)):
            probe = await self._take(1, asks=True)
            self._probes |= {one.id for one in probe}
            if probe:
                return probe
        return await self._take(limit, asks=False)

    async def _take(self, limit: int, *, asks: bool | None = None) -> list[Delivery]:
        time = asyncio.get_running_loop().time()
        most = {MAIL: MAILS_AT_ONCE, DESK: max(1, limit)}
        rooms = {
            one: min(
                max(1, limit),
                circuit.room(time, most.get(one, self._limits.per_unit), self._leasing.under_way[one]),
            )
            for one, circuit in self._circuits.items()
            # Where others have taken all of it, whoever has nothing under way has room for one.
            if limit or not self._leasing.under_way[one]
        }
        rooms = {one: room for one, room in rooms.items() if room > 0}
        if not rooms:
            return []
        now = self._clock()
        async with self._pool.acquire() as connection:
            return await queries_deliveries.claim_deliveries(
                connection,
                rooms,
                limit or len(rooms),
                self._leasing.held,
                now,
                now + self._lease,
                self._wordy,
                asks=asks,
            )

    async def _attempt(self, delivery: Delivery, begun: float) -> Outcome | Late:
        try:
            return await self._attempted(delivery, begun)
        finally:
            self._probes.discard(delivery.id)

    async def _attempted(self, delivery: Delivery, begun: float) -> Outcome | Late:
        waited = asyncio.get_running_loop().time() - begun
        if waited > WAITS_MOST * self._lease.total_seconds():
            # Behind calls that hang, or in a process that stood still: it goes under a lease of its own.
            return Late()
        try:
            outcome = await self._deliver(delivery)
        except Exception as error:
            # Whatever it is, it must not end the deliveries of all others; it counts as a failure.
            log.error("delivery_error", exc_info=error)
            outcome = Failed("error")
        self._note_circuits(delivery.destination, outcome)
        return outcome

    def _note_circuits(self, destination: str, outcome: Outcome) -> None:
        failed = outcome if isinstance(outcome, Failed) else None
        if outcome.tips_asked:
            self._note_circuit(TIPS, self._tips, failed is None or failed.tips_up)
        if isinstance(outcome, Delivered):
            self._taking.add(destination)
            self._note_circuit(destination, self._circuits[destination], True)
        elif failed and failed.unit_up is not None:
            self._note_circuit(destination, self._circuits[destination], failed.unit_up)

    def _note_circuit(self, name: str, circuit: Circuit, up: bool) -> None:
        if circuit.note(up, asyncio.get_running_loop().time()):
            told = name.removeprefix("@")
            log.warning("circuit", destination=told, state="closed" if circuit.closed else "open")
            self._metrics.circuit.labels(told).set(0 if circuit.closed else 1)

    async def _record(self, ended: Sequence[Ended[Delivery, Outcome | Late]]) -> None:
        now = self._clock()
        late = {one.row.id: one.row.leased_until for one in ended if isinstance(one.outcome, Late)}
        results = [
            Result(row, outcome, settle(row, outcome, self._retrying, now, self._chance()))
            for row, outcome in ended
            if not isinstance(outcome, Late)
        ]

        async def write(connection: Any) -> set[uuid.UUID]:
            if late:
                await queries_deliveries.release(connection, late)
            return await record(connection, results, self._dispatches, now) if results else set()

        changed = await written(self._pool, write)
        if late:
            self._leasing.wake()
        self._appended()
        for result in results:
            self._count(result, result.delivery.id in changed, now)

    def _count(self, result: Result, changed: bool, now: datetime) -> None:
        delivery, _, settlement = result
        self._metrics.attempts.labels(settlement.state if changed else "late").inc()
        if changed and settlement.state == "done":
            # Of a tip since it was last taken: when it was due is not stored. It is counted all the same, or
            # the two metrics together would tell a tip.
            since = delivery.due_at if delivery.kind == "issue" else delivery.leased_until - self._lease
            self._metrics.seconds.observe(max(0.0, (now - since).total_seconds()))
        if changed and settlement.state == "dead":
            # A tip's line names no report: with its minute, it would tell one tip from another.
            report = {"report_id": str(delivery.report_id)} if delivery.kind == "issue" else {}
            log.error("delivery_failed", unit=delivery.unit, reason=settlement.failure, **report)

    async def _mind_the_clock(self, connection: Any) -> None:
        """Times in rows outlive a clock that was ahead: without this they would wait for it to pass again."""
        longest_first = max(self._lease, LONGEST_FIRST) + CLOCKS_APART
        brought = await queries_deliveries.bring_forward(
            connection, self._clock(), self._longest_again, longest_first, CLOCKS_APART
        )
        if brought:
            log.warning("clock_went_back", deliveries=brought)
            self._leasing.wake()

    async def _revive(self, connection: Any) -> None:
        """Whoever takes something again is sent what was given up while it was away."""
        if taking := frozenset(self._taking):
            # What takes something from here on is looked at the next time.
            self._taking.clear()
            try:
                now = self._clock()
                revived = await queries_deliveries.revive(connection, taking, AWAY, REVIVED_MOST, now)
            except Exception:
                self._taking |= taking
                raise
            if revived:
                log.warning("given_up_goes_again", deliveries=revived)
                self._leasing.wake()

    async def _watch_backlog(self) -> None:
        told: datetime | None = None
        # When a tip's delivery was first seen to be due; with the process the ages begin anew.
        tips_due: dict[uuid.UUID, datetime] = {}
        while True:
            hour = hour_of(self._clock())
            try:
                async with self._pool.acquire() as connection:
                    await self._mind_the_clock(connection)
                    await self._revive(connection)
                    now = self._clock()
                    count, since, tips = await queries_deliveries.backlog(connection, now, DUE_TIPS)
                    tips_due = {one: tips_due.get(one, now) for one in tips}
                    if hour != told:
                        self._metrics.past_due.set(await queries.past_due(connection, hour))
                        told = hour
            except Exception as error:
                if not postgres.is_transient(error):
                    raise
            else:
                oldest = min([*tips_due.values(), since or now])
                self._metrics.open.set(count)
                self._metrics.oldest.set(max(0.0, (now - oldest).total_seconds()))
            await asyncio.sleep(GAUGE_SECONDS)


def _wordy(municipality: Municipality, channel: str) -> list[str]:
    return [
        name for name, one in municipality.categories.items() if level_of(one, one.kind, channel) == "words"
    ]
