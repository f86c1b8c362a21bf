"""The ledger of a trial: was every accepted report routed, delivered and counted once, whatever happened?"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from deploy.local.load import Outcome
from deploy.local.tap import Seen
from deploy.local.units import Arrival
from deploy.reconcile import Away, fetch, reconcile
from shared.events import ReportEvent, hour_of

ONCE = ("ReportAccepted", "ReportRouted", "ReportDelivered", "ReportAcknowledged")
RESIDENTS_ASKED = 200


@dataclass
class Ledger:
    """Figures by name, in the order in which they are printed, and what is wrong."""

    figures: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        return not self.faults

    def line(self) -> str:
        """All figures in one line."""
        return ", ".join(f"{name} {figure}" for name, figure in self.figures.items())

    def enter(self, name: str, figure: int, *, wanted: int | None = None) -> None:
        self.figures[name] = figure
        if wanted is not None and figure != wanted:
            self.faults.append(f"{name} is {figure}, not {wanted}")


class System(Protocol):
    """What runs: the local stack, or containers."""

    def totals(self) -> dict[str, dict[str, Any]]:
        """What each service says it has, by service. Raises Away where one does not answer."""


def totals(urls: Mapping[str, str], token: str) -> dict[str, dict[str, Any]]:
    """What the services behind these internal ports have. Raises Away where one does not answer."""
    return {name: fetch(name, url, token) for name, url in urls.items()}


def check(
    outcomes: Sequence[Outcome],
    arrivals: Sequence[Arrival],
    records: Sequence[Seen],
    services: Mapping[str, Mapping[str, Any]],
) -> Ledger:
    """Hold what residents sent against what units took, what the topics hold and what the services say."""
    ledger = Ledger()
    accepted = {outcome.request.marker for outcome in outcomes if outcome.accepted}
    ledger.enter("sent", len(outcomes))
    ledger.enter("accepted", len(accepted), wanted=len(outcomes))
    for step in ("routed", "delivered", "acknowledged"):
        ledger.enter(step, services["notify"][step], wanted=len(accepted))
    ledger.enter("counted", services["stats"]["counted"], wanted=len(accepted))
    took = {arrival.marker for arrival in arrivals}
    ledger.enter("lost", len(accepted - took), wanted=0)
    ids = {(arrival.marker, arrival.webhook_id) for arrival in arrivals}
    ledger.enter("doubled", len(ids) - len(took) + _doubled(records), wanted=0)
    ledger.enter("out of order", _out_of_order(records), wanted=0)
    ledger.enter("repeats under the first webhook id", len(arrivals) - len(ids))
    ledger.enter("strangers", len(took - accepted), wanted=0)
    ledger.enter("a tip's minute on Kafka", _tip_minutes(records), wanted=0)
    ledger.faults += [str(fault) for fault in reconcile(services)]
    return ledger


def _doubled(records: Iterable[Seen]) -> int:
    """Events beyond the first of their kind for one report; the same event sent again is no double."""
    distinct = {
        (seen.envelope.event.key, type(seen.envelope.event).__name__, seen.envelope.id) for seen in records
    }
    steps = Counter((key, kind) for key, kind, _ in distinct if kind in ONCE)
    return sum(steps.values()) - len(steps)


def _out_of_order(records: Iterable[Seen]) -> int:
    """Records whose first sight breaks the numbers of their partition or the versions of their report."""
    wrong = 0
    last_number: dict[tuple[str, int], int] = {}
    last_version: dict[tuple[str, str], int] = {}
    for seen in records:
        place = (seen.topic, seen.partition)
        if seen.number != last_number.get(place, 0) + 1:
            # At or below is a repeat; above is what a failed send left behind, and comes again in order.
            continue
        last_number[place] = seen.number
        event = seen.envelope.event
        if isinstance(event, ReportEvent):
            report = (seen.topic, event.key)
            wrong += event.version != last_version.get(report, 0) + 1
            last_version[report] = event.version
    highest: dict[tuple[str, int], int] = {}
    for seen in records:
        place = (seen.topic, seen.partition)
        highest[place] = max(highest.get(place, 0), seen.number)
    return wrong + sum(highest[place] - last_number.get(place, 0) for place in highest)


def _tip_minutes(records: Iterable[Seen]) -> int:
    """Records of tips whose time or Kafka timestamp is finer than the hour."""
    return sum(
        seen.envelope.event.coarse
        and (hour_of(seen.envelope.time) != seen.envelope.time or seen.timestamp % 3_600_000 != 0)
        for seen in records
    )


def files_with(folder: Path, needles: Iterable[bytes]) -> int:
    """How many of the files below `folder` hold one of the needles: read as bytes, whole."""
    sought = set(needles)
    contents = (path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return sum(any(needle in content for needle in sought) for content in contents)


async def ask_as_residents(url: str, outcomes: Sequence[Outcome]) -> Counter[str]:
    """The status that residents see, for an even sample of those accepted."""
    accepted = [outcome for outcome in outcomes if outcome.accepted]
    asked = accepted[:: max(1, len(accepted) // RESIDENTS_ASKED)]
    seen: Counter[str] = Counter()
    async with aiohttp.ClientSession(url) as session:
        for outcome in asked:
            headers = {"Authorization": f"Receipt {outcome.receipt}"}
            async with session.get("/v1/reports/mine", headers=headers) as response:
                answer = await response.json()
                seen[answer.get("report", {}).get("status", f"HTTP {response.status}")] += 1
    return seen


async def settle(system: System, wanted: int, patience: float) -> dict[str, dict[str, Any]]:
    """Wait until all three services have acknowledged `wanted` reports and nothing is on its way, or until
    nothing has changed for `patience` seconds; returns the last totals.

    Raises Away where a service has not answered for as long.
    """
    clock = asyncio.get_running_loop().time
    last: dict[str, dict[str, Any]] = {}
    end = clock() + patience
    while True:
        try:
            found = await asyncio.to_thread(system.totals)
        except Away:
            # It may be starting.
            if clock() > end:
                raise
        else:
            still = any(answer.get("waiting") or answer.get("open_deliveries") for answer in found.values())
            done = all(answer["acknowledged"] >= wanted for answer in found.values())
            if (done and not still) or clock() > end:
                return found
            if found != last:
                last, end = found, clock() + patience
        await asyncio.sleep(0.5)
