"""Our own steps among dispatches: the same order and status whatever arrives when."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tips.core import lifecycle
from services.tips.core.acts import ACTS, Standing, possible, reopen_until
from services.tips.core.conversation import Message, Rating
from services.tips.core.lifecycle import OWN_STEPS, TRANSITIONS, Step, in_order, seen, status, step_of
from shared import events
from shared.cloudevents import Envelope
from shared.events import EVENT_TYPES, REPORTS, Kind
from tests.unit.test_tips_lifecycle import EXTRA, REPORT, START, dispatched

STATUSES = {"accepted"} | {one.after for one in TRANSITIONS}
OWN: list[type[events.ReportEvent]] = list(OWN_STEPS)
DISPATCHES: list[Any] = list(lifecycle.STEPS)
ASKED = Message(1, uuid.UUID(int=1), "unit", "parks", asks=True, read=False, at=START)


def ours(event_type: Any, version: int, before: int, kind: Kind = "issue") -> Step:
    """The step of an event of ours that happens when the dispatches up to version `before` are known."""
    extra = {"reason": "resident"} if event_type is events.ReportErased else {}
    event = event_type(report_id=REPORT, kind=kind, version=version, **extra)
    now = START + timedelta(minutes=before, seconds=version)
    envelope = Envelope.of(event, id=uuid.uuid5(REPORT, f"own {version}"), source="/ibuurt/tips", now=now)
    return step_of(envelope, kind, before)


@st.composite
def lives(draw: st.DrawFn) -> list[Step]:
    """What may happen to a report, in order: dispatches, and steps of ours between any of them."""
    kind: Kind = draw(st.sampled_from(["tip", "issue"]))
    happened: list[Step] = []
    said, own = 0, 1
    for _ in range(draw(st.integers(0, 12))):
        if draw(st.booleans()):
            said += 1
            happened.append(dispatched(draw(st.sampled_from(DISPATCHES)), said, kind))
        else:
            own += 1
            happened.append(ours(draw(st.sampled_from(OWN)), own, seen(happened), kind))
    return happened


@given(st.data())
def test_any_arrival_and_repetition_gives_the_same_status_and_timeline(data: st.DataObject) -> None:
    """Also where all steps of a tip lie in one hour."""
    happened = data.draw(lives())
    repeated = data.draw(st.lists(st.sampled_from(happened))) if happened else []
    arrived = {step.cause: step for step in data.draw(st.permutations([*happened, *repeated]))}
    assert in_order(arrived.values()) == happened
    assert status(arrived.values()) == status(happened)


@given(lives(), st.lists(st.sampled_from(DISPATCHES), max_size=4), st.sampled_from(["withdrawn", "erased"]))
def test_no_dispatch_brings_back_what_was_taken_back_or_erased(
    happened: list[Step], later: list[Any], end: str
) -> None:
    """Whatever the unit goes on to say of it."""
    own = 1 + sum(step.seen is not None for step in happened)
    event_type = {"withdrawn": events.ReportWithdrawn, "erased": events.ReportErased}[end]
    ended = [*happened, ours(event_type, own + 1, seen(happened))]
    if status(ended) != end:
        assert status(happened) not in lifecycle.OPEN
        return
    said = seen(ended)
    after = [*ended, *(dispatched(one, said + n) for n, one in enumerate(later, start=1))]
    assert status(after) == end


def test_every_event_of_ours_but_two_makes_a_step() -> None:
    """A report is accepted before its first step, and another category is none."""
    of_reports = {event for event in EVENT_TYPES.values() if event.topic == REPORTS}
    assert of_reports - set(OWN_STEPS) == {events.ReportAccepted, events.ReportRecategorised}


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        ([("d", events.ReportRouted), ("o", events.ReportWithdrawn)], "withdrawn"),
        ([("o", events.ReportWithdrawn), ("d", events.ReportRouted)], "withdrawn"),
        ([("d", events.ReportResolved), ("o", events.ReportReopened)], "routed"),
        ([("d", events.ReportRefused), ("o", events.ReportReopened)], "routed"),
        (
            [
                ("d", events.ReportResolved),
                ("o", events.ReportReopened),
                ("d", events.ReportAcknowledged),
                ("d", events.ReportResolved),
            ],
            "resolved",
        ),
        (
            [("d", events.ReportPlanned), ("d", events.ReportAnswerAsked), ("o", events.ReportAnswered)],
            "planned",
        ),
        ([("d", events.ReportDelivered), ("o", events.ReportSupplemented)], "delivered"),
        ([("d", events.ReportDelivered), ("o", events.ReportReopened)], "delivered"),
        ([("d", events.ReportResolved), ("o", events.ReportErased)], "erased"),
        ([("o", events.ReportWithdrawn), ("o", events.ReportErased), ("d", events.ReportResolved)], "erased"),
    ],
)
def test_what_a_resident_does_leads_where_the_table_says(happened: list[Any], expected: str) -> None:
    """By example, in the words of the table."""
    steps: list[Step] = []
    for number, (whose, event_type) in enumerate(happened, start=2):
        before = seen(steps)
        steps.append(dispatched(event_type, before + 1) if whose == "d" else ours(event_type, number, before))
    assert status(steps) == expected


def test_the_table_of_acts_is_sound() -> None:
    """Each act is possible somewhere, all statuses are known, and an erased report takes none."""
    assert all(statuses and statuses <= STATUSES for statuses in ACTS.values())
    assert not any("erased" in statuses for statuses in ACTS.values())


def test_what_is_possible_follows_status_question_rating_and_time() -> None:
    """Reopening ends with its days, and so does changing a rating, but not giving the first one."""
    until = reopen_until(START, 14)
    assert until == START + timedelta(days=14)
    assert reopen_until(None, 14) is None
    late = START + timedelta(days=14, seconds=1)
    assert possible("routed", Standing(), None, START) == ["message", "withdraw", "erase"]
    assert possible("routed", Standing(ASKED), None, START) == ["message", "answer", "withdraw", "erase"]
    assert possible("resolved", Standing(), until, START) == ["message", "rate", "reopen", "erase"]
    assert possible("refused", Standing(), until, until) == ["message", "rate", "reopen", "erase"]
    assert possible("resolved", Standing(), until, late) == ["message", "rate", "erase"]
    assert possible("resolved", Standing(rating=Rating(True)), until, late) == ["message", "erase"]
    assert possible("withdrawn", Standing(ASKED), until, START) == ["erase"]
    assert possible("erased", Standing(ASKED), until, START) == []


def test_extra_fields_are_known_for_every_dispatch() -> None:
    """Or the strategy above could not make it."""
    assert set(EXTRA) <= set(DISPATCHES)
