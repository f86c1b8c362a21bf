"""The requests played through the real notify, on a clock that jumps from one thing that happened to the
next.

What the city opened is applied by notify's consumer, what it closed is the `resolve` of the department that
it chose, in the order of time over all requests. Where the rules chose another department, that one hands the
report over as soon as it has it: the export does not say when the city did.
"""

import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from deploy.half_year.cases import Announcing, Case
from services.notify.acting import Acting
from services.notify.consumer import Reports
from services.notify.core.acts import Act
from services.notify.dispatches import Dispatches
from services.notify.telling import Telling
from shared import postgres
from shared.cloudevents import Envelope
from shared.municipality import Municipality

ROOT = Path(__file__).parents[2]
MIGRATIONS = (postgres.SHARED_MIGRATIONS, ROOT / "services/notify/migrations")
# What is applied as one batch, at the time of its last: what was opened within so long, nothing closed
# between.
BATCH = timedelta(minutes=10)
SAY_SECONDS = 5.0
RUNS = 50
OPENED, CLOSED = 0, 1
# Who hands over and resolves: the export names no persons.
CITY = "city:export"


class Played(NamedTuple):
    """A request and what notify made of it: the unit and the rule of its first turn, and where it stands
    at the end. `in_time` is what ReportResolved says; None where it was not resolved."""

    case: Case
    first_unit: str
    rule: str
    unit: str
    turn: int
    status: str
    resolve_by: datetime
    in_time: bool | None


class _Run(NamedTuple):
    """Requests that were opened, one after another, or closed."""

    what: int
    cases: list[Case]


@dataclass
class _Clock:
    now: datetime

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Play:
    """One half year on one connection to a database of its own."""

    town: Municipality
    announcing: Announcing
    connection: Any
    progress: Callable[[str], None]
    reports: dict[int, uuid.UUID] = field(default_factory=dict)
    closed: int = 0

    def __post_init__(self) -> None:
        dispatches = Dispatches(self.town)
        self._responsibility = dispatches.responsibility
        self._clock = _Clock(datetime.min)  # noqa: DTZ901 - set before it is read
        # The chance is how long a tip's delivery waits, and nothing is delivered here.
        telling = Telling(self.town, clock=self._clock, chance=lambda: 0.5)
        self._notify = Reports(dispatches, telling, clock=self._clock)
        self._acting = Acting(dispatches, telling, clock=self._clock)
        # Why and how is not told by the export: the folder's first code of each.
        self._reason, self._outcome = next(iter(self.town.refusals)), next(iter(self.town.outcomes))

    async def run(self, cases: Sequence[Case]) -> None:
        """Play them all."""
        said = time.monotonic()
        for runs in _some(_runs(cases)):
            async with self.connection.transaction():
                for run in runs:
                    await (self._open(run.cases) if run.what == OPENED else self._close(run.cases))
            if time.monotonic() - said >= SAY_SECONDS:
                said = time.monotonic()
                self.progress(
                    f"{self._clock.now:%Y-%m-%d}: {len(self.reports)} of {len(cases)} routed, "
                    f"{self.closed} resolved"
                )

    async def _open(self, cases: Sequence[Case]) -> None:
        self._clock.now = cases[-1].opened
        envelopes: list[Envelope[Any]] = [self.announcing.accepted(case) for case in cases]
        await self._notify.apply(self.connection, envelopes)
        for envelope, case in zip(envelopes, cases, strict=True):
            report_id = self.reports[case.number] = envelope.event.report_id
            # Acting refuses where it is with another unit than this.
            unit = self._responsibility.first(envelope.event, envelope.time).unit
            if unit != case.unit:
                over = Act("hand_over", "desk", reason=self._reason, to_unit=case.unit)
                await self._acting.act(self.connection, report_id, unit, over, uuid.uuid4(), CITY)

    async def _close(self, cases: Sequence[Case]) -> None:
        for case in cases:
            if case.closed is not None:
                self._clock.now = case.closed
                done = Act("resolve", "desk", outcome=self._outcome)
                report_id = self.reports[case.number]
                await self._acting.act(self.connection, report_id, case.unit, done, uuid.uuid4(), CITY)
                self.closed += 1

    async def ended(self, cases: Sequence[Case]) -> list[Played]:
        """What became of them, as the database has it; a request that is not there is left out."""
        rows = await self.connection.fetch(
            """SELECT d.report_id, r.said->>'unit', r.said->>'rule', d.unit, d.turn, d.status, d.resolve_by,
                      (s.said->>'in_time')::boolean
               FROM dispatch d JOIN report_step r
                    ON r.report_id = d.report_id AND r.step = 'ReportRouted' AND r.version = 1
               LEFT JOIN report_step s ON s.report_id = d.report_id AND s.step = 'ReportResolved'"""
        )
        found: Mapping[uuid.UUID, Any] = {row["report_id"]: row for row in rows}
        return [
            Played(case, *tuple(found[self.reports[case.number]])[1:])
            for case in cases
            if self.reports.get(case.number) in found
        ]


async def play(
    cases: Sequence[Case],
    town: Municipality,
    announcing: Announcing,
    dsn: str,
    progress: Callable[[str], None],
) -> list[Played]:
    """Play the requests in the empty database at `dsn`, some minutes for tens of thousands; what became of
    them."""
    await postgres.migrate(dsn, MIGRATIONS)
    connection = await postgres.connect(dsn, "half_year")
    try:
        playing = Play(town, announcing, connection, progress)
        await playing.run(cases)
        return await playing.ended(cases)
    finally:
        await connection.close()


def _some(runs: Iterator[_Run]) -> Iterator[list[_Run]]:
    """So many runs as one transaction has: to begin and end one for each would be a third of the work."""
    while some := list(itertools.islice(runs, RUNS)):
        yield some


def _runs(cases: Sequence[Case]) -> Iterator[_Run]:
    """What happened, in order: openings and closings that follow one another, each sort together."""
    happened = [(case.opened, OPENED, number) for number, case in enumerate(cases)]
    happened += [(case.closed, CLOSED, number) for number, case in enumerate(cases) if case.closed]
    run: _Run | None = None
    since = datetime.min  # noqa: DTZ901 - set with the first run
    for at, what, number in sorted(happened):
        if run and (run.what != what or (what == OPENED and at - since > BATCH)):
            yield run
            run = None
        if run is None:
            run, since = _Run(what, []), at
        run.cases.append(cases[number])
    if run:
        yield run
