"""A trial on containers: a deployment under load, faults, and the ledger at the end."""

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from deploy.local import ledger
from deploy.local.ledger import Ledger
from deploy.local.load import Outcome, Request, read_requests, send_all
from deploy.local.tap import read_all
from deploy.local.units import Units
from shared.cluster import Cluster
from shared.municipality import read
from tests.chaos.subscribed import BUSY_SHARE, adding
from tests.compose.deployment import ROOT, SERVICES, Deployment
from tests.subscriber import Subscriber, listening, secret_in

BOSTON = ROOT / "deploy" / "municipalities" / "boston"
SAMPLE = BOSTON / "sample.csv.gz"
SAMPLE_ROWS = 5_000
# Reports a second: little, so that a machine that is busy with other things bears it.
RATE = 4.0
# Longer than the engine waits before it starts a container anew, a minute at most, and than the start takes.
PATIENCE_SECONDS = 300.0


class Trial:
    """A deployment with Boston's units, sometimes busy; all that was sent to it and taken, over its life."""

    def __init__(self, folder: Path, *files: str):
        self.deployment = Deployment(folder, ["tests/compose/faults/faults.yml", *files], "boston")
        self.outcomes: list[Outcome] = []
        # What is being sent now.
        self.sending: list[Outcome] = []

    @cached_property
    def units(self) -> Units:
        """Once the deployment is up."""
        secrets = self.deployment.secrets()
        return Units(
            read(BOSTON).units,
            refused_share=0.05,
            host=self.deployment.gateway(),
            secrets={unit: secrets[f"webhook_{unit}"] for unit in self.deployment.unit_ports},
            ports=self.deployment.unit_ports,
        )

    @cached_property
    def kafka(self) -> Cluster:
        return self.deployment.admin()

    @cached_property
    def token(self) -> str:
        return self.deployment.secrets()["operator_token"]

    def urls(self) -> Mapping[str, str]:
        """The internal ports; a container that is started anew has another."""
        return {name: f"http://127.0.0.1:{self.deployment.port(name, 9000)}" for name in SERVICES}

    def totals(self) -> dict[str, dict[str, Any]]:
        """What each service says it has. Raises Away where one does not answer."""
        return ledger.totals(self.urls(), self.token)

    async def send(self, requests: Iterator[Request], rate: float = RATE) -> list[Outcome]:
        """Send until there are no more; returns when each is answered."""
        url = f"http://127.0.0.1:{self.deployment.tips_port}"

        def note(outcomes: list[Outcome]) -> None:
            self.sending = outcomes

        sent = await send_all(url, requests, rate, note, PATIENCE_SECONDS)
        self.outcomes += sent
        return sent

    @contextlib.asynccontextmanager
    async def load(self, rate: float = RATE) -> AsyncIterator[None]:
        """Residents send for as long as the block lasts, and until each has an answer."""
        ending = asyncio.Event()
        sending = asyncio.create_task(self.send(until(ending), rate))
        try:
            yield
        finally:
            ending.set()
            await sending

    @contextlib.asynccontextmanager
    async def open_units(self) -> AsyncIterator[None]:
        """Units listen for as long as the block lasts."""
        units = await asyncio.to_thread(lambda: self.units)
        await units.open_all()
        try:
            yield
        finally:
            await units.close_all()

    @contextlib.asynccontextmanager
    async def subscribed(self) -> AsyncIterator[Subscriber]:
        """A webhook subscriber listens for as long as the block lasts."""
        host = await asyncio.to_thread(self.deployment.gateway)
        subscriber = Subscriber(self.deployment.subscriber_port, host, BUSY_SHARE)
        added = await asyncio.to_thread(self.deployment.job, "notify", *adding(subscriber))
        subscriber.secret = secret_in(added.stdout)
        async with listening(subscriber):
            yield subscriber

    async def settled(self, patience: float = 120) -> Ledger:
        """Wait until all is quiet, or nothing moves any more, and hold everything against everything."""
        accepted = sum(outcome.accepted for outcome in self.outcomes)
        services = await ledger.settle(self, accepted, patience)
        records = await read_all(await asyncio.to_thread(lambda: self.kafka))
        book = ledger.check(self.outcomes, self.units.arrivals, records, services)
        book.enter("forged", self.units.forged, wanted=0)
        # A fault of the surroundings is "not now" (503) or no answer, never a fault of the program.
        book.enter("answers of 500", answers(self.outcomes)[500], wanted=0)
        return book

    def fill(self, disk: str) -> None:
        """Leave no byte free on the disk of `postgres` or `kafka` (disks.yml)."""
        self._by_hand(f"dd if=/dev/zero of=/disks/{disk}/ballast bs=64k oflag=append conv=notrunc || true")

    def make_space(self, disk: str) -> None:
        self._by_hand(f"rm -f /disks/{disk}/ballast")

    def _by_hand(self, script: str) -> None:
        self.deployment.engine("exec", self.deployment.container("hand"), "sh", "-c", script)

    def end(self, service: str) -> None:
        """The container's process ends as by the kernel; its restart policy starts it anew."""
        process = self.deployment.engine(
            "inspect", "-f", "{{.State.Pid}}", self.deployment.container(service)
        )
        self._by_hand(f"kill -9 {process}")

    def kill(self, service: str) -> None:
        """`docker kill -s KILL`; nothing starts it anew but `start`."""
        self.deployment.engine("kill", "-s", "KILL", self.deployment.container(service))

    def start(self, service: str) -> None:
        self.deployment.engine("start", self.deployment.container(service))

    def running(self, service: str) -> bool:
        """Whether it runs, and is not about to be started anew."""
        state = "{{.State.Running}} {{.State.Restarting}}"
        return (
            self.deployment.engine("inspect", "-f", state, self.deployment.container(service)) == "true false"
        )


def until(ending: asyncio.Event) -> Iterator[Request]:
    """Real requests, each with a marker of its own, until the event is set."""
    while True:
        for request in read_requests(SAMPLE, BOSTON, SAMPLE_ROWS):
            if ending.is_set():
                return
            yield request


def answers(outcomes: Sequence[Outcome]) -> Counter[int]:
    """How often residents got which status; 0 is no answer."""
    return Counter(status for outcome in outcomes for status in outcome.answers)


def number(name: str, default: int) -> int:
    """A number from the environment: how long a run is to be."""
    return int(os.environ.get(name, default))


def chance() -> random.Random:
    """Chance with a seed that is printed: IBUURT_CHAOS_SEED, or any."""
    seed = number("IBUURT_CHAOS_SEED", random.SystemRandom().randrange(2**32))
    print(f"IBUURT_CHAOS_SEED={seed}")
    return random.Random(seed)
