"""Steps and statuses: the same whatever the order in which events arrive."""

import itertools
import random
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from services.tips.core import lifecycle
from services.tips.core.lifecycle import OWN_STEPS, RANKS, STEPS, TRANSITIONS, Step, status, step_of
from services.tips.core.report import accept, drop_after
from shared import events, municipality
from shared.cloudevents import Envelope
from shared.events import DISPATCHES, EVENT_TYPES, Kind
from tests.unit.test_tips_areas import ROOT

REPORT = uuid.UUID(int=7)
START = datetime(2026, 11, 12, 13, 37, 11, 5, tzinfo=UTC)
EXTRA: dict[type[events.Event], dict[str, Any]] = {
    events.ReportRouted: {
        "rule": "r",
        "rules_version": "v",
        "reason": "why",
        "acknowledge_by": START + timedelta(hours=24),
        "resolve_by": START + timedelta(hours=72),
    },
    events.ReportDelivered: {"channel": "webhook"},
    events.DeliveryFailed: {"channel": "webhook", "reason": "http_500", "attempts": 9},
    events.ReportAcknowledged: {"by": "webhook", "took": "1h"},
    events.ReportPlanned: {"day": date(2026, 11, 20)},
    events.ReportResolved: {"outcome": "repaired", "in_time": True},
    events.ReportRefused: {"reason": "not_ours"},
    events.ReportHandedOver: {"to_unit": "parking", "reason": "theirs"},
    events.ReportEscalated: {"level": 1, "reason": "late"},
}


def dispatched(event_type: Any, version: int, kind: Kind = "issue", minutes: int | None = None) -> Step:
    """The step of an event that comes so many minutes after the start."""
    event = event_type(
        report_id=REPORT, kind=kind, version=version, unit="public_space", **EXTRA.get(event_type, {})
    )
    at = START + timedelta(minutes=version if minutes is None else minutes)
    envelope = Envelope.of(event, id=uuid.uuid5(REPORT, f"{version}"), source="/ibuurt/notify", now=at)
    return step_of(envelope, kind)


ROUTED, DELIVERED = events.ReportRouted, events.ReportDelivered
ACKNOWLEDGED, RESOLVED = events.ReportAcknowledged, events.ReportResolved


def test_every_dispatch_makes_a_step() -> None:
    """A new type of dispatch must not be forgotten here: the consumer would call it poison."""
    assert set(STEPS) == {event for event in EVENT_TYPES.values() if event.topic == DISPATCHES}


def test_the_table_of_transitions_is_sound() -> None:
    """Each names a known step and known statuses, says why; no dispatch leaves `resolved`, nothing leaves
    `erased`."""
    statuses = {"accepted"} | {one.after for one in TRANSITIONS}
    for one in TRANSITIONS:
        assert one.step in RANKS
        assert one.before <= statuses
        assert one.why
        assert "erased" not in one.before
        assert "resolved" not in one.before or one.step in OWN_STEPS.values()
        assert one.after not in one.before or one.step == "handed_over"


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        ([], "accepted"),
        ([ROUTED], "routed"),
        ([ROUTED, DELIVERED], "delivered"),
        ([ROUTED, DELIVERED, ACKNOWLEDGED], "acknowledged"),
        ([ROUTED, ACKNOWLEDGED, DELIVERED], "acknowledged"),
        ([ROUTED, DELIVERED, ACKNOWLEDGED, events.ReportPlanned], "planned"),
        ([ROUTED, DELIVERED, ACKNOWLEDGED, RESOLVED], "resolved"),
        ([ROUTED, RESOLVED, ACKNOWLEDGED, DELIVERED], "resolved"),
        ([ROUTED, events.DeliveryFailed, events.ReportEscalated], "routed"),
        ([ROUTED, DELIVERED, events.ReportAnswerAsked], "delivered"),
        ([ROUTED, DELIVERED, events.ReportRefused], "refused"),
        ([ROUTED, DELIVERED, events.ReportRefused, events.ReportHandedOver], "routed"),
        ([ROUTED, DELIVERED, events.ReportRefused, ROUTED, DELIVERED], "delivered"),
        ([ROUTED, ACKNOWLEDGED, events.ReportHandedOver, DELIVERED, ACKNOWLEDGED, RESOLVED], "resolved"),
    ],
)
@pytest.mark.parametrize("kind", ["issue", "tip"])
def test_any_order_of_arrival_gives_the_same_status_and_timeline(
    happened: list[Any], expected: str, kind: Kind
) -> None:
    """All permutations of what happened, also where a tip's steps all lie in one hour."""
    steps = [dispatched(event_type, version, kind) for version, event_type in enumerate(happened, start=1)]
    for arrived in itertools.permutations(steps):
        assert status(arrived) == expected
        assert lifecycle.in_order(arrived) == steps


def test_a_writer_that_counts_nothing_still_has_an_order() -> None:
    """With one version for all, time decides, and in the same hour the usual order of steps."""
    happened: list[Any] = [ROUTED, DELIVERED, ACKNOWLEDGED, RESOLVED]
    for kind in ("issue", "tip"):
        steps = [dispatched(one, 1, kind, minutes) for minutes, one in enumerate(happened)]
        random.Random(3).shuffle(steps)
        assert status(steps) == "resolved"
        assert [step.step for step in lifecycle.in_order(steps)] == [STEPS[one] for one in happened]


def test_a_tips_steps_have_whole_hours_only() -> None:
    """Also the times by which it must be done: they are counted from when it came."""
    step = dispatched(ROUTED, 1, "tip")
    assert step.at == START.replace(minute=0, second=0, microsecond=0)
    assert step.acknowledge_by == step.at + timedelta(hours=24)
    assert step.resolve_by == step.at + timedelta(hours=72)
    assert dispatched(ROUTED, 1, "issue").at == START + timedelta(minutes=1)


def test_a_handed_over_report_is_the_next_units() -> None:
    """The resident sees who is responsible now."""
    steps = [dispatched(ROUTED, 1), dispatched(events.ReportHandedOver, 2), dispatched(DELIVERED, 3)]
    now = lifecycle.responsible(steps)
    assert now is not None
    assert (now.unit, now.reason) == ("parking", "theirs")
    assert lifecycle.responsible([]) is None


def test_what_a_system_answered_is_not_shown_as_a_reason() -> None:
    """`http_500` says nothing to a resident."""
    assert dispatched(events.DeliveryFailed, 1).reason is None


def test_a_tip_is_accepted_at_the_hour_and_an_issue_at_the_moment() -> None:
    """And the event has the hour in both."""
    town = municipality.read(ROOT / "deploy/municipalities/ibuurt")
    for category, at in (("weapons", START.replace(minute=0, second=0, microsecond=0)), ("noise", START)):
        report, event = accept(REPORT, town.categories[category], {"district": "oakwood"}, "nl", "v1", START)
        assert report.accepted_at == at
        assert event.hour == datetime(2026, 11, 12, 13, tzinfo=UTC)
        assert (event.version, event.regime) == (1, town.categories[category].regime)
        # Any other would be one of which no rule may read.
        assert event.source in municipality.SOURCES
        assert event.urgency == ("urgent" if category == "weapons" else "normal")


def test_a_submission_is_known_for_24_to_25_hours() -> None:
    """Until a whole hour, so that the row does not tell the minute."""
    for minutes in (0, 1, 59):
        now = START.replace(minute=minutes)
        kept = drop_after(now) - now
        assert timedelta(hours=24) < kept <= timedelta(hours=25)
        assert drop_after(now) == datetime(2026, 11, 13, 14, tzinfo=UTC)
