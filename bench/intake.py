"""intake: how many reports a second `tips` accepts over HTTP.

32 clients (wrk) send issues of the town `ibuurt`, each under a key of its own; every one is checked, its area
looked up, its words sealed, and it is stored with its event and committed before it is answered. Nothing is
relayed meanwhile.
Peers: the same endpoint written the usual way (FastAPI, SQLAlchemy's asynchronous sessions, a commit per
request), and pgbench with 32 clients, one statement per transaction and nothing before it: once with the same
inserts (report, submission, public issue, two events and a line of the chained log), once with two of them
alone (report and event). Afterwards 32 clients send at half of the median rate: the latency then.
All commit to the same disk with fsync on. What is in the tables is held against what was answered.
"""

import asyncio
import json
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from bench.common import (
    Ledger,
    Meter,
    Options,
    Result,
    Timing,
    interleave,
    median,
    own_postgres,
    print_rates,
    ratios_by_run,
    spread,
)
from deploy.local.postgres import Postgres, create_database, drop_database
from deploy.local.processes import Child, free_port
from deploy.local.stack import ROOT
from shared import postgres
from shared.errors import Refusal

SECONDS, LEAST_SECONDS = 15, 2
WARM_UP_SECONDS = 2
CLIENTS = 32
BARS = {"usual": 4.0, "pgbench": 0.3}
TEMPLATE, DATABASE = "tips_template", "tips"
MIGRATIONS = [postgres.SHARED_MIGRATIONS, ROOT / "services" / "tips" / "migrations"]
# The middle of each district of the town, about.
PLACES = ((52.05, 5.6), (52.04, 5.58), (52.06, 5.62))
WRK = """
local bodies = {%s}
local prefix, delay_ms, sent = "%s", %d, 0
wrk.headers["Content-Type"] = "application/json"
function request()
  sent = sent + 1
  wrk.headers["Idempotency-Key"] = prefix .. string.format("%%010d", sent)
  return wrk.format("POST", "/v1/reports", wrk.headers, bodies[sent %% #bodies + 1])
end
%s
function done(summary, latency)
  local errors = summary.errors
  local told = '{"answered": %%d, "seconds": %%f, "refused": %%d, "broken": %%d, "p50": %%f, "p99": %%f}'
  print(string.format(told,
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""
WITH_DELAY = "function delay() return math.random(0, 2 * delay_ms) end"


@dataclass(frozen=True)
class Load:
    """What wrk saw; milliseconds."""

    answered: int
    seconds: float
    p50: float
    p99: float


def run(options: Options) -> Result:
    """Run it. Blocking. Raises Refusal where wrk is missing."""
    if not shutil.which("wrk"):
        raise Refusal("no wrk: it plays the clients; apt install wrk, or brew install wrk")
    print(__doc__)
    with own_postgres() as server:
        return uvloop.run(_Bench(server, server.folder.parent, options).run())


class _Bench:
    def __init__(self, server: Postgres, folder: Path, options: Options) -> None:
        self._server = server
        self._folder = folder
        self._options = options
        self._seconds = options.count(SECONDS, LEAST_SECONDS)
        self._ledger = Ledger()
        self._found: list[Load] = []

    async def run(self) -> Result:
        template = await create_database(self._server.dsn(), TEMPLATE)
        await postgres.migrate(template, MIGRATIONS)
        found = await interleave(
            self._options.runs,
            {
                "tips": partial(self._http, "ours"),
                "usual": partial(self._http, "usual"),
                "pgbench": partial(self._pgbench, "intake_inserts.sql"),
                "two_rows": partial(self._pgbench, "intake_two_rows.sql"),
            },
        )
        print_rates(found)
        rates = {name: [timing.rate for timing in timings] for name, timings in found.items()}
        half = await self._at_half(median(rates["tips"]))
        print(
            f"at {half.answered / half.seconds:,.0f} a second: p50 {half.p50:.1f} ms, p99 {half.p99:.1f} ms"
        )
        peers = ("usual", "pgbench", "two_rows")
        by_run = {name: ratios_by_run(rates["tips"], rates[name]) for name in peers}
        ratios = {name: median(each) for name, each in by_run.items()}
        return Result(
            "intake",
            ratios["usual"],
            "usual",
            ratios,
            spread(by_run["usual"]),
            self._ledger,
            self._options.runs,
            self._options.size,
            {
                "reports_per_second": {name: median(each) for name, each in rates.items()},
                "ms_at_half": [half.p50, half.p99],
                "bars": BARS,
            },
            [
                f"{ratios[name]:.2f} of {name}; the bar is {bar}"
                for name, bar in BARS.items()
                if ratios[name] < bar
            ],
        )

    async def _http(self, kind: str, _run: int) -> Timing:
        dsn = await self._new_database()
        with self._intake(kind, dsn) as (child, url):
            self._wrk(url, WARM_UP_SECONDS)
            meter = Meter({"server": child, "postgres": self._server.child})
            # Those that were cut off at the end of the warm-up are still being stored.
            await asyncio.sleep(1)
            before = await _stored(dsn)
            meter.start()
            load = self._wrk(url, self._seconds)
            timing = meter.stop(load.answered)
        await self._check(kind, dsn, before, load.answered)
        return Timing(load.answered, load.seconds, timing.cpu)

    async def _pgbench(self, script: str, _run: int) -> Timing:
        dsn = await self._new_database()
        inserts = self._folder / script
        shutil.copyfile(ROOT / "bench" / "peers" / script, inserts)
        meter = Meter({"postgres": self._server.child})
        meter.start()
        done = self._server.pgbench(DATABASE, inserts, clients=CLIENTS, threads=2, seconds=self._seconds)
        timing = meter.stop(1)
        rate = float(_only(r"tps = ([0-9.]+)", done))
        count = int(_only(r"actually processed: (\d+)", done))
        stored = await _stored(dsn)
        self._ledger.hold(script, [count], [stored])
        return Timing(count, count / rate, {**timing.cpu, "server": 0.0})

    async def _at_half(self, rate: float) -> Load:
        dsn = await self._new_database()
        with self._intake("ours", dsn) as (_, url):
            self._wrk(url, WARM_UP_SECONDS)
            return self._wrk(url, self._seconds, rate / 2)

    @contextmanager
    def _intake(self, kind: str, dsn: str) -> Iterator[tuple[Child, str]]:
        port, keys = free_port(), self._folder / f"keys-{secrets.token_hex(4)}"
        keys.mkdir(mode=0o700)
        argv = [sys.executable, "-m", "bench.peers.intake_server", kind, dsn, str(keys), str(port)]
        child = Child(f"intake, {kind}", argv, log=self._folder / f"{kind}.log", cwd=ROOT)
        child.start()
        try:
            child.wait_until(lambda: _listens(port), 60)
            yield child, f"http://127.0.0.1:{port}"
        finally:
            child.stop()

    def _wrk(self, url: str, seconds: int, rate: float | None = None) -> Load:
        script = self._folder / "wrk.lua"
        delay = CLIENTS / rate * 1_000 if rate else 0
        bodies = ", ".join(f"[==[{json.dumps(body)}]==]" for body in _bodies())
        script.write_text(WRK % (bodies, secrets.token_urlsafe(16), delay, WITH_DELAY if rate else ""))
        command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--timeout", "20s", "-s", str(script), url]
        done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        said: dict[str, Any] = json.loads(done.strip().splitlines()[-1])
        if said["refused"] or said["broken"]:
            self._ledger.faults.append(f"{said['refused']} refused and {said['broken']} broken requests")
        return Load(said["answered"] - said["refused"], said["seconds"], said["p50"], said["p99"])

    async def _new_database(self) -> str:
        await drop_database(self._server.dsn(), DATABASE)
        return await create_database(self._server.dsn(), DATABASE, TEMPLATE)

    async def _check(self, kind: str, dsn: str, before: int, answered: int) -> None:
        """As many rows of each sort as answers, but for those whose client was cut off at the end."""
        connection = await asyncpg.connect(dsn)
        stored, *others = await connection.fetchrow(
            """SELECT (SELECT count(*) FROM report), (SELECT count(*) FROM submission),
                      (SELECT count(*) FROM outbox WHERE topic = 'ibuurt.reports.v1'),
                      (SELECT count(*) FROM issue), (SELECT count(*) FROM disclosure),
                      (SELECT count(*) FROM outbox WHERE topic = 'ibuurt.issues.v1')"""
        )
        await connection.close()
        self._ledger.lost += max(0, answered - (stored - before))
        self._ledger.doubled += max(0, stored - before - answered - CLIENTS)
        if set(others) != {stored}:
            self._ledger.faults.append(
                f"{kind}: {stored} reports; submissions, events, issues, lines of the log, events of"
                f" issues: {others}"
            )
        if self._ledger.lost or self._ledger.doubled:
            self._ledger.faults.append(f"{kind}: {answered} answered, {stored - before} stored")


async def _stored(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM report"))
    finally:
        await connection.close()


def _bodies() -> Iterator[dict[str, Any]]:
    for latitude, longitude in PLACES:
        for category in ("street_light", "bulky_waste", "road_damage", "graffiti"):
            yield {
                "kind": "issue",
                "category": category,
                "description": "It has been like this for a week, and every evening it is worse. " * 3,
                "location": {"point": {"latitude": latitude, "longitude": longitude}},
                "language": "en",
            }


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _only(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if not found:
        raise Refusal(f"pgbench said something else than expected: {text[-300:]}")
    return found[1]
