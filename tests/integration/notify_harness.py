"""A real `notify` for the tests, without Kafka between: its parts on a migrated PostgreSQL, units that listen
on real ports, and the real `tips` to fetch words from."""

import asyncio
import base64
import json
import random
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook as Verifier

from deploy.local.processes import free_port
from services.notify import calls, http, outgoing, queries
from services.notify.acting import Acting
from services.notify.clocks import Sweeper
from services.notify.consumer import Reports
from services.notify.core.deliveries import Delivered, Delivery, Outcome, Retrying
from services.notify.core.letters import Writer
from services.notify.delivery import Limits, Worker
from services.notify.digests import Digests
from services.notify.dispatches import Dispatches
from services.notify.emails import Emails
from services.notify.metrics import DeliveryMetrics
from services.notify.moving import Moves
from services.notify.noticing import Notices
from services.notify.telling import Telling
from services.notify.tips import Tips as TipsApi
from shared import postgres
from shared.cloudevents import Envelope, from_record
from shared.events import REPORTS, Event, ReportAccepted, hour_of
from shared.mail import MailServer
from shared.municipality import Municipality, Webhook
from shared.web import HttpServer, new_app
from tests.integration.tips_server import NOTIFY_TOKEN, Tips, ibuurt, issue
from tests.spine import until

ROOT = Path(__file__).parents[2]
IBUURT = ROOT / "deploy/municipalities/ibuurt"
MIGRATIONS = [postgres.SHARED_MIGRATIONS, ROOT / "services/notify/migrations"]
LINK_SECRET = "link-secret-" + "l" * 32
DESK_TOKEN = "desk-token-" + "d" * 32
SENDER = "iBuurt <units@town.example>"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def signing_secret(unit: str, *, former: bool = False) -> str:
    """The secret that `unit` shares with notify; the `former` one holds as well, since it is being
    replaced."""
    content = unit.encode().ljust(32, b"-" if former else b".")
    return "whsec_" + base64.b64encode(content).decode()


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call that a unit got, its signature verified; `at` is monotonic."""

    unit: str
    webhook_id: str
    body: dict[str, Any]
    at: float
    headers: dict[str, str]
    content: bytes

    @property
    def data(self) -> dict[str, Any]:
        return dict(self.body["data"])


@dataclass
class Units:
    """A receiver for every unit, on one port; `answers` says how each unit answers, call after call."""

    port: int = field(default_factory=free_port)
    arrivals: list[Arrival] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.StreamResponse:
        unit = request.match_info["unit"]
        body = await request.read()
        verified = Verifier(signing_secret(unit)).verify(body, dict(request.headers))
        headers = dict(request.headers)
        self.arrivals.append(Arrival(unit, headers["webhook-id"], verified, time.monotonic(), headers, body))
        return await self.answers.get(unit, plain())(request)

    async def seen(self, count: int, unit: str | None = None, seconds: float = 10) -> list[Arrival]:
        """The arrivals (at `unit`), once there are `count` of them."""

        def now() -> list[Arrival]:
            return [one for one in self.arrivals if unit in (None, one.unit)]

        await until(lambda: len(now()) >= count, seconds)
        return now()


def plain(status: int = 200, content: Any = None, content_type: str = "application/json") -> Answer:
    """Answer so, always."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        text = content if isinstance(content, str) else json.dumps(content or {})
        return web.Response(status=status, text=text, content_type=content_type)

    return answer


def first(*answers: Answer) -> Answer:
    """Answer one after another; the last one stays."""
    left = list(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return answer


@dataclass
class Clock:
    """The time that notify sees: the real one, moved by `ahead`, or standing still at `at`."""

    at: datetime | None = None
    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return self.at or datetime.now(UTC) + self.ahead

    def go_on_from(self, moment: datetime) -> None:
        """It is that moment now, and time passes."""
        self.at, self.ahead = None, moment - datetime.now(UTC)


@dataclass
class Notify:
    """The parts of a running notify. `appended` holds a mark per commit of events."""

    pool: Any
    municipality: Municipality
    units: Units
    url: str
    internal_url: str
    session: aiohttp.ClientSession
    clock: Clock
    reports: Reports
    dispatches: Dispatches
    acting: Acting
    sweeper: Sweeper
    tips: TipsApi
    calls: calls.Calls
    metrics: DeliveryMetrics
    registry: CollectorRegistry
    workers: list[tuple[Worker, asyncio.Task[None]]] = field(default_factory=list)

    async def apply(self, *envelopes: Envelope[Any]) -> None:
        """A batch, in a transaction of its own, as shared/consumer.py does it."""
        async with self.pool.acquire() as connection, connection.transaction():
            await self.reports.apply(connection, envelopes)

    def work(
        self,
        *,
        limits: Limits = Limits(32, 8),  # noqa: B008 - frozen
        retrying: Retrying = Retrying(0.05, 0.2, 20),  # noqa: B008 - frozen
        deliver: Any = None,
        lease_seconds: float = 30.0,
    ) -> Worker:
        """Start a worker."""
        worker = Worker(
            self.pool,
            deliver or self.calls.deliver,
            units=tuple(self.municipality.units),
            dispatches=self.dispatches,
            limits=limits,
            retrying=retrying,
            metrics=self.metrics,
            clock=self.clock,
            chance=random.random,
            appended=lambda: None,
            lease_seconds=lease_seconds,
        )
        self.workers.append((worker, asyncio.create_task(worker.run())))
        return worker

    async def stop(self) -> None:
        """Stop every worker, as SIGTERM does."""
        for _, task in self.workers:
            task.cancel()
        for _, task in self.workers:
            with suppress(asyncio.CancelledError):
                await task
        self.workers.clear()

    async def die_before_record(self) -> None:
        """A worker whose process dies when the receiver has answered: nothing of that is recorded."""
        answered = asyncio.Event()

        async def deliver_and_die(delivery: Delivery) -> Outcome:
            await self.calls.deliver(delivery)
            answered.set()
            await asyncio.sleep(3600)
            return Delivered()

        self.work(deliver=deliver_and_die, lease_seconds=0.5)
        async with asyncio.timeout(5):
            await answered.wait()
        for _, task in self.workers:
            for part in asyncio.all_tasks():
                if re.search("Worker|Leasing", repr(part.get_coro())):
                    part.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.workers.clear()

    async def rows(self, statement: str, *arguments: Any) -> list[Any]:
        async with self.pool.acquire() as connection:
            return list(await connection.fetch(statement, *arguments))

    async def totals(self) -> dict[str, Any]:
        async with self.pool.acquire() as connection:
            return await queries.totals(connection)

    async def said(self, kind: type[Event] | None = None) -> list[Event]:
        """Every event that was appended, in order; all ids must be different."""
        rows = await self.rows("SELECT * FROM outbox ORDER BY position")
        assert len({row["id"] for row in rows}) == len(rows)
        events = [envelope_of(row).event for row in rows]
        return [event for event in events if kind is None or isinstance(event, kind)]

    async def ask(self, method: str, path: str, body: Any = None, token: str = DESK_TOKEN) -> tuple[int, Any]:
        """Ask at the internal port; the status, and the JSON of the answer."""
        headers = {"Authorization": f"Bearer {token}"}
        asking = self.session.request(method, self.internal_url + path, json=body, headers=headers)
        async with asking as answer:
            return answer.status, await answer.json(content_type=None)

    async def act(self, report_id: object, action: str, unit: str, **more: Any) -> tuple[int, Any]:
        """Do something with a report at the desk."""
        body = {"act_id": str(uuid.uuid4()), "unit": unit, "by": "officer:test", "action": action} | more
        return await self.ask("POST", f"/internal/v1/reports/{report_id}/acts", body)

    async def settled(self, seconds: float = 10) -> None:
        """Return when no delivery of a report is open, and no notice that is due."""
        open_ = "SELECT FROM delivery WHERE state = 'open' AND (step <> 'notice' OR due_at <= $1)"
        async with asyncio.timeout(seconds):
            while await self.rows(open_, self.clock()):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def envelope_of(row: Any) -> Envelope[Event]:
    """An outbox row as its reader gets it."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(row["id"]).encode()),
        ("ce_source", row["source"].encode()),
        ("ce_type", row["type"].encode()),
        ("ce_time", row["time"].isoformat().encode()),
        ("ce_subject", bytes(row["key"])),
    ]
    value = None if row["value"] is None else bytes(row["value"])
    return from_record(row["topic"], bytes(row["key"]), value, headers)


def accepted(
    category: str = "street_light", *, now: datetime | None = None, **changes: Any
) -> Envelope[ReportAccepted]:
    """A report of ibuurt that tips announces."""
    now = now or datetime.now(UTC)
    about = ibuurt().categories[category]
    facts: dict[str, Any] = {
        "report_id": uuid.uuid4(),
        "kind": about.kind,
        "version": 1,
        "category": category,
        "areas": {"district": "oakwood"},
        "hour": hour_of(now),
        "regime": about.regime,
        "urgency": "urgent" if about.urgent else "normal",
        "source": "web",
        "language": "nl",
        "municipality_version": "v1",
    } | changes
    return Envelope.of(ReportAccepted(**facts), id=uuid.uuid4(), source="/ibuurt/tips", now=now)


def reports_of(town: Municipality, clock: Callable[[], datetime], chance: float = 0.5) -> Reports:
    """What applies reports, without the rest of notify."""
    telling = Telling(town, clock=clock, chance=lambda: chance)
    return Reports(Dispatches(town), telling, clock=clock)


async def announced(tips: Tips) -> list[Envelope[Event]]:
    """What the real tips has appended to its outbox and was not taken before."""
    rows = await tips.rows("DELETE FROM outbox RETURNING *")
    envelopes = [envelope_of(row) for row in sorted(rows, key=lambda row: row["position"])]
    return [envelope for envelope in envelopes if envelope.event.topic is REPORTS]


async def send(tips: Tips, notify: Notify, *bodies: dict[str, Any]) -> list[uuid.UUID]:
    """Submit reports to the real tips and apply what it announces; returns the report ids, in order."""
    for body in bodies or (issue(),):
        assert (await tips.post(body)).status == 201
    envelopes = await announced(tips)
    await notify.apply(*envelopes)
    return [uuid.UUID(envelope.event.key) for envelope in envelopes]


@asynccontextmanager
async def running_notify(
    dsn: str,
    tips_url: str,
    *,
    ports: dict[str, int] | None = None,
    webhook_seconds: float = 10.0,
    resolver: AbstractResolver | None = None,
    change: Callable[[Municipality], Municipality] = lambda town: town,
    mail: MailServer | None = None,
) -> AsyncIterator[Notify]:
    """`notify` on its own database; every unit listens, but those of `ports`, whose port is given. `change`
    makes another town of it, `mail` is its mail server."""
    await postgres.migrate(dsn, MIGRATIONS)
    pool = await postgres.open_pool(dsn, "notify")
    units = Units()
    town = change(town_at(units.port, ports))
    registry, clock = CollectorRegistry(), Clock()
    metrics = DeliveryMetrics(registry)
    app = web.Application()
    app.router.add_post("/units/{unit}", units.take)
    app.router.add_route("*", "/elsewhere", _elsewhere(units))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", units.port).start()
    dispatches = Dispatches(town)
    telling = Telling(town, clock=clock, chance=lambda: 0.5)
    acting = Acting(dispatches, telling, clock=clock)
    signing = {unit: (signing_secret(unit), signing_secret(unit, former=True)) for unit in town.units}
    answers = http.Answers(
        pool, town, acting, LINK_SECRET, metrics=metrics, clock=clock, appended=lambda: None
    )
    port, internal_port = free_port(), free_port()
    async with (
        outgoing.open_session(64) as to_tips,
        outgoing.open_guarded_session(64, (ip_network("127.0.0.0/8"),), resolver) as session,
    ):
        tips = TipsApi(to_tips, tips_url, NOTIFY_TOKEN, lambda: datetime.now(UTC))
        desk = http.Desk(pool, town, acting, tips, signing, clock, lambda: None, dispatches.clocks)
        digests = Digests(pool, town, dispatches.responsibility, clock)
        server = HttpServer(http.public_app(answers, desk, digests, LINK_SECRET), "127.0.0.1", port)
        internal = new_app("notify, internal")
        http.add_internal(internal, desk, digests, DESK_TOKEN)
        inside = HttpServer(internal, "127.0.0.1", internal_port)
        serving = [asyncio.create_task(one.run()) for one in (server, inside)]
        made = calls.Calls(
            session,
            town,
            tips,
            Notices(pool, dispatches.clocks, clock),
            digests,
            Moves(pool),
            link_secret=LINK_SECRET,
            public_url=f"http://127.0.0.1:{port}/",
            secrets=signing,
            clock=lambda: datetime.now(UTC),
            webhook_seconds=webhook_seconds,
            emails=Emails(mail, Writer(town, SENDER), clock, seconds=5) if mail else None,
        )
        notify = Notify(
            pool=pool,
            municipality=town,
            units=units,
            url=f"http://127.0.0.1:{port}",
            internal_url=f"http://127.0.0.1:{internal_port}",
            session=to_tips,
            clock=clock,
            reports=Reports(dispatches, telling, clock=clock),
            dispatches=dispatches,
            acting=acting,
            sweeper=Sweeper(pool, dispatches, metrics=metrics, clock=clock, appended=lambda: None),
            tips=tips,
            calls=made,
            metrics=metrics,
            registry=registry,
        )
        try:
            await until(lambda: server.started and inside.started)
            yield notify
        finally:
            await notify.stop()
            server.stop()
            inside.stop()
            await asyncio.gather(*serving)
            await runner.cleanup()
            await pool.close()


def town_at(port: int, ports: dict[str, int] | None = None) -> Municipality:
    """ibuurt with every unit on that port of this machine, but those of `ports`."""
    original, ports = ibuurt(), ports or {}
    units = {
        name: unit.model_copy(
            update={
                "channels": (
                    Webhook(
                        kind="webhook",
                        url=f"http://127.0.0.1:{ports.get(name, port)}/units/{name}",
                        acknowledged_field="case.seen",
                    ),
                )
            }
        )
        for name, unit in original.units.items()
    }
    return original.model_copy(update={"units": units})


def _elsewhere(units: Units) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        units.elsewhere.append(request.method)
        return web.json_response({"case": {"seen": True}})

    return answer


def kinds(events: Sequence[Event]) -> list[str]:
    """The events' class names, in order."""
    return [type(event).__name__ for event in events]
