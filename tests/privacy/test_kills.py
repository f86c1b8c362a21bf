"""Attack 5 of the fifteen: kill -9 at every boundary of closing, alone and with a replica at work."""

import asyncio
import itertools
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.stats_harness import ROOT, Stats, on_topic, report, stats_of
from tests.privacy.dying import PUBLISHED, End, Life
from tests.privacy.sizes import KILLS, LONG
from tests.privacy.table import ROWS, Row
from tests.spine import renew_topics

SEED = 5
NOON = datetime(2026, 10, 2, 10, tzinfo=UTC)
# Week-parts close, then a month with its final edition, and noise goes; in the long form a quarter too.
MOMENTS = (
    datetime(2026, 10, 7, 1, tzinfo=UTC),
    datetime(2026, 11, 9, 1, tzinfo=UTC),
    *([datetime(2027, 1, 31, 1, tzinfo=UTC)] if LONG else []),
)
# How many boundaries a life may have: the more, the oftener others have died before it at that moment.
LEAST, MORE = 60, 25


class Lives:
    """The process that has children which die."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.died: Counter[str] = Counter()

    async def live(self, *lives: Life) -> list[End]:
        """Lived at the same time, each to its end."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(lives).encode() + b"\n")
        async with asyncio.timeout(120):
            ends = [End(*one) for one in json.loads(await self._process.stdout.readline())]
        assert {one.code for one in ends} <= {0, -9}
        self.died.update(one.point for one in ends if one.code)
        return ends


@asynccontextmanager
async def dying(stats: Stats) -> AsyncIterator[Lives]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.privacy.dying", stats.dsn, stats.bootstrap),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Lives(process)
    finally:
        assert process.stdin
        process.stdin.close()
        await process.wait()


async def second_releases(stats: Stats) -> int:
    """How many digests stand on the topic for a period that has another one."""
    digests = defaultdict(set)
    for one in await on_topic(stats.bootstrap):
        digests[one.table, one.period, one.edition].add(one.digest)
    return sum(len(each) - 1 for each in digests.values())


async def _hold(stats: Stats) -> int:
    """Each period was released once and spent once, and the topic has nothing else; how many that were."""
    released = await stats.released()
    assert {(one.number, one.digest) for one in await on_topic(stats.bootstrap)} == {
        (one.number, one.digest) for one in released
    }
    assert len({(one.table, one.period, one.edition) for one in released}) == len(released)
    for number, (before, after) in enumerate(itertools.pairwise(released), start=1):
        assert (after.number, after.previous) == (number + 1, before.digest)
    ledger = await stats.rows("SELECT table_id, period, numerator, denominator FROM ledger")
    assert Counter(ledger) == Counter(
        (one.table, one.period, *Fraction(1, one.scale).as_integer_ratio()) for one in released if one.scale
    )
    return len(released)


async def _trial(infrastructure: Infrastructure, dsn: str, chance: random.Random) -> tuple[Counter[str], int]:
    """At each moment kills until one life comes to its end; a late report and one of the day after each."""
    await renew_topics(infrastructure.bootstrap)
    async with stats_of(infrastructure.bootstrap, dsn) as stats, dying(stats) as lives:
        for moment in MOMENTS:
            survived, most = False, LEAST
            while not survived:
                # With a replica every second time.
                hits = [chance.randint(1, most) for _ in range(chance.randint(1, 2))]
                ends = await lives.live(*(Life(moment.isoformat(), one) for one in hits))
                most += MORE
                await stats.count([report(NOON), report(moment - timedelta(days=2))])
                survived = any(one.code == 0 for one in ends)
        return lives.died, await _hold(stats)


async def test_5_no_kill_at_any_boundary_brings_a_second_release_or_a_second_debit(
    infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """One digest of each period on the topic, and one entry in the ledger; whoever publishes before it is
    written down publishes others after a kill."""
    chance = random.Random(SEED)
    died: Counter[str] = Counter()
    released = trials = 0
    while died.total() < KILLS:
        ended, number = await _trial(infrastructure, await database(), chance)
        died, released, trials = died + ended, released + number, trials + 1
    print(f"\n{died.total()} kills, seed {SEED}, in {trials} trials: {dict(sorted(died.items()))}")

    await renew_topics(infrastructure.bootstrap)
    async with stats_of(infrastructure.bootstrap, await database("stats")) as stats, dying(stats) as lives:
        for _ in range(3):
            await lives.live(Life(MOMENTS[1].isoformat(), 1, PUBLISHED, records_last=True))
            await stats.count([report(NOON)])
        seconds, planted = await second_releases(stats), lives.died.total()
    ROWS.append(
        Row(
            5,
            f"{died.total():,} kills at {len(died)} boundaries, one or two at once, late reports after each",
            "drawn before, frozen once, one transaction, topic adopted",
            "draw, publish, then record",
            f"0 second releases and debits of {released}",
            f"{seconds} after {planted} kills",
        )
    )
    assert seconds > 0
