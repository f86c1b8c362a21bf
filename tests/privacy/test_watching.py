"""Attacks 2, 3, 10 and 13 of the fifteen: somebody asks, again and again, while reports come in."""

import asyncio
import csv
import io
import json
import random
import statistics
import time
import uuid
import zipfile
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from deploy.local.postgres import create_database, drop_database
from services.stats.core.figures import VIEWS
from shared import postgres
from shared.events import Event
from tests.conftest import Infrastructure
from tests.integration.stats_harness import report
from tests.integration.test_stats_service import Writer
from tests.privacy.attacks import CHANCE, highest, lowest
from tests.privacy.planted import BUG, FRESH, LIVE
from tests.privacy.sizes import BLOCKS, REQUESTS
from tests.privacy.table import ROWS, Row
from tests.privacy.watched import Answer, Watched, watched
from tests.spine import renew_topics, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Hundreds of reports, and so many rows that a count of them takes a while.
CROWD, MANY = 300, 30_000
AT_ONCE = 8
# Of the internal port, and for the operators alone: how many records a process took, topic by topic, how long
# that took, and what it did to the process. Nothing of it is by area, category or period, or as long as one.
BY_TOPIC = ("consumer_", "faststream_received_", "process_", "database_")
Cell = tuple[Any, ...]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stats(
    infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Watched]:
    await renew_topics(infrastructure.bootstrap)
    name = f"test_{uuid.uuid4().hex}"
    dsn = await create_database(infrastructure.admin_dsn, name)
    async with watched(infrastructure, dsn, tmp_path_factory.mktemp("watched")) as running:
        yield running
    await drop_database(infrastructure.admin_dsn, name)


def _now() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


async def told(stats: Watched, writer: Writer, events: list[Event]) -> None:
    """Have them counted, and what counting does besides be over."""
    connection = await postgres.connect(stats.dsn, "test")
    before = await connection.fetchval("SELECT count(*) FROM lifecycle")
    await writer.send(events)

    async def counted() -> bool:
        return bool(await connection.fetchval("SELECT count(*) = $1 FROM lifecycle", before + len(events)))

    await until(counted)
    await connection.close()


def _differing(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> set[Any]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


async def test_3_and_13_nothing_that_is_seen_tells_of_a_report_of_an_open_period(stats: Watched) -> None:
    """Before and after one report, and three hundred: bodies, headers, refusals, topics and logs are the
    same bytes; on the internal port only what is counted by topic differs."""
    one, _ = stats.replicas
    crowd: list[Event] = [report(_now(), "harbour" if number % 2 else "oakwood") for number in range(CROWD)]
    async with Writer(stats.bootstrap) as writer:
        # The first record of all has a process look at its topics.
        await told(stats, writer, [report(_now())])
        before = await stats.everything(one), await stats.everything(stats.replicas[1]), await stats.topics()
        planted = await stats.everything(stats.planted, **{BUG: LIVE})
        metrics, log = await stats.metrics(), stats.log()
        await told(stats, writer, [report(_now())])
        after = await stats.everything(one), await stats.everything(stats.replicas[1]), await stats.topics()
        seen = len(_differing(planted, await stats.everything(stats.planted, **{BUG: LIVE})))
        assert after == before
        await told(stats, writer, crowd)
        again = await stats.everything(one), await stats.everything(stats.replicas[1]), await stats.topics()
        assert again == before
        assert stats.log() == log
        moved = _differing(metrics, await stats.metrics())
    names = {sample.split()[1].partition("{")[0] for sample in moved}
    assert {name for name in names if not name.startswith(BY_TOPIC)} == set()
    assert not any(
        told in sample for sample in moved for told in ("oakwood", "harbour", "noise", "2026", "_size_")
    )
    assert seen > 0
    assert all(answer.status < 500 for answer in before[0].values())
    addresses = len(before[0])
    ROWS.append(
        Row(
            3,
            f"before and after one report of an open period: {addresses} addresses of two replicas, topics",
            "no public answer is made of anything but releases",
            "answers dated by what was counted",
            "the same bytes, headers and offsets",
            f"{seen} of {addresses} answers differ",
        )
    )
    ROWS.append(
        Row(
            13,
            f"{CROWD} reports more: refusals, page, topics, dead letters, log, metrics",
            "nothing names a count; metrics are by topic, on the internal port",
            "answers dated by what was counted",
            "the same; of internal metrics only those by topic",
            f"{seen} of {addresses} answers differ",
        )
    )


def _cells_of(path: str, answer: Answer) -> Iterator[tuple[Cell, float]]:
    """Every figure of an answer, by what it is a figure of, however it is told."""
    if "/v1/releases/" in path:
        digest, _, file = path.removeprefix("/v1/releases/").partition("?")[0].partition("/")
        yield from _of_release(digest, file, answer.body)
    else:
        _, _, _, topic, name = path.partition("?")[0].split("/")
        view = next(one for one in VIEWS if (one.topic, one.name) == (topic, name))
        if "format=csv" in path:
            rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
        else:
            rows = json.loads(answer.body)["figures"]
        for row in rows:
            named = {column: row[column] for column in view.columns}
            if name == "week_part" and row["edition"] == "final":
                named["week_part"] = row["period"]
            place = tuple(sorted(named.items()))
            yield (row["release"], view.cells, place), float(row["value"])


def _of_release(digest: str, file: str, body: bytes) -> Iterator[tuple[Cell, float]]:
    if file == "package.zip":
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            body, file = archive.read("figures.csv"), "figures.csv"
    if file == "figures.csv":
        rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(body.decode())))
    elif file == "figures.json":
        rows = json.loads(body)["figures"]
    else:
        return
    for row in rows:
        columns = ("week_part", "area", "category", "took", "outcome")
        place = tuple(sorted((column, row[column]) for column in columns if row.get(column)))
        yield (digest, row["table"], place), float(row["value"])


def _drawn(stats: Watched, chance: random.Random) -> str:
    """Some address of figures."""
    areas = ("", "area=oakwood", "area=harbour")
    if chance.random() < 0.4:
        file = chance.choice(["figures.json", "figures.csv", "package.zip"])
        area = chance.choice(areas) if file != "package.zip" else ""
        return f"/v1/releases/{chance.choice(stats.shown).digest}/{file}" + (f"?{area}" if area else "")
    view = chance.choice(VIEWS)
    asked = [chance.choice(["", "format=csv", "format=json"])]
    if "area" in view.columns:
        asked.append(chance.choice(areas))
    if "took" not in view.columns and "outcome" not in view.columns and "week" not in view.name:
        asked.append(chance.choice(["", "period=2025-02", "from=2025-02", "from=2025-01&until=2025-03"]))
    return f"/v1/statistics/{view.topic}/{view.name}?{'&'.join(filter(None, asked))}".rstrip("?")


async def test_2_however_often_it_is_asked_a_cell_has_one_value(stats: Watched) -> None:
    """By two replicas, in every format, with filters and languages; noise of its own for each answer is
    averaged away."""
    chance = random.Random(2)

    async def asked(count: int, bug: str) -> dict[Cell, list[float]]:
        values: dict[Cell, list[float]] = defaultdict(list)
        processes = (stats.planted,) if bug else stats.replicas
        left = iter(range(count))

        async def asker() -> None:
            for _ in left:
                path, process = _drawn(stats, chance), chance.choice(processes)
                language = chance.choice(["nl", "en", "fr;q=0.3, nl;q=0.2"])
                fresh = chance.choice(["no-cache", "max-age=0"])
                planted = {BUG: bug} if bug else {}
                answer = await stats.ask(
                    process.url + path, Accept_Language=language, Cache_Control=fresh, **planted
                )
                assert answer.status == 200, (path, answer.body)
                for cell, value in _cells_of(path, answer):
                    values[cell].append(value)

        await asyncio.gather(*(asker() for _ in range(AT_ONCE)))
        return values

    built = await asked(REQUESTS, "")
    broken = await asked(max(60, REQUESTS // 20), FRESH)
    most = max(len(set(values)) for values in built.values())
    told_more = [cell for cell, values in broken.items() if len(values) > 5]
    off = [abs(statistics.fmean(broken[cell]) - built[cell][0]) for cell in told_more if cell in built]
    ROWS.append(
        Row(
            2,
            f"{REQUESTS:,} requests to two replicas: JSON, CSV, zip, languages, filters",
            "drawn once, published once",
            "noise for each answer",
            f"{most} value for each of {len(built):,} cells, {sum(map(len, built.values())):,} times told",
            f"up to {max(len(set(values)) for values in broken.values())} values; "
            f"their means are {statistics.fmean(off):.1f} off",
        )
    )
    assert most == 1
    assert max(len(set(values)) for values in broken.values()) > 1


async def test_10_how_long_an_answer_takes_tells_nothing_of_how_many_there_are(stats: Watched) -> None:
    """Blocks of requests with no report in the database and with many, in an order that coins decide: whoever
    takes the slower half for the crowded ones is right by chance. An answer that counts is found out."""
    coins = random.Random(10)
    crowded = [True] * (BLOCKS // 2) + [False] * (BLOCKS // 2)
    coins.shuffle(crowded)
    paths = ("/v1/statistics/reports/month?area=oakwood", "/?language=nl", "/v1/releases")
    least: dict[str, list[float]] = {"": [], LIVE: []}
    connection = await postgres.connect(stats.dsn, "test")
    await connection.execute("CREATE TABLE crowd (LIKE lifecycle)")
    await connection.execute(
        """INSERT INTO crowd SELECT (j).* FROM (
               SELECT jsonb_populate_record(l, jsonb_build_object('report_id', gen_random_uuid())) AS j
               FROM (SELECT l FROM lifecycle l LIMIT 1) one, generate_series(1, $1)) many""",
        MANY,
    )
    for many in crowded:
        await connection.execute("TRUNCATE lifecycle")
        if many:
            await connection.execute("INSERT INTO lifecycle SELECT * FROM crowd")
        for bug, process in (("", stats.replicas[0]), (LIVE, stats.planted)):
            took = []
            for number in range(18):
                began = time.perf_counter()
                await stats.ask(process.url + paths[number % len(paths)], **{BUG: bug})
                took.append(time.perf_counter() - began)
            # The first ones find caches as the change has left them; the quickest is the least disturbed.
            least[bug].append(min(took[6:]))
    await connection.execute("TRUNCATE lifecycle")
    await connection.execute("DROP TABLE crowd")
    await connection.close()

    def right(took: list[float]) -> int:
        middle = statistics.median(took)
        return sum((one > middle) == many for one, many in zip(took, crowded, strict=True))

    built, broken = right(least[""]), right(least[LIVE])
    low, high = lowest(built, BLOCKS, CHANCE / 2), highest(built, BLOCKS, CHANCE / 2)
    ROWS.append(
        Row(
            10,
            f"how long answers take, with no report and with {MANY:,}, {BLOCKS} blocks",
            "answers read releases alone",
            "an answer that counts",
            f"{built / BLOCKS:.0%} right",
            f"{broken / BLOCKS:.0%} right",
        )
    )
    assert low <= 0.5 <= high
    assert lowest(broken, BLOCKS, 0.01) > 0.5
