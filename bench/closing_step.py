"""`python -m bench.closing_step DSN BOOTSTRAP AREAS`: close a month, and say as JSON what it took.

A process of its own, so that its memory is that of a service which does this and nothing else.
"""

import asyncio
import json
import re
import resource
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import uvloop
from aiokafka.errors import KafkaError

from services.stats.closing import Closing
from services.stats.core.spec import Spec, Table
from services.stats.signing import Signer
from shared import postgres
from shared.repeating import once

CATEGORIES = 20
# January 2027 has five week-parts; 48 hours after its end, by the clock of the town, it closes.
SINCE = date(2027, 1, 1)
BEFORE = datetime(2026, 12, 25, 12, tzinfo=UTC)
CLOSED = datetime(2027, 2, 3, 12, tzinfo=UTC)
# Five week-parts, a month and its final edition, of both subjects.
RELEASES = 14
SIGNER = Signer("s" * 32)


def codes(name: str, count: int) -> tuple[str, ...]:
    """So many areas or categories."""
    return tuple(f"{name}_{number:03d}" for number in range(count))


def spec_of(areas: int) -> Spec:
    """What a town of so many areas publishes of a month."""
    tables = []
    for subject in ("reports", "incidents"):
        for name, scale, columns in (
            ("week_part", 5, {"area": codes("area", areas)}),
            ("month", 2, {"area": codes("area", areas), "category": codes("category", CATEGORIES)}),
        ):
            tables.append(
                Table(
                    id=f"{subject}.{name}",
                    subject=subject,
                    grain=name,
                    scale=scale,
                    since=SINCE,
                    closes_hours=48,
                    columns=tuple(columns),
                    codes=tuple(columns.values()),
                )
            )
    return Spec(id=f"town-{areas}", zone="Europe/Amsterdam", tables=tuple(tables))


async def close(dsn: str, bootstrap: str, areas: int) -> dict[str, float]:
    """Freeze, release and make final what falls due."""
    pool = await postgres.open_pool(dsn, "stats")
    # A release goes on the minute after its freeze: each step is a minute later, and nobody waits for it.
    now = CLOSED
    closing = Closing(pool, bootstrap, [spec_of(areas)], SIGNER, source="/town/stats", clock=lambda: now)
    # Of what opens later: in service that is done on other days.
    await closing.draw()
    begun, used = time.perf_counter(), time.process_time()
    while await pool.fetchval("SELECT count(*) FROM release") < RELEASES:
        # As the service does it: a Kafka that is slow to answer is asked again.
        await once("closing", closing.step, away=(KafkaError, TimeoutError))
        now += timedelta(minutes=1)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - used
    await pool.close()
    return {"seconds": seconds, "cpu": cpu, "mib": peak_mib()}


def peak_mib() -> float:
    """The most memory that this process had, by Linux; what the system counts for a child begins with the
    memory of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    _, _dsn, _bootstrap, _areas = sys.argv
    print(json.dumps(uvloop.run(asyncio.wait_for(close(_dsn, _bootstrap, int(_areas)), 240))))
