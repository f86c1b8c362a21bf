"""Residents take turns at the database; an outage must not leave them waiting for ever."""

import asyncio
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.tips.http import desk as http
from shared import postgres
from tests.conftest import MakeDatabase
from tests.integration.tips_server import running_tips

CONNECT_SECONDS = 1.5


async def test_who_has_waited_for_a_turn_has_still_time_to_connect(
    database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage every connection is to be made anew, slowly, by somebody who has waited long."""
    monkeypatch.setattr(http, "TURN_SECONDS", 4)
    dsn = await database()
    server, slow = await _slowly(dsn)
    pool = await postgres.open_pool(slow, "tips", size=1)
    try:
        async with running_tips(dsn, tmp_path) as tips:
            desk = replace(tips.desk, pool=pool, turns=asyncio.Semaphore(1))
            async with http.connection(desk) as first:
                waiting = asyncio.create_task(_ask(desk))
                await asyncio.sleep(3)
                first.terminate()
            assert await waiting == 1
    finally:
        pool.terminate()
        server.close()


async def _ask(desk: http.Desk) -> int:
    async with http.connection(desk) as connection:
        return int(await connection.fetchval("SELECT 1"))


async def _slowly(dsn: str) -> tuple[asyncio.Server, str]:
    """A way to the database on which each new connection takes a while, and its address."""
    parts = urlsplit(dsn)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(CONNECT_SECONDS)
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        copying = [asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))]
        await asyncio.wait(copying, return_when=asyncio.FIRST_COMPLETED)
        for task in copying:
            task.cancel()
        for end in (writer, back):
            end.close()

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    return server, dsn.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{port}")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        writer.close()
