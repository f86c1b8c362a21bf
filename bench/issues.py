"""issues: how long GET /v1/issues takes with many issues, against few.

Two real `tips` run, each on a database of its own: one with 1,000 public issues, one with 100,000, a tenth of
them with a public text. Both are asked in turn, 50 times a second whatever the answers take: boxes of all
sizes, areas, categories, statuses, texts, what changed since, further pages, in all three formats. What is
held is the slowest of the many against the slowest of the few, p99 to p99 in the same run, and the memory of
the service with the many. Every answer is read and must be a page of issues.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import aiohttp
import uvloop

from bench.common import Ledger, Options, Result, centiles, median, print_rows, ratios_by_run, spread
from bench.tips_settings import MIGRATIONS, TOWN, tips_settings
from deploy.local import guard
from deploy.local.infrastructure import LocalInfrastructure, local_infrastructure
from deploy.local.postgres import create_database
from deploy.local.progress import to_stderr
from deploy.local.stack import ServiceProcess, service_process
from shared import kafka, postgres
from shared.municipality import Municipality, read

FEW, MANY = 1_000, 100_000
RATE, ASKED, LEAST_ASKED, WARM_UP = 50.0, 1_500, 100, 100
READY_SECONDS = 60.0
BAR, BAR_MIB = 4.0, 250.0
# Where the issues lie: south, west, and how many cells of 0.001 degrees to the north and to the east.
SOUTH, WEST, CELLS_NORTH, CELLS_EAST = 52.0, 5.55, 100, 150
START = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=300)
WORDS = ["lamp", "kapot", "weg", "gat", "stoep", "boom", "tak", "verf", "muur", "fiets", "auto", "bord"]
WORDS += ["glas", "bank", "hek", "put", "drempel"]
FILL = """
    WITH made AS MATERIALIZED (
        SELECT gen_random_uuid() AS report_id, gen_random_uuid() AS issue_id, n, random() AS chance,
               $2::timestamptz + random() * $3::interval AS at FROM generate_series(1, $1::integer) AS n),
    reported AS (
        INSERT INTO report (report_id, kind, category, areas, language, accepted_at, status, version,
                            lookup_id)
        SELECT report_id, 'issue', 'graffiti', '{}', 'nl', at, 'accepted', 1, sha256(report_id::text::bytea)
        FROM made RETURNING report_id)
    INSERT INTO issue (issue_id, report_id, category, areas, latitude, longitude, status, version, page,
                       accepted_at, changed_at, public_text, text_by)
    SELECT issue_id, report_id, ($4::text[])[1 + n % cardinality($4::text[])],
           jsonb_build_object('district', ($5::text[])[1 + n % cardinality($5::text[])]),
           round(($6::float8 + floor(random() * $7::integer) / 1000)::numeric, 3),
           round(($8::float8 + floor(random() * $9::integer) / 1000)::numeric, 3),
           CASE WHEN chance < 0.02 THEN 'accepted' WHEN chance < 0.06 THEN 'acknowledged' ELSE 'resolved' END,
           3, $10::text || '/issues/' || issue_id, at, at + random() * interval '10 days',
           CASE WHEN n % 10 = 0
               THEN ($11::text[])[1 + n / 10 % 17] || ' ' || ($11::text[])[1 + n / 7 % 17] END,
           CASE WHEN n % 10 = 0 THEN 'unit' END
    FROM made JOIN reported USING (report_id)"""


@dataclass
class Town:
    """One service and what it was asked."""

    service: ServiceProcess
    cursors: list[str] = field(default_factory=list)
    seconds: list[list[float]] = field(default_factory=list)
    peak_mib: float = 0.0


def run(options: Options) -> Result:
    """Run it. Blocking."""
    print(__doc__)
    with local_infrastructure() as infrastructure:
        return uvloop.run(_measure(infrastructure, options))


async def _measure(infrastructure: LocalInfrastructure, options: Options) -> Result:
    sizes = {"few": options.count(FEW, 100), "many": options.count(MANY, 1_000)}
    asked = options.count(ASKED, LEAST_ASKED)
    ledger = Ledger()
    async with _running(infrastructure, sizes) as towns, aiohttp.ClientSession() as session:
        chances = {name: random.Random(1) for name in towns}
        for name, town in towns.items():
            await _ask(session, town, chances[name], WARM_UP, ledger)
        for number in range(options.runs):
            names = list(towns)
            for name in names if number % 2 else reversed(names):
                found = await _ask(session, towns[name], chances[name], asked, ledger)
                towns[name].seconds.append(found)
                to_stderr(f"run {number + 1} of {options.runs}: {name} p99 {centiles(found)[1]:.1f} ms")
    return _result(options, towns, sizes, ledger)


@contextlib.asynccontextmanager
async def _running(
    infrastructure: LocalInfrastructure, sizes: dict[str, int]
) -> AsyncIterator[dict[str, Town]]:
    """A service for each size, ready to be asked."""
    await kafka.create_topics(infrastructure.bootstrap)
    municipality = read(TOWN)
    settings = tips_settings(infrastructure)
    towns = {}
    with contextlib.ExitStack() as started:
        for name, size in sizes.items():
            service = service_process(infrastructure, "tips", settings, name=name)
            await create_database(infrastructure.admin_dsn, name)
            await postgres.migrate(service.dsn, MIGRATIONS)
            await _fill(service.dsn, size, municipality, service.url)
            started.callback(service.child.stop)
            service.child.start()
            await asyncio.to_thread(service.child.wait_until, service.ready, READY_SECONDS)
            to_stderr(f"tips with {size:,} issues at {service.url}")
            towns[name] = Town(service)
        yield towns


async def _fill(dsn: str, size: int, municipality: Municipality, url: str) -> None:
    connection = await postgres.connect(dsn, "bench")
    try:
        await connection.execute(
            FILL,
            size,
            START,
            SPAN,
            [one.id for one in municipality.categories.values() if one.public],
            list(municipality.area_sets[municipality.primary_area_set].areas),
            SOUTH,
            CELLS_NORTH,
            WEST,
            CELLS_EAST,
            url,
            WORDS,
            timeout=600,
        )
        await connection.execute(
            "UPDATE issue SET page = $1::text || '/issues/' || issue_id", url, timeout=600
        )
        await connection.execute("VACUUM (ANALYZE) issue", timeout=600)
    finally:
        await connection.close()


async def _ask(
    session: aiohttp.ClientSession, town: Town, chance: random.Random, count: int, ledger: Ledger
) -> list[float]:
    """Ask so often at the rate, whatever the answers take; the seconds of each, from when it was due."""
    begun = time.perf_counter()

    async def one(number: int) -> float:
        due = begun + number / RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        async with session.get(town.service.url + _path(chance, town.cursors)) as answer:
            body = await answer.read()
            seconds = time.perf_counter() - due
            if answer.status != 200:
                ledger.faults.append(f"HTTP {answer.status}: {body[:200].decode()}")
            elif answer.content_type == "application/json":
                following = (await answer.json())["next"]
                if following and len(town.cursors) < 1_000:
                    town.cursors.append(following.partition("cursor=")[2][:32])
        return seconds

    found = await asyncio.gather(*(one(number) for number in range(count)))
    processes = guard.tree(town.service.child.pid)
    memory = sum(process.memory_info().rss for process in processes if process.is_running())
    town.peak_mib = max(town.peak_mib, memory / 2**20)
    return list(found)


def _path(chance: random.Random, cursors: Sequence[str]) -> str:
    """One request of the mix."""
    since = START + SPAN * chance.uniform(0.9, 1)
    kinds: list[dict[str, object]] = [
        {"box": _box(chance)},
        {"box": _box(chance), "status": ["accepted", "acknowledged"]},
        {"area": "district:oakwood"},
        {"area": "district:oakwood", "category": "graffiti", "status": "accepted"},
        {"text": chance.choice(WORDS)},
        {"text": f"{chance.choice(WORDS)} {chance.choice(WORDS)}"},
        {"text": f"graffiti {chance.choice(WORDS)[:3]}"},
        {"since": since.isoformat(), "category": "road_damage"},
        {"cursor": chance.choice(cursors)} if cursors else {},
        {"cursor": chance.choice(cursors), "box": _box(chance)} if cursors else {},
    ]
    ending = chance.choice(["", "", ".geojson", ".atom"])
    return f"/v1/issues{ending}?{urlencode(chance.choice(kinds), doseq=True)}"


def _box(chance: random.Random) -> str:
    """From a few cells to the whole town."""
    share = chance.choice([0.03, 0.1, 0.3, 1.0])
    north, east = CELLS_NORTH * share / 1000, CELLS_EAST * share / 1000
    south = SOUTH + chance.uniform(0, CELLS_NORTH / 1000 - north)
    west = WEST + chance.uniform(0, CELLS_EAST / 1000 - east)
    return f"{west:.6f},{south:.6f},{west + east:.6f},{south + north:.6f}"


def _result(options: Options, towns: dict[str, Town], sizes: dict[str, int], ledger: Ledger) -> Result:
    slowest = {name: [centiles(one)[1] for one in town.seconds] for name, town in towns.items()}
    usual = {name: [centiles(one)[0] for one in town.seconds] for name, town in towns.items()}
    each = ratios_by_run(slowest["many"], slowest["few"])
    ratio, mib = median(each), towns["many"].peak_mib
    print("ms")
    print_rows(
        ["p50", "p99", "lowest", "highest"],
        [
            (f"{sizes[name]:,} issues", [median(usual[name]), median(p99), min(p99), max(p99)])
            for name, p99 in slowest.items()
        ],
    )
    print(f"memory of the service with {sizes['many']:,} issues: {mib:.0f} MiB")
    missed = [] if ratio <= BAR else [f"p99 is {ratio:.1f} x that of the few; the bar is {BAR:g}"]
    if mib > BAR_MIB:
        missed.append(f"the service has {mib:.0f} MiB; the bar is {BAR_MIB:g}")
    ratios = {"p99 of many to few": ratio}
    more = {
        "ms": {name: [median(usual[name]), median(slowest[name])] for name in towns},
        "mib": mib,
        "bar": BAR,
    }
    return Result(
        "issues", ratio, "few issues", ratios, spread(each), ledger, options.runs, options.size, more, missed
    )
