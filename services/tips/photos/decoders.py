"""Photos are decoded in processes of their own, one for each photo, few at a time.

A process costs 0.1 s of processor time to start. For that, nothing of one resident's photo is there when the
next one's is decoded, its memory is given back, and one that hangs or dies has no successor to be made.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

from services.tips.photos import Fault

PROCESSES = 2
# Photos that are read or decoded at a time, each with its bytes in memory; so many more may wait so long.
PLACES = 8
WAITING = 64
PATIENCE_SECONDS = 30
# By the clock, on a machine that is busy; by the processor's time the process limits itself.
DECODE_SECONDS = 40
MAX_JPEG_BYTES = 8 * 2**20
COMMAND = (sys.executable, "-B", "-m", "services.tips.photos.decoding")
_PIECE_BYTES = 256 * 1024


class Busy(Exception):  # noqa: N818 - an outcome
    """More photos come than can be taken."""


class Undecodable(Exception):  # noqa: N818 - an outcome
    """There is no photo to be made of this."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.name)
        self.fault = fault


class Decoders:
    """The turns for memory and for processes."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(PLACES)
        self._processes = asyncio.Semaphore(PROCESSES)
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for one photo's bytes. Raises Busy."""
        if self._waiting >= WAITING:
            raise Busy
        self._waiting += 1
        try:
            await asyncio.wait_for(self._places.acquire(), PATIENCE_SECONDS)
        except TimeoutError:
            raise Busy from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()

    async def jpeg_of(self, photo: bytes) -> bytes:
        """The photo's pixels as a JPEG (photos/decoding.py). Raises Undecodable or Busy."""
        async with self._processes:
            return await _decoded(photo)


async def _decoded(photo: bytes) -> bytes:
    try:
        worker = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            # None of the service's own: its secrets are there.
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_ARENA_MAX": "1"},
        )
    except OSError:  # no memory or no process to be had
        raise Busy from None
    try:
        async with asyncio.timeout(DECODE_SECONDS):
            _, jpeg = await asyncio.gather(_feed(worker, photo), _read(worker))
            code = await worker.wait()
    except TimeoutError:
        raise Undecodable(Fault.BROKEN) from None
    finally:
        if worker.returncode is None:
            with suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()
    if code == 0 and jpeg:
        return jpeg
    raise Undecodable(Fault(code) if code in set(Fault) else Fault.BROKEN)


async def _feed(worker: Process, photo: bytes) -> None:
    """In pieces, so that the loop has others' turns between and nothing is copied whole."""
    stdin = cast("asyncio.StreamWriter", worker.stdin)
    # A process that has died does not read on.
    with suppress(BrokenPipeError, ConnectionResetError):
        for start in range(0, len(photo), _PIECE_BYTES):
            stdin.write(photo[start : start + _PIECE_BYTES])
            await stdin.drain()
        stdin.close()
        await stdin.wait_closed()


async def _read(worker: Process) -> bytes:
    """What the process answers. Raises Undecodable where that is more than a JPEG has."""
    stdout = cast("asyncio.StreamReader", worker.stdout)
    jpeg = bytearray()
    while piece := await stdout.read(_PIECE_BYTES):
        jpeg += piece
        if len(jpeg) > MAX_JPEG_BYTES:
            raise Undecodable(Fault.BROKEN)
    return bytes(jpeg)
