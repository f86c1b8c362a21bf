"""Rows that are keyed by a report or an incident go when nothing is counted from them any more."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.stats import horizon, queries
from shared.events import READABLE_DAYS, ReportDelivered
from tests.integration.stats_harness import Stats, days, incident, report
from tests.integration.test_stats_closing import NOON, QUARTER_CLOSED, close

LATER = timedelta(days=READABLE_DAYS + 1)


async def totals(stats: Stats) -> dict[str, Any]:
    async with stats.pool.acquire() as connection:
        return await queries.totals(connection)


async def seen(stats: Stats, moment: datetime) -> None:
    """Everything was told then."""
    await stats.pool.execute("UPDATE lifecycle SET seen_on = $1", moment.date())


async def test_what_still_counts_in_a_release_to_come_stays(stats: Stats) -> None:
    """However long nothing was heard of it; what is released goes, and the totals stay as they were."""
    told = [report(NOON), report(NOON, "harbour")]
    delivered = ReportDelivered(
        report_id=told[0].report_id, kind="tip", version=1, unit="police", channel="webhook"
    )
    await stats.count([*told, delivered, incident(NOON)])
    await seen(stats, NOON)
    before = await totals(stats)
    async with stats.serving():
        await close(stats, QUARTER_CLOSED - days(1))
        # The tables of the quarter are not out.
        assert await horizon.forget(stats.pool, NOON + LATER) == (0, 1)
        await close(stats, QUARTER_CLOSED)
        assert await horizon.forget(stats.pool, NOON + LATER - days(2)) == (0, 0)
        assert await horizon.forget(stats.pool, NOON + LATER) == (2, 0)
    assert await stats.rows("SELECT * FROM lifecycle") == []
    assert await totals(stats) == before
    assert (before["accepted"], before["delivered"], before["counted"]) == (2, 1, 2)


async def test_an_incident_that_is_told_again_after_that_is_not_counted_again(stats: Stats) -> None:
    """Its id is kept, and nothing else of it."""
    one = incident(NOON)
    await stats.count([one])
    async with stats.serving():
        await close(stats, QUARTER_CLOSED)
        assert await horizon.forget(stats.pool, QUARTER_CLOSED + LATER) == (0, 1)
    await stats.count([one])
    assert await stats.rows("SELECT incident_id, area, category FROM incident") == [
        (one.incident_id, None, None)
    ]


async def test_a_report_of_which_something_was_heard_stays(stats: Stats) -> None:
    """And what is heard of one that is gone goes in its turn."""
    told = report(NOON)
    await stats.count([told])
    async with stats.serving():
        await close(stats, QUARTER_CLOSED)
    await seen(stats, NOON)
    late = ReportDelivered(report_id=told.report_id, kind="tip", version=1, unit="police", channel="webhook")
    await stats.count([late])
    now = datetime.now(UTC)
    assert await horizon.forget(stats.pool, now + days(READABLE_DAYS - 1)) == (0, 0)
    assert await horizon.forget(stats.pool, now + LATER) == (1, 0)
    await stats.count([late])
    assert await horizon.forget(stats.pool, now + LATER) == (1, 0)
    assert (await totals(stats))["accepted"] == 1
