"""clocks: what the sweep costs that finds which reports' clocks have something to tell.

Two databases with open reports, one with a hundred times as many as the other; in each a hundred are due at a
time, and the sweep tells their first level. What is held is the ratio of the times. There is no peer. Every
report that is due must be told once, and no other.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from bench.common import (
    Ledger,
    Meter,
    Options,
    Result,
    Timing,
    interleave,
    median,
    own_postgres,
    print_rates,
    ratios_by_run,
    spread,
)
from bench.tips_settings import TOWN
from deploy.local.postgres import Postgres, create_database
from deploy.local.stack import ROOT
from services.notify.clocks import Sweeper
from services.notify.dispatches import Dispatches
from services.notify.metrics import DeliveryMetrics
from shared import municipality, postgres

MANY, FEW = 100_000, 1_000
DUE = 100
BAR = 2.0
MIGRATIONS = [postgres.SHARED_MIGRATIONS, ROOT / "services" / "notify" / "migrations"]
NOW = datetime(2026, 11, 12, 12, tzinfo=UTC)
# Reports of a team that always works, of which nothing is due yet.
_FILL = """
INSERT INTO dispatch (report_id, kind, category, areas, language, unit, rule, rules_version, reason,
                      accepted_at, acknowledge_by, resolve_by, status, version, report_version, came_at,
                      clocks_until, clock_at)
SELECT gen_random_uuid(), 'issue', 'noise', '{"district": "oakwood"}', 'nl',
       'neighbourhood_police_north', 'r', 'v', 'because', $1,
       $1::timestamptz + interval '1 day' + n * interval '1 second',
       $1::timestamptz + interval '5 days', 'delivered', 1, 1, $1, $1::timestamptz + interval '23 hours',
       $1::timestamptz + interval '1 day' + n * interval '1 second'
FROM generate_series(1, $2) AS n"""
_DUE = """
UPDATE dispatch SET acknowledge_by = $2, clocks_until = $2::timestamptz - interval '1 second', clock_at = $2
WHERE report_id = ANY($1)"""


@dataclass(frozen=True)
class _Town:
    """A database of open reports and what sweeps it."""

    pool: Any
    sweeper: Sweeper
    ids: list[uuid.UUID]


def run(options: Options) -> Result:
    """Run it. Blocking."""
    print(__doc__)
    with own_postgres() as server:
        return uvloop.run(_run(server, options))


async def _run(server: Postgres, options: Options) -> Result:
    ledger = Ledger()
    many = options.count(MANY, 10 * FEW)
    towns = {"few": await _town(server, "few", FEW), "many": await _town(server, "many", many)}
    meter = Meter({"postgres": server.child})
    found = await interleave(
        options.runs, {name: partial(_sweep, name, town, meter, ledger) for name, town in towns.items()}
    )
    for town in towns.values():
        await town.pool.close()
    print_rates(found)
    rates = {name: [timing.rate for timing in timings] for name, timings in found.items()}
    by_run = ratios_by_run(rates["few"], rates["many"])
    cost = median(by_run)
    print(f"a sweep among {many:,} open reports costs {cost:.2f} times one among {FEW:,}")
    return Result(
        "clocks",
        cost,
        "few",
        {"few": cost},
        spread(by_run),
        ledger,
        options.runs,
        options.size,
        {"open": {"few": FEW, "many": many}, "due": DUE, "bars": {"few": BAR}},
        [f"{cost:.2f} times the cost; the bar is {BAR}"] if cost > BAR else [],
    )


async def _town(server: Postgres, name: str, count: int) -> _Town:
    dsn = await create_database(server.dsn(), name)
    await postgres.migrate(dsn, MIGRATIONS)
    pool = await postgres.open_pool(dsn, "notify")
    async with pool.acquire() as connection:
        await connection.execute(_FILL, NOW, count, timeout=300)
        await connection.execute("ANALYZE dispatch")
        ids = [row["report_id"] for row in await connection.fetch("SELECT report_id FROM dispatch")]
    folder = municipality.read(TOWN)
    sweeper = Sweeper(
        pool,
        Dispatches(folder),
        metrics=DeliveryMetrics(CollectorRegistry()),
        clock=lambda: NOW,
        appended=lambda: None,
    )
    return _Town(pool, sweeper, ids)


async def _sweep(name: str, town: _Town, meter: Meter, ledger: Ledger, run: int) -> Timing:
    due = town.ids[run * DUE : (run + 1) * DUE]
    async with town.pool.acquire() as connection:
        await connection.execute(_DUE, due, NOW - timedelta(minutes=run))
    meter.start()
    count = await town.sweeper.sweep()
    timing = meter.stop(DUE)
    async with town.pool.acquire() as connection:
        told = await connection.fetch("DELETE FROM outbox RETURNING key")
    ledger.hold(name, sorted(map(str, due)), sorted(bytes(row["key"]).decode() for row in told))
    if count != DUE:
        ledger.faults.append(f"{name}: {count} reports were swept, {DUE} were due")
    return timing
