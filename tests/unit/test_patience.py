"""Connections that hold a place and ask for nothing are closed; slow ones that ask are not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from fastapi import Request
from fastapi.responses import JSONResponse, Response

from deploy.local.processes import free_port
from shared import patience, web

# What the tests wait for at most, against what the connections are given.
SOON, GIVEN = 20.0, 0.5
HEAD = b"POST /sent HTTP/1.1\r\nHost: town\r\n"
Connect = Callable[[bytes], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest_asyncio.fixture
async def connect(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    """Open a connection to a server and send what is given."""
    for name in ("HEADER_SECONDS", "REST_SECONDS"):
        monkeypatch.setattr(patience, name, GIVEN)
    app, port, writers = web.new_app("test"), free_port(), []

    @app.post("/sent")
    async def sent(request: Request) -> Response:
        body = await web.read_body(request, 1_000, seconds=10)
        await asyncio.sleep(2 * GIVEN)
        return JSONResponse({"bytes": len(body)})

    async def opened(first: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        writer.write(first)
        return reader, writer

    server = web.HttpServer(app, "127.0.0.1", port)
    serving = asyncio.create_task(server.run())
    async with asyncio.timeout(SOON):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.01)
    yield opened
    for writer in writers:
        writer.close()
    server.stop()
    await serving


async def answered(reader: asyncio.StreamReader) -> bytes:
    """The status line and all that follows, to the end of the connection."""
    async with asyncio.timeout(SOON):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def trickled(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Send it again and again until the connection is closed."""
    async with asyncio.timeout(SOON):
        while not writer.is_closing():
            try:
                writer.write(piece)
                await writer.drain()
            except ConnectionError:
                return
            await asyncio.sleep(GIVEN / 10)


@pytest.mark.parametrize("first", [b"", b"POST", HEAD, HEAD + b"X-More: "])
async def test_whoever_sends_no_whole_headers_is_not_waited_for(first: bytes, connect: Connect) -> None:
    """Neither who is silent nor who sends a byte now and then."""
    for piece in (b"", b"x"):
        reader, writer = await connect(first)
        if first and piece:
            await trickled(writer, piece)
        assert b" 200 " not in await answered(reader)


async def test_headers_without_end_are_cut_off(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their size, whatever their speed."""
    monkeypatch.setattr(patience, "HEADER_SECONDS", 10 * SOON)
    _, writer = await connect(HEAD + b"X-More: ")
    await trickled(writer, b"x" * 30_000)


async def test_what_is_left_of_a_refused_body_is_not_taken_for_ever(connect: Connect) -> None:
    """The answer comes at once, and then there is a time for the rest."""
    reader, writer = await connect(HEAD + b"Content-Length: 1000000\r\n\r\n")
    async with asyncio.timeout(SOON):
        assert b" 413 " in await reader.readline()
    await trickled(writer, b"x")


async def test_who_sends_and_waits_slowly_is_answered(connect: Connect) -> None:
    """A slow body is the route's matter, and a second request on the connection has its own time."""
    reader, writer = await connect(HEAD + b"Content-Length: 10\r\n\r\n")
    for turn in range(2):
        for _ in range(10):
            await asyncio.sleep(GIVEN / 5)
            writer.write(b"x")
        async with asyncio.timeout(SOON):
            assert b" 200 " in await reader.readline()
            await reader.readuntil(b'{"bytes":10}')
        if not turn:
            writer.write(HEAD + b"Content-Length: 10\r\n\r\n")
