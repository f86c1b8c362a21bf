"""import: how fast a police export becomes open counts.

Toronto's 240,992 incidents as one file (../shared/data; where that is not, the 2,000 of the folder's sample
again and again, each time at other places). The import publishes it while a group of `stats` reads along;
timed from the file's first byte until the last incident is counted.
Peers: P, the same reading of the same file, and nothing done with it; K, a bare aiokafka producer with
records made beforehand; A, the group alone, on a topic that holds everything. One after the other they come
to 1/(1/P + 1/K + 1/A).
What is counted, and what is on the topic, is held against the file after each run. At the end the command
runs as a process on that file and on one of ten times its rows: the most memory that it has had is what is
held.
"""

import asyncio
import contextlib
import csv
import gzip
import io
import itertools
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
import uvloop
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from prometheus_client import CollectorRegistry

from bench.common import (
    Ledger,
    Meter,
    Options,
    Result,
    Timing,
    interleave,
    median,
    print_rates,
    ratios_by_run,
    running,
    spread,
    until,
)
from bench.records import ends, read_back
from deploy.local.infrastructure import LocalInfrastructure, local_infrastructure
from deploy.local.postgres import create_database, drop_database
from deploy.local.stack import ROOT
from services.stats.consumer import Counting
from services.stats.core.export import counted, read_mapping
from services.stats.core.periods import part_of
from services.stats.importing import CHUNK, Reading, Repeats, import_file
from shared import kafka, postgres
from shared.cloudevents import Envelope, Record, to_record
from shared.consumer import Consumer
from shared.events import INCIDENTS, IncidentRecorded
from shared.metrics import ConsumerMetrics
from shared.municipality import read

ROWS, LEAST, TIMES = 240_992, 2_000, 10
BAR, MIB_BAR = 0.5, 300.0
GROUP, TEMPLATE = "stats", "stats_template"
ALL = "1/(1/P + 1/K + 1/A)"
TORONTO = ROOT / "deploy" / "municipalities" / "toronto"
MAPPING = TORONTO / "incidents.toml"
DATA = Path(os.environ.get("IBUURT_TEST_DATA", ROOT.parent / "shared" / "data")) / "toronto"
PARTS = tuple(DATA / f"toronto_mci_{part}.csv.gz" for part in ("train", "test"))


def run(options: Options) -> Result:
    """Run it. Blocking."""
    print(__doc__)
    with local_infrastructure() as servers, tempfile.TemporaryDirectory() as folder:
        return uvloop.run(_Bench(servers, options, Path(folder)).run())


class _Bench:
    def __init__(self, servers: LocalInfrastructure, options: Options, folder: Path) -> None:
        self._bootstrap = servers.bootstrap
        self._admin_dsn = servers.admin_dsn
        self._options = options
        self._folder = folder
        self._town, self._by = read(TORONTO), read_mapping(MAPPING.read_text("utf-8"))
        self._apply = Counting(self._town.tz, self._town.primary_area_set).apply
        self._rows = options.count(ROWS, LEAST)
        self._export = folder / "export.csv"
        self._incidents: list[IncidentRecorded] = []
        self._records: list[Record] = []
        self._meter = Meter({"kafka": servers.kafka.child, "postgres": servers.postgres.child})
        self._ledger = Ledger()

    async def run(self) -> Result:
        await kafka.create_topics(self._bootstrap)
        template = await create_database(self._admin_dsn, TEMPLATE)
        own = ROOT / "services" / "stats" / "migrations"
        await postgres.migrate(template, [postgres.SHARED_MIGRATIONS, own])
        _write(self._export, self._rows)
        self._incidents, rejected = self._read()
        now = datetime.now(UTC)
        self._records = [
            to_record(Envelope.of(one, id=one.incident_id, source="/toronto/police", now=now))
            for one in self._incidents
        ]
        print(f"{self._rows:,} rows a run: {len(self._incidents):,} incidents, {rejected.total():,} rejected")
        found = await interleave(
            self._options.runs,
            # A topic holds everything after the import and after K.
            {"import": self._import, "P": self._parse, "K": self._publish, "A": self._read_along},
        )
        print_rates(found)
        memory = {"one": await self._memory(1), "ten": await self._memory(TIMES)}
        return self._result({name: [one.rate for one in timings] for name, timings in found.items()}, memory)

    def _result(self, rates: dict[str, list[float]], memory: dict[str, float]) -> Result:
        ours = rates["import"]
        peers = zip(rates["P"], rates["K"], rates["A"], strict=True)
        together = [1 / sum(1 / one for one in each) for each in peers]
        by_run = {ALL: ratios_by_run(ours, together)}
        by_run |= {name: ratios_by_run(ours, rates[name]) for name in ("P", "K", "A")}
        ratios = {name: median(one) for name, one in by_run.items()}
        print(f"{ALL} is {median(together):,.0f}/s, the import {ratios[ALL]:.2f} of it")
        print(f"memory at most: {memory['one']:.0f} MiB; of {TIMES} times the rows {memory['ten']:.0f} MiB")
        missed = [f"{ratios[ALL]:.2f} of {ALL}; the bar is {BAR}"] if ratios[ALL] < BAR else []
        if memory["ten"] > MIB_BAR:
            missed.append(f"{memory['ten']:.0f} MiB; the bar is {MIB_BAR:.0f}")
        return Result(
            "import",
            ratios[ALL],
            ALL,
            ratios,
            spread(by_run[ALL]),
            self._ledger,
            self._options.runs,
            self._options.size,
            {
                "rows_per_second": {name: median(one) for name, one in rates.items()},
                "mib": memory,
                "bar": BAR,
            },
            missed,
        )

    async def _import(self, number: int) -> Timing:
        await self._empty_topic()
        again = self._folder / f"run-{number}.csv"
        again.hardlink_to(self._export)

        async def publish() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                await import_file(self._bootstrap, again, self._by, self._town)

        timing = await self._counting("import", publish)
        await self._check_topic("import")
        return timing

    async def _read_along(self, _run: int) -> Timing:
        async def nothing() -> None:
            return None

        return await self._counting("A", nothing)

    async def _counting(self, what: str, publish: Callable[[], Awaitable[None]]) -> Timing:
        """The group reads what is published, until all is counted."""
        dsn = await self._new_database()
        registry = CollectorRegistry()
        pool = await postgres.open_pool(dsn, GROUP)
        broker = kafka.broker(self._bootstrap, GROUP, registry)
        metrics = ConsumerMetrics(registry)
        consumer = Consumer(broker, self._bootstrap, pool, GROUP, (INCIDENTS,), self._apply, metrics)
        topic = {"topic": INCIDENTS.name}
        async with running(consumer.run()) as task:
            await until(consumer.joined.is_set, "joining the group", task)
            self._meter.start()
            await publish()
            await until(
                lambda: (
                    (registry.get_sample_value("consumer_applied_total", topic) or 0) >= len(self._incidents)
                ),
                "the last incident's count",
                task,
                every=0.005,
            )
            timing = self._meter.stop(self._rows)
        await pool.close()
        await self._check_counts(what, dsn)
        return timing

    async def _parse(self, _run: int) -> Timing:
        self._meter.start()
        incidents, _ = self._read()
        timing = self._meter.stop(self._rows)
        self._ledger.hold("P", self._incidents, incidents, _id)
        return timing

    async def _publish(self, _run: int) -> Timing:
        await self._empty_topic()
        producer = kafka.producer(self._bootstrap, "bench")
        await producer.start()
        self._meter.start()
        for one in self._records:
            await producer.send(one.topic, one.value, one.key, headers=list(one.headers))
        await producer.flush()
        timing = self._meter.stop(self._rows)
        await producer.stop()
        await self._check_topic("K")
        return timing

    def _read(self) -> tuple[list[IncidentRecorded], Counter[str]]:
        """All incidents of the export, and how many rows are none."""
        span = counted(self._town, datetime.now(UTC))
        found: list[IncidentRecorded] = []
        with (
            self._export.open("rb") as lines,
            tempfile.TemporaryFile("w+") as refused,
            contextlib.closing(Repeats()) as repeats,
        ):
            reading = Reading(self._export.name, lines, refused, self._by, span, repeats)
            reading.begin(is_json=False)
            while not reading.ended:
                found += reading.chunk(CHUNK)
            return found, reading.fates

    async def _memory(self, times: int) -> float:
        """The most that the command has had of it, in MiB, for a file of so many times the rows."""
        await self._empty_topic()
        export = self._folder / f"times-{times}.csv"
        _write(export, self._rows, times)
        told = {"IBUURT_KAFKA_BOOTSTRAP": self._bootstrap, "IBUURT_MUNICIPALITY": str(TORONTO)}
        command = ["import-incidents", str(export), "--mapping", str(MAPPING)]
        child = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-m", "services.stats", *command],
            cwd=ROOT,
            env=os.environ | told,
            stdout=subprocess.DEVNULL,
        )
        most, process = 0, psutil.Process(child.pid)
        while child.poll() is None:
            with contextlib.suppress(psutil.Error):
                most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.05)
        if child.returncode:
            self._ledger.faults.append(f"the import of {times} times the rows ended with {child.returncode}")
        self._ledger.hold(
            f"{times} times", [len(self._incidents) * times], [sum(map(len, (await self._held()).values()))]
        )
        return most / 2**20

    async def _empty_topic(self) -> None:
        held = await self._held()
        async with kafka.admin(self._bootstrap) as client:
            await client.delete_records(
                {place: RecordsToDelete(before_offset=held[place].stop) for place in held if held[place]}
            )

    async def _new_database(self) -> str:
        """An empty one, in place of the one of the contender before."""
        await drop_database(self._admin_dsn, GROUP)
        dsn = await create_database(self._admin_dsn, GROUP, TEMPLATE)
        connection = await postgres.connect(dsn, "bench")
        await connection.execute("CHECKPOINT")
        await connection.close()
        return dsn

    async def _check_counts(self, what: str, dsn: str) -> None:
        connection = await postgres.connect(dsn, "bench")
        rows = await connection.fetch(
            "SELECT incident_id, area, category, counted_in FROM incident ORDER BY incident_id"
        )
        await connection.close()
        area_set, zone = self._town.primary_area_set, self._town.tz
        wanted = sorted(
            (one.incident_id, one.areas[area_set], one.category, part_of(one.hour, zone))
            for one in self._incidents
        )
        self._ledger.hold(f"{what}, counts", wanted, [tuple(row) for row in rows])

    async def _check_topic(self, what: str) -> None:
        starts = {place: held.start for place, held in (await self._held()).items()}
        found = await read_back(self._bootstrap, INCIDENTS.name, starts)
        keys = sorted((record.key or b"").decode() for records in found.values() for record in records)
        self._ledger.hold(f"{what}, topic", sorted(str(one.incident_id) for one in self._incidents), keys)

    async def _held(self) -> dict[TopicPartition, range]:
        """The offsets that the topic holds, by partition."""
        reader = kafka.reader(self._bootstrap, "bench-ends")
        try:
            await reader.start()
            until_now = await ends(reader, INCIDENTS.name)
            starts = await reader.beginning_offsets(list(until_now))
            return {place: range(starts[place], end) for place, end in until_now.items()}
        finally:
            await kafka.stop_quietly(reader)


def _id(one: IncidentRecorded) -> str:
    return one.key


def _write(file: Path, rows: int, times: int = 1) -> None:
    """An export of so many of the real rows, and so many times all of them, each time at other places."""
    parts: Sequence[Path] = PARTS if all(part.exists() for part in PARTS) else [TORONTO / "sample.csv.gz"]
    with file.open("w", encoding="utf-8", newline="") as to:
        writer = csv.writer(to)
        header = next(_rows(parts[0]))
        writer.writerow(header)
        place = header.index("Lat")
        for turn in range(times):
            for row in itertools.islice(_again(parts, place), rows):
                row[place] += f"{turn or ''}"
                writer.writerow(row)


def _again(parts: Sequence[Path], place: int) -> Iterator[list[str]]:
    """The rows of all parts; when they are over, the same at other places."""
    for turn in itertools.count():
        for part in parts:
            for row in itertools.islice(_rows(part), 1, None):
                row[place] += f"{turn:04d}" if turn else ""
                yield row


def _rows(part: Path) -> Iterator[list[str]]:
    with gzip.open(part, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.reader(lines)
