"""The whole system for the benches that need it: a town's services, its units, and residents that send."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.common import Ledger, Meter
from deploy.local import ledger
from deploy.local.load import Outcome, Request, read_requests
from deploy.local.stack import ROOT, Stack, local_stack
from deploy.local.tap import read_all
from deploy.local.units import Units
from shared.municipality import read

TOWN = ROOT / "deploy" / "municipalities" / "boston"
SAMPLE = TOWN / "sample.csv.gz"
SAMPLE_ROWS = 5_000
PATIENCE_SECONDS = 60.0


@dataclass
class Town:
    """What runs, and everything that was sent to it."""

    stack: Stack
    units: Units
    meter: Meter
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where residents send."""
        return self.stack.services["tips"].url

    async def settle(self) -> None:
        """Wait until everything accepted is with its unit and counted, or nothing moves any more."""
        accepted = sum(outcome.accepted for outcome in self.outcomes)
        await ledger.settle(self.stack, accepted, PATIENCE_SECONDS)

    async def check(self) -> Ledger:
        """Hold what was sent against units, topics and services."""
        accepted = sum(outcome.accepted for outcome in self.outcomes)
        services = await ledger.settle(self.stack, accepted, PATIENCE_SECONDS)
        records = await read_all(self.stack.infrastructure.bootstrap)
        book = ledger.check(self.outcomes, self.units.arrivals, records, services)
        book.enter("forged signatures", self.units.forged, wanted=0)
        return Ledger(book.figures["lost"], book.figures["doubled"], book.faults)


@contextlib.contextmanager
def town() -> Iterator[Town]:
    """Start it all, on this machine; the units must be opened in the loop that serves them."""
    units = Units(read(TOWN).units)
    with local_stack(TOWN, units.ports) as stack:
        units.secrets = stack.webhook_secrets
        yield Town(stack, units, Meter(stack.processes()))


def issues() -> Iterator[Request]:
    """Real requests that became issues, without end, each with a marker of its own."""
    for _ in itertools.count():
        for request in read_requests(SAMPLE, TOWN, SAMPLE_ROWS):
            if request.bodies[0]["kind"] == "issue":
                yield request
