"""A real `tips` over HTTP for the tests: both applications on uvicorn, a migrated PostgreSQL behind them."""

import asyncio
import functools
import io
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from deploy.local.processes import free_port
from services.tips import http
from services.tips.areas import Areas
from services.tips.core.emails import Sender
from services.tips.keys import KeyFolder
from services.tips.limits import Limits, Network
from services.tips.metrics import TipsMetrics
from services.tips.photos.store import PhotoStore
from services.tips.storing import Storing
from shared import municipality, postgres, web
from shared.service import INTERNAL_OPENAPI

ROOT = Path(__file__).parents[2]
IBUURT = ROOT / "deploy/municipalities/ibuurt"
MIGRATIONS = [postgres.SHARED_MIGRATIONS, ROOT / "services/tips/migrations"]
PUBLIC_URL = "https://reports.example"
NOTIFY_TOKEN = "notify-token-" + "n" * 32
PEPPERS = http.Peppers(b"receipt-pepper-" + b"r" * 32, b"lookup-pepper-" + b"l" * 32)
# Inside Oakwood.
SENDER = Sender("iBuurt", "iBuurt <meldingen@ibuurt.example>", "https://meldingen.ibuurt.example")
HERE = ip_network("127.0.0.0/8")
LATITUDE, LONGITUDE = 52.05, 5.6
SECRET_WORDS = "The man at number 14 hides tools in the shed"
SECRET_ADDRESS = "Kastanjelaan 14, behind the school"


@dataclass
class Clock:
    """The time that the service sees; tests move it."""

    now: datetime = datetime(2026, 11, 12, 13, 37, 11, 123456, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Answer:
    """An HTTP answer, read whole. `body` is its JSON, {} when it is none."""

    status: int
    headers: dict[str, str]
    content: bytes
    body: dict[str, Any]

    @property
    def code(self) -> str:
        return str(self.body.get("type", "")).removeprefix("urn:ibuurt:problem:")


@dataclass
class Tips:
    """A running `tips`."""

    url: str
    internal_url: str
    pool: Any
    desk: http.Desk
    clock: Clock
    session: aiohttp.ClientSession
    registry: CollectorRegistry
    dsn: str
    wakes: list[float] = field(default_factory=list)

    async def post(self, body: Any, key: str | None = None, **headers: str) -> Answer:
        """POST /v1/reports with a new idempotency key, unless another is given ("" for none)."""
        sent = {"Idempotency-Key": new_key() if key is None else key} | headers
        if not sent["Idempotency-Key"]:
            del sent["Idempotency-Key"]
        return await self.request("POST", "/v1/reports", body, sent)

    async def mine(self, receipt: str) -> Answer:
        """GET /v1/reports/mine"""
        return await self.request("GET", "/v1/reports/mine", None, {"Authorization": f"Receipt {receipt}"})

    async def words(self, report_id: object, token: str = NOTIFY_TOKEN, **body: Any) -> Answer:
        """POST /internal/v1/reports/{report_id}/words"""
        body = {"purpose": "delivery", "reader": "unit:public_space via webhook"} | body
        url = f"{self.internal_url}/internal/v1/reports/{report_id}/words"
        return await self.request("POST", url, body, {"Authorization": f"Bearer {token}"})

    async def get(self, path: str, **headers: str) -> Answer:
        """GET of a public path."""
        return await self.request("GET", path, None, headers)

    async def public_text(self, report_id: object, token: str = NOTIFY_TOKEN, **body: Any) -> Answer:
        """PUT /internal/v1/reports/{report_id}/public-text"""
        url = f"{self.internal_url}/internal/v1/reports/{report_id}/public-text"
        body = {"by": "unit:public_space via desk"} | body
        return await self.request("PUT", url, body, {"Authorization": f"Bearer {token}"})

    async def request(self, method: str, url: str, body: Any, headers: dict[str, str]) -> Answer:
        """`body`: bytes are sent as they are, anything else as JSON, None not at all."""
        address = url if url.startswith("http") else self.url + url
        # aiohttp warns of large bytes.
        given = {"data": io.BytesIO(body)} if isinstance(body, bytes) else {"json": body}
        if isinstance(body, bytes):
            headers = {"Content-Type": "application/json"} | headers
        async with self.session.request(
            method, address, headers=headers, **({} if body is None else given)
        ) as answer:
            content = await answer.read()
            json = await answer.json(content_type=None) if "json" in answer.content_type else {}
            return Answer(answer.status, dict(answer.headers), content, json)

    async def rows(self, statement: str, *arguments: Any) -> list[Any]:
        async with self.pool.acquire() as connection:
            return list(await connection.fetch(statement, *arguments))

    async def stored(self) -> int:
        """How many rows a submission could have left behind."""
        rows = await self.rows(
            "SELECT (SELECT count(*) FROM report) + (SELECT count(*) FROM submission)"
            " + (SELECT count(*) FROM outbox WHERE topic = 'ibuurt.reports.v1') AS stored"
        )
        return int(rows[0]["stored"])

    async def report_id(self) -> Any:
        """The id of the one report that is stored."""
        (row,) = await self.rows("SELECT report_id FROM report")
        return row["report_id"]


def new_key() -> str:
    """128 random bits; in the 1 of some million cases where they look weak, others."""
    while len(set(key := secrets.token_urlsafe(16))) < 10:
        pass
    return key


def issue(**changes: Any) -> dict[str, Any]:
    """A sound issue."""
    return {
        "kind": "issue",
        "category": "street_light",
        "description": SECRET_WORDS,
        "location": {"point": {"latitude": LATITUDE, "longitude": LONGITUDE}},
        "language": "nl",
    } | changes


def tip(**changes: Any) -> dict[str, Any]:
    """A sound tip."""
    return issue(kind="tip", category="drug_dealing", location={"address": SECRET_ADDRESS}) | changes


@functools.cache
def ibuurt() -> municipality.Municipality:
    """The municipality as it is shipped."""
    return municipality.read(IBUURT)


def town_with(**changes: Mapping[str, Any]) -> municipality.Municipality:
    """IBuurt with other settings of some of its categories, by their ids."""
    town = ibuurt()
    changed = {name: town.categories[name].model_copy(update=more) for name, more in changes.items()}
    return town.model_copy(update={"categories": {**town.categories, **changed}})


def photo_folder(key_folder: Path) -> Path:
    """The folder of the sealed photos, made if there is none."""
    folder = key_folder / "photos"
    folder.mkdir(exist_ok=True)
    return folder


@asynccontextmanager
async def running_tips(
    dsn: str,
    key_folder: Path,
    town: municipality.Municipality | None = None,
    public_url: str = PUBLIC_URL,
    unlimited: Sequence[Network] = (HERE,),
    shared: Sequence[Network] = (),
) -> AsyncIterator[Tips]:
    """`tips` over HTTP on free ports, its database migrated; the town is IBuurt, unless another is given.
    `unlimited` are those who may send without limit, `shared` the addresses of many."""
    await postgres.migrate(dsn, MIGRATIONS)
    pool = await postgres.open_pool(dsn, "tips")
    town = town or ibuurt()
    clock, wakes, registry = Clock(), [], CollectorRegistry()

    def wake() -> None:
        wakes.append(time.monotonic())

    keys = KeyFolder(key_folder)
    desk = http.Desk(
        pool=pool,
        municipality=town,
        areas=Areas(town),
        keys=keys,
        peppers=PEPPERS,
        metrics=TipsMetrics(registry),
        storing=Storing(pool, keys, wake, clock),
        limits=Limits(clock, unlimited=unlimited, shared=shared),
        sender=SENDER,
        wake=wake,
        clock=clock,
        photo_store=PhotoStore(str(photo_folder(key_folder))),
        public_url=public_url,
    )
    internal = web.new_app("tips, internal", openapi=INTERNAL_OPENAPI)
    http.add_internal(internal, desk, NOTIFY_TOKEN)
    ports = free_port(), free_port()
    servers = [
        web.HttpServer(app, "127.0.0.1", port)
        for app, port in zip((http.public_app(desk), internal), ports, strict=True)
    ]
    serving = [asyncio.create_task(server.run()) for server in servers]
    url, internal_url = (f"http://127.0.0.1:{port}" for port in ports)
    try:
        async with asyncio.timeout(10):
            while not all(server.started for server in servers):  # noqa: ASYNC110 - uvicorn has no event
                await asyncio.sleep(0.01)
        async with aiohttp.ClientSession() as session:
            yield Tips(url, internal_url, pool, desk, clock, session, registry, dsn, wakes)
    finally:
        for server in servers:
            server.stop()
        await asyncio.gather(*serving)
        await pool.close()
