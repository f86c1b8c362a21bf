"""Webhook subscriptions without Kafka between: a migrated PostgreSQL, subscribers that listen on a real port,
and workers."""

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry
from standardwebhooks import Webhook as Verifier

from deploy.local.processes import free_port
from services.notify import outgoing
from services.notify import queries_subscriptions as queries
from services.notify.core.subscriptions import Filter, secret
from services.notify.metrics import SubscriptionMetrics
from services.notify.queries_subscriptions import Added, Listed
from services.notify.subscribing import Subscribers
from services.notify.subscription_calls import SubscriptionCalls
from services.notify.subscription_worker import Manner, SubscriptionWorker
from shared import postgres
from shared.cloudevents import Envelope
from shared.events import Event, IssueChanged, IssueGone, StatisticsReleased
from tests.golden.expected import EXPECTED
from tests.integration.notify_harness import MIGRATIONS, Answer, plain
from tests.spine import until

MASTER = "subscription-secret-" + "m" * 32


@dataclass
class Clock:
    """The time that notify sees: the real one, moved by `ahead`."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass(frozen=True, slots=True)
class Told:
    """A call that a subscriber got. `signed_by` are the generations whose secrets the library
    verifies it with."""

    name: str
    webhook_id: str
    body: dict[str, Any]
    raw: str
    signed_by: tuple[int, ...]
    at: float

    @property
    def data(self) -> dict[str, Any]:
        return dict(self.body["data"])

    @property
    def version(self) -> int:
        """That of the issue's state; 0 for the word that it is gone."""
        return int(self.data.get("version", 0))


@dataclass
class Subscriptions:
    """The parts; `answers` says how each subscriber answers, `calls` is what came."""

    pool: Any
    session: aiohttp.ClientSession
    port: int
    clock: Clock
    metrics: SubscriptionMetrics
    registry: CollectorRegistry
    subscribers: Subscribers
    ids: dict[str, uuid.UUID] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[Told] = field(default_factory=list)
    elsewhere: int = 0
    workers: list[asyncio.Task[None]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.StreamResponse:
        name, body = request.match_info["name"], (await request.read()).decode()
        signed_by = []
        for generation in (1, 2, 3):
            with suppress(Exception):
                Verifier(secret(MASTER, self.ids[name], generation)).verify(body, dict(request.headers))
                signed_by.append(generation)
        told = Told(
            name,
            request.headers["webhook-id"],
            json.loads(body),
            body,
            tuple(signed_by),
            time.monotonic(),
        )
        self.calls.append(told)
        return await self.answers.get(name, plain())(request)

    async def _elsewhere(self, _request: web.Request) -> web.StreamResponse:
        self.elsewhere += 1
        return web.Response()

    async def subscribe(
        self, name: str = "parks", type_: str = "IssueChanged", *, port: int | None = None, **wanted: Any
    ) -> uuid.UUID:
        """A new subscription, with a filter of `wanted`."""
        url = f"http://127.0.0.1:{port or self.port}/hooks/{name}"
        added = Added(uuid.uuid4(), name, "gis@parks.example", url, type_, Filter(**wanted))
        self.ids[name] = added.id
        async with self.pool.acquire() as connection:
            assert await queries.insert_subscription(connection, added)
        return added.id

    async def apply(self, *envelopes: Envelope[Event]) -> None:
        """A batch, in a transaction of its own, as shared/consumer.py does it."""
        async with self.pool.acquire() as connection, connection.transaction():
            await self.subscribers.apply(connection, envelopes)

    def work(self, *, call: float = 5.0, send: Any = None, **changes: Any) -> SubscriptionWorker:
        """Start a worker, which is impatient."""
        manner: dict[str, Any] = {
            "concurrency": 16,
            "per_subscription": 4,
            "base": 0.02,
            "cap": 0.1,
            "disable_after": timedelta(days=5),
            "aside_refusals": 20,
            "aside_after": timedelta(hours=24),
            "call": call,
        } | changes
        calls = SubscriptionCalls(self.session, MASTER, self.clock, call)
        worker = SubscriptionWorker(
            self.pool,
            send or calls.send,
            manner=Manner(**manner),
            metrics=self.metrics,
            clock=self.clock,
            chance=random.random,
        )
        self.workers.append(asyncio.create_task(worker.run()))
        return worker

    async def stop(self) -> None:
        """Stop every worker, as SIGTERM does."""
        for task in self.workers:
            task.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)
        self.workers.clear()

    async def rows(self, statement: str, *arguments: Any) -> list[Any]:
        async with self.pool.acquire() as connection:
            return list(await connection.fetch(statement, *arguments))

    async def waiting(self, name: str | None = None) -> list[Any]:
        """What has not gone, in order."""
        return await self.rows(
            """SELECT d.*, s.name FROM subscription_delivery d JOIN subscription s ON s.id = subscription_id
               WHERE $1::text IS NULL OR s.name = $1 ORDER BY position""",
            name,
        )

    async def listed(self, name: str) -> Listed:
        async with self.pool.acquire() as connection:
            (found,) = await queries.listed(connection, name)
        return found

    async def settled(self, name: str | None = None, seconds: float = 15) -> None:
        """Return when nothing waits (for that subscriber)."""
        async with asyncio.timeout(seconds):
            while await self.waiting(name):  # noqa: ASYNC110 - it is asked of the database
                await asyncio.sleep(0.01)

    async def seen(self, count: int, name: str | None = None, seconds: float = 10) -> list[Told]:
        """The calls (of a subscriber), once there are `count` of them."""
        await until(lambda: len(self.of(name)) >= count, seconds)
        return self.of(name)

    def of(self, name: str | None = None) -> list[Told]:
        return [one for one in self.calls if name in (None, one.name)]

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def changed(issue_id: uuid.UUID, version: int = 1, **changes: Any) -> Envelope[Event]:
    """The state of an issue of ibuurt at that version."""
    facts: dict[str, Any] = {
        "issue_id": issue_id,
        "version": version,
        "category": "street_light",
        "areas": {"district": "oakwood"},
        "latitude": 51.501,
        "longitude": 4.251,
        "status": "routed",
        "page": f"https://ibuurt.example/issues/{issue_id}",
    }
    return _said(IssueChanged(**(facts | changes)))


def gone(issue_id: uuid.UUID) -> Envelope[Event]:
    return _said(IssueGone(issue_id=issue_id))


def released(number: int) -> Envelope[Event]:
    """A release of that number."""
    sample = EXPECTED["StatisticsReleased.v1"].event
    assert isinstance(sample, StatisticsReleased)
    return _said(sample.model_copy(update={"release_id": uuid.uuid4(), "number": number}))


def _said(event: Event) -> Envelope[Event]:
    return Envelope.of(event, id=uuid.uuid4(), source="/ibuurt/tips", now=Clock()())


def versions(calls: Sequence[Told], issue_id: uuid.UUID) -> list[int]:
    """Which states of an issue came, in order; 0 is that it is gone."""
    return [call.version for call in calls if call.data["issue_id"] == str(issue_id)]


@asynccontextmanager
async def running_subscriptions(dsn: str) -> AsyncIterator[Subscriptions]:
    """The parts on a database of their own; a test starts the workers."""
    await postgres.migrate(dsn, MIGRATIONS)
    pool = await postgres.open_pool(dsn, "notify")
    registry, clock = CollectorRegistry(), Clock()
    app = web.Application()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    async with outgoing.open_session(32) as session:
        made = Subscriptions(
            pool,
            session,
            free_port(),
            clock,
            SubscriptionMetrics(registry),
            registry,
            Subscribers(clock),
        )
        app.router.add_post("/hooks/{name}", made.take)
        app.router.add_route("*", "/elsewhere", made._elsewhere)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", made.port).start()
        try:
            yield made
        finally:
            await made.stop()
            await runner.cleanup()
            await pool.close()
