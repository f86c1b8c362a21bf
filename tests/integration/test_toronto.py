"""Toronto's history, from the police's export to signed releases, beside the counts that nobody publishes."""

import asyncio
import contextlib
import csv
import gzip
import os
import shutil
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import psutil
import pytest

from services.stats.core.periods import Grain, named, period
from services.stats.core.spec import spec_of
from shared import postgres
from shared.events import StatisticsReleased
from shared.municipality import read
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.service_process import ROOT, ask, environment, running_process
from tests.integration.stats_harness import MIGRATIONS, on_topic
from tests.spine import running, until

TORONTO = ROOT / "deploy/municipalities/toronto"
DATA = Path(os.environ.get("IBUURT_TEST_DATA", ROOT.parent / "shared" / "data")) / "toronto"
PARTS = [DATA / f"toronto_mci_{part}.csv.gz" for part in ("train", "test")]
LONG = os.environ.get("IBUURT_TEST_LONG") == "1"
ROWS, COUNTED = 240_992, 239_935
MINUTES = 15 * 60.0
# By table and period what counts in each cell; a final edition's cells name their week-part.
Exact = Mapping[tuple[str, str], Mapping[tuple[str, ...], int]]


class Memory:
    """The most that processes have had of it, in MiB, by name."""

    def __init__(self) -> None:
        self.peak: Counter[str] = Counter()
        self._watched: dict[str, psutil.Process] = {}

    def watch(self, name: str, pid: int) -> None:
        self._watched[name] = psutil.Process(pid)

    async def run(self) -> None:
        while True:
            for name, process in self._watched.items():
                with contextlib.suppress(psutil.Error):
                    self.peak[name] = max(self.peak[name], process.memory_info().rss >> 20)
            await asyncio.sleep(0.1)


def exact(files: Sequence[Path], since: date) -> tuple[Exact, Counter[tuple[int, str]]]:
    """What the export's own rows come to, counted by hand: by cell, and by year and offence."""
    mapping = tomllib.loads((TORONTO / "incidents.toml").read_text("utf-8"))
    cells: dict[tuple[str, str], Counter[tuple[str, ...]]] = {}
    years: Counter[tuple[int, str]] = Counter()
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows):
                day = datetime.strptime(row["occurrencedate"][:10], "%Y/%m/%d").date()  # noqa: DTZ007
                if day < since:
                    continue
                area = mapping["areas"][row["Neighbourhood"]]
                category = mapping["categories"][row["MCI"]]
                years[day.year, category] += 1
                month, week = period("month", day).name, period("week_part", day).name
                for table, name, cell in (
                    ("incidents.month", month, (area, category)),
                    ("incidents.week_part", week, (area,)),
                    ("final incidents.month", month, (area, category)),
                    ("final incidents.week_part", month, (week, area)),
                    ("final incidents.month_area", month, (area,)),
                    ("final incidents.month_category", month, (category,)),
                    ("final incidents.month_city", month, ()),
                ):
                    cells.setdefault((table, name), Counter())[cell] += 1
    return cells, years


class Held(NamedTuple):
    """A published figure beside the count."""

    table: str
    within: bool


def held(releases: Sequence[StatisticsReleased], counts: Exact) -> Iterator[Held]:
    """Each published figure, and whether the count lies within its bound."""
    nothing: Mapping[tuple[str, ...], int] = Counter()
    for release in releases:
        for cell in release.cells:
            table = cell.table if release.edition == "first" else f"final {cell.table}"
            count = counts.get((table, release.period), nothing)[cell.cell]
            tenths = cell.value * 10 if cell.tenths is None else cell.tenths
            yield Held(table, abs(tenths - 10 * count) <= release.margins[cell.table])


def trends(releases: Sequence[StatisticsReleased]) -> Counter[tuple[int, str]]:
    """The city's tenths by year and offence, as the final editions have them."""
    found: Counter[tuple[int, str]] = Counter()
    for release in releases:
        if release.edition == "final":
            for cell in release.cells:
                if cell.table == "incidents.month_category":
                    found[int(release.period[:4]), cell.cell[0]] += cell.tenths or 0
    return found


async def started(env: dict[str, str], *arguments: str) -> "asyncio.subprocess.Process":
    program = (sys.executable, "-m", "services.stats", *arguments)
    return await asyncio.create_subprocess_exec(*program, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE)


@pytest.mark.skipif(
    not LONG or not all(part.exists() for part in PARTS),
    reason="takes minutes and needs ../shared/data/toronto; make toronto runs it where that is",
)
async def test_torontos_history_is_released_and_its_bounds_hold_in_95_of_100_cells(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase, tmp_path: Path
) -> None:
    """All 240,992 rows through Kafka and stats as they are deployed; every closed month and week-part is
    released, with its final edition, and verified."""
    dsn = await database()
    await postgres.migrate(dsn, MIGRATIONS)
    env = environment(dsn, infrastructure.bootstrap, TORONTO, signing_key="k" * 32)
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=1)
    memory, took = Memory(), {}

    async def value(query: str) -> Any:
        return await pool.fetchval(query)

    async def drawn() -> bool:
        waits: bool = await value("SELECT count(*) > 0 FROM period WHERE table_id = 'incidents.month'")
        return waits

    async def applied() -> bool:
        return int(await value("SELECT count(*) FROM incident")) == COUNTED

    async def released() -> bool:
        return not await value(
            """SELECT EXISTS (SELECT FROM release WHERE shown_at IS NULL) OR EXISTS (
                   SELECT FROM period p WHERE starts_with(table_id, 'incidents.')
                       AND closes_at <= now() AND NOT EXISTS (SELECT FROM release r
                       WHERE r.table_id = p.table_id AND r.period = p.name)) OR EXISTS (
                   SELECT FROM release m WHERE table_id = 'incidents.month' AND edition = 'first'
                       AND NOT EXISTS (SELECT FROM release f WHERE f.table_id = m.table_id
                           AND f.period = m.period AND f.edition = 'final'))"""
        )

    begun = time.monotonic()

    def lap(what: str) -> None:
        nonlocal begun
        took[what], begun = time.monotonic() - begun, time.monotonic()

    async with running(memory.run()), running_process("stats", env, tmp_path / "stats.log") as process:
        memory.watch("stats", process.child.pid)
        await until(drawn, MINUTES)
        lap("noise drawn")
        for part in PARTS:
            shutil.copy(part, tmp_path / part.name)
            child = await started(
                env,
                "import-incidents",
                str(tmp_path / part.name),
                "--mapping",
                str(TORONTO / "incidents.toml"),
            )
            memory.watch("import", child.pid)
            said, _ = await child.communicate()
            assert child.returncode == 0
            print(part.name, said.decode().splitlines()[-2:])
        lap("imported")
        await until(applied, MINUTES)
        lap("the last applied")
        await ask("stats", env, "close-history", "--subject", "incidents", "--by", "test")
        await until(released, MINUTES)
        lap("closed and released")
        await ask("stats", env, "verify")
        lap("verified")
    await pool.close()
    since = read(TORONTO).statistics.incidents.since
    counts, years = exact(PARTS, since)
    releases = await on_topic(infrastructure.bootstrap)
    _print_trends(trends(releases), years)
    all_held = list(held(releases, counts))
    total, within = (
        Counter(one.table for one in all_held),
        Counter(one.table for one in all_held if one.within),
    )
    print(f"\n{'table':<34}{'figures':>10}{'within their bound':>20}")
    for table, number in total.items():
        print(f"{table:<34}{number:>10,}{within[table] / number:>20.2%}")
    share = within.total() / total.total()
    print(f"{'all':<34}{total.total():>10,}{share:>20.2%}\n")
    print("; ".join(f"{what} {seconds:.0f} s" for what, seconds in took.items()))
    print("; ".join(f"{name} at most {peak} MiB" for name, peak in memory.peak.items()))
    _hold_complete(releases, counts)
    assert years.total() == COUNTED
    assert 0.94 <= share <= 0.96


def _print_trends(published: Counter[tuple[int, str]], years: Counter[tuple[int, str]]) -> None:
    categories = sorted({category for _, category in years})
    print(f"\n{'':<6}" + "".join(f"{category:>24}" for category in categories))
    for year in sorted({year for year, _ in published}):
        row = (f"{published[year, one] / 10:,.1f} ({years[year, one]:,})" for one in categories)
        print(f"{year:<6}" + "".join(f"{figures:>24}" for figures in row))


def _hold_complete(releases: Sequence[StatisticsReleased], counts: Exact) -> None:
    """Every cell of every period since the statistics began, once; none is withheld, and each month has its
    final edition."""
    spec = spec_of(read(TORONTO))
    grains: tuple[Grain, ...] = ("month", "week_part")
    for grain in grains:
        table = spec.table(f"incidents.{grain}")
        first = [one for one in releases if one.table == table.id and one.edition == "first"]
        begins = [named(grain, one.period).begin for one in first]
        assert begins[0] == table.since
        assert begins == sorted(set(begins))
        assert all(period(grain, begin).end == after for begin, after in pairwise(begins))
        assert all([cell.cell for cell in one.cells] == table.cells() for one in first)
        assert {name for kept, name in counts if kept == table.id} <= {one.period for one in first}
    assert {one.state for one in releases} == {"released"}
    finals = [one.period for one in releases if one.edition == "final"]
    months = [one.period for one in releases if one.table == "incidents.month" and one.edition == "first"]
    assert sorted(finals) == months
