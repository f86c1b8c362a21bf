"""apply: how fast `stats` applies what it reads.

Events of 480 bytes, five for each report and far apart, lie on the 12 partitions of ibuurt.reports.v1; after
each 500 of a partition its relay sent the last 5 again. The group reads them from the start, as the service
runs it: the fence commits with the lifecycle row of each report, which says where it is counted.
Peers: D, a bare aiokafka consumer, `getmany` and the same decoding; S, the same SQL batches with the same
arguments, recorded beforehand, without Kafka. One after the other they come to 1/(1/D + 1/S).
All run to the last event; what is in the tables is then held against the events.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

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
from bench.lives import AREA_SET, ZONE, Lives
from bench.records import ends, make_topics
from deploy.local.infrastructure import LocalInfrastructure, local_infrastructure
from deploy.local.postgres import create_database, drop_database
from deploy.local.stack import ROOT
from services.stats.consumer import Counting
from shared import fence, kafka, postgres
from shared.cloudevents import from_record, number_of
from shared.consumer import Consumer
from shared.events import REPORTS
from shared.examine import examine
from shared.metrics import ConsumerMetrics
from shared.subscription import BATCH_TIMEOUT_MS, MAX_RECORDS

REPORTS_FULL, REPORTS_LEAST = 100_000, 500
BAR = 0.8
GROUP, TEMPLATE = "stats", "stats_template"
BOTH = "1/(1/D + 1/S)"
PLACES = [(REPORTS.name, partition) for partition in range(REPORTS.partitions)]

APPLY = Counting(ZONE, AREA_SET).apply
Statement = tuple[str, str, tuple[Any, ...]]


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
        statements = await self._record()
        found = await interleave(
            self._options.runs,
            {"stats": self._stats, "D": self._decoding, "S": partial(self._replay, statements)},
        )
        print_rates(found)
        return self._result({name: [timing.rate for timing in timings] for name, timings in found.items()})

    def _result(self, rates: dict[str, list[float]]) -> Result:
        ours, d, s = (rates[name] for name in ("stats", "D", "S"))
        both = [1 / (1 / one + 1 / other) for one, other in zip(d, s, strict=True)]
        by_run = {name: ratios_by_run(ours, peer) for name, peer in ((BOTH, both), ("D", d), ("S", s))}
        ratios = {name: median(found) for name, found in by_run.items()}
        print(f"{BOTH} is {median(both):,.0f}/s, stats {ratios[BOTH]:.2f} of it")
        return Result(
            "apply",
            ratios[BOTH],
            BOTH,
            ratios,
            spread(by_run[BOTH]),
            self._ledger,
            self._options.runs,
            self._options.size,
            {"events_per_second": {name: median(found) for name, found in rates.items()}, "bar": BAR},
            [f"{ratios[BOTH]:.2f} of {BOTH}; the bar is {BAR}"] if ratios[BOTH] < BAR else [],
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

    async def _stats(self, _run: int) -> Timing:
        dsn = await self._new_database()
        registry = CollectorRegistry()
        pool = await postgres.open_pool(dsn, GROUP)
        broker = kafka.broker(self._bootstrap, GROUP, registry)
        metrics = ConsumerMetrics(registry)
        consumer = Consumer(broker, self._bootstrap, pool, GROUP, (REPORTS,), APPLY, metrics)
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
        await self._check("stats", dsn)
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

    async def _replay(self, statements: Sequence[Sequence[Statement]], _run: int) -> Timing:
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
        await self._check("S", dsn)
        return timing

    async def _record(self) -> list[list[Statement]]:
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
                    await APPLY(recorder, [envelope for _, envelope in plan.news])
            fences |= plan.after
            recorded.append(recorder.statements)
        await connection.close()
        await self._check("recording", dsn)
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

    async def _check(self, what: str, dsn: str) -> None:
        """Hold the rows, and where they count, against what was sent."""
        connection = await postgres.connect(dsn, "bench")
        counted = await connection.fetch("SELECT counted_in, area, counted_category FROM lifecycle")
        rows = await connection.fetch(
            "SELECT report_id, tips_version, category, withdrawn, area FROM lifecycle ORDER BY report_id"
        )
        await connection.close()
        wanted = sorted(self._lives.wanted_counts().elements())
        self._ledger.hold(f"{what}, counts", wanted, sorted(tuple(row) for row in counted))
        self._ledger.hold(f"{what}, rows", self._lives.wanted_rows(), [tuple(row) for row in rows])


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
