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
from services.notify.core.steps import TRANSITIONS, Action, Dispatch, Status, advance, follow, give_up
from shared.events import ReportAcknowledged, ReportDelivered, ReportEvent, ReportResolved
from shared.municipality import Targets
from shared.municipality.hours import ALWAYS

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
        HOUR,
        HOUR + timedelta(hours=24),
        HOUR + timedelta(hours=120),
        status,
        4,
    )


def delivery(attempts: int = 0) -> Delivery:
    lease = HOUR + timedelta(seconds=30)
    return Delivery(
        *(uuid.UUID(int=2), uuid.UUID(int=1), "parks", "webhook", attempts, HOUR, lease),
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
    """Versions count the events; a second time changes nothing more of what a person sees."""
    before = dispatch(status)
    after, events = advance(before, action, "webhook", HOUR + timedelta(hours=2))
    assert after.version == before.version + len(events)
    assert [event.version for event in events] == list(range(5, 5 + len(events)))
    assert bool(events) == ((status, action) in TRANSITIONS)
    again, repeated = advance(after, action, "webhook", HOUR + timedelta(hours=3))
    assert again.status == after.status
    if action != "deliver":
        assert repeated == ()


@pytest.mark.parametrize("actions", list(itertools.permutations(ACTIONS)))
def test_in_whatever_order_the_steps_come_the_report_ends_resolved(actions: tuple[Action, ...]) -> None:
    """A unit may answer before its delivery is recorded: every step is said once, none is lost."""
    state, said = dispatch(), list[ReportEvent]()
    for action in actions:
        state, events = advance(state, action, "link", HOUR)
        said += events
    assert state.status == "resolved"
    assert sorted(type(event).__name__ for event in said) == [
        "ReportAcknowledged",
        "ReportDelivered",
        "ReportResolved",
    ]


@pytest.mark.parametrize("kind", ["issue", "tip"])
@pytest.mark.parametrize(("status", "action"), list(itertools.product(STATUSES, ACTIONS)))
def test_who_follows_what_was_said_ends_where_it_was_said(status: Status, action: Action, kind: str) -> None:
    """A database restored from before the step knows as much after its events, however often they come."""
    before, now = dispatch(status, kind), HOUR + timedelta(hours=2, minutes=17)
    after, events = advance(before, action, "webhook", now)
    followed = before
    for event in (*events, *events):
        followed = follow(followed, event, now)
    assert followed == after


@pytest.mark.parametrize("status", ["withdrawn", "erased"])
def test_what_is_withdrawn_or_erased_takes_no_step(status: Status) -> None:
    """Nothing is said about a report that is gone."""
    for action in ACTIONS:
        assert advance(dispatch(status), action, "link", HOUR) == (dispatch(status), ())


def test_resolving_what_nobody_has_seen_acknowledges_it_first() -> None:
    """Both events, in that order, so that no count of acknowledgements lacks it."""
    now = HOUR + timedelta(hours=30)
    after, (seen, solved) = advance(dispatch("delivered"), "resolve", "link", now)
    assert isinstance(seen, ReportAcknowledged)
    assert (seen.by, seen.took) == ("link", "72h")
    assert isinstance(solved, ReportResolved)
    assert (solved.outcome, solved.in_time) == ("done", True)
    assert (after.acknowledged_at, after.resolved_at) == (now, now)


def test_in_time_includes_the_last_moment_and_nothing_after() -> None:
    """The target is kept at resolve_by, and missed a microsecond later."""
    for late, in_time in ((timedelta(0), True), (timedelta(microseconds=1), False)):
        _, (solved,) = advance(dispatch("acknowledged"), "resolve", "link", dispatch().resolve_by + late)
        assert isinstance(solved, ReportResolved)
        assert solved.in_time is in_time


def test_a_tips_steps_are_kept_to_the_hour() -> None:
    """What is stored of a tip tells no minute; an issue's does."""
    now = HOUR + timedelta(hours=3, minutes=17, seconds=5)
    tip, _ = advance(dispatch(kind="tip"), "resolve", "link", now)
    issue, _ = advance(dispatch(), "resolve", "link", now)
    assert (tip.acknowledged_at, tip.resolved_at) == (HOUR + timedelta(hours=3),) * 2
    assert issue.resolved_at == now


def test_the_first_time_of_a_step_stays() -> None:
    """A second channel's delivery is said, with its name, but the report was delivered before."""
    once, _ = advance(dispatch(), "deliver", "webhook", HOUR)
    twice, (said,) = advance(once, "deliver", "webhook.2", HOUR + timedelta(hours=1))
    assert isinstance(said, ReportDelivered)
    assert said.channel == "webhook.2"
    assert twice.delivered_at == HOUR


def test_giving_up_says_why_and_changes_no_status() -> None:
    """The report is still the unit's: a person has to look."""
    after, (failed,) = give_up(dispatch(), "webhook", "http_503", 20)
    assert after == replace(dispatch(), version=5)
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
