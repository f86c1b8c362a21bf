"""catchup: Kafka goes away under load, comes back, and what piled up is sent.

The whole system runs with the town of real requests; 200 issues a second are sent throughout. Kafka is
stopped for 60 seconds and started again. Timed from the moment when it answers until everything that was
accepted by then has been sent by `tips`, and until it is counted by `stats`. What is held is the first as a
share of the outage, and intake's p99 from Kafka's going until the backlog is sent, against the p99 before.
At the end every issue is held against the units, the topics and the services' totals.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import uvloop

from bench.common import (
    Ledger,
    Options,
    Result,
    Timing,
    centiles,
    median,
    print_cpu,
    print_rows,
    running,
    spread,
    until,
)
from bench.town import Town, issues, town
from deploy.local.load import Outcome, Request, send_all
from deploy.local.progress import to_stderr
from shared import postgres

RATE = 200.0
OUTAGE_SECONDS, LEAST_OUTAGE_SECONDS = 60, 5
BEFORE_SECONDS, LEAST_BEFORE_SECONDS = 30, 5
WARM_UP_SECONDS = 5.0
BAR, INTAKE_BAR = 0.1, 1.2
# A batch that holds something of before may be the one on its way, so all that are there are waited for.
CLAIMED = "SELECT NOT EXISTS (SELECT FROM outbox WHERE position <= $1)"
SENT = "SELECT NOT EXISTS (SELECT FROM outbox_batch WHERE sent_on IS NULL AND batch <= $1)"
COUNTED = "SELECT count(counted_in) FROM lifecycle"


@dataclass(frozen=True)
class Outage:
    """One run: seconds to send and to count the backlog, its size in events, and intake's p50 and p99 in ms
    before, while Kafka was away, and from then until all was sent."""

    away: float
    sent: float
    counted: float
    backlog: int
    before: tuple[float, float]
    meanwhile: tuple[float, float]
    until_sent: tuple[float, float]


def run(options: Options) -> Result:
    """Run it. Blocking."""
    print(__doc__)
    with town() as here:
        return uvloop.run(_measure(here, options))


async def _measure(here: Town, options: Options) -> Result:
    await here.units.open_all()
    outages: list[Outage] = []
    timings: list[Timing] = []
    try:
        for number in range(options.runs):
            here.meter.start()
            outages.append(await _outage(here, options))
            timings.append(here.meter.stop(1))
            await here.settle()
            to_stderr(f"run {number + 1} of {options.runs}: sent {outages[-1].sent:.1f} s after the outage")
        ledger = await here.check()
    finally:
        await here.units.close_all()
    _print(outages)
    print("Kafka's CPU cannot be told: after each outage it is another process")
    print_cpu({"CPU s a run": timings})
    return _result(options, outages, ledger)


async def _outage(here: Town, options: Options) -> Outage:
    """One outage under load."""
    ending = asyncio.Event()
    sent: list[Outcome] = []

    def watch(outcomes: list[Outcome]) -> None:
        sent[len(sent) :] = outcomes[len(sent) :]

    async with running(send_all(here.url, _until(ending), RATE, watch)) as sending:
        await asyncio.sleep(WARM_UP_SECONDS)
        begun = time.monotonic()
        await asyncio.sleep(options.count(BEFORE_SECONDS, LEAST_BEFORE_SECONDS))
        gone = time.monotonic()
        kafka = here.stack.infrastructure.kafka
        await asyncio.to_thread(kafka.stop)
        await asyncio.sleep(
            max(0, gone + options.count(OUTAGE_SECONDS, LEAST_OUTAGE_SECONDS) - time.monotonic())
        )
        await asyncio.to_thread(kafka.start)
        back = time.monotonic()
        accepted = sum(outcome.accepted for outcome in [*here.outcomes, *sent])
        backlog, drained, counted = await _drained(here, accepted, sending)
        await asyncio.sleep(1)
        ending.set()
        outcomes = await sending
    here.outcomes += outcomes
    return Outage(
        back - gone,
        drained - back,
        counted - back,
        backlog,
        _intake(outcomes, begun, gone),
        _intake(outcomes, gone, back),
        _intake(outcomes, gone, drained),
    )


def _until(ending: asyncio.Event) -> Iterator[Request]:
    for request in issues():
        if ending.is_set():
            return
        yield request


async def _drained(
    here: Town, accepted: int, sending: "asyncio.Task[list[Outcome]]"
) -> tuple[int, float, float]:
    """How many rows waited, and when what waits now was sent, and all that is accepted by now counted."""
    services = here.stack.services
    tips = await postgres.connect(services["tips"].dsn, "bench")
    stats = await postgres.connect(services["stats"].dsn, "bench")

    async def counted() -> bool:
        return bool(await stats.fetchval(COUNTED) >= accepted)

    async def all_counted() -> float:
        await until(counted, "the counting of the backlog", sending, every=0.05)
        return time.monotonic()

    try:
        counting = asyncio.create_task(all_counted())
        backlog, last = await tips.fetchrow("SELECT count(*), coalesce(max(position), 0) FROM outbox")
        await until(lambda: tips.fetchval(CLAIMED, last), "the claiming of the backlog", sending, every=0.02)
        batch = await tips.fetchval("SELECT coalesce(max(batch), 0) FROM outbox_batch")
        await until(lambda: tips.fetchval(SENT, batch), "the sending of the backlog", sending, every=0.02)
        return backlog, time.monotonic(), await counting
    finally:
        await tips.close()
        await stats.close()


def _intake(outcomes: Sequence[Outcome], begin: float, end: float) -> tuple[float, float]:
    """p50 and p99 in ms from POST to answer, of what was sent in that time."""
    return centiles([each.answered_at - each.sent_at for each in outcomes if begin <= each.sent_at < end])


def _print(outages: Sequence[Outage]) -> None:
    print(f"Kafka away for {median(one.away for one in outages):.0f} s, at {RATE:g} issues a second")
    rows = {
        "waiting, events": [float(one.backlog) for one in outages],
        "until sent, s": [one.sent for one in outages],
        "until counted, s": [one.counted for one in outages],
        "intake p50 before, ms": [one.before[0] for one in outages],
        "intake p99 before, ms": [one.before[1] for one in outages],
        "intake p50 while away, ms": [one.meanwhile[0] for one in outages],
        "intake p99 while away, ms": [one.meanwhile[1] for one in outages],
        "intake p99 until sent, ms": [one.until_sent[1] for one in outages],
    }
    print_rows(
        ["median", "lowest", "highest"],
        [(name, (median(figures), min(figures), max(figures))) for name, figures in rows.items()],
    )


def _result(options: Options, outages: Sequence[Outage], ledger: Ledger) -> Result:
    drains = [one.sent / one.away for one in outages]
    ratio = median(drains)
    intake = median(one.until_sent[1] / one.before[1] for one in outages)
    missed = [] if ratio <= BAR else [f"sent after {ratio:.0%} of the outage; the bar is {BAR:.0%}"]
    if intake > INTAKE_BAR:
        missed.append(f"intake's p99 is {intake:.2f} x that of before; the bar is {INTAKE_BAR}")
    return Result(
        "catchup",
        ratio,
        "the outage",
        {
            "the outage": ratio,
            "the outage, until counted": median(one.counted / one.away for one in outages),
            "intake's p99 before": intake,
        },
        spread(drains),
        ledger,
        options.runs,
        options.size,
        {"bar": BAR, "intake_bar": INTAKE_BAR},
        missed,
    )
