"""One service's process: its parts, its probes, its end. The three `app.py` fill it."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog
from fastapi import FastAPI, Request, Security
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from prometheus_client import (
    CollectorRegistry,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from shared import kafka, postgres, web
from shared.consumer import Apply, Consumer
from shared.errors import Refusal
from shared.events import Topic
from shared.metrics import ConsumerMetrics, RelayMetrics, SurroundingsMetrics
from shared.relay import Relay
from shared.settings import ServiceSettings
from shared.watchdog import Health, Watchdog
from shared.web import HttpServer

# A process is given 20 seconds to stop; whatever still hangs then is left to the next start's recovery.
STOP_SECONDS = 18
READY_SECONDS = 2
EXIT_STUCK = 70
# The description of the internal port, for those who write another part that asks there.
INTERNAL_OPENAPI = "/internal/v1/openapi.json"

# Read by web.caller; here it only stands in the document.
_TOKEN = [Security(HTTPBearer(scheme_name="Operator", description="the operator's token", auto_error=False))]
_REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"description": why, "content": {"application/problem+json": {"schema": {"type": "object"}}}}
    for status, why in ((401, "No token of an operator"), (503, "Not now; try again"))
}

log = structlog.get_logger()
Work = Callable[[], Coroutine[Any, Any, None]]
Totals = Callable[[Any], Awaitable[dict[str, Any]]]


class Service:
    """The parts of one process. Make it, add what the service does, `run` it."""

    def __init__(self, name: str, settings: ServiceSettings, pool: Any) -> None:
        self.name = name
        self.settings = settings
        self.pool = pool
        # The moment, to the microsecond, at which something was first counted may be a tip's.
        disable_created_metrics()  # type: ignore[no-untyped-call] # it is not typed
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.health = Health()
        self.relay_metrics = RelayMetrics(self.registry)
        self.consumer_metrics = ConsumerMetrics(self.registry)
        self.surroundings_metrics = SurroundingsMetrics(self.registry)
        self.relay: Relay | None = None
        self.internal = web.new_app(f"{name}, internal", openapi=INTERNAL_OPENAPI)
        self._relay_refused = asyncio.Event()
        self._work: dict[str, Work] = {}
        self._consumed: Sequence[Topic] = ()
        self._consumer: Consumer | None = None
        self._servers: list[HttpServer] = []
        # Slug and version of the folder in use.
        self.municipality = ""
        # What makes this service unfit for traffic besides its own database.
        self.ready_needs_parts = True

    def send(self) -> Relay:
        """Relay what is appended to this database's outbox."""
        dsn = self.settings.database_url.get_secret_value()
        self.relay = Relay(dsn, self.settings.kafka, self.name, self.relay_metrics)
        self._work["relay"] = self.relay.run
        return self.relay

    def consume(
        self,
        topics: Sequence[Topic],
        apply: Apply,
        applied: Callable[[], None] = lambda: None,
        at_most: int | None = None,
        after: asyncio.Event | None = None,
    ) -> None:
        """Apply what comes on the topics, once the relay has found its own topics in order, and `after`;
        `applied` is called after each commit, `at_most` is how many records a batch may have."""
        self._consumed = topics
        broker = kafka.broker(self.settings.kafka, self.name, self.registry)
        bootstrap = self.settings.kafka
        self._consumer = consumer = Consumer(
            broker, bootstrap, self.pool, self.name, topics, apply, self.consumer_metrics, applied, at_most
        )

        async def run() -> None:
            if self.relay:
                await self.relay.checked.wait()
            if after:
                await after.wait()
            await _run_unless(consumer.run(), self._relay_refused)

        self._work["consumer"] = run

    def also(self, name: str, work: Work) -> None:
        """Run something besides, for as long as the process lives."""
        self._work[name] = work

    def answer(self, totals: Totals) -> None:
        """Add the internal port's routes: probes, metrics, and the totals that an operator reconciles."""
        tokens = {"operator": self.settings.operator_token.get_secret_value()}

        @self.internal.get("/live", responses=_probed("live"))
        async def live() -> Response:
            """Whether this process is worth keeping; restart it where it is not."""
            deaf = self.health.deaf()
            return JSONResponse({"live": not deaf}, 503 if deaf else 200)

        @self.internal.get("/ready", responses=_probed("ready"))
        async def ready() -> Response:
            """Whether it can serve now, and why not."""
            faults = await self._faults()
            return JSONResponse({"ready": not faults, "faults": faults}, 503 if faults else 200)

        @self.internal.get(
            "/metrics",
            response_class=Response,
            responses={200: {"description": "For Prometheus", "content": {"text/plain": {}}}},
        )
        async def metrics() -> Response:
            """Figures; none is about one report."""
            return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

        @self.internal.get("/totals", dependencies=_TOKEN, responses=_REFUSED)
        async def all_totals(request: Request) -> Response:
            """What this service has, to hold against the others."""
            web.caller(request, tokens)
            try:
                async with self.pool.acquire() as connection:
                    return JSONResponse(await totals(connection))
            except Exception as error:
                if not postgres.is_transient(error):
                    raise
                raise web.not_now() from None

    async def _faults(self) -> dict[str, str]:
        faults = self._unfit() if self.ready_needs_parts else {}
        if not all(server.started for server in self._servers):
            faults["http"] = "starting"
        try:
            async with asyncio.timeout(READY_SECONDS), self.pool.acquire() as connection:
                await connection.execute("SELECT 1")
        except Exception as error:  # noqa: BLE001 - whatever it is, this process cannot serve
            faults["database"] = type(error).__name__
        return faults

    def _unfit(self) -> dict[str, str]:
        faults = dict(self.health.refusals)
        if self.relay and not self.relay.checked.is_set():
            faults.setdefault("relay", "its topics are being checked against its database")
        if self._consumer and not self._consumer.joined.is_set():
            faults.setdefault("consumer", "it has not joined its group yet")
        return faults

    async def run(self, public: FastAPI | None) -> None:
        """Run every part until SIGTERM or SIGINT. Raises what ended a part that must not end."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        settings = self.settings
        self._servers = servers = [HttpServer(self.internal, settings.internal_host, settings.internal_port)]
        if public:
            servers.append(HttpServer(public, settings.http_host, settings.http_port))
        watchdog = Watchdog(
            self.pool,
            settings.kafka,
            self.name,
            self._consumed,
            self._consumer.assigned if self._consumer else set,
            self.health,
            self.relay_metrics,
            self.consumer_metrics,
            self.surroundings_metrics,
        )
        serving = [asyncio.create_task(server.run()) for server in servers]
        working = {name: asyncio.create_task(self._guard(name, work)) for name, work in self._work.items()}
        watching = asyncio.create_task(watchdog.run())
        until = asyncio.create_task(stopping.wait())
        tasks = {*serving, *working.values(), watching, until}
        log.info("started", municipality=self.municipality)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            failed = next((task.exception() for task in tasks if task.done() and task.exception()), None)
            if failed:
                raise failed
        finally:
            _force_exit_after(STOP_SECONDS)
            log.info("stopping")
            for server in servers:
                server.stop()
            with suppress(Exception):
                await asyncio.wait(serving, timeout=web.GRACE_SECONDS + 1)
            await _cancel([watching, until, *(task for name, task in working.items() if name != "relay")])
            # Last, so that what the others have just appended can still leave.
            await _cancel([task for name, task in working.items() if name == "relay"])
            with suppress(Exception):
                async with asyncio.timeout(2):
                    await self.pool.close()
            log.info("stopped")

    async def _guard(self, name: str, work: Work) -> None:
        """Run a part; where it refuses, the others go on, and the probes and metrics say why."""
        try:
            await work()
        except Refusal as refusal:
            self.health.refusals[name] = str(refusal)
            log.error("refused", part=name, mend=str(refusal))
            if name == "relay":
                self.relay_metrics.refused.set(1)
                self._relay_refused.set()
            await asyncio.Event().wait()


def _probed(what: str) -> dict[int | str, dict[str, Any]]:
    """How a probe answers, for the document."""
    schema = {"type": "object", "required": [what], "properties": {what: {"type": "boolean"}}}
    content = {"application/json": {"schema": schema}}
    return {200: {"description": "Yes", "content": content}, 503: {"description": "No", "content": content}}


async def _run_unless(work: Coroutine[Any, Any, None], refused: asyncio.Event) -> None:
    """Run `work` until it ends. Raises Refusal when the relay has refused: a service that cannot say what it
    does must not go on taking what others say."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(refused.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
        else:
            raise Refusal("stopped with the relay, which says why; mend that and restart")
    finally:
        await _cancel([working, stopping])


async def _cancel(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _force_exit_after(seconds: float) -> None:
    """End the process even when its event loop hangs: what matters is committed, or will be done again."""
    timer = threading.Timer(seconds, os._exit, (EXIT_STUCK,))
    timer.daemon = True
    timer.start()
