"""Attack 10 of the fifteen, its second half: when releases come, against what came."""

import random
import time
from datetime import UTC, date, datetime, timedelta

import pytest

from services.stats.closing import Closing, Held
from services.stats.core.periods import Period, periods
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.stats_harness import Stats, report, stats_of
from tests.privacy.attacks import CHANCE, highest, lowest
from tests.privacy.sizes import WEEKS
from tests.privacy.table import ROWS, Row
from tests.spine import renew_topics
from tests.stats_town import SINCE, SPEC

# So many reports of one week-part that it takes a while to count them.
MANY = 30_000
TABLE = SPEC.table("reports.week_part")
ALONE = SPEC.model_copy(update={"tables": (TABLE,)})


async def instants(stats: Stats, crowded: dict[Period, bool]) -> list[float]:
    """How long after it had closed each week-part was released, in seconds, by what its release says. The
    clock runs on while there is work, from when the period has closed and from the next minute; the jitter of
    a look at Kafka is spared whoever listens."""
    await stats.count([report(datetime(2026, 10, 1, 10, tzinfo=UTC))])
    await stats.pool.execute("CREATE TABLE crowd (LIKE lifecycle)")
    await stats.pool.execute(
        """INSERT INTO crowd SELECT (jsonb_populate_record(
               l, jsonb_build_object('report_id', gen_random_uuid()))).*
           FROM lifecycle l, generate_series(1, $1)""",
        MANY,
    )
    found = []
    for part, many in crowded.items():
        await stats.pool.execute("TRUNCATE lifecycle")
        if many:
            await stats.pool.execute("UPDATE crowd SET counted_in = $1", part.begin)
            await stats.pool.execute("INSERT INTO lifecycle SELECT * FROM crowd")
        closed = part.closes(SPEC.tz, TABLE.closes_after)
        for moment in (closed, closed + timedelta(minutes=1)):
            began = time.perf_counter()

            def clock(moment: datetime = moment, began: float = began) -> datetime:
                return moment + timedelta(seconds=time.perf_counter() - began)

            stats.closing._held = Held(closed, {})
            stats.closing._clock = clock
            await stats.closing.step()
        await stats.pool.execute("UPDATE release SET shown_at = released_at")
        said = await stats.value(
            "SELECT released_at FROM release WHERE table_id = $1 AND period = $2", TABLE.id, part.name
        )
        found.append((said - closed).total_seconds())
    return found


def right(found: list[float], crowded: list[bool], coins: random.Random) -> int:
    """How often the later half is the crowded one; what comes at the same moment is guessed."""
    late = sorted((seconds, coins.random(), number) for number, seconds in enumerate(found))[
        len(found) // 2 :
    ]
    said = {number for _, _, number in late}
    return sum((number in said) == many for number, many in enumerate(crowded))


async def test_10_when_a_release_comes_tells_nothing_of_how_many_there_were(
    infrastructure: Infrastructure, database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Week-parts without reports and with many, in an order that coins decide: each is released as the next
    minute begins. One that is released when it was counted is found out."""
    await renew_topics(infrastructure.bootstrap)
    coins = random.Random(10)
    parts = list(periods("week_part", SINCE, date(2029, 1, 1)))[:WEEKS]
    many = [True] * (WEEKS // 2) + [False] * (WEEKS - WEEKS // 2)
    coins.shuffle(many)
    crowded = dict(zip(parts, many, strict=True))
    async with stats_of(infrastructure.bootstrap, await database("stats"), ALONE) as stats:
        built = await instants(stats, crowded)
    assert set(built) == {60.0}
    monkeypatch.setattr(Closing, "_begun", lambda closing: closing._clock())
    async with stats_of(infrastructure.bootstrap, await database("stats"), ALONE) as stats:
        broken = await instants(stats, crowded)
    hits, found = right(built, many, coins), right(broken, many, coins)
    ROWS.append(
        Row(
            10,
            f"when {WEEKS} releases came, of week-parts with no report and with {MANY:,}",
            "released as a minute begins, frozen before",
            "released when it was counted",
            f"{hits / WEEKS:.0%} right",
            f"{found / WEEKS:.0%} right",
        )
    )
    assert lowest(hits, WEEKS, CHANCE / 2) <= 0.5 <= highest(hits, WEEKS, CHANCE / 2)
    assert len(set(broken)) == WEEKS
    counted, not_counted = (
        [one for one, is_many in zip(broken, many, strict=True) if is_many == which]
        for which in (True, False)
    )
    # However busy the machine is: the quickest of each.
    assert min(counted) > min(not_counted)
