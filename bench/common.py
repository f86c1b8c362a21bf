"""What the benches share: options, interleaved runs, time and CPU, ledgers, and how a result is printed."""

import asyncio
import contextlib
import gc
import itertools
import json
import statistics
import time
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from deploy.local import guard
from deploy.local.postgres import Postgres
from deploy.local.processes import Child, temporary_folder
from deploy.local.progress import to_stderr
from shared.errors import Refusal


@dataclass(frozen=True)
class Options:
    """How much, how often, and whether a missed bar is a failure. `size` 1 is the full size."""

    size: float = 1.0
    runs: int = 5
    hold: bool = False

    def count(self, full: int, least: int) -> int:
        """A number of things at this size."""
        return max(least, round(full * self.size))


@dataclass(frozen=True)
class Timing:
    """One measured stretch: `work` things in `seconds`, and the CPU seconds of each process meanwhile."""

    work: int
    seconds: float
    cpu: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Things a second."""
        return self.work / self.seconds


class Meter:
    """Measures stretches of time with the CPU that this process and its servers use."""

    def __init__(self, servers: Mapping[str, Child]) -> None:
        self._servers = servers
        self._since: tuple[float, dict[str, float]] = (0.0, {})

    def start(self) -> None:
        """Begin a stretch. What is in memory by now is left out of garbage collection: it is the bench's."""
        gc.collect()
        gc.freeze()
        self._since = time.perf_counter(), self._cpu()

    def stop(self, work: int) -> Timing:
        """The stretch since `start`, in which `work` things were done."""
        seconds = time.perf_counter() - self._since[0]
        before = self._since[1]
        # A server that was started anew meanwhile counts from there.
        cpu = {
            name: used - before[name] if used >= before[name] else used for name, used in self._cpu().items()
        }
        gc.unfreeze()
        return Timing(work, seconds, cpu)

    def _cpu(self) -> dict[str, float]:
        used = {"bench": time.process_time()}
        for name, child in self._servers.items():
            used[name] = sum(map(_cpu_of, guard.tree(child.pid))) if child.running else 0.0
        return used


def _cpu_of(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        # Of children too: what a server process had used goes to its parent when it ends.
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


async def interleave(
    runs: int, contenders: Mapping[str, Callable[[int], Awaitable[Timing]]]
) -> dict[str, list[Timing]]:
    """Let the contenders take turns, each time in another order; the timings of each by run."""
    found: dict[str, list[Timing]] = {name: [] for name in contenders}
    names = list(contenders)
    for run in range(runs):
        for name in names[run % len(names) :] + names[: run % len(names)]:
            timing = await contenders[name](run)
            found[name].append(timing)
            to_stderr(f"run {run + 1} of {runs}: {name} {timing.rate:,.0f}/s")
    return found


@dataclass
class Ledger:
    """What is missing and what is there twice, over all runs, and what else is wrong."""

    lost: int = 0
    doubled: int = 0
    faults: list[str] = field(default_factory=list)

    def hold(
        self,
        what: str,
        wanted: Sequence[Any],
        found: Sequence[Any],
        identity: Callable[[Any], Hashable] = lambda one: one,
    ) -> None:
        """Hold what is found against what is wanted: what is lost and doubled goes by identity."""
        due, there = Counter(map(identity, wanted)), Counter(map(identity, found))
        lost, more = (due - there).total(), (there - due).total()
        self.lost += lost
        self.doubled += more
        if lost or more:
            self.faults.append(f"{what}: {lost} lost, {more} doubled or strange")
        elif list(wanted) != list(found):
            self.faults.append(f"{what}: out of order, or changed on the way")


@dataclass
class Result:
    """What a bench found. `ratio` is against `of`, the first peer that counts; `spread` is its lowest and
    highest over the runs; `missed` names each bar that was not reached."""

    bench: str
    ratio: float
    of: str
    ratios: Mapping[str, float]
    spread: tuple[float, float]
    ledger: Ledger
    runs: int
    size: float
    more: Mapping[str, Any] = field(default_factory=dict)
    missed: Sequence[str] = ()

    def print(self) -> None:
        """The faults and missed bars in words, and as the last line all of it as one JSON object."""
        for fault in self.ledger.faults:
            print(f"LEDGER WRONG: {fault}")
        for bar in self.missed:
            print(f"missed: {bar}")
        print(f"ledger: {self.ledger.lost} lost, {self.ledger.doubled} doubled")
        told = asdict(self)
        told |= told.pop("ledger")
        more = told.pop("more")
        print(json.dumps(_rounded(told | more)), flush=True)

    def failed(self, hold: bool) -> bool:
        """Whether the bench must end with an error."""
        return bool(self.ledger.faults or (hold and self.missed))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(held) for key, held in value.items()}
    return [_rounded(held) for held in value] if isinstance(value, list | tuple) else value


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def centiles(seconds: Sequence[float]) -> tuple[float, float]:
    """p50 and p99 in ms."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return cuts[49] * 1000, cuts[98] * 1000


def ratios_by_run(subject: Sequence[float], peer: Sequence[float]) -> list[float]:
    """The ratio in each run: subject and peer stood next to each other then."""
    return [one / other for one, other in zip(subject, peer, strict=True)]


def spread(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def print_rates(found: Mapping[str, Sequence[Timing]]) -> None:
    """A table: things a second (median, lowest, highest), and the median CPU seconds of each process."""
    width = _width(found)
    print(f"{'':<{width}}{'median /s':>12}{'lowest':>12}{'highest':>12}")
    for name, timings in found.items():
        rates = [timing.rate for timing in timings]
        print(f"{name:<{width}}{median(rates):>12,.0f}{min(rates):>12,.0f}{max(rates):>12,.0f}")
    print_cpu({f"CPU s, {name}": timings for name, timings in found.items()})


def print_cpu(found: Mapping[str, Sequence[Timing]]) -> None:
    """A table: the median CPU seconds of each process; `bench` is the one that prints this."""
    processes = list(next(iter(found.values()))[0].cpu)
    width = _width(found)
    print(" " * width + "".join(f"{name:>12}" for name in processes))
    for name, timings in found.items():
        cpu = (median(timing.cpu[process] for timing in timings) for process in processes)
        print(f"{name:<{width}}" + "".join(f"{seconds:>12.2f}" for seconds in cpu))


def _width(names: Iterable[str]) -> int:
    return max(map(len, names)) + 2


def print_rows(heads: Sequence[str], rows: Iterable[tuple[str, Sequence[float]]]) -> None:
    """A table of figures."""
    listed = list(rows)
    width = _width(name for name, _ in listed)
    widths = [max(10, len(head) + 2) for head in heads]
    print(" " * width + "".join(f"{head:>{w}}" for head, w in zip(heads, widths, strict=True)))
    for name, figures in listed:
        print(f"{name:<{width}}" + "".join(f"{f:>{w},.1f}" for f, w in zip(figures, widths, strict=False)))


@contextlib.contextmanager
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL for as long as the block lasts, in a temporary folder that others' logs may be in, too."""
    with temporary_folder() as folder:
        # It may run as another account.
        folder.chmod(0o711)
        server = Postgres(folder / "postgres")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextlib.asynccontextmanager
async def running(work: Any) -> AsyncIterator["asyncio.Task[Any]"]:
    """Run a coroutine beside the block, cancelled at its end."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(
    condition: Callable[[], Awaitable[Any] | Any],
    what: str,
    beside: "asyncio.Task[Any] | None" = None,
    *,
    seconds: float = 300.0,
    every: float = 0.002,
) -> None:
    """Wait until the condition holds; what `beside` raises meanwhile is raised. Raises Refusal when the
    seconds are over."""
    end = time.monotonic() + seconds
    for _ in itertools.count():
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return
        if beside and beside.done():
            beside.result()
            raise Refusal(f"{what}: what should do it has ended by itself; look at its log lines above")
        if time.monotonic() > end:
            raise Refusal(f"{what} did not happen within {seconds:g} s; free the machine, or lower --size")
        await asyncio.sleep(every)
