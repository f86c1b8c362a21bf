"""kill -9 at every point of a delivery: nothing is undelivered, and every repeat is under its first id."""

import asyncio
import itertools
import os
import random
import signal
import sys
from collections import Counter, defaultdict
from pathlib import Path

from aiohttp import web

from shared.events import ReportDelivered
from tests.chaos.dying import light
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import Notify, running_notify, send
from tests.integration.tips_server import Tips, issue

KILLS = 200 if os.environ.get("IBUURT_TEST_LONG") else 8
POINTS = (
    "after a lease",
    "between the words and the unit",
    "between a delivery and its record",
    "before the record's commit",
)
ROOT = Path(__file__).parents[2]
SEED = 7


async def run(dsn: str, tips: Tips, notify: Notify, fuse: Path) -> int:
    """One worker's life; how it ended."""
    argv = ["-m", "tests.integration.dying_worker", dsn, tips.internal_url, str(notify.units.port), str(fuse)]
    process = await asyncio.create_subprocess_exec(sys.executable, *argv, cwd=ROOT)
    async with asyncio.timeout(60):
        return await process.wait()


async def test_kills_at_every_point_leave_nothing_undelivered(
    database: MakeDatabase, tips: Tips, tmp_path: Path
) -> None:
    """Eight kills, 200 in the long form, as many at each point: the ledger of what was routed against what
    units took and what was said."""
    chance, fuse, died = random.Random(SEED), tmp_path / "fuse", Counter[str]()
    dsn = await database()
    async with running_notify(dsn, tips.internal_url) as notify:
        calls = itertools.count(1)

        async def now_and_then(_request: web.Request) -> web.Response:
            return web.Response(status=503 if next(calls) % 20 == 0 else 200)

        notify.units.answers = dict.fromkeys(notify.municipality.units, now_and_then)
        sent = []
        for number in range(KILLS):
            point = POINTS[number % len(POINTS)]
            sent += await send(tips, notify, *[issue()] * 4)
            # Of four calls any; what is leased and recorded may be so in one go.
            hits = chance.randint(1, 3) if point == POINTS[1] else 1
            light(fuse, point, hits, signal.SIGKILL)
            ended = await run(dsn, tips, notify, fuse)
            died[point if ended == -signal.SIGKILL else "nowhere"] += 1
            fuse.unlink(missing_ok=True)
        assert await run(dsn, tips, notify, fuse) == 0
        ids, took = defaultdict(set), Counter[str]()
        for arrival in notify.units.arrivals:
            ids[arrival.data["report_id"]].add(arrival.webhook_id)
            took[arrival.webhook_id] += 1
        said = Counter(str(event.report_id) for event in await notify.said(ReportDelivered))  # type: ignore[attr-defined]
        repeated = sum(number - 1 for number in took.values())
        print(f"\n{KILLS} kills, seed {SEED}: {dict(died)}; {len(sent)} reports, {repeated} calls again")
        wanted = {str(one) for one in sent}
        assert set(ids) == wanted  # nothing undelivered
        assert {len(found) for found in ids.values()} == {1}  # each repeat under its first id
        assert said == Counter(wanted)  # and said once
        assert (await notify.totals())["open_deliveries"] == 0
        assert died["nowhere"] == 0
