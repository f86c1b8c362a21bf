"""close: how long `stats` takes to close a month, and how much memory that needs.

Two towns, one of 140 areas and one of 12, with 20 categories each, and as many reports and incidents for
each area. A process of its own freezes the month and its week-parts, of reports and of recorded crime,
releases them and makes the final editions: signed, chained, in the outbox. What is held is the time of the
many areas against that of the few in the same run, and the memory. Each figure is then held against what was
counted.
"""

import asyncio
import json
import sys
from functools import partial
from itertools import product

import uvloop

from bench.closing_step import BEFORE, CATEGORIES, SIGNER, codes, spec_of
from bench.common import (
    Ledger,
    Options,
    Result,
    Timing,
    interleave,
    median,
    print_rows,
    ratios_by_run,
    spread,
)
from deploy.local.infrastructure import LocalInfrastructure, local_infrastructure
from deploy.local.postgres import create_database, drop_database
from deploy.local.stack import ROOT
from services.stats import specs
from services.stats.closing import Closing
from shared import kafka, postgres
from shared.errors import Refusal
from shared.events import StatisticsReleased

MANY, FEW = 140, 12
# Reports of an area in the month, and as many incidents.
EACH = 150
BAR, BAR_MIB = 12.0, 400.0
MIGRATIONS = [postgres.SHARED_MIGRATIONS, ROOT / "services" / "stats" / "migrations"]
_PARTS = "ARRAY['2027-01-01', '2027-01-04', '2027-01-11', '2027-01-18', '2027-01-25']::date[]"
_FILL = f"""
WITH one AS (
    SELECT gen_random_uuid() AS id, ($1::text[])[1 + n % cardinality($1::text[])] AS area,
           ($2::text[])[1 + (random() * random() * 20)::integer % 20] AS category,
           ({_PARTS})[1 + (random() * 5)::integer % 5] AS part
    FROM generate_series(1, $3::integer) AS n),
told AS (INSERT INTO incident (incident_id, area, category, counted_in)
         SELECT id, area, category, part FROM one)
INSERT INTO lifecycle (report_id, kind, hour, area, category, category_version, counted_category, counted_in,
                       tips_version, notify_version, routed, delivered, reopened, withdrawn, erased, seen_on)
SELECT id, 'issue', part, area, category, 1, category, part, 1, 0, false, false, false, false, false, part
FROM one"""


def run(options: Options) -> Result:
    """Run it. Blocking."""
    print(__doc__)
    with local_infrastructure() as infrastructure:
        return uvloop.run(_Bench(infrastructure, options).run())


class _Bench:
    def __init__(self, servers: LocalInfrastructure, options: Options) -> None:
        self._servers, self._options = servers, options
        self._each = options.count(EACH, 10)
        self._ledger = Ledger()
        self._mib: dict[str, list[float]] = {"many": [], "few": []}

    async def run(self) -> Result:
        await kafka.create_topics(self._servers.bootstrap)
        towns = {"many": MANY, "few": FEW}
        for name, areas in towns.items():
            await self._fill(name, areas)
        found = await interleave(
            self._options.runs, {name: partial(self._close, name, areas) for name, areas in towns.items()}
        )
        seconds = {name: [one.seconds for one in timings] for name, timings in found.items()}
        by_run = ratios_by_run(seconds["many"], seconds["few"])
        cpu = {name: median(one.cpu["closing"] for one in timings) for name, timings in found.items()}
        ratio, mib = median(by_run), max(self._mib["many"])
        print_rows(
            ["s", "lowest", "highest", "CPU s", "MiB"],
            [
                (
                    f"{areas} areas",
                    [
                        median(seconds[name]),
                        *spread(seconds[name]),
                        cpu[name],
                        max(self._mib[name]),
                    ],
                )
                for name, areas in towns.items()
            ],
        )
        times = cpu["many"] / cpu["few"]
        print(f"{MANY} areas take {ratio:.1f} times as long as {FEW}, and {times:.1f} times the CPU")
        missed = [] if ratio <= BAR else [f"{ratio:.1f} times the time of {FEW} areas; the bar is {BAR:g}"]
        if mib > BAR_MIB:
            missed.append(f"{mib:.0f} MiB; the bar is {BAR_MIB:g}")
        return Result(
            "close",
            ratio,
            f"{FEW} areas",
            {f"{FEW} areas": ratio},
            spread(by_run),
            self._ledger,
            self._options.runs,
            self._options.size,
            {"seconds": {name: median(each) for name, each in seconds.items()}, "mib": mib, "bar": BAR},
            missed,
        )

    async def _fill(self, name: str, areas: int) -> None:
        """A database in which the month is over and not closed: it is the template of each run."""
        dsn = await create_database(self._servers.admin_dsn, f"{name}_template")
        await postgres.migrate(dsn, MIGRATIONS)
        pool = await postgres.open_pool(dsn, "bench")
        spec = spec_of(areas)
        async with pool.acquire() as connection, connection.transaction():
            await specs.settle(connection, spec, [SIGNER.public], BEFORE)
        closing = Closing(
            pool, self._servers.bootstrap, [spec], SIGNER, source="/town/stats", clock=lambda: BEFORE
        )
        await closing.draw()
        async with pool.acquire() as connection:
            named = codes("area", areas), codes("category", CATEGORIES)
            await connection.execute(_FILL, *map(list, named), self._each * areas, timeout=300)
            await connection.execute("ANALYZE")
        await pool.close()

    async def _close(self, name: str, areas: int, _run: int) -> Timing:
        await drop_database(self._servers.admin_dsn, name)
        dsn = await create_database(self._servers.admin_dsn, name, f"{name}_template")
        command = ["-m", "bench.closing_step", dsn, self._servers.bootstrap, str(areas)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        written, _ = await process.communicate()
        if process.returncode:
            raise Refusal(f"closing {areas} areas ended with {process.returncode}; its last lines are above")
        told = json.loads(written.splitlines()[-1])
        self._mib[name].append(told["mib"])
        await self._check(name, dsn, areas)
        return Timing(areas * CATEGORIES, told["seconds"], {"closing": told["cpu"]})

    async def _check(self, name: str, dsn: str, areas: int) -> None:
        """Hold each released figure, without its noise, against the rows; and the totals of final editions
        against one another."""
        connection = await postgres.connect(dsn, "bench")
        rows = await connection.fetch("SELECT content FROM release")
        noise = {
            (row["table_id"], row["name"]): row["noise"]
            for row in await connection.fetch("SELECT table_id, name, noise FROM period")
        }
        wanted = {
            "reports": await connection.fetch(
                "SELECT area, counted_category, count(*) FROM lifecycle GROUP BY 1, 2"
            ),
            "incidents": await connection.fetch(
                "SELECT area, category, count(*) FROM incident GROUP BY 1, 2"
            ),
        }
        await connection.close()
        releases = [StatisticsReleased.model_validate_json(row["content"]) for row in rows]
        for subject, counted in wanted.items():
            counts: dict[tuple[str, ...], int] = {(row[0], row[1]): row[2] for row in counted}
            due = [
                (cell, counts.get(cell, 0))
                for cell in product(*spec_of(areas).table(f"{subject}.month").codes)
            ]
            mine = [one for one in releases if (one.table or "").startswith(subject)]
            (month,) = (one for one in mine if one.table == f"{subject}.month" and one.edition == "first")
            drawn = noise[f"{subject}.month", month.period]
            found = [(cell.cell, cell.value - error) for cell, error in zip(month.cells, drawn, strict=True)]
            self._ledger.hold(f"{name}, {subject}", due, found)
            parts = [one for one in mine if one.table == f"{subject}.week_part"]
            summed = sum(
                cell.value - error
                for one in parts
                for cell, error in zip(one.cells, noise[f"{subject}.week_part", one.period], strict=True)
            )
            self._ledger.hold(f"{name}, week-parts of {subject}", [sum(counts.values())], [summed])
            (final,) = (one for one in mine if one.edition == "final")
            city = [cell.tenths for cell in final.cells if cell.table == f"{subject}.month_city"]
            whole = sum(cell.tenths or 0 for cell in final.cells if cell.table == f"{subject}.month")
            self._ledger.hold(f"{name}, final of {subject}", city, [whole])
