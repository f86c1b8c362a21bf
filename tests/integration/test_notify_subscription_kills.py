"""kill -9 at every point of a subscription's call: nothing is lost, every repeat is under its first id, and
of each issue the order is kept."""

import asyncio
import itertools
import os
import random
import signal
import sys
import uuid
from collections import Counter, defaultdict
from pathlib import Path

from aiohttp import web

from tests.chaos.dying import SUBSCRIBER, light
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import ROOT
from tests.integration.subscription_harness import (
    Subscriptions,
    changed,
    gone,
    running_subscriptions,
    versions,
)

KILLS = 200 if os.environ.get("IBUURT_TEST_LONG") else 10
INSIDE_A_CALL = SUBSCRIBER[1]
NAMES = ("parks", "roads")
SEED = 7


async def run(dsn: str, fuse: Path) -> int:
    """One worker's life; how it ended."""
    argv = ["-m", "tests.integration.dying_subscriber", dsn, str(fuse)]
    process = await asyncio.create_subprocess_exec(sys.executable, *argv, cwd=ROOT)
    async with asyncio.timeout(60):
        return await process.wait()


async def test_kills_at_every_point_lose_nothing_and_keep_the_order(
    database: MakeDatabase, tmp_path: Path
) -> None:
    """Ten kills, 200 in the long form, as many at each point, while issues change and some are gone: the
    ledger of what was applied against what two subscribers took, each busy for one call in twenty."""
    chance, fuse, died = random.Random(SEED), tmp_path / "fuse", Counter[str]()
    dsn = await database()
    async with running_subscriptions(dsn) as subs:
        calls = itertools.count(1)

        async def now_and_then(_request: web.Request) -> web.Response:
            return web.Response(status=503 if next(calls) % 20 == 0 else 200)

        for name in NAMES:
            await subs.subscribe(name)
            subs.answers[name] = now_and_then
        issues: list[uuid.UUID] = []
        left: set[uuid.UUID] = set()
        for number in range(KILLS):
            new = [uuid.uuid4() for _ in range(3)]
            # One of those before goes: of what was leased when the worker died, the word must wait for it.
            ends = issues[-1:]
            await subs.apply(*(changed(one, state) for one in new for state in (1, 2)), *map(gone, ends))
            issues += new
            left |= set(ends)
            point = SUBSCRIBER[number % len(SUBSCRIBER)]
            # Of several calls any; what is leased and recorded may be so in one go.
            hits = chance.randint(1, 6) if point == INSIDE_A_CALL else 1
            light(fuse, point, hits, signal.SIGKILL)
            ended = await run(dsn, fuse)
            died[point if ended == -signal.SIGKILL else "nowhere"] += 1
            fuse.unlink(missing_ok=True)
        assert await run(dsn, fuse) == 0
        assert await subs.waiting() == []
        repeated = len(subs.calls) - len({call.webhook_id for call in subs.calls})
        print(f"\n{KILLS} kills, seed {SEED}: {dict(died)}; {len(issues)} issues, {repeated} calls again")
        for name, one in itertools.product(NAMES, issues):
            came = versions(subs.of(name), one)
            # Of what is gone, states go only as far as they had gone by then.
            told = ([0], [1, 0], [1, 2, 0]) if one in left else ([1, 2],)
            assert list(dict.fromkeys(came)) in told
            assert came == sorted(came, key=lambda state: state or 3)
        assert {len(found) for found in _ids(subs).values()} == {1}
        assert {call.signed_by for call in subs.calls} == {(1,)}
        assert died == {point: KILLS // len(SUBSCRIBER) for point in SUBSCRIBER}


def _ids(subs: Subscriptions) -> dict[tuple[str, str, int], set[str]]:
    """Under which ids each state came to each subscriber."""
    ids = defaultdict(set)
    for call in subs.calls:
        ids[call.name, call.data["issue_id"], call.version].add(call.webhook_id)
    return ids
