"""kill -9 of every process, drawn from a seed: at random and at every named point, some at the same time."""

import asyncio
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.local.kafka import Kafka
from deploy.local.postgres import Postgres
from deploy.local.stack import SERVICES, ServiceProcess
from tests.chaos.dying import APPLYING, POINTS, light
from tests.chaos.trial import Trial, with_fuse

AT_RANDOM = "at random"
# How often each is killed at random, in proportion.
WEIGHTS = {"tips": 4, "notify": 4, "stats": 3, "kafka": 2, "postgres": 2}
# Who may die at the same time as others: one server at a time, or no service would come to its points.
LANES = (("tips",), ("notify",), ("stats",), ("kafka", "postgres"))
NAMED_SHARE = 0.4
# A service stands still at its point while the server that it works with is killed.
AT_SERVERS = (
    ("kafka", "tips", "after claim"),
    ("kafka", "tips", "inside a send"),
    ("kafka", "notify", "after send"),
    ("kafka", "notify", "inside apply"),
    ("kafka", "stats", "after apply's commit"),
    ("postgres", "tips", "after send"),
    ("postgres", "tips", "before the answer"),
    ("postgres", "notify", "before apply's commit"),
    ("postgres", "notify", "between a delivery and its record"),
    ("postgres", "stats", "inside apply"),
)
AT_SERVICES = tuple((name, name, point) for name in SERVICES for point in POINTS[name])
# A point must be reached within so long; after CROWDED_SECONDS nobody else is killed until it is.
REACHED_SECONDS, CROWDED_SECONDS = 240.0, 15.0
# A broker starts for minutes on a machine that does ten other things.
SERVER_SECONDS = 300.0
# Before a kill. Kafka is left alone for longer than the session of a dead consumer lasts (10 s), which
# begins anew with it: or no service would ever get its partitions back.
PAUSE_SECONDS = {
    "tips": (0.2, 1.5),
    "notify": (0.2, 1.5),
    "stats": (0.2, 1.5),
    "kafka": (12.0, 22.0),
    "postgres": (2.0, 8.0),
}


@dataclass(frozen=True)
class Kill:
    """Who dies; whose point it is and which, or nothing for any moment; the hits of the point and the wait
    before, in seconds."""

    victim: str
    at: str
    point: str
    hits: int
    pause: float

    @property
    def name(self) -> str:
        if not self.at:
            return AT_RANDOM
        return self.point if self.at == self.victim else f"{self.at} {self.point}"


def draw(count: int, seed: int) -> Iterator[Kill]:
    """So many kills, the same ones for the same seed: every named point comes before one comes again."""
    chance = random.Random(seed)
    named = [*AT_SERVICES, *AT_SERVERS]
    chance.shuffle(named)
    rest = itertools.cycle(named)
    points = round(count * NAMED_SHARE)
    which = [True] * points + [False] * (count - points)
    chance.shuffle(which)
    for at_a_point in which:
        victim, at, point = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0], "", ""
        if at_a_point:
            victim, at, point = next(rest)
        hits = chance.randint(1, 2 if point in APPLYING else 5)
        yield Kill(victim, at, point, hits, chance.uniform(*PAUSE_SECONDS[victim]))


@dataclass
class Killer:
    """Kills the processes of a trial. The lanes go side by side, so that one may die while another is
    still starting."""

    trial: Trial
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    _fuses: dict[str, Path] = field(init=False)
    _turns: dict[str, asyncio.Lock] = field(init=False)
    _crowded: set[Kill] = field(default_factory=set)

    def __post_init__(self) -> None:
        folder = self.trial.stack.folder
        self._fuses = {name: folder / f"{name}.fuse" for name in SERVICES}
        self._turns = {name: asyncio.Lock() for name in WEIGHTS}

    def give_fuses(self) -> None:
        """Start every service anew, as one that can die at a named point."""
        for name, service in self.trial.stack.services.items():
            service.child.argv = with_fuse(name, self._fuses[name])
            service.child.kill()

    async def visit_points(self) -> None:
        """Let every service come to each of its points once, unharmed. AssertionError where one is not
        reached: its function may no longer be the one that is called there."""
        async with asyncio.TaskGroup() as group:
            for name in SERVICES:
                group.create_task(self._visit(name))

    async def _visit(self, name: str) -> None:
        for point in POINTS[name]:
            light(self._fuses[name], point, 1, signal.SIGCONT)
            await self._until(Kill(name, name, point, 1, 0), lambda: not self._fuses[name].exists())

    def line(self) -> str:
        """How many kills of whom, and at which points."""
        parts = []
        for victim in WEIGHTS:
            points = {name: count for (who, name), count in sorted(self.done.items()) if who == victim}
            said = ", ".join(f"{count} {name}" for name, count in points.items())
            parts.append(f"{victim} {sum(points.values())} ({said})")
        return "killed " + "; ".join(parts)

    async def carry_out(self, kills: list[Kill]) -> None:
        """All of them. AssertionError where a point was not reached in time."""
        async with asyncio.TaskGroup() as group:
            for lane in LANES:
                group.create_task(self._lane([kill for kill in kills if kill.victim in lane]))

    async def _lane(self, kills: list[Kill]) -> None:
        for kill in kills:
            await asyncio.sleep(kill.pause)
            while self._crowded:  # noqa: ASYNC110 - looked at rarely
                await asyncio.sleep(0.2)
            # Whoever stands at a point, or is to come to it, is not killed by another meanwhile.
            async with self._turns[kill.at or kill.victim]:
                await self._carry_out(kill)
            self.done[kill.victim, kill.name] += 1

    async def _carry_out(self, kill: Kill) -> None:
        infrastructure = self.trial.stack.infrastructure
        services = self.trial.stack.services
        servers: dict[str, Kafka | Postgres] = {
            "kafka": infrastructure.kafka,
            "postgres": infrastructure.postgres,
        }
        if server := servers.get(kill.victim):
            await self._kill_server(kill, server)
        elif kill.at:
            light(self._fuses[kill.at], kill.point, kill.hits, signal.SIGKILL)
            await self._until(kill, lambda: not self._fuses[kill.at].exists())
        else:
            services[kill.victim].child.kill()

    async def _kill_server(self, kill: Kill, server: Kafka | Postgres) -> None:
        at = self.trial.stack.services.get(kill.at)
        if at:
            light(self._fuses[kill.at], kill.point, kill.hits, signal.SIGSTOP)
            await self._until(kill, lambda: _stands(at))
        await asyncio.to_thread(server.kill)
        if at:
            psutil.Process(at.child.pid).resume()
        await asyncio.to_thread(server.launch)
        await asyncio.to_thread(server.wait_ready, SERVER_SECONDS)

    async def _until(self, kill: Kill, reached: Callable[[], bool]) -> None:
        began = time.monotonic()
        try:
            while not reached():
                waited = time.monotonic() - began
                if waited > CROWDED_SECONDS:
                    self._crowded.add(kill)
                if waited > REACHED_SECONDS:
                    log = self.trial.stack.services[kill.at].child.log_tail()
                    raise AssertionError(f"{kill.at} did not come to {kill.point!r}: {log}")
                await asyncio.sleep(0.05)
        finally:
            self._crowded.discard(kill)


def _stands(service: ServiceProcess) -> bool:
    try:
        return psutil.Process(service.child.pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False
