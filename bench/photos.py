"""photos: what a photo of 12 megapixels costs, and whether 20 at once delay those who send reports.

The whole system runs with the town of real requests. One photo after another is uploaded first: its time
from the first byte to the answer, and the memory of `tips` with all its processes above what it has when
idle. Then issues are sent at a steady rate, with and without residents who keep 20 photos on their way
meanwhile, from a process of their own of the lowest priority, since a resident's telephone takes no time
from the server's processor: what is held is the ratio of the issues' p99. There is no peer. At the end every
issue is held against the units, the topics and the services' totals, and every photo must have been taken.
"""

import asyncio
import contextlib
import itertools
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import psutil
import uvloop

from bench.common import Ledger, Options, Result, centiles, median, print_rows, running, spread
from bench.crowd import upload
from bench.town import Town, issues, town
from deploy.local import guard
from deploy.local.load import Request, send_all
from deploy.local.processes import temporary_folder
from deploy.local.progress import to_stderr
from tests.photos import encoded, noise

RATE = 20.0
POSTS, LEAST_POSTS, WARM_UP = 400, 60, 60
SINGLE, LEAST_SINGLE = 20, 3
AT_ONCE = 20
WIDTH, HEIGHT, QUALITY = 4_000, 3_000, 92
BAR_SECONDS, BAR_MEGABYTES, BAR_RATIO = 1.0, 200.0, 1.5
SAMPLE_SECONDS = 0.005


def run(options: Options) -> Result:
    """Run it. Blocking."""
    print(__doc__)
    with town() as here, temporary_folder() as folder:
        photo = folder / "photo.jpg"
        photo.write_bytes(encoded(noise(WIDTH, HEIGHT), quality=QUALITY))
        return uvloop.run(_measure(here, options, photo))


async def _measure(here: Town, options: Options, photo: Path) -> Result:
    await here.units.open_all()
    requests = issues()
    statuses: list[int] = []
    p99s: dict[bool, list[float]] = {False: [], True: []}
    count = options.count(POSTS, LEAST_POSTS)
    try:
        await _issues(here, requests, WARM_UP)
        statuses.append(await asyncio.to_thread(upload, here.url, photo))
        seconds, megabytes = await _alone(here, photo, options, statuses)
        for number in range(options.runs):
            for crowded in (False, True) if number % 2 else (True, False):
                async with _crowd(here.url, photo, statuses) if crowded else contextlib.nullcontext():
                    p99s[crowded].append((await _issues(here, requests, count))[1])
            to_stderr(
                f"run {number + 1} of {options.runs}: p99 {p99s[False][-1]:.0f}, {p99s[True][-1]:.0f} ms"
            )
        ledger = await here.check()
    finally:
        await here.units.close_all()
    return _result(options, seconds, megabytes, p99s, statuses, ledger)


async def _issues(here: Town, requests: Iterator[Request], count: int) -> tuple[float, float]:
    """p50 and p99 in ms, from sending an issue to its answer."""
    outcomes = await send_all(here.url, itertools.islice(requests, count), RATE, lambda _: None)
    here.outcomes += outcomes
    return centiles([outcome.answered_at - outcome.sent_at for outcome in outcomes])


async def _alone(here: Town, photo: Path, options: Options, statuses: list[int]) -> tuple[list[float], float]:
    """The seconds of each photo, one after another, and the most memory above idle, in MB."""
    pid = here.stack.services["tips"].child.pid
    await here.settle()
    idle = most = _resident(pid)
    seconds = []

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, _resident(pid))
            await asyncio.sleep(SAMPLE_SECONDS)

    async with running(watch()):
        for _ in range(options.count(SINGLE, LEAST_SINGLE)):
            started = time.perf_counter()
            statuses.append(await asyncio.to_thread(upload, here.url, photo))
            seconds.append(time.perf_counter() - started)
    return seconds, (most - idle) / 1e6


def _resident(pid: int) -> float:
    """The memory of a process and all that it has started, in bytes."""
    total = 0.0
    for process in guard.tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


@contextlib.asynccontextmanager
async def _crowd(url: str, photo: Path, statuses: list[int]) -> AsyncIterator[None]:
    """Residents who have so many photos on their way all the time; the last ones end with the block."""
    command = [sys.executable, "-m", "bench.crowd", url, str(photo), str(AT_ONCE)]
    # Not asyncio's: in uvloop it did not always come back, and the crowd went on for ever.
    crowd = await asyncio.to_thread(subprocess.Popen, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield
    finally:
        said, _ = await asyncio.to_thread(crowd.communicate)
    statuses += [int(status) for status in said.split()]


def _result(
    options: Options,
    seconds: Sequence[float],
    megabytes: float,
    p99s: dict[bool, list[float]],
    statuses: Sequence[int],
    ledger: Ledger,
) -> Result:
    ledger.hold("photos taken", [201] * len(statuses), statuses)
    ratios = [with_them / without for with_them, without in zip(p99s[True], p99s[False], strict=True)]
    ratio, alone = median(ratios), median(seconds)
    print(f"{len(statuses):,} photos of {WIDTH * HEIGHT / 1e6:g} megapixels; issues at {RATE:g} a second")
    print_rows(
        ["median", "lowest", "highest"],
        [
            ("one photo, ms", [1000 * one for one in (alone, min(seconds), max(seconds))]),
            ("memory above idle, MB", [megabytes]),
            *(
                (f"issues' p99 ms, {name}", [median(p99s[crowded]), min(p99s[crowded]), max(p99s[crowded])])
                for crowded, name in ((False, "alone"), (True, f"with {AT_ONCE} photos"))
            ),
        ],
    )
    bars = {
        f"one photo takes {alone:.2f} s; the bar is {BAR_SECONDS:g}": alone <= BAR_SECONDS,
        f"one photo takes {megabytes:.0f} MB; the bar is {BAR_MEGABYTES:g}": megabytes <= BAR_MEGABYTES,
        f"p99 is {ratio:.2f} x that without photos; the bar is {BAR_RATIO:g}": ratio <= BAR_RATIO,
    }
    return Result(
        "photos",
        ratio,
        "p99 without photos",
        {"p99 without photos": ratio},
        spread(ratios),
        ledger,
        options.runs,
        options.size,
        {"seconds": alone, "megabytes": megabytes, "bars": [BAR_SECONDS, BAR_MEGABYTES, BAR_RATIO]},
        [bar for bar, reached in bars.items() if not reached],
    )
