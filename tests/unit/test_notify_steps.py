"""Clocks and steps of a report at notify."""

import itertools
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notify.core.acts import TRANSITIONS, UNITS_ACTIONS, Act, Action, Impossible, Status, possible
from services.notify.core.calendar import Calendar
from services.notify.core.clocks import backoff, due, took
from services.notify.core.deliveries import (
    Delivered,
    Delivery,
    Failed,
    Gone,
    Retrying,
    says_acknowledged,
    settle,
)
from services.notify.core.responsible import Responsible
from services.notify.core.steps import Dispatch, advance, escalate, follow, give_up, go_on
from services.notify.core.turns import Turn, last_turn
from shared.events import (
    ReportAcknowledged,
    ReportDelivered,
    ReportEscalated,
    ReportEvent,
    ReportHandedOver,
    ReportResolved,
    ReportRouted,
)
from shared.municipality import Targets
from shared.municipality.hours import ALWAYS, Span

HOUR = datetime(2026, 11, 2, 9, tzinfo=UTC)
STATUSES: tuple[Status, ...] = get_args(Status)
ACTIONS: tuple[Action, ...] = get_args(Action)
RETRYING = Retrying(base=1, cap=300, max_attempts=3)


def dispatch(status: Status = "routed", kind: str = "issue") -> Dispatch:
    return Dispatch(
        uuid.UUID(int=1),
        "tip" if kind == "tip" else "issue",
        "street_light",
        "parks",
        "lights",
        "public_space_lights",
        HOUR,
        HOUR + timedelta(hours=24),
        HOUR + timedelta(hours=120),
        status,
        4,
        came_at=HOUR,
        clocks_until=HOUR,
    )


LATER = HOUR + timedelta(hours=50)
TO = Responsible("roads", "handed_over", "private_ground", LATER, None, LATER + timedelta(hours=96))


def act(action: Action, via: str = "link") -> Act:
    """With all that an act of its sort needs."""
    return Act(action, via, "private_ground", None, "done", HOUR.date())


def moved(state: Dispatch, action: Action, now: datetime = HOUR) -> tuple[Dispatch, tuple[ReportEvent, ...]]:
    """What an action leads to; nothing where it is not possible."""
    try:
        return advance(state, act(action), now, "v2", TO)
    except Impossible:
        return state, ()


def delivery(attempts: int = 0) -> Delivery:
    lease = HOUR + timedelta(seconds=30)
    return Delivery(
        *(uuid.UUID(int=2), uuid.UUID(int=1), "parks", "webhook", "parks", "route", attempts, 0, HOUR, lease),
        *("issue", "street_light", {}, "nl", HOUR, HOUR, HOUR),
    )


def test_due_times_are_hours_of_the_unit_from_acceptance() -> None:
    """Plain hours, also across the end of summer time, of a unit that always works."""
    accepted = datetime(2026, 10, 24, 12, tzinfo=UTC)
    always = Calendar(ZoneInfo("Europe/Amsterdam"), ALWAYS, lambda _: False)
    by = due(accepted, Targets(acknowledge_hours=24, resolve_hours=36.5), always)
    assert by.acknowledge_by == datetime(2026, 10, 25, 12, tzinfo=UTC)
    assert by.resolve_by == datetime(2026, 10, 26, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "bucket"),
    [(0, "1h"), (1, "1h"), (4, "4h"), (24, "24h"), (72, "72h"), (168, "7d"), (5000, "later")],
)
def test_a_bucket_includes_its_upper_limit_and_nothing_above(hours: int, bucket: str) -> None:
    """The limits are where an off-by-one would move counts from one bucket to the next."""
    assert took(timedelta(hours=hours)) == bucket
    if 0 < hours < 5000:
        assert took(timedelta(hours=hours, microseconds=1)) != bucket


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_back_off_doubles_up_to_its_cap_with_jitter_of_a_half(failures: int, chance: float) -> None:
    """Between half the doubled wait and all of it, never above the cap, for any number of failures."""
    full = min(300.0, 2.0 ** min(failures - 1, 60))
    assert full / 2 <= backoff(failures, 1, 300, chance) <= full


@pytest.mark.parametrize(("status", "action"), list(itertools.product(STATUSES, ACTIONS)))
def test_every_action_in_every_status_is_a_listed_change_or_none(status: Status, action: Action) -> None:
    """What is not in the table changes nothing; what is says each of its steps once, counted by version."""
    before = dispatch(status)
    listed = [one for one in TRANSITIONS if one.action == action and status in one.before]
    after, events = moved(before, action)
    assert after.version == before.version + len(events)
    assert [event.version for event in events] == list(range(5, 5 + len(events)))
    assert len(events) == (len(listed[0].steps) if listed else 0)
    assert after.status == (listed[0].after if listed else status)
    assert len(listed) <= 1


def test_what_is_impossible_is_refused_with_what_is_possible() -> None:
    """For each status, what a unit is told that it can do is just what it can."""
    for status in STATUSES:
        can = [action for action in UNITS_ACTIONS if moved(dispatch(status), action)[1]]
        assert tuple(can) == possible(status)
    with pytest.raises(Impossible) as refused:
        advance(dispatch("resolved"), act("plan"), HOUR, "v2")
    assert (refused.value.status, refused.value.possible) == ("resolved", ())
    assert possible("withdrawn") == possible("erased") == possible("resolved") == ()


def test_done_before_is_no_mistake() -> None:
    """To acknowledge or to solve again changes nothing, and is not refused."""
    for status, action in (
        ("acknowledged", "acknowledge"),
        ("planned", "acknowledge"),
        ("resolved", "resolve"),
    ):
        assert advance(dispatch(status), act(action), HOUR, "v2") == (dispatch(status), ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "actions", list(itertools.permutations(("deliver", "acknowledge", "plan", "resolve")))
)
def test_in_whatever_order_the_steps_come_the_report_ends_resolved(actions: tuple[Action, ...]) -> None:
    """A unit may answer before its delivery is recorded: it was seen and solved once, whatever came first."""
    state, said = dispatch(), list[ReportEvent]()
    for action in actions:
        state, events = moved(state, action)
        said += events
    assert state.status == "resolved"
    names = [type(event).__name__ for event in said]
    for name in ("ReportAcknowledged", "ReportDelivered", "ReportResolved"):
        assert names.count(name) == 1


@pytest.mark.parametrize("kind", ["issue", "tip"])
@pytest.mark.parametrize(("status", "action"), list(itertools.product(STATUSES, ACTIONS)))
def test_who_follows_what_was_said_ends_where_it_was_said(status: Status, action: Action, kind: str) -> None:
    """A database restored from before the step knows as much after its events, however often they come."""
    before, now = dispatch(status, kind), HOUR + timedelta(hours=2, minutes=17)
    after, events = moved(before, action, now)
    followed = before
    for event in (*events, *events):
        followed = follow(followed, event, now)
    assert followed == after


def test_refusing_gives_it_to_another_unit_which_begins_anew() -> None:
    """Who refused stays known; when it was seen, the level and the day are of the turn before."""
    planned = dispatch("planned")._replace(seen_at=HOUR, level=2, day=HOUR.date(), acknowledged_at=HOUR)
    after, (_, handed, routed) = moved(planned, "refuse")
    assert isinstance(handed, ReportHandedOver)
    assert isinstance(routed, ReportRouted)
    assert (handed.unit, handed.to_unit, routed.unit) == ("parks", "roads", "roads")
    assert (after.unit, after.rule, after.reason, after.status) == ("roads", *TO[1:3], "routed")
    assert (after.turn, after.refused_by, after.level, after.day, after.seen_at) == (
        2,
        ("parks",),
        0,
        None,
        None,
    )
    assert (after.acknowledge_by, after.answer_by, after.resolve_by) == TO[3:6]
    assert after.came_at == after.clocks_until == HOUR
    # That somebody saw it once is still true.
    assert after.acknowledged_at == HOUR


def hand_over(state: Dispatch, to: str, now: datetime) -> tuple[Dispatch, ReportRouted]:
    """It moves on to a unit whose time would begin anew; followed, it ends where it was said."""
    named = TO._replace(unit=to, acknowledge_by=now + timedelta(hours=9), resolve_by=now + timedelta(days=9))
    after, events = advance(state, act("hand_over"), now, "v2", named)
    followed = state
    for event in events:
        followed = follow(followed, event, now)
    assert followed == after
    routed = events[-1]
    assert isinstance(routed, ReportRouted)
    return after, routed


def test_a_unit_that_has_it_again_goes_on_where_it_was() -> None:
    """Its due times, its level and what its clocks told do not begin anew, however often two units hand a
    report to and fro, and by way of others; a unit that never had it gets its own time."""
    times = [HOUR + timedelta(hours=hours) for hours in range(1, 6)]
    seen = times[0] - timedelta(minutes=5)
    parks = dispatch("acknowledged")._replace(level=2, reminded=True, seen_at=seen, clocks_until=seen)
    roads, first = hand_over(parks, "roads", times[0])
    assert (roads.level, roads.resolve_by, roads.clocks_until) == (0, times[0] + timedelta(days=9), times[0])
    back, said = hand_over(roads._replace(level=1), "parks", times[1])
    kept = (
        *("unit", "acknowledge_by", "answer_by", "resolve_by", "level", "reminded"),
        *("seen_at", "answered_at", "clocks_until"),
    )
    assert [getattr(back, name) for name in kept] == [getattr(parks, name) for name in kept]
    assert (said.acknowledge_by, said.resolve_by) == (parks.acknowledge_by, parks.resolve_by)
    assert (back.status, back.turn, back.came_at) == ("routed", 3, times[1])
    again, routed = hand_over(back, "roads", times[2])
    assert (again.level, routed.resolve_by) == (1, first.resolve_by)
    elsewhere, _ = hand_over(again, "police", times[3])
    assert elsewhere.resolve_by == times[3] + timedelta(days=9)
    home, _ = hand_over(elsewhere, "parks", times[4])
    assert [getattr(home, name) for name in kept] == [getattr(parks, name) for name in kept]


def test_what_is_reopened_begins_anew_at_units_that_had_it() -> None:
    """They had solved it: its new time is not the old one."""
    roads, _ = hand_over(dispatch(), "roads", HOUR)
    solved, _ = advance(roads, act("resolve"), HOUR, "v2")
    opened, _ = advance(solved, act("reopen"), HOUR, "v2", TO)
    assert (opened.past, opened.resolve_by) == ((), TO.resolve_by)
    parks, routed = hand_over(opened, "parks", LATER)
    assert parks.resolve_by == routed.resolve_by == LATER + timedelta(days=9)


def test_a_loop_of_refusals_is_told_to_a_person() -> None:
    """The event names the unit that gets it, after it was handed over and before it is with them."""
    after, events = advance(dispatch(), act("refuse"), HOUR, "v2", TO._replace(person="refused_by_all"))
    assert [type(event).__name__ for event in events] == [
        "ReportRefused",
        "ReportHandedOver",
        "ReportEscalated",
        "ReportRouted",
    ]
    escalated = events[2]
    assert isinstance(escalated, ReportEscalated)
    assert (escalated.unit, escalated.level, escalated.reason) == ("roads", 1, "refused_by_all")
    assert after.level == 1


def test_a_unit_that_had_it_twice_goes_on_where_it_was_last() -> None:
    """Not where it was the first time, nor where another one was."""
    first = Turn("parks", LATER, None, LATER, HOUR, 0, False, None, None)
    last = replace(first, level=2, reminded=True)
    other = replace(first, unit="roads")
    assert last_turn((first, other, last, other), "parks") is last
    assert last_turn((first, other), "police") is None


def test_reopening_begins_a_turn_at_the_same_unit() -> None:
    """With the time that is given; what it waited for is forgotten."""
    same = TO._replace(unit="parks")
    after, (routed,) = advance(dispatch("resolved"), act("reopen"), HOUR, "v2", same)
    assert isinstance(routed, ReportRouted)
    assert (after.unit, after.status, after.turn, after.resolve_by) == ("parks", "routed", 2, same.resolve_by)


def test_while_a_resident_is_asked_the_clock_stands() -> None:
    """Working time alone counts: asked on a Friday afternoon, answered on Monday morning."""
    office = Calendar(ZoneInfo("UTC"), ((Span(540, 1020),),) * 5 + ((), ()), lambda _: False)
    friday, monday = datetime(2026, 11, 6, 16, tzinfo=UTC), datetime(2026, 11, 9, 10, tzinfo=UTC)
    until = datetime(2026, 11, 9, 12, tzinfo=UTC)
    asked, (_, question) = advance(dispatch()._replace(resolve_by=until), act("ask"), friday, "v2")
    assert (asked.status, asked.waits_since, type(question).__name__) == (
        "acknowledged",
        friday,
        "ReportAnswerAsked",
    )
    answered, (routed,) = go_on(asked, office, monday, "v2")
    assert isinstance(routed, ReportRouted)
    # An hour on Friday and an hour on Monday.
    assert answered.resolve_by == routed.resolve_by == until + timedelta(hours=2)
    assert (answered.waits_since, answered.status, answered.turn) == (None, "acknowledged", 1)
    assert follow(asked, routed, monday) == answered
    assert go_on(answered, office, monday, "v2") == (answered, ())


@pytest.mark.parametrize("status", ["withdrawn", "erased"])
def test_what_is_withdrawn_or_erased_takes_no_step(status: Status) -> None:
    """Nothing is said about a report that is gone."""
    for action in ACTIONS:
        assert moved(dispatch(status), action) == (dispatch(status), ())


def test_resolving_what_nobody_has_seen_acknowledges_it_first() -> None:
    """Both events, in that order, so that no count of acknowledgements lacks it."""
    now = HOUR + timedelta(hours=30)
    after, (seen, solved) = advance(dispatch("delivered"), act("resolve"), now, "v2")
    assert isinstance(seen, ReportAcknowledged)
    assert (seen.by, seen.took) == ("link", "72h")
    assert isinstance(solved, ReportResolved)
    assert (solved.outcome, solved.in_time) == ("done", True)
    assert (after.acknowledged_at, after.resolved_at) == (now, now)


def test_in_time_includes_the_last_moment_and_nothing_after() -> None:
    """The target is kept at resolve_by, and missed a microsecond later."""
    for late, in_time in ((timedelta(0), True), (timedelta(microseconds=1), False)):
        now = dispatch().resolve_by + late
        _, (solved,) = advance(dispatch("acknowledged"), act("resolve"), now, "v2")
        assert isinstance(solved, ReportResolved)
        assert solved.in_time is in_time


def test_a_tips_steps_are_kept_to_the_hour() -> None:
    """What is stored of a tip tells no minute; an issue's does."""
    now = HOUR + timedelta(hours=3, minutes=17, seconds=5)
    tip, _ = advance(dispatch(kind="tip"), act("resolve"), now, "v2")
    issue, _ = advance(dispatch(), act("resolve"), now, "v2")
    assert (tip.acknowledged_at, tip.seen_at, tip.resolved_at) == (HOUR + timedelta(hours=3),) * 3
    assert issue.resolved_at == now
    asked, _ = advance(dispatch(kind="tip"), act("ask"), now, "v2")
    assert asked.waits_since == HOUR + timedelta(hours=3)


def test_the_first_time_of_a_step_stays() -> None:
    """A second channel's delivery is said, with its name, but the report was delivered before."""
    once, _ = advance(dispatch(), act("deliver", "webhook"), HOUR, "v2")
    twice, (said,) = advance(once, act("deliver", "webhook.2"), HOUR + timedelta(hours=1), "v2")
    assert isinstance(said, ReportDelivered)
    assert said.channel == "webhook.2"
    assert twice.delivered_at == HOUR


def test_the_next_level_is_told_and_remembered() -> None:
    """With the unit that has it, and why."""
    after, said = escalate(dispatch(), 2, "resolve_overdue")
    assert (said.unit, said.level, said.reason, said.version) == ("parks", 2, "resolve_overdue", 5)
    assert after == dispatch()._replace(version=5, level=2)


def test_giving_up_says_why_and_changes_no_status() -> None:
    """The report is still the unit's: a person has to look."""
    after, (failed,) = give_up(dispatch(), "webhook", "http_503", 20)
    assert after == dispatch()._replace(version=5)
    assert failed.model_dump(include={"unit", "channel", "reason", "attempts", "version"}) == {
        "unit": "parks",
        "channel": "webhook",
        "reason": "http_503",
        "attempts": 20,
        "version": 5,
    }


def test_a_failure_is_tried_again_until_the_last_attempt() -> None:
    """Two tries of three lead to another, the third to `dead`; each only under its own lease."""
    for attempts, state in ((0, "open"), (1, "open"), (2, "dead")):
        after = settle(delivery(attempts), Failed("http_503", unit_up=False), RETRYING, HOUR, 1.0)
        assert (after.state, after.attempts, after.failure) == (state, attempts + 1, "http_503")
        assert after.lease == delivery().leased_until
    assert settle(delivery(1), Failed("timeout"), RETRYING, HOUR, 1.0).next_attempt_at == HOUR + timedelta(
        seconds=2
    )


def test_what_tips_lacks_is_not_counted_against_the_unit() -> None:
    """However long tips is away, no delivery is given up for it."""
    after = settle(delivery(2), Failed("tips_timeout", tips_up=False), RETRYING, HOUR, 0.5)
    assert (after.state, after.attempts) == ("open", 2)


def test_facts_need_no_lease() -> None:
    """That the unit has it, or that the words are gone, is true whoever found out."""
    done = settle(delivery(2), Delivered(acknowledged=False), RETRYING, HOUR, 0.5)
    gone = settle(delivery(2), Gone(), RETRYING, HOUR, 0.5)
    assert (done.state, done.attempts, done.lease) == ("done", 3, None)
    assert (gone.state, gone.lease) == ("cancelled", None)


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        ({"case": {"seen": True}}, True),
        ({"case": {"seen": "officer 7"}}, True),
        ({"case": {"seen": "2026-11-02"}}, True),
        ({"case": {"seen": False}}, False),
        ({"case": {"seen": None}}, False),
        ({"case": {"seen": "false"}}, False),
        ({"case": {"seen": " No "}}, False),
        ({"case": {"seen": 0}}, False),
        ({"case": True}, False),
        ({"case.seen": True}, False),
        ({}, False),
        ([{"case": {"seen": True}}], False),
        ("case.seen", False),
        (None, False),
    ],
)
def test_only_the_named_field_means_seen(answer: object, seen: bool) -> None:
    """A resident is told that somebody has seen the report only where the answer says just that."""
    assert says_acknowledged(answer, "case.seen") is seen
    assert says_acknowledged(answer, None) is False
