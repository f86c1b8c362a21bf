"""A unit that was away for longer than anything is tried: what was given up goes once it is back."""

import asyncio
import re

import pytest
from aiohttp import web

from services.notify import queries_clocks, queries_deliveries
from services.notify.core.deliveries import AWAY, NOTICE_WAIT, REVIVED_MOST, Retrying
from shared.cloudevents import Envelope
from shared.events import DeliveryFailed, Event, ReportDelivered, ReportEscalated, ReportWithdrawn, hour_of
from tests.conftest import MakeDatabase
from tests.integration.followed import followed
from tests.integration.notify_harness import (
    Notify,
    announced,
    kinds,
    plain,
    running_notify,
    send,
)
from tests.integration.tips_server import Tips, issue, tip
from tests.spine import until

UNIT, FRONT = "public_space", "front_desk"
QUICK = Retrying(0.01, 0.02, 3)


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.notify.delivery.GAUGE_SECONDS", 0.05)


def minutes_on(notify: Notify) -> None:
    """So much later, notices are due."""
    notify.clock.go_on_from(notify.clock() + NOTICE_WAIT)


async def given_up(notify: Notify, count: int, seconds: float = 10) -> list[Event]:
    """What was given up, once there is so much of it."""
    async with asyncio.timeout(seconds):
        while len(failed := await notify.said(DeliveryFailed)) < count:  # noqa: ASYNC110 - as until
            await asyncio.sleep(0.01)
    return failed


async def states_of(notify: Notify, report: object) -> set[str]:
    """What became of a report's deliveries."""
    return {
        row["state"] for row in await notify.rows("SELECT state FROM delivery WHERE report_id = $1", report)
    }


async def test_a_unit_that_was_away_gets_every_report_when_it_is_back(
    database: MakeDatabase, tips: Tips
) -> None:
    """Each under its first id, and said once to be delivered. Meanwhile another unit is told at once, by one
    notice; and the unit's own notice comes first, one for all."""
    async with running_notify(await database("notify"), tips.internal_url) as notify:
        notify.units.answers[UNIT] = plain(503)
        notify.clock.go_on_from(tips.clock())
        reports = await send(tips, notify, *[issue()] * 6)
        notify.work(retrying=QUICK)
        await given_up(notify, 6)
        escalated = await notify.said(ReportEscalated)
        assert {(one.reason, one.level) for one in escalated if isinstance(one, ReportEscalated)} == {
            ("not_delivered", 2)
        }
        assert len(escalated) == 6
        first_ids = {one.data.get("report_id"): one.webhook_id for one in notify.units.arrivals}
        minutes_on(notify)
        (told,) = await notify.units.seen(1, FRONT)
        assert told.data["counts"] == {"not_delivered": 6}
        assert {one["report_id"] for one in told.data["reports"]} == set(map(str, reports))
        assert {one["unit"] for one in told.data["reports"]} == {UNIT}

        notify.units.answers[UNIT] = plain()
        before = len(notify.units.arrivals)
        await until(lambda: len(notify.units.arrivals) >= before + 7)
        await notify.settled()
        back = notify.units.arrivals[before:]
        assert [one.body["type"] for one in back] == ["ibuurt.notice", *["ibuurt.report"] * 6]
        assert back[0].data["counts"] == {"not_delivered": 6}
        assert {one.data["report_id"]: one.webhook_id for one in back[1:]} == {
            report: first_ids[report] for report in map(str, reports)
        }
        assert len(await notify.said(ReportDelivered)) == 6
        assert len(await notify.said(DeliveryFailed)) == 6


@pytest.mark.parametrize("before", ["acknowledge", "resolve"])
async def test_what_a_resident_wrote_and_its_unit_was_not_reached_with_is_told_to_a_person(
    database: MakeDatabase, tips: Tips, before: str
) -> None:
    """At once, whatever the unit did before; a second message at the same level, and once for what is given
    up together. It goes when the unit is back, and nobody is told of it any more."""
    async with running_notify(await database("notify"), tips.internal_url) as notify:
        mine = await followed(tips)
        notify.clock.go_on_from(tips.clock())
        await notify.apply(*await announced(tips))
        notify.work(retrying=QUICK)
        await notify.settled()
        assert (await notify.act(mine.report_id, before, UNIT, outcome="done"))[0] == 200
        notify.units.answers[UNIT] = plain(503)
        for _ in range(2):
            assert (await mine.write("The pole leans over the path now")).status == 201
        await notify.apply(*await announced(tips))
        async with asyncio.timeout(10):
            while len(await dead_messages(notify)) < 2:  # noqa: ASYNC110 - as until
                await asyncio.sleep(0.01)
        escalated = await notify.said(ReportEscalated)
        assert {(one.reason, one.level) for one in escalated if isinstance(one, ReportEscalated)} == {
            ("not_delivered", 2)
        }
        assert not await notify.said(DeliveryFailed)
        notify.clock.go_on_from(notify.clock() + NOTICE_WAIT)
        (told,) = await notify.units.seen(1, FRONT)
        assert [(one["report_id"], one["needs"]) for one in told.data["reports"]] == [
            (str(mine.report_id), "not_delivered")
        ]

        notify.units.answers[UNIT] = plain()
        async with asyncio.timeout(10):
            while await dead_messages(notify):  # noqa: ASYNC110 - as until
                await asyncio.sleep(0.01)
        await notify.settled()
        assert [one.body["type"] for one in notify.units.arrivals][-2:] == ["ibuurt.report.message"] * 2
        async with notify.pool.acquire() as connection:
            told_at = notify.dispatches.clocks.levels_of(FRONT)
            found = await queries_clocks.told_about(connection, FRONT, told_at)
        assert [unheard for _, unheard in found] == ([False] if before == "acknowledge" else [])


async def dead_messages(notify: Notify) -> list[object]:
    return await notify.rows("SELECT FROM delivery WHERE state = 'dead' AND step LIKE 'message%'")


async def test_who_was_back_just_before_a_worker_died_is_sent_what_was_given_up_by_the_next(
    database: MakeDatabase, tips: Tips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit took its notice, and the worker ended before it looked at what was given up. While the unit
    has not taken it, another start is no reason to try again."""
    async with running_notify(await database("notify"), tips.internal_url) as notify:
        notify.units.answers[UNIT] = plain(503)
        (report,) = await send(tips, notify)
        monkeypatch.setattr("services.notify.delivery.GAUGE_SECONDS", 3_600)
        notify.work(retrying=QUICK)
        await given_up(notify, 1)
        await notify.stop()
        async with notify.pool.acquire() as connection:
            assert await queries_deliveries.taken_notices(connection, AWAY, REVIVED_MOST) == []
        notify.units.answers[UNIT] = plain()
        minutes_on(notify)
        notify.work(retrying=QUICK)
        await notify.settled()
        assert await states_of(notify, report) == {"dead"}
        await notify.stop()
        monkeypatch.setattr("services.notify.delivery.GAUGE_SECONDS", 0.05)
        notify.work(retrying=QUICK)
        async with asyncio.timeout(10):
            while await states_of(notify, report) != {"done"}:  # noqa: ASYNC110 - as until
                await asyncio.sleep(0.01)


async def test_a_revived_tip_does_not_tell_its_minute(database: MakeDatabase, tips: Tips) -> None:
    """It is due since the hour in which its unit was back; an issue since then."""
    async with running_notify(await database("notify"), tips.internal_url) as notify:
        await send(tips, notify, tip(), issue())
        await notify.rows(
            "UPDATE delivery SET state = 'dead', last_failure = 'timeout', due_at = NULL,"
            " next_attempt_at = NULL"
        )
        destinations = [row["destination"] for row in await notify.rows("SELECT destination FROM delivery")]
        back = notify.clock()
        async with notify.pool.acquire() as connection:
            assert await queries_deliveries.revive(connection, destinations, AWAY, 1, back) == 2
            assert await queries_deliveries.revive(connection, destinations, AWAY, 1, back) == 0
        rows = await notify.rows("SELECT kind, due_at FROM delivery JOIN dispatch USING (report_id)")
        assert {row["kind"]: row["due_at"] for row in rows} == {"tip": hour_of(back), "issue": back}


async def test_who_takes_all_but_one_is_sent_that_one_so_often_and_no_more(
    database: MakeDatabase, tips: Tips
) -> None:
    """A report that makes the unit's system fail: tried again as often as if the unit had been away, given up
    each time under an id of its own, and then left alone."""
    async with running_notify(await database("notify"), tips.internal_url) as notify:
        (bad,) = await send(tips, notify)

        async def choosing(request: web.Request) -> web.StreamResponse:
            body = await request.text()
            return web.Response(status=500 if f'"{bad}"' in body and "ibuurt.report" in body else 200)

        notify.units.answers[UNIT] = choosing
        notify.work(retrying=QUICK)
        for round_ in range(REVIVED_MOST + 2):
            await given_up(notify, min(round_, REVIVED_MOST) + 1)
            await send(tips, notify)
        await notify.settled()
        await asyncio.sleep(0.3)
        failed = await notify.said(DeliveryFailed)
        assert [one.report_id for one in failed if isinstance(one, DeliveryFailed)] == [bad] * (
            REVIVED_MOST + 1
        )
        (row,) = await notify.rows("SELECT state, revived FROM delivery WHERE report_id = $1", bad)
        assert tuple(row) == ("dead", REVIVED_MOST)


@pytest.mark.parametrize(
    ("step", "status", "unit", "goes"),
    [
        ("route", "routed", UNIT, True),
        ("route", "routed", FRONT, False),
        ("route", "resolved", UNIT, False),
        ("route.2", "routed", UNIT, False),
        ("message", "planned", UNIT, True),
        ("message.3", "acknowledged", UNIT, True),
        ("message", "acknowledged", FRONT, False),
        ("message", "erased", UNIT, False),
        # Whoever has a copy is told, wherever the report is now.
        ("erased", "erased", FRONT, True),
        ("withdrawn", "withdrawn", FRONT, True),
    ],
)
async def test_what_goes_again_is_what_its_unit_still_has_to_know(
    database: MakeDatabase, tips: Tips, step: str, status: str, unit: str, goes: bool
) -> None:
    """`unit` has the report now; its attempts begin anew."""
    async with running_notify(await database("notify"), tips.internal_url) as notify:
        await send(tips, notify)
        erased_on = notify.clock().date() if status == "erased" else None
        await notify.rows(
            "UPDATE dispatch SET status = $1, unit = $2, erased_on = $3", status, unit, erased_on
        )
        await notify.rows(
            "UPDATE delivery SET state = 'dead', last_failure = 'timeout', due_at = NULL,"
            " next_attempt_at = NULL, attempts = 20, step = $1",
            step,
        )
        async with notify.pool.acquire() as connection:
            revived = await queries_deliveries.revive(connection, [UNIT], AWAY, 1, notify.clock())
        (row,) = await notify.rows("SELECT state, attempts FROM delivery")
        assert (revived, tuple(row)) == ((1, ("open", 0)) if goes else (0, ("dead", 20)))


@pytest.mark.parametrize("why", ["refused", "withdrawn", "moved", "resolved"])
async def test_what_nobody_waits_for_stays_given_up(database: MakeDatabase, tips: Tips, why: str) -> None:
    """The unit's system refused it; or its report was withdrawn, went to another unit or is solved."""
    async with running_notify(await database("notify"), tips.internal_url) as notify:
        (report,) = await send(tips, notify)
        notify.units.answers[UNIT] = plain(422 if why == "refused" else 503)
        notify.work(retrying=QUICK)
        await given_up(notify, 1)
        if why == "withdrawn":
            withdrawn = ReportWithdrawn(report_id=report, kind="issue", version=2)
            await notify.apply(Envelope.of(withdrawn, id=report, source="/ibuurt/tips", now=notify.clock()))
        elif why == "moved":
            status, _ = await notify.act(report, "refuse", UNIT, reason="not_our_task", to_unit=FRONT)
            assert status == 200
        elif why == "resolved":
            status, _ = await notify.act(report, "resolve", UNIT, outcome="done")
            assert status == 200
        (other,) = await send(tips, notify)
        await notify.rows(
            "UPDATE delivery SET state = 'dead', last_failure = 'timeout', due_at = NULL,"
            " next_attempt_at = NULL WHERE report_id = $1 AND unit = $2",
            other,
            UNIT,
        )
        notify.units.answers[UNIT] = plain()
        await send(tips, notify)
        # This one was given up as well, and is waited for: so it was looked for what goes again.
        async with asyncio.timeout(10):
            while "done" not in await states_of(notify, other):  # noqa: ASYNC110 - as until
                await asyncio.sleep(0.01)
        await notify.settled()
        rows = await notify.rows(
            "SELECT state FROM delivery WHERE report_id = $1 AND unit = $2 AND step = 'route'", report, UNIT
        )
        assert [row["state"] for row in rows] == ["dead"]
        assert "DeliveryFailed" in kinds(await notify.said())


@pytest.mark.parametrize(
    ("failure", "away"),
    [
        *(
            (one, True)
            for one in ("timeout", "refused", "dns", "tls", "disconnected", "http_503", "http_429")
        ),
        *((one, True) for one in ("smtp_timeout", "smtp_refused", "smtp_421", "smtp_452", "smtp_554")),
        *((one, False) for one in ("http_422", "http_404", "http_301", "mailbox_refused")),
        *((one, False) for one in ("bounced", "no_channel", "address_refused", "error", "report_unknown")),
    ],
)
def test_of_which_failures_what_was_called_may_have_been_away(failure: str, away: bool) -> None:
    """Whoever answered that it does not want this one was there."""
    assert bool(re.search(AWAY, failure)) == away
