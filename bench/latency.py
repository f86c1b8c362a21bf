"""latency: how long an issue takes from the resident's POST to its unit's webhook.

The whole system runs with the town of real requests; 50 issues a second are sent at a steady rate, whatever
the answers take. Each unit's receiver verifies the signature and acknowledges. There is no peer: what is held
is that the slowest are near to the others, p99 to p50. Before that 5 a second are sent, which leave the
machine idle, where the median is held: by 50 a second two cores are full, with the load's and the units'
share. At the end every issue is held against the units, the topics and the services' totals.
"""

import itertools
from collections.abc import Iterator, Sequence

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
)
from bench.town import Town, issues, town
from deploy.local.load import Outcome, Request, send_all
from deploy.local.progress import to_stderr
from deploy.local.tap import Tap

RATE, IDLE_RATE = 50.0, 5.0
POSTS, LEAST_POSTS, WARM_UP = 1_500, 100, 100
IDLE_POSTS, LEAST_IDLE_POSTS = 200, 20
BAR, IDLE_BAR_MS = 4.0, 50.0
PARTS = ("POST to answer", "POST to Kafka", "Kafka to routed", "Kafka to unit", "POST to unit")
WHOLE = PARTS[-1]

Parts = dict[str, tuple[float, float]]


def run(options: Options) -> Result:
    """Run it. Blocking."""
    print(__doc__)
    with town() as here:
        return uvloop.run(_measure(here, options))


async def _measure(here: Town, options: Options) -> Result:
    await here.units.open_all()
    tap = Tap(here.stack.infrastructure.bootstrap)
    requests = issues()
    runs: list[Parts] = []
    timings: list[Timing] = []
    count = options.count(POSTS, LEAST_POSTS)
    idle_count = options.count(IDLE_POSTS, LEAST_IDLE_POSTS)
    try:
        async with running(tap.run()):
            await _send(here, itertools.islice(requests, WARM_UP), RATE)
            idle = _parts(here, tap, await _send(here, itertools.islice(requests, idle_count), IDLE_RATE))
            for number in range(options.runs):
                here.meter.start()
                outcomes = await _send(here, itertools.islice(requests, count), RATE)
                timings.append(here.meter.stop(count))
                runs.append(_parts(here, tap, outcomes))
                to_stderr(f"run {number + 1} of {options.runs}: p50 {runs[-1][WHOLE][0]:.0f} ms")
        ledger = await here.check()
    finally:
        await here.units.close_all()
    print(f"{idle_count:,} issues, {IDLE_RATE:g} a second; ms")
    print_rows(["p50", "p99"], [(part, list(idle[part])) for part in PARTS])
    print(f"{count:,} issues a run, {RATE:g} a second; ms, and lowest and highest of the runs")
    heads = ["p50", "lowest", "highest", "p99", "lowest", "highest"]
    print_rows(heads, [(part, [f for which in (0, 1) for f in _three(runs, part, which)]) for part in PARTS])
    print_cpu({"CPU s a run": timings})
    return _result(options, idle, runs, ledger)


async def _send(here: Town, requests: Iterator[Request], rate: float) -> list[Outcome]:
    """Send them, and wait until all have arrived."""
    outcomes = await send_all(here.url, requests, rate, lambda _: None)
    here.outcomes += outcomes
    await here.settle()
    return outcomes


def _three(runs: Sequence[Parts], part: str, which: int) -> tuple[float, float, float]:
    figures = [run[part][which] for run in runs]
    return median(figures), min(figures), max(figures)


def _parts(here: Town, tap: Tap, outcomes: Sequence[Outcome]) -> Parts:
    """p50 and p99 of each part of the way, in ms."""
    took = {arrival.marker: arrival for arrival in reversed(here.units.arrivals)}
    parts: dict[str, list[float]] = {part: [] for part in PARTS}
    for outcome in outcomes:
        arrival = took.get(outcome.request.marker)
        accepted = arrival and tap.first_seen.get((arrival.report_id, "ReportAccepted"))
        routed = arrival and tap.first_seen.get((arrival.report_id, "ReportRouted"))
        if arrival and accepted and routed:
            sent = outcome.sent_at
            ways = (outcome.answered_at - sent, accepted - sent, routed - accepted, arrival.at - accepted)
            for part, seconds in zip(PARTS, (*ways, arrival.at - sent), strict=True):
                parts[part].append(seconds)
    return {part: centiles(seconds) for part, seconds in parts.items()}


def _result(options: Options, idle: Parts, runs: Sequence[Parts], ledger: Ledger) -> Result:
    each = [run[WHOLE][1] / run[WHOLE][0] for run in runs]
    ratio, idle_p50 = median(each), idle[WHOLE][0]
    bars = {
        f"p99 is {ratio:.1f} x p50; the bar is {BAR:g}": ratio <= BAR,
        f"p50 on an idle machine is {idle_p50:.0f} ms; the bar is {IDLE_BAR_MS:g}": idle_p50 <= IDLE_BAR_MS,
    }
    return Result(
        "latency",
        ratio,
        "p99 to p50",
        {"p99 to p50": ratio},
        spread(each),
        ledger,
        options.runs,
        options.size,
        {
            "ms": {part: [_three(runs, part, which)[0] for which in (0, 1)] for part in PARTS},
            "ms_idle": idle,
            "bar": BAR,
            "idle_bar_ms": IDLE_BAR_MS,
        },
        [bar for bar, reached in bars.items() if not reached],
    )
