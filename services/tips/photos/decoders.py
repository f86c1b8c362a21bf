"""Photos are decoded in processes of their own, one for each photo, few at a time.

A process costs 0.1 s of processor time to start. For that, nothing of one resident's photo is there when the
next one's is decoded, its memory is given back, and one that hangs or dies has no successor to be made.
"""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, cast

from services.tips.photos import Fault

# At most half of the processors: whoever sends a report finds one that is free.
PROCESSES = min(2, max(1, (os.cpu_count() or 1) // 2))
# Photos that are read or decoded at a time, each with its bytes in memory; so many more may wait so long.
PLACES = 8
WAITING = 64
PATIENCE_SECONDS = 30
# By the clock: the machine is too busy for photos. By the processor's time the process limits itself.
DECODE_SECONDS = 40
NICENESS = 19
MAX_JPEG_BYTES = 8 * 2**20
COMMAND = (sys.executable, "-B", "-m", "services.tips.photos.decoding")


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
            # In a thread: uvloop forks, and stands still until the process has begun, .01 s and more; this
            # way it is a vfork, a thirtieth of that, and the loop has nothing to do with the pipes.
            return await asyncio.to_thread(_decoded, photo)


def _decoded(photo: bytes) -> bytes:
    try:
        worker = subprocess.Popen(  # noqa: S603 - our own module
            COMMAND,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            start_new_session=True,
            # None of the service's own: its secrets are there.
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_ARENA_MAX": "1"},
        )
    except OSError:  # no memory or no process to be had
        raise Busy from None
    # Before it has begun: it goes behind everything that this service does.
    with suppress(OSError):
        _let_behind(worker.pid)
    late = threading.Event()

    def give_up() -> None:
        late.set()
        worker.kill()

    alarm = threading.Timer(DECODE_SECONDS, give_up)
    alarm.start()
    try:
        with worker:
            jpeg = _exchanged(worker, photo)
    finally:
        alarm.cancel()
    if worker.returncode == 0 and 0 < len(jpeg) <= MAX_JPEG_BYTES:
        return jpeg
    if late.is_set():
        raise Busy
    raise Undecodable(Fault(worker.returncode) if worker.returncode in set(Fault) else Fault.BROKEN)


def _let_behind(pid: int) -> None:
    # Linux may weigh sessions against each other (autogroup): by that one the database would have to wait for
    # its turn, whatever the process is among its own.
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(NICENESS), "ascii")
    if hasattr(os, "SCHED_IDLE"):
        # Whatever else wants to run interrupts it at once; with a niceness only once its turn is over.
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.setpriority(os.PRIO_PROCESS, pid, NICENESS)


def _exchanged(worker: "subprocess.Popen[bytes]", photo: bytes) -> bytes:
    """What the process answers, which it begins when it has read the whole photo; then it is gone."""
    stdin, stdout = cast("IO[bytes]", worker.stdin), cast("IO[bytes]", worker.stdout)
    # A process that has died does not read on.
    with suppress(BrokenPipeError):
        stdin.write(photo)
    with suppress(BrokenPipeError):
        stdin.close()
    jpeg = stdout.read(MAX_JPEG_BYTES + 1)
    if len(jpeg) > MAX_JPEG_BYTES:
        worker.kill()
    return jpeg
