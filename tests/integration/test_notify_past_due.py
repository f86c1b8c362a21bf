"""How many reports their unit should have acknowledged: told on the hour alone, and telling no report."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from services.notify import delivery, queries
from shared.cloudevents import Envelope
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import Notify, accepted, running_notify
from tests.spine import until

HOUR = datetime(2026, 11, 12, 14, tzinfo=UTC)
CATEGORIES = ("street_light", "weapons")


@pytest_asyncio.fixture
async def notify(database: MakeDatabase) -> AsyncIterator[Notify]:
    """Notify without workers; nothing is delivered, so no tips is needed."""
    async with running_notify(await database("notify"), "http://127.0.0.1:1") as running:
        yield running


async def past_due(notify: Notify, at: datetime) -> int:
    async with notify.pool.acquire() as connection:
        return await queries.past_due(connection, at)


async def one(notify: Notify, by: datetime, category: str = "street_light", **columns: Any) -> Envelope[Any]:
    """A report that is to be acknowledged by then, with other columns of its row changed."""
    envelope = accepted(category, now=HOUR - timedelta(days=2))
    await notify.apply(envelope)
    for name, value in {"acknowledge_by": by, **columns}.items():
        await notify.rows(
            f"UPDATE dispatch SET {name} = $2 WHERE report_id = $1", envelope.event.report_id, value
        )
    return envelope


async def test_a_report_counts_from_the_whole_hour_after_it_was_due(notify: Notify) -> None:
    """Until it is acknowledged; what is not due, or came before its time, never counts."""
    await one(notify, HOUR)
    await one(notify, HOUR + timedelta(minutes=1))
    await one(notify, HOUR, seen_at=HOUR - timedelta(minutes=1), status="acknowledged")
    assert await past_due(notify, HOUR) == 1
    assert await past_due(notify, HOUR + timedelta(hours=1)) == 2
    assert await past_due(notify, HOUR - timedelta(hours=1)) == 0


@pytest.mark.parametrize("category", CATEGORIES)
async def test_within_an_hour_the_count_is_the_same_whenever_it_is_taken(
    notify: Notify, category: str
) -> None:
    """An answer, of a tip (whose row holds the hour alone) or an issue, is told from the next hour on: a
    process that starts again in between shows nothing new."""
    minute = timedelta(minutes=0 if category == "weapons" else 20)
    await one(notify, HOUR, category, seen_at=HOUR + minute, status="acknowledged")
    assert await past_due(notify, HOUR) == 1
    assert await past_due(notify, HOUR + timedelta(hours=1)) == 0


@pytest.mark.parametrize("status", ["withdrawn", "erased"])
async def test_what_is_withdrawn_or_erased_is_not_waited_for(notify: Notify, status: str) -> None:
    """Nobody has to answer it."""
    envelope = await one(notify, HOUR)
    async with notify.pool.acquire() as connection:
        await queries.end_dispatches(connection, [envelope.event.report_id], status, HOUR.date())
    assert await past_due(notify, HOUR) == 0


async def test_the_metric_changes_when_the_hour_does(notify: Notify, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the worker looks, and with no label: not a unit, a category or a kind."""
    monkeypatch.setattr(delivery, "GAUGE_SECONDS", 0.02)
    await one(notify, HOUR)
    notify.clock.at = HOUR + timedelta(minutes=10)
    await notify.rows("UPDATE delivery SET next_attempt_at = next_attempt_at + interval '10 years'")
    notify.work()
    await until(lambda: notify.metric("unacknowledged_past_due") == 1)
    await notify.rows("UPDATE dispatch SET status = 'withdrawn'")
    notify.clock.at = HOUR + timedelta(minutes=59)
    await asyncio.sleep(0.3)
    assert notify.metric("unacknowledged_past_due") == 1
    notify.clock.at = HOUR + timedelta(minutes=61)
    await until(lambda: notify.metric("unacknowledged_past_due") == 0)
