"""Forwards ports of the container's localhost to this machine: plain HTTP goes to localhost only, and the
tests' units and subscriber are not in the container."""

import asyncio
import contextlib
import sys
from functools import partial


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _join(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        there, back = await asyncio.open_connection("host.docker.internal", port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def main() -> None:
    ports = [int(port) for port in sys.argv[1].split(",")]
    servers = [await asyncio.start_server(partial(_join, port), "127.0.0.1", port) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
