"""Destinations with a certificate that nobody vouches for, without an address, or slow in what they say."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from deploy.local.processes import free_port
from deploy.operator import certificates
from services.notify.core.deliveries import Retrying
from shared.events import DeliveryFailed
from shared.municipality import Municipality, Webhook
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import Notify, running_notify, send
from tests.integration.tips_server import Tips

UNIT = "public_space"


def at(url: str) -> Any:
    """The unit has this address."""

    def change(town: Municipality) -> Municipality:
        channel = Webhook(kind="webhook", url=url, acknowledged_field="case.seen")
        unit = town.units[UNIT].model_copy(update={"channels": (channel,)})
        return town.model_copy(update={"units": {**town.units, UNIT: unit}})

    return change


@asynccontextmanager
async def listening(folder: Path, made: datetime, taken: list[bytes]) -> AsyncIterator[str]:
    """A unit that shows a certificate of an authority of its own, made at a moment; its address."""
    ca_key, ca = certificates.new_authority(made)
    key, certificate = certificates.new_certificate(ca_key, ca, ["127.0.0.1", "localhost"], made)
    (folder / "ca").write_text(ca)
    (folder / "key").write_text(key)
    (folder / "crt").write_text(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")

    async def take(request: web.Request) -> web.Response:
        taken.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/reports", take)
    runner, port = web.AppRunner(app, access_log=None), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    try:
        yield f"https://127.0.0.1:{port}/reports"
    finally:
        await runner.cleanup()


async def failed(notify: Notify, tips: Tips) -> str:
    """Send a report that nobody takes; why it was given up."""
    await send(tips, notify)
    notify.work(retrying=Retrying(0.02, 0.05, 2))
    await notify.settled()
    (said,) = await notify.said(DeliveryFailed)
    assert isinstance(said, DeliveryFailed)
    return said.reason


@pytest.mark.parametrize(
    ("known", "days_ago", "is_taken"),
    [(False, 0, False), (True, 3_650, False), (True, 0, True)],
    ids=["foreign", "expired", "right"],
)
async def test_a_certificate_that_nobody_vouches_for_gets_no_words(
    database: MakeDatabase,
    tips: Tips,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: bool,
    days_ago: int,
    is_taken: bool,
) -> None:
    """The connection ends before a byte of the report is sent, and the reason names it; with one of a known
    authority that is still valid the unit has it."""
    taken: list[bytes] = []
    async with listening(tmp_path, datetime.now(UTC) - timedelta(days=days_ago), taken) as url:
        if known:
            trusting = ssl.create_default_context(cafile=tmp_path / "ca")
            monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)
        change = at(url)
        async with running_notify(await database("notify"), tips.internal_url, change=change) as notify:
            if is_taken:
                await send(tips, notify)
                notify.work()
                await notify.settled()
            else:
                assert await failed(notify, tips) == "tls"
            assert len(taken) == is_taken


async def test_a_name_without_an_address_is_named_so(database: MakeDatabase, tips: Tips) -> None:
    """A mistake of the folder, or a name server that is down."""
    change = at("https://unit.invalid/reports")
    async with running_notify(await database("notify"), tips.internal_url, change=change) as notify:
        assert await failed(notify, tips) == "dns"


async def test_an_answer_of_a_byte_a_second_holds_nothing_up_for_longer_than_its_limit(
    database: MakeDatabase, tips: Tips
) -> None:
    """With its 200 the unit has the report; what it goes on to say says nothing."""

    async def slowly(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        for byte in b'{"case": {"seen": true}}':
            await answer.write(bytes([byte]))
            await asyncio.sleep(1)
        return answer

    async with running_notify(await database("notify"), tips.internal_url, webhook_seconds=1.5) as notify:
        notify.units.answers[UNIT] = slowly
        await send(tips, notify)
        begun = time.monotonic()
        notify.work()
        await notify.settled()
        assert 1.4 <= time.monotonic() - begun < 5
        (row,) = await notify.rows("SELECT status, state FROM dispatch JOIN delivery USING (report_id)")
        assert tuple(row) == ("delivered", "done")
        assert len(notify.units.arrivals) == 1
