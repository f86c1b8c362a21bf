"""Clocks: reminders before a target ends, levels after it was missed, one notice for all of it."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import TypeAdapter

from services.notify.clocks import Sweeper
from services.notify.core import clocks
from services.notify.core.acts import Act, Action
from services.notify.core.deliveries import NOTICE_WAIT, Retrying
from services.notify.core.steps import Dispatch, follow
from services.notify.core.turns import Turn
from services.notify.dispatches import Dispatches
from services.notify.queries import DISPATCH, dispatch_from
from shared.cloudevents import Envelope
from shared.events import ReportAnswered, ReportEscalated, ReportEvent, ReportResolved, ReportWithdrawn
from shared.municipality import Email, Municipality
from shared.municipality.model import Clocks, Level
from tests.conftest import MakeDatabase
from tests.integration.mail_server import mailbox
from tests.integration.notify_harness import Notify, accepted, first, plain, running_notify
from tests.spine import until

NOWHERE = "http://127.0.0.1:9"
# A Monday morning at nine, the town's time; this team works from 7:30 to 16:30 on weekdays.
MONDAY = datetime(2026, 11, 9, 8, tzinfo=UTC)
UNIT, LAST = "public_space", "front_desk"


@pytest_asyncio.fixture
async def notify(database: MakeDatabase) -> AsyncIterator[Notify]:
    """Without a worker; its clock stands until it is moved."""
    async with running_notify(await database("notify"), NOWHERE) as running:
        running.clock.at = MONDAY
        yield running


async def take(notify: Notify, count: int = 1, **changes: Any) -> list[uuid.UUID]:
    """Reports of a broken street light (24 working hours to see it, 120 to solve it)."""
    envelopes = [accepted(now=notify.clock(), **changes) for _ in range(count)]
    await notify.apply(*envelopes)
    return [one.event.report_id for one in envelopes]


async def told(notify: Notify) -> list[tuple[str, int, str]]:
    """What was escalated, in order: the unit that has it, the level and why."""
    said = await notify.said(ReportEscalated)
    return [(one.unit, one.level, one.reason) for one in said if isinstance(one, ReportEscalated)]


async def notices(notify: Notify) -> list[str]:
    rows = await notify.rows(
        "SELECT unit FROM delivery WHERE step = 'notice' AND state = 'open' ORDER BY unit"
    )
    return [row["unit"] for row in rows]


async def at(notify: Notify, moment: datetime) -> int:
    """The sweep at a moment; how many reports it was about."""
    notify.clock.at = moment
    return await notify.sweeper.sweep()


async def test_a_unit_is_reminded_before_and_told_after(notify: Notify) -> None:
    """Working hours count: 24 hours from Monday 9:00 end on Wednesday at 15:00, three quarters on Wednesday
    at 9:00; nine later is Thursday at 15:00."""
    await take(notify)
    wednesday, thursday = MONDAY + timedelta(days=2), MONDAY + timedelta(days=3, hours=6)
    assert await at(notify, wednesday - timedelta(seconds=1)) == 0
    assert await at(notify, wednesday) == 1
    assert (await told(notify), await notices(notify)) == ([], [UNIT])
    assert await at(notify, wednesday + timedelta(hours=6) - timedelta(seconds=1)) == 0
    assert await at(notify, wednesday + timedelta(hours=6)) == 1
    assert await told(notify) == [(UNIT, 1, "acknowledge_overdue")]
    await at(notify, thursday)
    assert await told(notify) == [(UNIT, 1, "acknowledge_overdue"), (UNIT, 2, "acknowledge_overdue")]
    # The second level is the front desk's as well.
    assert await notices(notify) == [LAST, UNIT]


async def listed(notify: Notify, unit: str, more: str = "") -> dict[str, Any]:
    status, answer = await notify.ask("GET", f"/internal/v1/units/{unit}/reports{more}")
    assert status == 200
    return dict(answer)


async def test_a_unit_that_is_told_of_anothers_report_has_it_in_its_list(notify: Notify) -> None:
    """From that level on, among its own, marked as another's; not in that of a third unit."""
    first, second, own = sorted(await take(notify, 3))
    await move(notify, own, UNIT, LAST)
    await at(notify, MONDAY + timedelta(days=2, hours=6))
    assert [one["report_id"] for one in (await listed(notify, LAST))["reports"]] == [str(own)]
    await at(notify, MONDAY + timedelta(days=3, hours=6))
    await notify.act(second, "acknowledge", UNIT)
    assert (await listed(notify, "parking"))["reports"] == []
    page = await listed(notify, LAST, "?limit=1")
    rest = await listed(notify, LAST, f"?limit=5&after={page['after']}")
    found = [(one["report_id"], one["unit"], one["others"]) for one in page["reports"] + rest["reports"]]
    assert found == [(str(first), UNIT, True), (str(second), UNIT, True), (str(own), LAST, False)]
    assert {one["others"] for one in (await listed(notify, UNIT))["reports"]} == {False}
    await notify.act(first, "resolve", UNIT, outcome="done")
    left = [one["report_id"] for one in (await listed(notify, LAST))["reports"]]
    assert left == [str(second), str(own)]


async def test_what_is_seen_is_told_no_more_until_it_is_to_be_solved(notify: Notify) -> None:
    """The clock to see it ends when it is seen, the other one goes on; that of what is gone ends."""
    seen, gone = await take(notify, 2)
    await notify.act(seen, "acknowledge", UNIT)
    withdrawn = ReportWithdrawn(report_id=gone, kind="issue", version=2)
    await notify.apply(Envelope.of(withdrawn, id=uuid.uuid4(), source="/ibuurt/tips", now=MONDAY))
    assert await at(notify, MONDAY + timedelta(days=7)) == 0
    # 120 hours are thirteen days of nine and three more.
    await at(notify, MONDAY + timedelta(days=17, hours=3))
    assert [why for _, _, why in await told(notify)] == ["resolve_overdue"]


async def test_a_report_that_is_moved_to_and_fro_does_not_outrun_its_clock(notify: Notify) -> None:
    """Handed over each time before anything is due, and back: what its first unit's clock had to tell while
    another one had it is told as soon as it is back, each level once."""
    (report,) = await take(notify)
    first = await due(notify)

    async def of_its_first_unit() -> list[tuple[int, str]]:
        return [(level, why) for unit, level, why in await told(notify) if unit == UNIT]

    for hours, unit, to in ((1, UNIT, "parking"), (24, "parking", UNIT), (47, UNIT, "parking")):
        await at(notify, MONDAY + timedelta(hours=hours))
        await move(notify, report, unit, to)
    # It was to be seen on Wednesday at 15:00, and comes back on Friday at nine.
    friday = MONDAY + timedelta(days=4)
    await at(notify, friday)
    assert await of_its_first_unit() == []
    await move(notify, report, "parking", UNIT)
    assert await due(notify) == first
    assert await at(notify, friday) == 1
    levels = [(1, "acknowledge_overdue"), (2, "acknowledge_overdue")]
    assert await of_its_first_unit() == levels
    await move(notify, report, UNIT, "parking")
    await move(notify, report, "parking", UNIT)
    assert [row["level"] for row in await notify.rows("SELECT level FROM dispatch")] == [2]
    assert await at(notify, friday) == 0
    assert await of_its_first_unit() == levels


@pytest.mark.parametrize(
    ("action", "to", "moves"),
    [("refuse", None, 0), ("refuse", "care_team", 0), ("hand_over", "care_team", 0), ("refuse", None, 6)],
)
async def test_by_when_a_tip_is_due_that_moved_on_tells_no_minute(
    notify: Notify, action: Action, to: str | None, moves: int
) -> None:
    """By the rules, to whom is named, to a person after too many moves: its time is from the hour on."""
    (tip,) = await take(notify, category="weapons")
    ((unit, *_),) = await due(notify)
    turn = Turn("parking", MONDAY, None, MONDAY, MONDAY, 0, False, None, None)
    past = TypeAdapter(list[Turn]).dump_json([turn] * moves).decode()
    await notify.rows("UPDATE dispatch SET past = $1", past)
    notify.clock.at = MONDAY + timedelta(hours=3, minutes=17, seconds=5)
    await do(notify, tip, unit, Act(action, "desk", "not_our_task", to))
    ((comes_to, *times),) = await due(notify)
    targets = notify.municipality.categories["weapons"].targets
    calendar = notify.dispatches.responsibility.calendars[comes_to]
    assert comes_to != unit
    assert times == list(clocks.due(MONDAY + timedelta(hours=3), targets, calendar))


async def move(notify: Notify, report: uuid.UUID, unit: str, to: str) -> None:
    status, _ = await notify.act(report, "hand_over", unit, reason="not_our_task", to_unit=to)
    assert status == 200


async def due(notify: Notify) -> list[Any]:
    return await notify.rows("SELECT unit, acknowledge_by, answer_by, resolve_by FROM dispatch")


async def test_while_the_resident_is_asked_nothing_is_told(notify: Notify) -> None:
    """And after the answer as much later as was worked meanwhile: until it was given, not until it was
    read."""
    (report,) = await take(notify)
    async with notify.pool.acquire() as connection, connection.transaction():
        await notify.acting.act(connection, report, UNIT, Act("ask", "desk"), uuid.uuid4(), "officer:test")
    assert await at(notify, MONDAY + timedelta(days=60)) == 0
    answered, notify.clock.at = MONDAY + timedelta(days=7), MONDAY + timedelta(days=9)
    answer = ReportAnswered(report_id=report, kind="issue", version=2)
    await notify.apply(Envelope.of(answer, id=uuid.uuid4(), source="/ibuurt/tips", now=answered))
    assert await at(notify, MONDAY + timedelta(days=24, hours=2)) == 1
    assert await told(notify) == []
    await at(notify, MONDAY + timedelta(days=24, hours=3))
    assert [why for _, _, why in await told(notify)] == ["resolve_overdue"]


async def test_what_is_late_again_after_an_answer_is_told_under_another_id(notify: Notify) -> None:
    """Half an hour late, asked, and answered an hour and a half later: it is half an hour late by its new
    time. Told again by a database that was restored it has the id that it had."""
    (report,) = await take(notify)
    await do(notify, report, UNIT, Act("acknowledge", "desk"))
    ((_, _, _, due_at),) = await due(notify)
    await at(notify, due_at + timedelta(minutes=30))
    first = await ids_of(notify)
    await notify.rows("UPDATE dispatch SET clocks_until = $1, clock_at = $1, level = 0", MONDAY)
    await notify.rows("WITH gone AS (DELETE FROM act) DELETE FROM outbox")
    await at(notify, due_at + timedelta(minutes=30))
    assert await ids_of(notify) == first
    assert len(first) == 1
    await do(notify, report, UNIT, Act("ask", "desk"))
    answered = notify.clock.at = due_at + timedelta(hours=2)
    answer = ReportAnswered(report_id=report, kind="issue", version=2)
    await notify.apply(Envelope.of(answer, id=uuid.uuid4(), source="/ibuurt/tips", now=answered))
    await at(notify, due_at + timedelta(hours=2))
    assert await told(notify) == [(UNIT, 1, "resolve_overdue")] * 2
    assert len(set(await ids_of(notify))) == 2


async def ids_of(notify: Notify) -> list[uuid.UUID]:
    """Under which ids it was escalated."""
    rows = await notify.rows("SELECT id FROM outbox WHERE type = $1 ORDER BY position", ReportEscalated.type)
    return [row["id"] for row in rows]


async def do(notify: Notify, report: uuid.UUID, unit: str, act: Act) -> None:
    async with notify.pool.acquire() as connection, connection.transaction():
        await notify.acting.act(connection, report, unit, act, uuid.uuid4(), "officer:test")


@pytest.mark.parametrize("late", [False, True])
async def test_who_solves_it_without_the_answer_was_in_time_if_the_clock_stood(
    notify: Notify, late: bool
) -> None:
    """Asked before or after it was due, and solved two months later."""
    (report,) = await take(notify)
    notify.clock.at = MONDAY + timedelta(days=30 * late)
    await do(notify, report, UNIT, Act("ask", "desk"))
    notify.clock.at = MONDAY + timedelta(days=60)
    await do(notify, report, UNIT, Act("resolve", "desk", outcome="done"))
    (solved,) = await notify.said(ReportResolved)
    assert isinstance(solved, ReportResolved)
    assert (solved.in_time, await told(notify)) == (not late, [])


@pytest.mark.parametrize("action", ["refuse", "hand_over"])
async def test_who_gives_it_away_while_the_resident_is_asked_has_the_time_of_the_wait_when_it_is_back(
    notify: Notify, action: Action
) -> None:
    """As much later as was worked meanwhile, whatever the unit that had it then did; a database that follows
    what was said knows as much."""
    (report,) = await take(notify)
    (first,) = await dispatches(notify)
    await do(notify, report, UNIT, Act("ask", "desk"))
    notify.clock.at = MONDAY + timedelta(days=7)
    await do(notify, report, UNIT, Act(action, "desk", "not_our_task", LAST))
    await do(notify, report, LAST, Act("hand_over", "desk", "not_our_task", UNIT))
    (back,) = await dispatches(notify)
    # 120 hours are thirteen days of nine and three more, and a week.
    assert (back.unit, back.resolve_by) == (UNIT, MONDAY + timedelta(days=24, hours=3))
    for event in await notify.said():
        assert isinstance(event, ReportEvent)
        first = follow(first, event, MONDAY + timedelta(days=7 * (event.version > 3)))
    assert first == back
    assert await at(notify, MONDAY + timedelta(days=24, hours=2)) == 1
    assert await told(notify) == []
    await at(notify, MONDAY + timedelta(days=24, hours=3))
    assert [why for _, _, why in await told(notify)] == ["resolve_overdue"]


async def dispatches(notify: Notify) -> list[Dispatch]:
    rows = await notify.rows(f"SELECT {DISPATCH} FROM dispatch")
    return [dispatch_from(row) for row in rows]


async def test_a_service_that_stood_still_tells_each_level_once_and_each_unit_by_one_notice(
    notify: Notify,
) -> None:
    """Forty reports, two months later: three levels of two targets each, and a notice for each of two units.
    A second sweep, and one after the clock was set back, tell nothing."""
    await take(notify, 40)
    later = MONDAY + timedelta(days=60)
    assert await at(notify, later) == 40
    assert len(await told(notify)) == 40 * 3 * 2
    assert await notices(notify) == [LAST, UNIT]
    for moment in (later, later - timedelta(days=30), later + timedelta(days=1)):
        assert await at(notify, moment) == 0
    assert len(await told(notify)) == 40 * 3 * 2


@pytest.mark.parametrize("starts", [False, True])
async def test_what_a_clock_that_was_ahead_has_told_is_told_when_it_is_due(
    notify: Notify, starts: bool
) -> None:
    """For a minute it is two months later; whoever sweeps then may be another process. The units hear of what
    is late once it is, and the topic nothing twice."""
    await take(notify)
    await at(notify, MONDAY + timedelta(days=60))
    assert len(await told(notify)) == 3 * 2
    await notify.rows("UPDATE delivery SET state = 'done', due_at = NULL, next_attempt_at = NULL")
    notify.clock.at = MONDAY
    if starts:
        await notify.sweeper.set_clocks()
    assert await notify.sweeper.sweep() == 0
    assert await notices(notify) == []
    wednesday = MONDAY + timedelta(days=2, hours=6)
    assert await at(notify, wednesday) == 1
    assert len(await told(notify)) == 3 * 2
    assert await notices(notify) == [UNIT]


async def test_two_sweepers_at_once_tell_everything_once(notify: Notify) -> None:
    """They share the rows."""
    await take(notify, 450)
    notify.clock.at = MONDAY + timedelta(days=4)
    counts = await asyncio.gather(*(notify.sweeper.sweep() for _ in range(3)))
    assert sum(counts) == 450
    assert len(await told(notify)) == 450 * 2


async def test_a_changed_folder_counts_from_the_next_start(notify: Notify) -> None:
    """Levels that come sooner now are told of reports that are open already; what was told stays told."""
    await take(notify)
    await at(notify, MONDAY + timedelta(days=2, hours=6))
    assert len(await told(notify)) == 1
    sooner = Clocks(levels=(Level(after_hours=0), Level(after_hours=1, unit=LAST)))
    town = notify.municipality.model_copy(update={"clocks": sooner})
    sweeper = Sweeper(
        notify.pool,
        Dispatches(town),
        metrics=notify.metrics,
        clock=notify.clock,
        appended=lambda: None,
    )
    notify.clock.at = MONDAY + timedelta(days=2, hours=7)
    assert await sweeper.sweep() == 0
    await sweeper.set_clocks()
    assert await sweeper.sweep() == 1
    assert [level for _, level, _ in await told(notify)] == [1, 2]


async def only_notices(notify: Notify) -> None:
    """Nothing else is left to go: there is no tips to fetch words from."""
    await notify.rows(
        "UPDATE delivery SET state = 'cancelled', due_at = NULL, next_attempt_at = NULL"
        " WHERE step <> 'notice'"
    )


async def test_a_notice_has_what_is_late_when_it_goes_and_no_words(notify: Notify) -> None:
    """Gathered when it goes: what was seen meanwhile is in it no more as late."""
    late, seen = await take(notify, 2)
    await at(notify, MONDAY + timedelta(days=2, hours=6))
    await notify.act(seen, "acknowledge", UNIT)
    await only_notices(notify)
    notify.clock.go_on_from(MONDAY + timedelta(days=2, hours=7))
    notify.work()
    (arrival,) = await notify.units.seen(1, UNIT)
    assert arrival.body["type"] == "ibuurt.notice"
    assert arrival.data["counts"] == {"acknowledge_overdue": 1, "soon": 1}
    entry = next(one for one in arrival.data["reports"] if one["report_id"] == str(late))
    assert (entry["needs"], entry["level"], entry["unit"]) == ("acknowledge_overdue", 1, UNIT)
    assert set(entry) == {
        *("report_id", "kind", "category", "areas", "unit", "status", "needs", "level"),
        *("acknowledge_by", "resolve_by"),
    }
    await notify.settled()


def careful(town: Municipality) -> Municipality:
    """The front desk has e-mail alone, and of one kind of tips no channel gets more than a notice."""
    mail = Email(kind="email", address="desk@unit.example")
    front = town.units[LAST].model_copy(update={"channels": (mail,)})
    dealing = town.categories["drug_dealing"]
    leaves = dealing.leaves.model_copy(update={"webhook": "notice"})
    dealing = dealing.model_copy(update={"leaves": leaves})
    return town.model_copy(
        update={
            "units": {**town.units, LAST: front},
            "categories": {**town.categories, "drug_dealing": dealing},
        }
    )


async def test_a_notice_says_whose_they_are_and_no_more_than_may_leave(database: MakeDatabase) -> None:
    """By e-mail the unit that has them, how many and their numbers, of an issue its category; of a tip no
    channel gets more than the folder lets out."""
    with mailbox() as box:
        async with running_notify(
            await database("notify"), NOWHERE, change=careful, mail=box.server
        ) as notify:
            notify.clock.at = MONDAY
            late = await take(notify, 2)
            (tip,) = await take(notify, category="drug_dealing")
            (row,) = await notify.rows("SELECT unit FROM dispatch WHERE report_id = $1", tip)
            await at(notify, MONDAY + timedelta(days=30))
            await only_notices(notify)
            notify.clock.go_on_from(MONDAY + timedelta(days=30) + NOTICE_WAIT)
            notify.work()
            (arrival,) = await notify.units.seen(1, row["unit"])
            await notify.settled()
        (message,) = box.taken
        text = message.get_content().replace("\r\n", "\n")
        assert message["To"] == "desk@unit.example"
        assert "Team Openbare Ruimte: 2\n" in text
        for report in late:
            assert f"Nummer: {report} (Straatverlichting kapot)\n" in text
        names = notify.municipality.units[row["unit"]].names
        assert f"{names['nl']}: 1\nNummer: {tip}\n" in text
        for secret in ("drug", "Oakwood", "oakwood", "tip", "november"):
            assert secret not in text
        assert arrival.data["by_unit"] == {row["unit"]: 1}
        assert [set(one) for one in arrival.data["reports"]] == [{"report_id", "unit", "needs"}]


async def test_a_notice_of_nothing_does_not_go(notify: Notify) -> None:
    """All of it was solved meanwhile."""
    (report,) = await take(notify)
    await at(notify, MONDAY + timedelta(days=2, hours=6))
    await notify.act(report, "resolve", UNIT, outcome="done")
    await only_notices(notify)
    notify.clock.go_on_from(MONDAY + timedelta(days=2, hours=7))
    notify.work()
    await notify.settled()
    (row,) = await notify.rows("SELECT state FROM delivery WHERE step = 'notice'")
    assert row["state"] == "cancelled"
    assert notify.units.arrivals == []


async def test_what_falls_due_while_a_notice_arrives_is_told_by_the_next(notify: Notify) -> None:
    """The unit has taken the first one, which did not have it."""
    (report,) = await take(notify)
    await at(notify, MONDAY + timedelta(days=2))
    await only_notices(notify)
    late = MONDAY + timedelta(days=2, hours=6)

    async def meanwhile(request: web.Request) -> web.StreamResponse:
        await at(notify, late)
        return await plain()(request)

    notify.units.answers[UNIT] = first(meanwhile, plain())
    notify.clock.go_on_from(MONDAY + timedelta(days=2) + NOTICE_WAIT)
    notify.work()
    await until(lambda: notify.metric("deliveries_total", result="done") == 1)
    rows = await notify.rows("SELECT due_at FROM delivery WHERE step = 'notice' AND state = 'open'")
    assert [row["due_at"] for row in rows] == [late + NOTICE_WAIT]
    notify.clock.go_on_from(late + NOTICE_WAIT)
    _, told_next = await notify.units.seen(2, UNIT)
    await notify.settled()
    assert [(one["report_id"], one["needs"]) for one in told_next.data["reports"]] == [
        (str(report), "acknowledge_overdue")
    ]
    assert await notices(notify) == []


async def test_a_dead_unit_escalates_holds_nobody_up_and_gets_one_notice_when_it_is_back(
    notify: Notify,
) -> None:
    """Its reports are told to the next level while it is away; the other unit gets its own at once; and
    whatever became late while its notice was tried comes with it when the unit is back: it takes one."""
    notify.units.answers[UNIT] = plain(503)
    await take(notify, 30)
    friday = MONDAY + timedelta(days=4)
    await at(notify, friday)
    assert len(await told(notify)) == 60
    await only_notices(notify)
    notify.clock.go_on_from(friday + NOTICE_WAIT)
    notify.work()
    (other,) = await notify.units.seen(1, LAST)
    assert other.data["counts"] == {"acknowledge_overdue": 30}
    await notify.units.seen(3, UNIT)
    notify.clock.go_on_from(MONDAY + timedelta(days=30))
    assert await notify.sweeper.sweep() == 30
    await notify.units.seen(len(notify.units.arrivals) + 3)
    away = len(notify.units.arrivals)
    notify.units.answers[UNIT] = plain()
    await until(lambda: notify.metric("deliveries_total", result="done") == 2)
    notify.clock.go_on_from(MONDAY + timedelta(days=30) + 2 * NOTICE_WAIT)
    await notify.settled()
    (taken,) = [one for one in notify.units.arrivals[away:] if one.unit == UNIT]
    assert taken.data["counts"] == {"resolve_overdue": 30}
    assert await notices(notify) == []


async def test_a_notice_is_not_given_up_while_its_unit_is_away(notify: Notify) -> None:
    """However often it was tried: the unit that comes back hears what it has, once."""
    notify.units.answers[UNIT] = plain(503)
    await take(notify)
    await at(notify, MONDAY + timedelta(days=2))
    await only_notices(notify)
    notify.clock.go_on_from(MONDAY + timedelta(days=2) + NOTICE_WAIT)
    notify.work(retrying=Retrying(0.01, 0.02, 2))
    await notify.units.seen(8, UNIT)
    notify.units.answers[UNIT] = plain()
    await notify.settled()
    taken = [one for one in notify.units.arrivals if one.unit == UNIT]
    assert len({one.webhook_id for one in taken}) == 1
    assert notify.metric("deliveries_total", result="done") == 1


@pytest.mark.parametrize(("cap", "behind"), [(60, 0), (300, 1)])
async def test_a_notice_waits_whatever_the_longest_retry_is_and_whoever_looks(
    notify: Notify, cap: float, behind: int
) -> None:
    """A worker with shorter retries, or whose clock is a second behind, does not take it for put off."""
    await take(notify)
    await at(notify, MONDAY + timedelta(days=2))
    before = await notify.rows("SELECT due_at, next_attempt_at FROM delivery WHERE step = 'notice'")
    notify.clock.at = MONDAY + timedelta(days=2, seconds=-behind)
    notify.work(retrying=Retrying(1, cap, 20))
    await asyncio.sleep(0.5)
    assert await notify.rows("SELECT due_at, next_attempt_at FROM delivery WHERE step = 'notice'") == before
