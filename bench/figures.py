"""figures: how fast released figures are read, and what memory that takes.

A database has ten years of releases of a town. Its public port is asked for the figures of one district, of
one release after another; then again by `If-None-Match`, as whoever has them does. The peer is an empty route
of the same process, which answers with as many bytes. Then all releases of the last year are asked for, in
every form, and all that there is of it by topic; and then the same of all ten years: the memory may not grow.
Every answer is read; the figures are held against what was released.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

import aiohttp
import uvloop

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
    until,
)
from deploy.local import guard
from deploy.local.postgres import Postgres, create_database
from deploy.local.processes import Child, free_port
from deploy.local.progress import to_stderr
from deploy.local.stack import ROOT
from services.stats.core.figures import VIEWS
from services.stats.core.periods import period
from services.stats.core.spec import spec_of
from services.stats.http.asked import GRAIN
from services.stats.signing import Signer
from shared import postgres
from shared.events import StatisticsReleased
from shared.municipality import read
from tests.released import publish

TOWN = ROOT / "deploy" / "municipalities" / "ibuurt"
MIGRATIONS = [postgres.SHARED_MIGRATIONS, ROOT / "services" / "stats" / "migrations"]
AREA, LAST_YEAR = "oakwood", 2025
YEARS, REQUESTS, AT_ONCE = 10, 4_000, 16
BAR, BAR_GROWTH = 0.5, 1.15
FORMS = ("figures.json", "figures.csv", "datapackage.json", "package.zip", "release.json")


@dataclass
class Answer:
    """What came, and what `If-None-Match` asks for again."""

    status: int
    body: bytes
    etag: str


def run(options: Options) -> Result:
    """Run it. Blocking."""
    print(__doc__)
    with own_postgres() as server:
        return uvloop.run(_prepare(server, options))


async def _prepare(server: Postgres, options: Options) -> Result:
    dsn = await create_database(server.dsn(), "figures")
    await postgres.migrate(dsn, MIGRATIONS)
    connection = await postgres.connect(dsn, "bench")
    years = options.count(YEARS, 2)
    since, end = date(LAST_YEAR - years + 1, 1, 1), date(LAST_YEAR + 1, 1, 1)
    released = await publish(connection, spec_of(read(TOWN)), Signer("k" * 32), since, end)
    await connection.execute("VACUUM (ANALYZE) release")
    await connection.close()
    to_stderr(f"{len(released):,} releases of {years} years")
    port = free_port()
    command = [sys.executable, "-m", "bench.peers.figures_server", dsn, str(port)]
    child = Child("stats", command, log=server.folder.parent / "stats.log", cwd=ROOT)
    child.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            bench = _Bench(
                session, child, Meter({"stats": child, "postgres": server.child}), released, options
            )
            await until(bench.answers, "the public port", seconds=60, every=0.05)
            return await bench.run()
    finally:
        child.stop()


class _Bench:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        child: Child,
        meter: Meter,
        released: Sequence[StatisticsReleased],
        options: Options,
    ) -> None:
        self._session, self._child, self._meter, self._options = session, child, meter, options
        self._released = released
        # The ones of which a district has a whole table.
        self._months = [one for one in released if one.table == "reports.month" and one.edition == "first"]
        self._requests = options.count(REQUESTS, 200)
        self._ledger = Ledger()
        self._etags: dict[str, str] = {}

    async def answers(self) -> bool:
        """Whether the server is up."""
        with suppress(aiohttp.ClientError):
            return (await self._get("/v1/releases?limit=1")).status == 200
        return False

    async def run(self) -> Result:
        sizes = [await self._district(one) for one in self._months[-12:]]
        self._size = int(median(sizes))
        contenders: dict[str, Callable[[int], Awaitable[Timing]]] = {
            "figures of a district": self._figures,
            "conditional": self._conditional,
            "an empty route": self._empty,
        }
        found = await interleave(self._options.runs, contenders)
        print_rates(found)
        year, all_of_it = await self._memory()
        ours, conditional, empty = ([one.rate for one in timings] for timings in found.values())
        by_run = ratios_by_run(ours, empty)
        ratio, again = median(by_run), median(ratios_by_run(conditional, ours))
        print(
            f"figures of {self._size:,} bytes: {ratio:.2f} of an empty route; conditional {again:.2f} of that"
        )
        print(f"memory: {year:.0f} MiB with a year of releases, {all_of_it:.0f} MiB with all of them")
        missed = [] if ratio >= BAR else [f"{ratio:.2f} of an empty route; the bar is {BAR}"]
        if again <= 1:
            missed.append(f"a conditional request is as slow: {again:.2f} times the rate of the figures")
        if all_of_it > BAR_GROWTH * year:
            missed.append(f"{all_of_it:.0f} MiB; the bar is {BAR_GROWTH} of {year:.0f}")
        return Result(
            "figures",
            ratio,
            "an empty route",
            {"an empty route": ratio, "conditional to figures": again},
            spread(by_run),
            self._ledger,
            self._options.runs,
            self._options.size,
            {"bytes": self._size, "mib": {"a year": year, "all": all_of_it}, "bar": BAR},
            missed,
        )

    async def _get(self, path: str, etag: str = "") -> Answer:
        headers = {"If-None-Match": etag} if etag else {}
        async with self._session.get(path, headers=headers) as answer:
            return Answer(answer.status, await answer.read(), answer.headers.get("ETag", ""))

    async def _district(self, release: StatisticsReleased) -> int:
        """Ask for the figures of a district, and hold them against what was released; how many bytes."""
        path = f"/v1/releases/{release.digest}/figures.json?area={AREA}"
        answer = await self._get(path)
        self._etags[path] = answer.etag
        wanted = [(list(cell.cell), cell.value) for cell in release.cells if cell.cell[0] == AREA]
        told = json.loads(answer.body)["figures"]
        self._ledger.hold(
            path,
            [str(one) for one in wanted],
            [str(([one["area"], one["category"]], one["value"])) for one in told],
        )
        return len(answer.body)

    async def _figures(self, _run: int) -> Timing:
        paths = list(self._etags)
        return await self._ask(lambda number: (paths[number % len(paths)], ""), 200)

    async def _conditional(self, _run: int) -> Timing:
        asked = list(self._etags.items())
        return await self._ask(lambda number: asked[number % len(asked)], 304)

    async def _empty(self, _run: int) -> Timing:
        return await self._ask(lambda _number: (f"/empty/{self._size}", ""), 200)

    async def _ask(self, which: Callable[[int], tuple[str, str]], status: int) -> Timing:
        """So many requests, AT_ONCE at a time."""
        numbers = iter(range(self._requests))
        came: list[int] = []

        async def asking() -> None:
            for number in numbers:
                came.append((await self._get(*which(number))).status)

        self._meter.start()
        await asyncio.gather(*(asking() for _ in range(AT_ONCE)))
        timing = self._meter.stop(self._requests)
        self._ledger.hold("answers", [status] * self._requests, came)
        return timing

    async def _memory(self) -> tuple[float, float]:
        """MiB of the server when it has told all of the last year, and when all that there is."""
        await self._read_all(LAST_YEAR)
        year = self._mib()
        await self._read_all(0)
        return year, self._mib()

    async def _read_all(self, since: int) -> None:
        paths = [
            f"/v1/releases/{one.digest}/{form}"
            for one in self._released
            if int(one.period[:4]) >= since
            for form in FORMS
        ]
        for view in VIEWS:
            grain = GRAIN.get(view.name, "month")
            days = date(since or LAST_YEAR - YEARS + 1, 1, 1), date(LAST_YEAR, 12, 31)
            first, last = (period(grain, day).name for day in days)
            chosen = f"from={first}&until={last}&"
            paths += [
                f"/v1/statistics/{view.topic}/{view.name}?{chosen}format={form}" for form in ("json", "csv")
            ]
        left = iter(paths)
        came: list[int] = []

        async def asking() -> None:
            for path in left:
                came.append((await self._get(path)).status)

        await asyncio.gather(*(asking() for _ in range(AT_ONCE)))
        self._ledger.hold("every answer", [200] * len(paths), came)

    def _mib(self) -> float:
        return sum(one.memory_info().rss for one in guard.tree(self._child.pid)) / 2**20
