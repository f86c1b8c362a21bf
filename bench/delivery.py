"""delivery: how soon units have what is to go to them, with some of them failing.

20,000 reports for 40 units: one in twenty answers of the healthy ones is a 503, one unit hangs, one is dead.
`notify`'s worker fetches the words of each, signs and sends it, and records it; what is measured is the time
until every healthy unit has all of its own.
Peers: bare aiohttp, which makes the same two calls for each, at the same concurrency, and keeps nothing; and
procrastinate on the same PostgreSQL, whose tasks make them, at the same concurrency. A limit besides: bare
aiohttp that is spared the two bad units, which is what HTTP alone costs. Words and units are one process of
their own for all (bench/peers/destinations.py).
Then deliveries fall due at a steady rate, with and without one in twenty for the two bad units: what is held
is the ratio of the p99 of a healthy unit, from due to taken. No unit may take anything twice, or lack some.
"""

import asyncio
import contextlib
import json
import random
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import aiohttp
import uvloop
from procrastinate import App, PsycopgConnector, RetryStrategy
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook as Signer

from bench.common import (
    Ledger,
    Meter,
    Options,
    Result,
    Timing,
    centiles,
    interleave,
    median,
    own_postgres,
    print_rates,
    print_rows,
    ratios_by_run,
    running,
    spread,
)
from bench.tips_settings import TOWN
from deploy.local.postgres import Postgres, create_database, drop_database
from deploy.local.processes import Child, free_port
from deploy.local.stack import ROOT
from services.notify import calls, outgoing
from services.notify.core.deliveries import Retrying
from services.notify.delivery import Limits, Worker
from services.notify.digests import Digests
from services.notify.dispatches import Dispatches
from services.notify.metrics import DeliveryMetrics
from services.notify.moving import Moves
from services.notify.noticing import Notices
from services.notify.tips import Tips
from shared import municipality, postgres
from shared.municipality import Municipality, Unit, Webhook

REPORTS, LEAST_REPORTS = 20_000, 400
UNITS, BAD = 40, ("hangs", "dead")
CONCURRENCY, PER_UNIT = 64, 16
# Where notify's calls to units may go; its peers go without a guard.
NETWORKS = (ip_network("127.0.0.0/8"),)
WEBHOOK_SECONDS = 2.0
RETRY_SECONDS = 0.1
STEADY, LEAST_STEADY, STEADY_RATE = 4_000, 200, 200.0
BARS = {"aiohttp": 0.5, "procrastinate": 1.0}
LIMIT = "aiohttp for healthy units alone"
P99_BAR = 1.2
MIGRATIONS = [postgres.SHARED_MIGRATIONS, ROOT / "services" / "notify" / "migrations"]
SECRET = "whsec_" + "c2VjcmV0" * 4
_FILL = """
WITH reports AS (
    INSERT INTO dispatch (report_id, kind, category, areas, language, unit, rule, rules_version, reason,
                          accepted_at, acknowledge_by, resolve_by, status, version, report_version, came_at,
                          clocks_until)
    SELECT id, 'issue', 'street_light', '{"district": "oakwood"}', 'nl', unit, 'r', 'v', 'because', now(),
           now() + interval '1 day', now() + interval '5 days', 'routed', 1, 1, now(), now()
    FROM unnest($1::uuid[], $2::text[]) AS r (id, unit)
    RETURNING report_id)
INSERT INTO delivery (id, report_id, unit, channel, step, due_at, next_attempt_at)
SELECT id, id, unit, 'webhook', 'route', due_at, due_at
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS r (id, unit, due_at)
WHERE EXISTS (SELECT FROM reports)"""


@dataclass(frozen=True)
class _Job:
    """A report that is to go to a unit; `due_at` is UTC."""

    id: uuid.UUID
    unit: str
    due_at: datetime


def run(options: Options) -> Result:
    """Run it. Blocking."""
    print(__doc__)
    with own_postgres() as server:
        port = free_port()
        argv = [sys.executable, "-m", "bench.peers.destinations", str(port)]
        log = server.folder.parent / "destinations.log"
        destinations = Child("destinations", argv, log=log, cwd=ROOT)
        destinations.start()
        try:
            return uvloop.run(_Bench(server, destinations, port, options).run())
        finally:
            destinations.stop()


class _Bench:
    def __init__(self, server: Postgres, destinations: Child, port: int, options: Options) -> None:
        self._server = server
        self._url = f"http://127.0.0.1:{port}"
        self._town = _town(self._url)
        self._options = options
        self._ledger = Ledger()
        self._meter = Meter({"destinations": destinations, "postgres": server.child})
        self._healthy = [name for name in self._town.units if name not in BAD]

    async def run(self) -> Result:
        count = self._options.count(REPORTS, LEAST_REPORTS)
        await self._wait_for_destinations()
        found = await interleave(
            self._options.runs,
            {
                "notify": lambda run: self._notify(self._jobs(count, run)),
                "aiohttp": lambda run: self._aiohttp(self._jobs(count, run)),
                LIMIT: lambda run: self._aiohttp(self._jobs(count, run), spared=BAD),
                "procrastinate": lambda run: self._procrastinate(self._jobs(count, run)),
            },
        )
        print_rates(found)
        rates = {name: [timing.rate for timing in timings] for name, timings in found.items()}
        by_run = {name: ratios_by_run(rates["notify"], rates[name]) for name in (*BARS, LIMIT)}
        ratios = {name: median(each) for name, each in by_run.items()}
        steady = await self._steady()
        p99 = median(beset / alone for alone, beset in zip(*steady.values(), strict=True))
        print(f"{ratios[LIMIT]:.2f} of {LIMIT}, which has no bar")
        print(f"a healthy unit's p99 with the two bad ones is {p99:.2f} times that without")
        missed = [
            f"{ratios[name]:.2f} of {name}; the bar is {bar}"
            for name, bar in BARS.items()
            if ratios[name] < bar
        ]
        if p99 > P99_BAR:
            missed.append(f"p99 {p99:.2f} times; the bar is {P99_BAR}")
        return Result(
            "delivery",
            ratios["aiohttp"],
            "aiohttp",
            ratios,
            spread(by_run["aiohttp"]),
            self._ledger,
            self._options.runs,
            self._options.size,
            {"p99": p99, "p99_ms": {name: median(each) for name, each in steady.items()}, "bars": BARS},
            missed,
        )

    def _jobs(self, count: int, run: int) -> list[_Job]:
        """As many for each unit, in an order that mixes them, due by now."""
        names = list(self._town.units)
        jobs = [_Job(uuid.uuid4(), names[n % len(names)], datetime.now(UTC)) for n in range(count)]
        random.Random(run).shuffle(jobs)
        return jobs

    def _due(self, jobs: list[_Job]) -> list[str]:
        return [str(one.id) for one in jobs if one.unit not in BAD]

    async def _wait_for_destinations(self) -> None:
        async with aiohttp.ClientSession() as session:
            for _ in range(200):
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.post(f"{self._url}/reset") as answer:
                        await answer.read()
                    return
                await asyncio.sleep(0.05)

    async def _taken(self, session: aiohttp.ClientSession, count: int) -> list[tuple[str, float]]:
        """What healthy units have taken, once there are `count` of them; then it is forgotten."""
        timeout = aiohttp.ClientTimeout(total=600)
        async with session.get(f"{self._url}/taken?count={count}", timeout=timeout) as answer:
            return [(one, at) for one, at in json.loads(await answer.read())["taken"]]

    async def _measured(self, jobs: list[_Job], session: aiohttp.ClientSession) -> Timing:
        due = self._due(jobs)
        self._meter.start()
        await self._taken(session, len(due))
        return self._meter.stop(len(due))

    async def _held(
        self, what: str, jobs: list[_Job], session: aiohttp.ClientSession
    ) -> list[tuple[str, float]]:
        """Hold what came against what was due, and forget it; in any order."""
        due = self._due(jobs)
        taken = await self._taken(session, len(due))
        self._ledger.hold(what, sorted(due), sorted(one for one, _ in taken))
        async with session.post(f"{self._url}/reset") as answer:
            await answer.read()
        return taken

    async def _notify(self, jobs: list[_Job]) -> Timing:
        async with self._pool(jobs) as pool, aiohttp.ClientSession() as asking:
            async with self._working(pool):
                timing = await self._measured(jobs, asking)
            await self._held("notify", jobs, asking)
        return timing

    @asynccontextmanager
    async def _pool(self, jobs: list[_Job]) -> AsyncIterator[Any]:
        await drop_database(self._server.dsn(), "notify")
        dsn = await create_database(self._server.dsn(), "notify")
        await postgres.migrate(dsn, MIGRATIONS)
        pool = await postgres.open_pool(dsn, "notify")
        try:
            async with pool.acquire() as connection:
                columns = [one.id for one in jobs], [one.unit for one in jobs], [one.due_at for one in jobs]
                await connection.execute(_FILL, *columns, timeout=300)
                await connection.execute("ANALYZE dispatch; ANALYZE delivery")
            yield pool
        finally:
            await pool.close()

    @asynccontextmanager
    async def _working(self, pool: Any) -> AsyncIterator[None]:
        async with (
            outgoing.open_session(CONCURRENCY) as to_tips,
            outgoing.open_guarded_session(CONCURRENCY, NETWORKS) as session,
            running(self._worker(pool, to_tips, session).run()),
        ):
            yield

    def _worker(self, pool: Any, to_tips: aiohttp.ClientSession, session: aiohttp.ClientSession) -> Worker:
        dispatches = Dispatches(self._town)
        tips = Tips(to_tips, self._url, "t" * 32, _now)
        made = calls.Calls(
            session,
            self._town,
            tips,
            Notices(pool, dispatches.clocks, _now),
            Digests(pool, self._town, dispatches.responsibility, _now),
            Moves(pool),
            link_secret="l" * 32,
            public_url=self._url,
            secrets=dict.fromkeys(self._town.units, (SECRET,)),
            clock=_now,
            webhook_seconds=WEBHOOK_SECONDS,
        )
        return Worker(
            pool,
            made.deliver,
            units=tuple(self._town.units),
            dispatches=dispatches,
            limits=Limits(CONCURRENCY, PER_UNIT),
            retrying=Retrying(RETRY_SECONDS, 5.0, 20),
            metrics=DeliveryMetrics(CollectorRegistry()),
            clock=_now,
            chance=random.random,
            appended=lambda: None,
        )

    async def _aiohttp(self, jobs: list[_Job], spared: Sequence[str] = ()) -> Timing:
        """Each is called until it is taken; the bad units, unless spared, once for each of theirs."""
        waiting = iter([one for one in jobs if one.unit not in spared])
        async with outgoing.open_session(CONCURRENCY) as session, aiohttp.ClientSession() as asking:

            async def work() -> None:
                for one in waiting:
                    while not await self._both_calls(session, str(one.id), one.unit) and one.unit not in BAD:
                        pass

            async def all_of_it() -> None:
                await asyncio.gather(*(work() for _ in range(CONCURRENCY)))

            async with running(all_of_it()):
                timing = await self._measured(jobs, asking)
            await self._held("aiohttp", jobs, asking)
        return timing

    async def _procrastinate(self, jobs: list[_Job]) -> Timing:
        await drop_database(self._server.dsn(), "jobs")
        dsn = await create_database(self._server.dsn(), "jobs")
        app = App(connector=PsycopgConnector(conninfo=dsn, min_size=4, max_size=10))
        async with (
            app.open_async(),
            outgoing.open_session(CONCURRENCY) as session,
            aiohttp.ClientSession() as asking,
        ):
            await app.schema_manager.apply_schema_async()

            @app.task(retry=RetryStrategy(max_attempts=20, wait=1))
            async def deliver(report_id: str, unit: str) -> None:
                if not await self._both_calls(session, report_id, unit):
                    raise RuntimeError("not taken")

            given: list[Any] = [{"report_id": str(one.id), "unit": one.unit} for one in jobs]
            await deliver.batch_defer_async(*given)
            working = app.run_worker_async(
                concurrency=CONCURRENCY,
                install_signal_handlers=False,
                delete_jobs="successful",
                fetch_job_polling_interval=0.2,
                shutdown_graceful_timeout=0.1,
            )
            async with running(working):
                timing = await self._measured(jobs, asking)
            await self._held("procrastinate", jobs, asking)
        return timing

    async def _both_calls(self, session: aiohttp.ClientSession, report_id: str, unit: str) -> bool:
        """Fetch the words and send them, signed; whether the unit took them."""
        reading = {"purpose": "delivery", "reader": f"unit:{unit} via webhook"}
        headers = {"Authorization": "Bearer " + "t" * 32}
        url = f"{self._url}/internal/v1/reports/{report_id}/words"
        try:
            async with asyncio.timeout(WEBHOOK_SECONDS):
                async with session.post(url, json=reading, headers=headers) as answer:
                    words = json.loads(await answer.read())
                now = _now()
                body = json.dumps({"type": "ibuurt.report", "timestamp": now.isoformat(), "data": words})
                signed = {
                    "Content-Type": "application/json",
                    "webhook-id": report_id,
                    "webhook-timestamp": str(int(now.timestamp())),
                    "webhook-signature": Signer(SECRET).sign(report_id, now, body),
                }
                address = self._town.units[unit].webhooks[0].url
                async with session.post(address, data=body.encode(), headers=signed) as answer:
                    await answer.read()
                    return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _steady(self) -> dict[str, list[float]]:
        """The p99 of healthy units in ms, by run, without and with the bad ones."""
        found: dict[str, list[float]] = {"without": [], "with": []}
        rows = []
        for run in range(self._options.runs):
            for name in ("without", "with") if run % 2 else ("with", "without"):
                p50, p99 = centiles(await self._steadily(name == "with"))
                found[name].append(p99)
                rows.append((f"run {run + 1}, {name}", (p50, p99)))
        print_rows(("p50 ms", "p99 ms"), rows)
        return found

    async def _steadily(self, beset: bool) -> list[float]:
        count = self._options.count(STEADY, LEAST_STEADY)
        begin = _now() + timedelta(seconds=3)
        names = self._healthy + ([*BAD] if beset else [])
        jobs = [
            _Job(uuid.uuid4(), names[n % len(names)], begin + timedelta(seconds=n / STEADY_RATE))
            for n in range(count)
        ]
        due = {str(one.id): one.due_at.timestamp() for one in jobs}
        async with (
            self._pool(jobs) as pool,
            aiohttp.ClientSession() as asking,
            self._working(pool),
        ):
            await self._taken(asking, len(self._due(jobs)))
            taken = await self._held("steady", jobs, asking)
        # What was answered with a 503 first waits for its next attempt in both.
        return [at - due[one] for one, at in taken]


def _town(url: str) -> Municipality:
    """ibuurt with forty units."""
    town = municipality.read(TOWN)
    names = [f"unit_{number}" for number in range(UNITS - len(BAD))]
    addresses = {name: f"{url}/units/{name}" for name in (*names, "hangs")}
    addresses["dead"] = f"http://127.0.0.1:{free_port()}/units/dead"
    some = next(iter(town.units.values()))
    units: dict[str, Unit] = {
        name: some.model_copy(update={"id": name, "channels": (Webhook(kind="webhook", url=address),)})
        for name, address in addresses.items()
    }
    return town.model_copy(update={"units": units})


def _now() -> datetime:
    return datetime.now(UTC)
