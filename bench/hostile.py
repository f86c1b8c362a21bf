"""hostile: what residents notice of 1,000 hostile submissions a minute.

A real `tips` behind a proxy that it trusts, with the limits that it has for everybody. Residents send issues,
5 a second, each from a network of its own and on a connection of its own. Meanwhile, or not, a process sends
17 hostile requests a second from four networks: reports in order and far too many, the largest that may be,
10 MB, half of a JSON, deep lists, thousands of fields, wrong receipts, photos of 63 megapixels, halves of
photos, and reports, photos and headers that come a few bytes at a time. Each run has other networks, so that
their allowances are whole. What is held is the residents' p99 with them against that without.
At the end every report that was accepted, theirs too, must be stored once; every resident's must be accepted.
"""

import asyncio
import contextlib
import itertools
import json
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import uvloop

from bench.common import Ledger, Options, Result, centiles, median, print_rows, ratios_by_run, spread
from bench.tips_settings import MIGRATIONS, tips_settings
from deploy.local import guard
from deploy.local.infrastructure import LocalInfrastructure, local_infrastructure
from deploy.local.postgres import create_database
from deploy.local.progress import to_stderr
from deploy.local.stack import ROOT, ServiceProcess, service_process
from services.tips import receipts
from shared import kafka, postgres

RATE = 5.0
POSTS, LEAST_POSTS, WARM_UP = 200, 30, 30
A_MINUTE = 1_000
# Until slow ones have gathered.
LEAD_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
READY_SECONDS = 60.0
BAR = 3.0
DATABASE = "hostile"


@dataclass
class Seen:
    """Of all runs: the residents' seconds, what was accepted, and what the hostile were answered."""

    alone: list[list[float]] = field(default_factory=list)
    beset: list[list[float]] = field(default_factory=list)
    receipts: list[str] = field(default_factory=list)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    peak_mib: float = 0.0


def run(options: Options) -> Result:
    """Run it. Blocking."""
    print(__doc__)
    with local_infrastructure() as infrastructure:
        return uvloop.run(_measure(infrastructure, options))


async def _measure(infrastructure: LocalInfrastructure, options: Options) -> Result:
    settings = tips_settings(infrastructure, trusted_proxies="127.0.0.0/8")
    tips = service_process(infrastructure, "tips", settings, name=DATABASE)
    await kafka.create_topics(infrastructure.bootstrap)
    await create_database(infrastructure.admin_dsn, DATABASE)
    await postgres.migrate(tips.dsn, MIGRATIONS)
    tips.child.start()
    try:
        await asyncio.to_thread(tips.child.wait_until, tips.ready, READY_SECONDS)
        seen, ledger = Seen(), Ledger()
        count, networks = options.count(POSTS, LEAST_POSTS), itertools.count()
        await _residents(tips, networks, WARM_UP, seen, ledger)
        for number in range(options.runs):
            for beset in (False, True) if number % 2 else (True, False):
                async with _hostile(tips.url, number, seen) if beset else contextlib.nullcontext():
                    found = await _residents(tips, networks, count, seen, ledger)
                (seen.beset if beset else seen.alone).append(found)
                seen.peak_mib = max(seen.peak_mib, _mib(tips))
            to_stderr(
                f"run {number + 1} of {options.runs}: p99 {centiles(seen.alone[-1])[1]:.0f} ms,"
                f" {centiles(seen.beset[-1])[1]:.0f} ms with them"
            )
        await _check(tips.dsn, settings["IBUURT_LOOKUP_PEPPER"], seen, ledger)
    finally:
        tips.child.stop()
    return _result(options, seen, ledger)


async def _residents(
    tips: ServiceProcess, networks: "itertools.count[int]", count: int, seen: Seen, ledger: Ledger
) -> list[float]:
    """So many issues at the rate, whatever the answers take; the seconds of each, from when it was due."""
    begun = time.perf_counter()
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)

    async def one(number: int) -> float:
        due, network = begun + number / RATE, next(networks)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        headers = {
            "Idempotency-Key": secrets.token_urlsafe(24),
            "X-Forwarded-For": f"10.{network >> 16 & 255}.{network >> 8 & 255}.{network & 255}",
        }
        body = {
            "kind": "issue",
            "category": "street_light",
            "description": "The lamp has been dark for a week, and every evening it is worse. " * 3,
            "location": {"point": {"latitude": 52.05, "longitude": 5.6}},
        }
        async with session.post(f"{tips.url}/v1/reports", json=body, headers=headers) as answer:
            said = await answer.json(content_type=None)
            seconds = time.perf_counter() - due
        if answer.status == 201:
            seen.receipts.append(said["receipt"])
        else:
            ledger.faults.append(f"a resident got HTTP {answer.status}")
        return seconds

    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        return list(await asyncio.gather(*(one(number) for number in range(count))))


@contextlib.asynccontextmanager
async def _hostile(url: str, number: int, seen: Seen) -> AsyncIterator[None]:
    """The hostile, in a process of their own so that they cost the residents' clock nothing."""
    command = [sys.executable, "-m", "bench.peers.hostile_senders", url, str(A_MINUTE), str(number)]
    # Not asyncio's: in uvloop it did not always come back.
    child = await asyncio.to_thread(
        subprocess.Popen, command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        await asyncio.to_thread(child.stdout.readline)
        await asyncio.sleep(LEAD_SECONDS)
        yield
        said: dict[str, Any] = json.loads((await asyncio.to_thread(child.communicate, b""))[0])
    finally:
        if child.poll() is None:
            child.kill()
            await asyncio.to_thread(child.wait)
    seen.receipts += said["receipts"]
    for kind, statuses in said["statuses"].items():
        seen.statuses.setdefault(kind, Counter()).update(statuses)


def _mib(tips: ServiceProcess) -> float:
    return sum(process.memory_info().rss for process in guard.tree(tips.child.pid)) / 2**20


async def _check(dsn: str, pepper: str, seen: Seen, ledger: Ledger) -> None:
    """Hold what is stored against what was accepted; no hostile request may have been a fault."""
    connection = await postgres.connect(dsn, "bench")
    try:
        stored = sorted(
            bytes(row["lookup_id"]) for row in await connection.fetch("SELECT lookup_id FROM report")
        )
    finally:
        await connection.close()
    wanted = sorted(
        receipts.lookup_id(receipts.read(receipt) or "", pepper.encode()) for receipt in seen.receipts
    )
    ledger.hold("reports", wanted, stored)
    if faults := sum(statuses["500"] for statuses in seen.statuses.values()):
        ledger.faults.append(f"{faults} hostile requests were answered with HTTP 500")


def _result(options: Options, seen: Seen, ledger: Ledger) -> Result:
    p99s = {name: [centiles(one)[1] for one in runs] for name, runs in _named(seen)}
    p50s = {name: [centiles(one)[0] for one in runs] for name, runs in _named(seen)}
    each = ratios_by_run(p99s["beset"], p99s["alone"])
    ratio = median(each)
    print("residents, ms")
    names = {"alone": "alone", "beset": f"with {A_MINUTE:,} hostile a minute"}
    print_rows(
        ["p50", "p99", "lowest", "highest"],
        [(names[name], [median(p50s[name]), median(p99), min(p99), max(p99)]) for name, p99 in p99s.items()],
    )
    print("hostile requests, by what they were answered")
    for kind, statuses in seen.statuses.items():
        print(f"  {kind}: {', '.join(f'{n} x {status}' for status, n in sorted(statuses.items()))}")
    print(f"memory of the service, at most: {seen.peak_mib:.0f} MiB")
    return Result(
        "hostile",
        ratio,
        "p99 without them",
        {"p99 without them": ratio},
        spread(each),
        ledger,
        options.runs,
        options.size,
        {
            "ms": {name: [median(p50s[name]), median(p99s[name])] for name in names},
            "mib": seen.peak_mib,
            "bar": BAR,
        },
        [] if ratio <= BAR else [f"p99 is {ratio:.2f} x that without them; the bar is {BAR:g}"],
    )


def _named(seen: Seen) -> tuple[tuple[str, list[list[float]]], ...]:
    return ("alone", seen.alone), ("beset", seen.beset)
