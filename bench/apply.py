"""apply: how fast `stats` applies what it reads.

Events of 480 bytes, five for each report and far apart, lie on the 12 partitions of ibuurt.reports.v1; after
each 500 of a partition its relay sent the last 5 again. The group reads them from the start, as the service
runs it: fence, rows and counts commit together. Once with counts only (each event adds to two of them), and
once as `stats` does it, with the lifecycle row of each report.
Peers: D, a bare aiokafka consumer, `getmany` and the same decoding; S, the same SQL batches with the same
arguments, recorded beforehand, without Kafka. One after the other they come to 1/(1/D + 1/S).
All run to the last event; what is in the tables is then held against the events.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, cast

import uvloop
from aiokafka import ConsumerRecord
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
from bench.lives import SCOPE, Lives, area_number, cells_by_type
from bench.records import ends, make_topics
from deploy.local.infrastructure import LocalInfrastructure, local_infrastructure
from deploy.local.postgres import create_database, drop_database
from deploy.local.stack import ROOT
from services.stats import core, queries
from services.stats.consumer import Counting
from shared import fence, kafka, postgres
from shared.cloudevents import Envelope, from_record, number_of
from shared.consumer import Apply, Consumer
from shared.events import REPORTS, Event, ReportEvent
from shared.examine import examine
from shared.metrics import ConsumerMetrics
from shared.subscription import BATCH_TIMEOUT_MS, MAX_RECORDS

REPORTS_FULL, REPORTS_LEAST = 100_000, 500
BAR = 0.8
GROUP, TEMPLATE = "stats", "stats_template"
BOTH = "1/(1/D + 1/S)"
PLACES = [(REPORTS.name, partition) for partition in range(REPORTS.partitions)]

Statement = tuple[str, str, tuple[Any, ...]]


async def counts_only(connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
    """Count every event twice: by week and area, and by month, area and type. Keeps nothing of a report."""
    # Nothing else is on that topic here; to ask pydantic what each is costs as much as to read a header.
    of_reports = cast("Sequence[Envelope[ReportEvent]]", envelopes)
    counts: Counter[core.Cell] = Counter()
    # By numbers first: to count by a time costs Python as much as to read one.
    alike = Counter(
        (one.time.toordinal(), one.time.hour, area_number(one.event.report_id), type(one.event))
        for one in of_reports
    )
    for of_what, number in alike.items():
        for cell in cells_by_type(*of_what):
            counts[cell] += number
    await queries.add_counts(connection, counts)


VARIANTS: dict[str, Apply] = {"counts": counts_only, "lifecycle": Counting(SCOPE).apply}


def run(options: Options) -> Result:
    """Run it. Blocking."""
    print(__doc__)
    with local_infrastructure() as servers:
        return uvloop.run(_Bench(servers, options).run())


class _Bench:
    def __init__(self, servers: LocalInfrastructure, options: Options) -> None:
        self._bootstrap = servers.bootstrap
        self._admin_dsn = servers.admin_dsn
        self._options = options
        self._lives = Lives(options.count(REPORTS_FULL, REPORTS_LEAST))
        self._events = self._lives.events
        self._meter = Meter({"kafka": servers.kafka.child, "postgres": servers.postgres.child})
        self._ledger = Ledger()

    async def run(self) -> Result:
        await make_topics(self._bootstrap)
        template = await create_database(self._admin_dsn, TEMPLATE)
        own = ROOT / "services" / "stats" / "migrations"
        await postgres.migrate(template, [postgres.SHARED_MIGRATIONS, own])
        repeated = await self._produce() - self._events
        print(
            f"{self._events:,} events of {len(self._lives.reports):,} reports a run, {repeated:,} sent twice"
        )
        found: dict[str, list[Timing]] = {}
        for variant, apply in VARIANTS.items():
            statements = await self._record(variant, apply)
            found |= await interleave(
                self._options.runs,
                {
                    f"{variant}: stats": partial(self._stats, variant, apply),
                    f"{variant}: D": self._decoding,
                    f"{variant}: S": partial(self._replay, variant, statements),
                },
            )
        print_rates(found)
        return self._result({name: [timing.rate for timing in timings] for name, timings in found.items()})

    def _result(self, rates: dict[str, list[float]]) -> Result:
        by_run: dict[str, list[float]] = {}
        for variant in VARIANTS:
            ours, d, s = (rates[f"{variant}: {name}"] for name in ("stats", "D", "S"))
            both = [1 / (1 / one + 1 / other) for one, other in zip(d, s, strict=True)]
            for name, peer in ((BOTH, both), ("D", d), ("S", s)):
                by_run[f"{variant}: {name}"] = ratios_by_run(ours, peer)
            share = median(by_run[f"{variant}: {BOTH}"])
            print(f"{variant}: {BOTH} is {median(both):,.0f}/s, stats {share:.2f} of it")
        ratios = {name: median(found) for name, found in by_run.items()}
        held = [f"{variant}: {BOTH}" for variant in VARIANTS]
        of = min(held, key=ratios.__getitem__)
        return Result(
            "apply",
            ratios[of],
            of,
            ratios,
            spread(by_run[of]),
            self._ledger,
            self._options.runs,
            self._options.size,
            {"events_per_second": {name: median(found) for name, found in rates.items()}, "bar": BAR},
            [f"{ratios[name]:.2f} of {name}; the bar is {BAR}" for name in held if ratios[name] < BAR],
        )

    async def _produce(self) -> int:
        """Put everything on the topic; returns how many records that were."""
        producer = kafka.producer(self._bootstrap, "bench")
        await producer.start()
        count = 0
        try:
            for row in self._lives.records():
                count += 1
                milliseconds = int(row.time.timestamp() * 1000)
                await producer.send(row.topic, row.value, row.key, row.partition, milliseconds, row.headers())
            await producer.flush()
        finally:
            await producer.stop()
        return count

    async def _stats(self, variant: str, apply: Apply, _run: int) -> Timing:
        dsn = await self._new_database()
        registry = CollectorRegistry()
        pool = await postgres.open_pool(dsn, GROUP)
        broker = kafka.broker(self._bootstrap, GROUP, registry)
        metrics = ConsumerMetrics(registry)
        consumer = Consumer(broker, self._bootstrap, pool, GROUP, (REPORTS,), apply, metrics)
        topic = {"topic": REPORTS.name}
        async with running(consumer.run()) as task:
            await until(consumer.joined.is_set, "joining the group", task)
            self._meter.start()
            await until(
                lambda: (registry.get_sample_value("consumer_applied_total", topic) or 0) >= self._events,
                "the topic's end",
                task,
                every=0.005,
            )
            timing = self._meter.stop(self._events)
        await pool.close()
        await self._check(f"{variant}: stats", variant, dsn)
        return timing

    async def _decoding(self, _run: int) -> Timing:
        last = dict.fromkeys(range(REPORTS.partitions), 0)
        decoded = 0
        async for records in self._read(self._meter.start):
            for record in records:
                number, _ = number_of(record.headers)
                if number > last[record.partition]:
                    last[record.partition] = number
                    from_record(record.topic, record.key, record.value, record.headers)
                    decoded += 1
        timing = self._meter.stop(self._events)
        self._ledger.hold("D", [self._events], [decoded])
        return timing

    async def _replay(self, variant: str, statements: Sequence[Sequence[Statement]], _run: int) -> Timing:
        dsn = await self._new_database()
        connection = await postgres.connect(dsn, "bench")
        await fence.load(connection, GROUP, PLACES)
        self._meter.start()
        for batch in statements:
            async with connection.transaction():
                for method, query, arguments in batch:
                    await getattr(connection, method)(query, *arguments)
        timing = self._meter.stop(self._events)
        await connection.close()
        await self._check(f"{variant}: S", variant, dsn)
        return timing

    async def _record(self, variant: str, apply: Apply) -> list[list[Statement]]:
        """The statements of each batch, as the consumer makes them."""
        dsn = await self._new_database()
        connection = await postgres.connect(dsn, "bench")
        fences = await fence.load(connection, GROUP, PLACES)
        recorded: list[list[Statement]] = []
        async for records in self._read():
            plan = examine(records, fences)
            recorder = _Recorder(connection)
            async with connection.transaction():
                await fence.move(recorder, GROUP, plan.before, plan.after)
                if plan.news:
                    await apply(recorder, [envelope for _, envelope in plan.news])
            fences |= plan.after
            recorded.append(recorder.statements)
        await connection.close()
        await self._check(f"{variant}: recording", variant, dsn)
        return recorded

    async def _read(self, started: Callable[[], None] = lambda: None) -> AsyncIterator[list[ConsumerRecord]]:
        """The topic from its start to its end, in the batches that a group gets."""
        consumer = kafka.reader(self._bootstrap, "bench-reader")
        await consumer.start()
        try:
            left = await ends(consumer, REPORTS.name)
            consumer.assign(list(left))
            await consumer.seek_to_beginning(*left)
            started()
            while left:
                found = await consumer.getmany(timeout_ms=BATCH_TIMEOUT_MS, max_records=MAX_RECORDS)
                if found:
                    yield [record for records in found.values() for record in records]
                for place, records in found.items():
                    if records[-1].offset + 1 == left[place]:
                        del left[place]
        finally:
            await kafka.stop_quietly(consumer)

    async def _new_database(self) -> str:
        """An empty one, in place of the one of the contender before."""
        await drop_database(self._admin_dsn, GROUP)
        dsn = await create_database(self._admin_dsn, GROUP, TEMPLATE)
        connection = await postgres.connect(dsn, "bench")
        await connection.execute("CHECKPOINT")
        await connection.close()
        return dsn

    async def _check(self, what: str, variant: str, dsn: str) -> None:
        """Hold the counts, and where there are some the rows, against what was sent."""
        connection = await postgres.connect(dsn, "bench")
        counts = await connection.fetch("SELECT grain, period, area, category, count FROM open_count")
        rows = await connection.fetch(
            "SELECT report_id, tips_version, category, withdrawn, area FROM lifecycle ORDER BY report_id"
        )
        await connection.close()
        wanted = self._lives.wanted_counts(by_type=variant == "counts")
        found = {core.Cell(*cell): count for *cell, count in map(tuple, counts)}
        self._ledger.hold(f"{what}, counts", _each(wanted), _each(found))
        if variant == "lifecycle":
            self._ledger.hold(f"{what}, rows", self._lives.wanted_rows(), [tuple(row) for row in rows])


def _each(counts: dict[core.Cell, int]) -> list[core.Cell]:
    return sorted(Counter(counts).elements())


class _Recorder:
    """A connection that keeps what it is asked to run."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.statements: list[Statement] = []

    async def execute(self, query: str, *arguments: Any) -> Any:
        self.statements.append(("execute", query, arguments))
        return await self._connection.execute(query, *arguments)

    async def fetch(self, query: str, *arguments: Any) -> Any:
        self.statements.append(("fetch", query, arguments))
        return await self._connection.fetch(query, *arguments)
