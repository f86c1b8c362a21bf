"""Two replicas of a `stats` with releases, and one with planted bugs, as everybody sees them from outside."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp

from services.stats.core.figures import VIEWS
from services.stats.core.spec import spec_of
from services.stats.http.releases import FILES
from services.stats.signing import Signer
from shared import kafka, postgres
from shared.events import StatisticsReleased, all_topics
from shared.municipality import read
from tests.conftest import Infrastructure
from tests.integration import service_process
from tests.integration.service_process import ROOT, Process, ended, running_process
from tests.released import publish

TOWN = ROOT / "deploy/municipalities/ibuurt"
SECRET = "k" * 32
# What there is not, and what is nobody's business.
REFUSED = (
    "/v1/statistics/gossip/month",
    "/v1/statistics/reports/day",
    "/v1/statistics/reports/month?area=atlantis",
    "/v1/statistics/reports/month?period=2026-11&from=2026-10",
    "/v1/statistics/reports/month?format=xml",
    f"/v1/releases/{'0' * 64}/release.json",
    "/metrics",
    "/totals",
    "/ready",
    "/no/such/page",
)
# Beside the answer itself: the second it was given in.
_OF_THE_MOMENT = {"date"}


@dataclass(frozen=True)
class Answer:
    """All that an asker gets, but for the time of day."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass
class Watched:
    """The processes, what is released in their database, and how they are asked."""

    dsn: str
    bootstrap: str
    session: aiohttp.ClientSession
    replicas: tuple[Process, Process]
    planted: Process
    logs: Sequence[Path]
    shown: Sequence[StatisticsReleased]

    async def ask(self, url: str, **headers: str) -> Answer:
        """One answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.get(url, headers=named) as answer:
            kept = [(name.lower(), value) for name, value in answer.headers.items()]
            told = tuple(sorted(one for one in kept if one[0] not in _OF_THE_MOMENT))
            return Answer(answer.status, told, await answer.read())

    def paths(self) -> Iterator[str]:
        """Every kind of address, with filters, languages and formats, and what is refused."""
        yield from (
            "/v1/releases",
            "/v1/releases?table=reports.month&limit=5",
            "/v1/openapi.json",
            "/page.css",
        )
        for one in (self.shown[0], self.shown[-1]):
            yield from (f"/v1/releases/{one.digest}/{file}" for file in FILES)
        for view in VIEWS:
            path = f"/v1/statistics/{view.topic}/{view.name}"
            yield from (path, f"{path}?format=csv")
            if "area" in view.columns:
                yield from (f"{path}?area=oakwood", f"{path}?area=harbour&format=csv")
        yield from (
            f"/?language={language}{area}" for language in ("nl", "en") for area in ("", "&area=oakwood")
        )
        yield from REFUSED

    async def everything(self, process: Process, **headers: str) -> dict[str, Answer]:
        """Every answer, by its address."""
        return {path: await self.ask(process.url + path, **headers) for path in self.paths()}

    async def topics(self) -> dict[Any, int]:
        """Where each topic that a stats writes to ends: its releases, and what it could not read."""
        reader = kafka.reader(self.bootstrap, "watching")
        await reader.start()
        try:
            return dict(await kafka.ends(reader, [one for one in all_topics() if one.writer == "stats"]))
        finally:
            await kafka.stop_quietly(reader)

    async def metrics(self) -> dict[str, str]:
        """Every sample of the internal port, of all replicas."""
        found = {}
        for number, process in enumerate(self.replicas):
            told = (await self.ask(process.internal_url + "/metrics")).body.decode()
            for line in told.splitlines():
                if not line.startswith("#"):
                    sample, _, value = line.rpartition(" ")
                    found[f"{number} {sample}"] = value
        return found

    def log(self) -> list[str]:
        """What was logged, without the times."""
        lines = [line for log in self.logs for line in log.read_text().splitlines()]
        return [re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.,]+Z?", "", line) for line in lines]


@asynccontextmanager
async def watched(infrastructure: Infrastructure, dsn: str, folder: Path) -> AsyncIterator[Watched]:
    """Started, on a database that has a quarter of releases."""
    environments = [
        service_process.environment(dsn, infrastructure.bootstrap, TOWN, signing_key=SECRET) for _ in range(3)
    ]
    migrated = await asyncio.to_thread(ended, "stats", environments[0], "migrate")
    assert migrated.returncode == 0, migrated.stderr
    connection = await postgres.connect(dsn, "test")
    shown = await publish(connection, spec_of(read(TOWN)), Signer(SECRET), date(2025, 1, 1), date(2025, 4, 1))
    await connection.close()
    logs = [folder / f"{number}.log" for number in range(3)]
    modules = ("services.stats", "services.stats", "tests.privacy.planted")
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        starts = [
            running_process("stats", env, log, module)
            for env, log, module in zip(environments, logs, modules, strict=True)
        ]
        one, other, planted = await asyncio.gather(*map(stack.enter_async_context, starts))
        yield Watched(dsn, infrastructure.bootstrap, session, (one, other), planted, logs[:2], shown)
