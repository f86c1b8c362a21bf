"""What is keyed by a report's id goes at its horizon."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest_asyncio

from services.notify.horizon import AT_ONCE, forget
from shared.cloudevents import Envelope
from shared.events import READABLE_DAYS, ReportErased
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import Notify, accepted, running_notify

NOW = datetime(2026, 11, 12, 13, tzinfo=UTC)
KEYED = ("dispatch", "delivery", "act", "report_step")


@pytest_asyncio.fixture
async def notify(database: MakeDatabase) -> AsyncIterator[Notify]:
    async with running_notify(await database("notify"), "http://127.0.0.1:9") as running:
        running.clock.at = NOW
        yield running


async def reports(notify: Notify, count: int) -> list[uuid.UUID]:
    """Reports that somebody has seen."""
    envelopes = [accepted(now=NOW) for _ in range(count)]
    await notify.apply(*envelopes)
    ids = [one.event.report_id for one in envelopes]
    await notify.act(ids[0], "acknowledge", "public_space")
    return ids


async def erase(notify: Notify, ids: list[uuid.UUID]) -> None:
    """Twice: the day of the first time counts."""
    for day in (0, 5):
        notify.clock.at = NOW + timedelta(days=day)
        said = [ReportErased(report_id=one, kind="issue", version=2, reason="resident") for one in ids]
        await notify.apply(
            *(Envelope.of(one, id=uuid.uuid4(), source="/ibuurt/tips", now=NOW) for one in said)
        )


async def left(notify: Notify) -> list[int]:
    return [(await notify.rows(f"SELECT count(*) FROM {table}"))[0]["count"] for table in KEYED]


async def test_an_erased_report_goes_when_no_topic_can_tell_of_it_and_its_count_stays(notify: Notify) -> None:
    """Reports, dispatches and what was set aside from them are kept for 104 days; then every row goes, none
    before, and the totals are what they were. What is not erased stays."""
    assert READABLE_DAYS == 90 + 14 + 1
    stays, goes = await reports(notify, 3), await reports(notify, 4)
    await erase(notify, goes)
    before, totals = await left(notify), await notify.totals()
    assert await forget(notify.pool, NOW + timedelta(days=READABLE_DAYS)) == 0
    assert await left(notify) == before
    assert await forget(notify.pool, NOW + timedelta(days=READABLE_DAYS + 1)) == 4
    assert await notify.totals() == totals
    (dispatches, *_) = await left(notify)
    assert dispatches == len(stays)
    for table in KEYED:
        rows = await notify.rows(f"SELECT count(*) FROM {table} WHERE report_id = ANY($1)", goes)
        assert rows[0]["count"] == 0
    assert await forget(notify.pool, NOW + timedelta(days=READABLE_DAYS + 1)) == 0
    assert await notify.totals() == totals


async def test_many_go_in_parts(notify: Notify) -> None:
    """More than go in one transaction."""
    ids = await reports(notify, AT_ONCE + 7)
    await erase(notify, ids)
    totals = await notify.totals()
    assert await forget(notify.pool, NOW + timedelta(days=200)) == AT_ONCE + 7
    assert await left(notify) == [0, 0, 0, 0]
    assert await notify.totals() == totals
