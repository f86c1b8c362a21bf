"""A unit that has left the folder: its open reports move on when notify starts with that folder."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest_asyncio

from services.notify import reassigning
from shared.events import ReportEscalated, ReportHandedOver, ReportRouted
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import Notify, accepted, running_notify

NOW = datetime(2026, 11, 9, 8, 13, tzinfo=UTC)
UNIT, LAST, GONE = "public_space", "front_desk", "closed_down"


@pytest_asyncio.fixture
async def notify(database: MakeDatabase) -> AsyncIterator[Notify]:
    """Without a worker; its clock stands."""
    async with running_notify(await database("notify"), "http://127.0.0.1:9") as running:
        running.clock.at = NOW
        yield running


async def left_with(notify: Notify, *categories: str) -> list[uuid.UUID]:
    """Reports that are with a unit which is no more."""
    envelopes = [accepted(one, now=NOW, areas={"district": "centre"}) for one in categories]
    await notify.apply(*envelopes)
    for table in ("delivery", "dispatch"):
        await notify.rows(f"UPDATE {table} SET unit = $1", GONE)
    return [one.event.report_id for one in envelopes]


async def reassign(notify: Notify, appended: Any = lambda: None) -> int:
    return await reassigning.reassign(notify.pool, notify.acting, tuple(notify.municipality.units), appended)


async def test_its_open_reports_go_to_whom_the_rules_name_and_are_chased_there(notify: Notify) -> None:
    """Whatever their status, but what is done: with their history, by the times of the new unit; what was on
    its way to the old one goes no more. A second start moves nothing."""
    new, planned, waits, done = await left_with(notify, *["street_light"] * 4)
    await notify.rows(
        "UPDATE dispatch SET status = 'planned', day = '2026-11-20' WHERE report_id = $1", planned
    )
    await notify.rows(
        "UPDATE dispatch SET status = 'acknowledged', waits_since = $2 WHERE report_id = $1", waits, NOW
    )
    await notify.rows("UPDATE dispatch SET status = 'resolved' WHERE report_id = $1", done)
    commits: list[None] = []
    assert await reassign(notify, lambda: commits.append(None)) == 3
    assert await reassign(notify) == 0
    assert len(commits) == 1
    rows = await notify.rows("SELECT report_id, unit, status, waits_since, clock_at FROM dispatch")
    assert {row["report_id"]: tuple(row)[1:4] for row in rows if row["report_id"] != done} == dict.fromkeys(
        (new, planned, waits), (UNIT, "routed", None)
    )
    assert all(row["clock_at"] for row in rows if row["report_id"] != done)
    said = [one for one in await notify.said(ReportHandedOver) if isinstance(one, ReportHandedOver)]
    assert [(one.unit, one.to_unit, one.reason) for one in said] == [(GONE, UNIT, "unit_left")] * 3
    assert len(await notify.said(ReportRouted)) == 4 + 3
    open_ = await notify.rows("SELECT DISTINCT unit, step FROM delivery WHERE state = 'open'")
    assert [tuple(row) for row in open_ if row["unit"] != GONE] == [(UNIT, "route.2")]
    still = await notify.rows(
        "SELECT report_id FROM delivery WHERE state = 'open' AND unit = $1 AND report_id <> $2", GONE, done
    )
    assert still == []


async def test_where_no_rule_can_be_asked_a_person_decides(notify: Notify) -> None:
    """Its category has left the folder as well: it goes to the last rule's unit, by the times that it has,
    and is escalated; what was late is told there."""
    (report,) = await left_with(notify, "street_light")
    await notify.rows("UPDATE dispatch SET category = 'no_more'")
    before = await notify.rows("SELECT acknowledge_by, resolve_by FROM dispatch")
    assert await reassign(notify) == 1
    (escalated,) = await notify.said(ReportEscalated)
    assert isinstance(escalated, ReportEscalated)
    assert (escalated.report_id, escalated.level, escalated.reason) == (report, 1, "unit_left")
    assert await notify.rows("SELECT acknowledge_by, resolve_by FROM dispatch") == before
    ((unit, clock),) = [tuple(row) for row in await notify.rows("SELECT unit, clock_at FROM dispatch")]
    assert unit == LAST
    assert clock == before[0]["acknowledge_by"]


async def test_what_its_units_still_have_stays(notify: Notify) -> None:
    """Nothing is said of the others."""
    await notify.apply(accepted(now=NOW))
    before = await notify.rows("SELECT * FROM dispatch")
    assert await reassign(notify) == 0
    assert await notify.rows("SELECT * FROM dispatch") == before
