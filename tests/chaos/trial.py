"""A trial: the whole local stack under load, faults, and the ledger at the end."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp

from deploy.local import ledger
from deploy.local.ledger import Ledger
from deploy.local.load import Outcome, read_requests, send_all
from deploy.local.processes import Child, free_port
from deploy.local.stack import ROOT, ServiceProcess, Stack, local_stack
from deploy.local.tap import read_all
from deploy.local.units import Units
from shared.municipality import read

BOSTON = ROOT / "deploy" / "municipalities" / "boston"
SAMPLE = BOSTON / "sample.csv.gz"
QUICK_RETRIES = {"IBUURT_RETRY_BASE_SECONDS": "0.2", "IBUURT_RETRY_CAP_SECONDS": "2"}


@dataclass
class Trial:
    """Everything sent and everything taken, over the life of one stack."""

    stack: Stack
    units: Units
    outcomes: list[Outcome] = field(default_factory=list)

    async def send(self, rows: int, rate: float, *, url: str | None = None) -> Sequence[Outcome]:
        """Send the first `rows` requests of the sample; returns when each is answered."""
        requests = read_requests(SAMPLE, BOSTON, rows)
        target = url or self.stack.services["tips"].url
        sent = await send_all(target, requests, rate, lambda _: None)
        self.outcomes += sent
        return sent

    async def settled(self, patience: float = 60) -> Ledger:
        """Wait until all is quiet, or nothing moves any more, and hold everything against everything."""
        accepted = sum(outcome.accepted for outcome in self.outcomes)
        services = await ledger.settle(self.stack, accepted, patience)
        records = await read_all(self.stack.infrastructure.bootstrap)
        return ledger.check(self.outcomes, self.units.arrivals, records, services)


def busy_units() -> Units:
    """Boston's units, each too busy for one call in twenty."""
    return Units(read(BOSTON).units, refused_share=0.05)


@contextlib.contextmanager
def trial_stack(units: Units | None = None, ports: Mapping[str, int] | None = None) -> Iterator[Trial]:
    """A Boston stack whose tips do not wait, whose retries are quick, and whose units are sometimes busy.
    `ports` are where units are reached, where that is not where they listen."""
    units = units or busy_units()
    quiet: list[str] = []
    with local_stack(
        BOSTON, ports or units.ports, tips_wait=False, environment=QUICK_RETRIES, progress=quiet.append
    ) as stack:
        units.secrets = stack.webhook_secrets
        yield Trial(stack, units)


@contextlib.asynccontextmanager
async def running(trial: Trial) -> AsyncIterator[None]:
    """Units open, and services kept alive as a container engine would."""
    await trial.units.open_all()
    keeper = asyncio.create_task(keep_alive(list(trial.stack.services.values())))
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await trial.units.close_all()


async def keep_alive(services: Sequence[ServiceProcess]) -> None:
    """Start again whatever has ended."""
    while True:
        for service in services:
            if not service.child.running:
                service.child.start()
        await asyncio.sleep(0.1)


def ordinary(name: str) -> list[str]:
    return [sys.executable, "-m", f"services.{name}"]


def with_fuse(name: str, fuse: Path) -> list[str]:
    """The command of a service that dies at a named point when its fuse is lit (tests/chaos/dying.py)."""
    return [sys.executable, "-m", "tests.chaos.dying", name, str(fuse)]


def twin(service: ServiceProcess, folder: Path) -> ServiceProcess:
    """A second process of the same service on the same database, with ports of its own; not started."""
    http_port, internal_port = free_port(), free_port()
    ports = {"IBUURT_HTTP_PORT": str(http_port), "IBUURT_INTERNAL_PORT": str(internal_port)}
    child = Child(
        f"{service.name}-twin",
        ordinary(service.name),
        log=folder / f"{service.name}-twin.log",
        env=(service.child.env or {}) | ports,
        cwd=ROOT,
    )
    return replace(service, child=child, http_port=http_port, internal_port=internal_port)


async def until_ready(service: ServiceProcess, seconds: float = 30) -> None:
    """Wait until the service answers that it is ready; AssertionError after `seconds`."""
    end = asyncio.get_running_loop().time() + seconds
    while not await asyncio.to_thread(service.ready):
        assert asyncio.get_running_loop().time() < end, f"{service.name}: {service.child.log_tail()}"
        await asyncio.sleep(0.05)


async def metrics_of(service: ServiceProcess) -> str:
    """What it tells Prometheus."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{service.internal_url}/metrics") as response,
    ):
        return await response.text()
