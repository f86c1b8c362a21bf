"""relay: how fast what waits in an outbox reaches Kafka.

A backlog of 480-byte rows with random keys goes to the 12 partitions of ibuurt.reports.v1 through the relay,
as a service runs it. Peer: a bare idempotent aiokafka producer with the same settings sends the same records,
headers and numbers, made beforehand, to the same partitions of a topic of its own. Each is timed until the
last acknowledgement, and both topics are read back and held against the rows, in order. Then rows are
committed one by one, and timed from their commit until a consumer has them.
"""

import asyncio
import time
import uuid
from contextlib import suppress
from typing import Any

import uvloop
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from bench.common import (
    Ledger,
    Meter,
    Options,
    Result,
    Timing,
    centiles,
    interleave,
    median,
    print_rates,
    print_rows,
    ratios_by_run,
    running,
    spread,
    until,
)
from bench.records import (
    NOW,
    PEER_TOPIC,
    SOURCE,
    Rows,
    accepted,
    by_partition,
    ends,
    fill,
    make_topics,
    read_back,
)
from deploy.local.infrastructure import LocalInfrastructure, local_infrastructure
from deploy.local.postgres import create_database
from shared import kafka, outbox, postgres
from shared.cloudevents import Envelope
from shared.events import REPORTS
from shared.metrics import RelayMetrics
from shared.outbox import Numbered
from shared.relay import Relay

ROWS, LEAST_ROWS = 200_000, 1_000
LATENCY_ROWS, LATENCY_RATE = 10_000, 500
BAR = 0.4
PEER = "bare idempotent producer"
UNSENT = "SELECT EXISTS (SELECT FROM outbox) OR EXISTS (SELECT FROM outbox_batch WHERE sent_on IS NULL)"


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
        self._rows = options.count(ROWS, LEAST_ROWS)
        self._meter = Meter({"kafka": servers.kafka.child, "postgres": servers.postgres.child})
        self._ledger = Ledger()
        self._ours, self._peers = Rows(), Rows()

    async def run(self) -> Result:
        await make_topics(self._bootstrap)
        self._dsn = await create_database(self._admin_dsn, "tips")
        await postgres.migrate(self._dsn, [postgres.SHARED_MIGRATIONS])
        self._connection = await postgres.connect(self._dsn, "bench")
        try:
            found = await interleave(self._options.runs, {"relay": self._relay, PEER: self._producer})
            took = await self._latency()
        finally:
            await self._connection.close()
        print(f"{self._rows:,} rows a run")
        print_rates(found)
        p50, p99 = centiles(took)
        print_rows(["p50 ms", "p99 ms"], [(f"commit to consumer, {LATENCY_RATE} rows/s", (p50, p99))])
        return self._result(found, p50, p99)

    def _result(self, found: dict[str, list[Timing]], p50: float, p99: float) -> Result:
        ours, peers = ([timing.rate for timing in found[name]] for name in ("relay", PEER))
        each = ratios_by_run(ours, peers)
        ratio = median(each)
        missed = [] if ratio >= BAR else [f"{ratio:.2f} of the bare producer; the bar is {BAR}"]
        more = {
            "rows_per_second": median(ours),
            "peer_rows_per_second": median(peers),
            "latency_p50_ms": p50,
            "latency_p99_ms": p99,
            "bar": BAR,
        }
        options = self._options
        return Result(
            "relay",
            ratio,
            PEER,
            {PEER: ratio},
            spread(each),
            self._ledger,
            options.runs,
            options.size,
            more,
            missed,
        )

    async def _relay(self, _run: int) -> Timing:
        rows = self._ours.make(self._rows)
        await fill(self._connection, rows)
        await self._connection.execute("CHECKPOINT")
        starts = await self._ends(REPORTS.name)
        registry = CollectorRegistry()
        relay = Relay(self._dsn, self._bootstrap, "tips", RelayMetrics(registry))
        async with running(relay.run()) as task:
            await relay.checked.wait()
            self._meter.start()
            await until(
                lambda: registry.get_sample_value("outbox_sent_total") == self._rows,
                "the backlog's end",
                task,
            )
            timing = self._meter.stop(self._rows)
            await until(self._nothing_unsent, "the last batch's mark", task)
        await self._check("relay", REPORTS.name, starts, rows)
        return timing

    async def _nothing_unsent(self) -> bool:
        return not await self._connection.fetchval(UNSENT)

    async def _producer(self, _run: int) -> Timing:
        rows = self._peers.make(self._rows)
        records = [
            (PEER_TOPIC, row.value, row.key, row.partition, int(row.time.timestamp() * 1000), row.headers())
            for row in rows
        ]
        await self._connection.execute("CHECKPOINT")
        starts = await self._ends(PEER_TOPIC)
        producer = kafka.producer(self._bootstrap, "bench-peer")
        await producer.start()
        try:
            self._meter.start()
            futures = [await producer.send(*record) for record in records]
            for future in futures:
                await future
            timing = self._meter.stop(self._rows)
        finally:
            await producer.stop()
        await self._check(PEER, PEER_TOPIC, starts, rows)
        return timing

    async def _ends(self, topic: str) -> dict[TopicPartition, int]:
        consumer = kafka.reader(self._bootstrap, "bench-ends")
        await consumer.start()
        try:
            return await ends(consumer, topic)
        finally:
            await kafka.stop_quietly(consumer)

    async def _check(
        self, what: str, topic: str, starts: dict[TopicPartition, int], rows: list[Numbered]
    ) -> None:
        """Hold what the topic holds since `starts` against the rows: each once, whole, in order, numbered."""
        found = await read_back(self._bootstrap, topic, starts)
        for partition, wanted in by_partition(rows):
            self._ledger.hold(
                f"{what}, partition {partition}",
                [(row.key, row.value, *row.headers()) for row in wanted],
                [(record.key, record.value, *record.headers) for record in found[partition]],
                lambda one: dict(one[2:])["ce_id"],
            )

    async def _latency(self) -> list[float]:
        """Seconds from each row's commit until a consumer had it, in order."""
        count = self._options.count(LATENCY_ROWS, LATENCY_RATE)
        ids = [uuid.uuid4() for _ in range(count)]
        committed: dict[str, float] = {}
        seen: dict[str, float] = {}
        relay = Relay(self._dsn, self._bootstrap, "tips", RelayMetrics(CollectorRegistry()))
        pool = await postgres.open_pool(self._dsn, "bench", size=4)
        ready = asyncio.Event()

        async def append(report_id: uuid.UUID) -> None:
            envelope = Envelope.of(accepted(report_id), id=uuid.uuid4(), source=SOURCE, now=NOW)
            async with pool.acquire() as connection:
                async with connection.transaction():
                    await outbox.append(connection, [envelope])
                committed[str(report_id)] = time.perf_counter()
            relay.wake()

        async with running(relay.run()) as task, running(self._watch(seen, ready)) as watching:
            await relay.checked.wait()
            await until(ready.is_set, "the consumer's start", watching)
            started = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for number, report_id in enumerate(ids):
                    await asyncio.sleep(max(0.0, started + number / LATENCY_RATE - time.perf_counter()))
                    group.create_task(append(report_id))
            with suppress(TimeoutError):
                await until(lambda: len(seen) >= count, "the last row's arrival", task)
        await pool.close()
        self._ledger.hold("latency", sorted(map(str, ids)), sorted(seen))
        return [max(0.0, seen[key] - at) for key, at in committed.items() if key in seen]

    async def _watch(self, seen: dict[str, float], ready: asyncio.Event) -> None:
        """Note when each key of REPORTS arrives, from now on."""
        consumer: Any = kafka.reader(self._bootstrap, "bench-watch")
        await consumer.start()
        try:
            places = await ends(consumer, REPORTS.name)
            consumer.assign(list(places))
            for place, end in places.items():
                consumer.seek(place, end)
            ready.set()
            while True:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    now = time.perf_counter()
                    for record in records:
                        key = record.key.decode()
                        # A second arrival shows in the ledger, as a stranger.
                        seen[key if key not in seen else f"{key} again"] = now
        finally:
            await kafka.stop_quietly(consumer)
