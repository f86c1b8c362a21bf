"""`make demo`: real requests go from residents to their units and into the counts, and a ledger says so."""

import asyncio
import itertools
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import ledger
from deploy.local.ledger import Ledger
from deploy.local.load import Outcome, read_requests, send_all
from deploy.local.progress import Progress
from deploy.local.stack import Stack, local_stack
from deploy.local.tap import Tap, offsets_committed, read_all
from deploy.local.units import Units
from shared.errors import Refusal
from shared.municipality import read

REFUSED_SHARE = 0.05
DEAD_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
# What a service may take at most, resident.
MEMORY_MIB = 150
# A trial cannot wait minutes for a unit that is back.
COMPRESSED = {"IBUURT_RETRY_BASE_SECONDS": "0.2", "IBUURT_RETRY_CAP_SECONDS": "5"}
MARK = b"marker-"
PARTS = ("POST to answer", "POST to Kafka", "Kafka to routed", "POST to unit")
TO_DEAD = "to the dead unit"


@dataclass
class Trial:
    """What is watched while the trial runs. Memory in bytes, the most that was seen, by process."""

    stack: Stack
    units: Units
    tap: Tap
    memory: dict[str, int] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    def weigh(self) -> None:
        for name, child in self.stack.processes().items():
            if child.running:
                self.memory[name] = max(self.memory.get(name, 0), child.rss_bytes())


def demo(municipality: Path, file: Path, rows: int, rate: float, progress: Progress) -> bool:
    """Replay `rows` requests of `file` at `rate` a second; prints the ledger, returns whether it balances."""
    if rows < 1 or rate <= 0:
        raise Refusal("--rows must be at least 1 and --rate above 0")
    if not (municipality / "types.toml").exists():
        raise Refusal(f"{municipality} has no types.toml, which maps an export's types to categories")
    if not file.exists():
        raise Refusal(f"{file} is not there; name another with --file")
    units = Units(read(municipality).units, REFUSED_SHARE)
    started = time.monotonic()
    with local_stack(
        municipality, units.ports, tips_wait=False, environment=COMPRESSED, progress=progress
    ) as stack:
        progress("in this trial tips are delivered at once; a deployment lets each wait up to half an hour")
        units.secrets = stack.webhook_secrets
        trial = Trial(stack, units, Tap(stack.infrastructure.bootstrap))
        ready = time.monotonic() - started
        book, seen = asyncio.run(_replay(trial, municipality, file, rows, rate, progress))
        _print_ledger(book)
        print(f"residents asked   {', '.join(f'{count} {status}' for status, count in seen.items())}")
        _print_times(trial)
        _print_processes(trial)
        book.faults += [
            f"{name} took {trial.memory[name] / 2**20:.0f} MiB, the limit is {MEMORY_MIB}"
            for name in stack.services
            if trial.memory[name] > MEMORY_MIB * 2**20
        ]
    total = time.monotonic() - started
    print(f"{'time':<18}{total:.0f} s in all, {ready:.0f} s of them to start")
    for fault in book.faults:
        print(f"NOT BALANCED: {fault}")
    print("the ledger balances" if book.balanced else "the ledger does NOT balance")
    return book.balanced


async def _replay(
    trial: Trial, municipality: Path, file: Path, rows: int, rate: float, progress: Progress
) -> tuple[Ledger, dict[str, int]]:
    stack, units = trial.stack, trial.units
    await units.open_all()
    beside = [asyncio.create_task(trial.tap.run()), asyncio.create_task(_weigh(trial))]
    try:
        tips = stack.services["tips"].url
        requests = read_requests(file, municipality, rows)
        beside.append(asyncio.create_task(_die_for_a_while(units, min(rows / rate / 3, 60), progress)))
        trial.outcomes = await send_all(tips, requests, rate, _Reporter(progress, rows))
        accepted = sum(outcome.accepted for outcome in trial.outcomes)
        progress(f"{accepted} accepted; waiting until every unit has its reports")
        services = await ledger.settle(stack, accepted, PATIENCE_SECONDS)
        records = await read_all(stack.infrastructure.bootstrap)
        book = ledger.check(trial.outcomes, units.arrivals, records, services)
        committed = await offsets_committed(stack.infrastructure.bootstrap)
        book.enter("exact times in Kafka's offsets", committed, wanted=0)
        book.enter("answered 503 by units", units.refused)
        book.enter("place given again", sum(outcome.place_refused for outcome in trial.outcomes))
        book.enter("forged signatures", units.forged, wanted=0)
        if len(trial.outcomes) < rows:
            book.faults.append(f"the file has only {len(trial.outcomes)} rows; name at most as many")
        if not units.died and rows / rate > DEAD_SECONDS:
            book.faults.append("no unit was dead for a while")
        logs = stack.folder / "kafka"
        found = await asyncio.to_thread(ledger.files_with, logs, [MARK, *_words(trial.outcomes)])
        book.enter("Kafka files with words", found, wanted=0)
        known = records[0].envelope.event.key.encode()
        if not await asyncio.to_thread(ledger.files_with, logs, [known]):
            book.faults.append("the search of Kafka's files finds not even a report's id")
        seen = await ledger.ask_as_residents(tips, trial.outcomes)
        if seen.keys() != {"acknowledged"}:
            book.faults.append(f"residents do not all see `acknowledged`: {dict(seen)}")
        return book, dict(seen)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await units.close_all()


def _words(outcomes: Sequence[Outcome]) -> set[bytes]:
    """What residents wrote, without the marker that makes each one's words its own."""
    written = (outcome.request for outcome in outcomes)
    return {
        request.bodies[0]["description"].partition(request.marker)[0].strip().encode() for request in written
    }


@dataclass
class _Reporter:
    """A progress line each five seconds."""

    progress: Progress
    rows: int
    last: float = field(default_factory=time.monotonic)

    def __call__(self, outcomes: Sequence[Outcome]) -> None:
        if time.monotonic() - self.last >= 5:
            self.last = time.monotonic()
            answered = sum(outcome.accepted for outcome in outcomes)
            self.progress(f"{len(outcomes)} of {self.rows} sent, {answered} accepted")


async def _weigh(trial: Trial) -> None:
    while True:
        await asyncio.to_thread(trial.weigh)
        await asyncio.sleep(2)


async def _die_for_a_while(units: Units, after: float, progress: Progress) -> None:
    await asyncio.sleep(after)
    # The second busiest: enough to notice, and the figures of most reports stay those of healthy units.
    taken = Counter(arrival.unit for arrival in units.arrivals).most_common(2)
    if not taken:
        return
    unit = units.died = taken[-1][0]
    progress(f"unit {unit} is dead for {DEAD_SECONDS:.0f} s")
    await units.close(unit)
    await asyncio.sleep(DEAD_SECONDS)
    await units.open(unit)
    progress(f"unit {unit} is back")


def _print_ledger(book: Ledger) -> None:
    width = max(map(len, book.figures))
    for name, figure in book.figures.items():
        print(f"{name:<{width}}  {figure:>8}")


def _print_times(trial: Trial) -> None:
    """The way of the issues, whose delivery does not wait on purpose, in ms."""
    took = {arrival.marker: arrival for arrival in reversed(trial.units.arrivals)}
    parts: dict[str, list[float]] = {name: [] for name in (*PARTS, TO_DEAD)}
    for outcome in trial.outcomes:
        arrival = took.get(outcome.request.marker)
        if not arrival or outcome.request.bodies[0]["kind"] != "issue":
            continue
        accepted = trial.tap.first_seen.get((arrival.report_id, "ReportAccepted"))
        routed = trial.tap.first_seen.get((arrival.report_id, "ReportRouted"))
        parts["POST to answer"].append(outcome.answered_at - outcome.sent_at)
        to_unit = TO_DEAD if arrival.unit == trial.units.died else PARTS[-1]
        parts[to_unit].append(arrival.at - outcome.sent_at)
        if accepted and routed:
            parts["POST to Kafka"].append(accepted - outcome.sent_at)
            parts["Kafka to routed"].append(routed - accepted)
    print(f"{'ms':<18}{'p50':>8}{'p99':>8}")
    for name, seconds in parts.items():
        if len(seconds) > 1:
            cuts = statistics.quantiles(seconds, n=100)
            print(f"{name:<18}{cuts[49] * 1000:>8.0f}{cuts[98] * 1000:>8.0f}")


def _print_processes(trial: Trial) -> None:
    print(f"{'':<18}{'MiB most':>8}{'s to be ready':>15}")
    for name, most in trial.memory.items():
        ready = trial.stack.ready_after.get(name)
        print(f"{name:<18}{most / 2**20:>8.0f}" + (f"{ready:>15.1f}" if ready else ""))


def run(municipality: Path, progress: Progress) -> None:
    """`make run`: the system with units that acknowledge, until Ctrl-C."""
    units = Units(read(municipality).units)
    with local_stack(municipality, units.ports, progress=progress) as stack:
        units.secrets = stack.webhook_secrets
        category = next(iter(read(municipality).categories.values()))
        area_set = next(iter(read(municipality).area_sets.values()))
        print(
            "Send a report:\n"
            f"  curl -i {stack.services['tips'].url}/v1/reports -H 'Content-Type: application/json' \\\n"
            '    -H "Idempotency-Key: $(openssl rand -hex 16)" \\\n'
            f'    -d \'{{"kind":"{category.kind}","category":"{category.id}","description":"…",'
            f'"location":{{"area":{{"{area_set.id}":"{next(iter(area_set.areas))}"}}}},'
            f'"language":"{read(municipality).languages[0]}"}}\'\n'
            "Follow it:\n"
            f"  curl {stack.services['tips'].url}/v1/reports/mine -H 'Authorization: Receipt …'\n"
            "Be the desk, as docs/units.md has it:\n"
            f"  export IBUURT_DESK_TOKEN={stack.desk_token} DESK={stack.services['notify'].internal_url}\n"
            "Be the system of UNIT:\n"
            f"  {stack.services['notify'].url}/inbound/UNIT (secret: {stack.folder}/webhook-secrets/UNIT)\n"
            "Hold the three services' totals against one another:\n"
            f"  IBUURT_OPERATOR_TOKEN={stack.operator_token} {sys.executable} -m deploy.reconcile "
            + " ".join(f"--{name} {one.internal_url}" for name, one in stack.services.items())
            + f"\nLogs, keys and the folder in use: {stack.folder}\n"
            "Ctrl-C stops everything and removes it."
        )
        with suppress(KeyboardInterrupt):
            asyncio.run(_serve_units(units))


async def _serve_units(units: Units) -> None:
    await units.open_all()
    try:
        shown = 0
        while True:
            await asyncio.sleep(0.2)
            for arrival in itertools.islice(units.arrivals, shown, None):
                print(f"unit {arrival.unit} took report {arrival.report_id} and acknowledged it")
            shown = len(units.arrivals)
    finally:
        await units.close_all()
