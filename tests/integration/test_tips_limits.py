"""Limits by network over real HTTP: clients bind to addresses of their own in 127.0.0.0/8."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest_asyncio

from services.tips import receipts
from services.tips.limits import ALLOWANCES
from tests.conftest import MakeDatabase
from tests.integration.tips_server import Tips, issue, new_key, running_tips

MOST = ALLOWANCES["reports"].at_once


@pytest_asyncio.fixture
async def limited(database: MakeDatabase, tmp_path: Path) -> AsyncIterator[Tips]:
    """The real tips, on which nobody may do as much as he likes."""
    async with running_tips(await database(), tmp_path, unlimited=()) as running:
        yield running


async def send(tips: Tips, host: str, count: int) -> list[int]:
    """Send so many reports from that address; the statuses."""
    connector = aiohttp.TCPConnector(local_addr=(host, 0))
    statuses = []
    async with aiohttp.ClientSession(tips.url, connector=connector) as session:
        for _ in range(count):
            headers = {"Idempotency-Key": new_key()}
            async with session.post("/v1/reports", json=issue(), headers=headers) as answer:
                statuses.append(answer.status)
    return statuses


async def test_one_network_cannot_flood_and_others_do_not_notice(limited: Tips) -> None:
    """What is refused is not stored, and the answer says when to come back."""
    assert await send(limited, "127.0.0.2", MOST + 5) == [201] * MOST + [429] * 5
    assert await send(limited, "127.0.0.3", 1) == [201]
    assert len(await limited.rows("SELECT FROM report")) == MOST + 1
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with (
        aiohttp.ClientSession(limited.url, connector=connector) as session,
        session.post("/v1/reports", json=issue(), headers={"Idempotency-Key": new_key()}) as answer,
    ):
        assert int(answer.headers["Retry-After"]) > 0
        assert (await answer.json(content_type=None))["type"] == "urn:ibuurt:problem:too-many"


async def test_receipts_cannot_be_tried_without_end(limited: Tips) -> None:
    """Wrong ones are counted, unknown and misspelt alike; right ones are not."""
    mine = (await limited.post(issue())).body["receipt"]
    for _ in range(3 * ALLOWANCES["receipts"].at_once):
        assert (await limited.mine(mine)).status == 200
    statuses = []
    for number in range(ALLOWANCES["receipts"].at_once + 2):
        unknown = receipts.shown(receipts.from_key(secrets.token_hex(16), b"another pepper"))
        statuses.append((await limited.mine(unknown if number % 2 else "not a receipt")).status)
    assert statuses == [404] * ALLOWANCES["receipts"].at_once + [429] * 2
