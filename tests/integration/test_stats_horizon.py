"""Rows that are keyed by a report or an incident go when nothing is counted from them any more."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.stats import horizon, queries, queries_releases
from shared.events import READABLE_DAYS, ReportDelivered
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.stats_harness import Stats, days, incident, report, stats_of
from tests.integration.test_stats_closing import NOON, QUARTER_CLOSED, close

LATER = timedelta(days=READABLE_DAYS + 1)


async def totals(stats: Stats) -> dict[str, Any]:
    async with stats.pool.acquire() as connection:
        return await queries.totals(connection)


async def seen(stats: Stats, moment: datetime) -> None:
    """Everything was told then."""
    await stats.pool.execute("UPDATE lifecycle SET seen_on = $1", moment.date())


async def forget(stats: Stats, now: datetime) -> tuple[int, int]:
    return await horizon.forget(stats.pool, stats.closing.draw, now)


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
        assert await forget(stats, NOON + LATER) == (0, 1)
        await close(stats, QUARTER_CLOSED)
        assert await forget(stats, NOON + LATER - days(2)) == (0, 0)
        assert await forget(stats, NOON + LATER) == (2, 0)
    assert await stats.rows("SELECT * FROM lifecycle") == []
    assert await totals(stats) == before
    assert (before["accepted"], before["delivered"], before["counted"]) == (2, 1, 2)


async def test_an_incident_that_is_told_again_after_that_is_not_counted_again(stats: Stats) -> None:
    """Its id is kept, and nothing else of it."""
    one = incident(NOON)
    await stats.count([one])
    async with stats.serving():
        await close(stats, QUARTER_CLOSED)
        assert await forget(stats, QUARTER_CLOSED + LATER) == (0, 1)
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
    assert await forget(stats, now + days(READABLE_DAYS - 1)) == (0, 0)
    assert await forget(stats, now + LATER) == (1, 0)
    await stats.count([late])
    assert await forget(stats, now + LATER) == (1, 0)
    assert (await totals(stats))["accepted"] == 1


@pytest.mark.parametrize("undrawn", ["%", "incidents.%"])
async def test_an_imported_past_of_which_no_noise_is_drawn_yet_stays(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase, undrawn: str
) -> None:
    """A first start that died before it had drawn all of it, or was held up: what the import told is still
    there for the releases, and goes after them."""
    now = QUARTER_CLOSED + LATER
    async with stats_of(infrastructure.bootstrap, await database("stats"), now=now) as stats:
        await stats.pool.execute("DELETE FROM period WHERE table_id LIKE $1", undrawn)
        await stats.count([incident(NOON), incident(NOON), report(NOON)])
        await seen(stats, NOON)
        assert await forget(stats, now) == (0, 0)
        async with stats.serving(), stats.pool.acquire() as connection:
            for subject in ("incidents", "reports"):
                await queries_releases.close_history(connection, subject)
            await close(stats, now)
        assert (await stats.counts("incidents.month", "2026-10"))["oakwood", "burglary"] == 2
        assert (await stats.counts("reports.month", "2026-10"))["oakwood", "noise"] == 1
        assert await forget(stats, now) == (1, 2)
