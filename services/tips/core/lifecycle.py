"""What happens to a report after it is accepted: steps, and the status that follows from them.

The status depends on the steps alone, not on the order in which they arrived.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from shared import events
from shared.cloudevents import Envelope
from shared.events import Kind, ReportEvent, hour_of

# The step that each event makes, in the order in which they usually come.
STEPS: Mapping[type[ReportEvent], str] = {
    events.ReportRouted: "routed",
    events.ReportDelivered: "delivered",
    events.DeliveryFailed: "delivery_failed",
    events.ReportEscalated: "escalated",
    events.ReportAcknowledged: "acknowledged",
    events.ReportAnswerAsked: "answer_asked",
    events.ReportPlanned: "planned",
    events.ReportRefused: "refused",
    events.ReportHandedOver: "handed_over",
    events.ReportResolved: "resolved",
}
RANKS = {step: rank for rank, step in enumerate(STEPS.values())}


@dataclass(frozen=True, slots=True)
class Transition:
    """A step that changes the status, from which statuses, and why. From any other it changes nothing."""

    step: str
    before: frozenset[str]
    after: str
    why: str


def _transition(step: str, before: str, after: str, why: str) -> Transition:
    return Transition(step, frozenset(before.split()), after, why)


TRANSITIONS = (
    _transition("routed", "accepted refused", "routed", "a unit is responsible"),
    _transition("delivered", "accepted routed", "delivered", "the unit's system has it"),
    _transition("acknowledged", "accepted routed delivered", "acknowledged", "the unit has seen it"),
    _transition("planned", "accepted routed delivered acknowledged", "planned", "a day is set"),
    _transition(
        "refused",
        "accepted routed delivered acknowledged planned",
        "refused",
        "the unit says that it is not responsible",
    ),
    _transition(
        "handed_over",
        "accepted routed delivered acknowledged planned refused",
        "routed",
        "another unit is responsible and begins anew",
    ),
    _transition(
        "resolved",
        "accepted routed delivered acknowledged planned refused",
        "resolved",
        "the unit is done",
    ),
)
_AFTER = {(one.step, before): one.after for one in TRANSITIONS for before in one.before}


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a report's timeline. `cause` is the event's id, `version` its number at its writer; `unit`
    is who is responsible from then on. Times are UTC, a tip's are whole hours."""

    report_id: uuid.UUID
    cause: uuid.UUID
    step: str
    at: datetime
    version: int
    unit: str | None = None
    reason: str | None = None
    acknowledge_by: datetime | None = None
    resolve_by: datetime | None = None
    day: date | None = None


def step_of(envelope: Envelope[Any], kind: Kind) -> Step:
    """The step that an event makes for a report of that kind. Raises KeyError for an event without one."""
    event = envelope.event
    cut = hour_of if kind == "tip" else _as_it_is
    acknowledge_by, resolve_by = getattr(event, "acknowledge_by", None), getattr(event, "resolve_by", None)
    return Step(
        report_id=event.report_id,
        cause=envelope.id,
        step=STEPS[type(event)],
        at=cut(envelope.time),
        version=event.version,
        unit=getattr(event, "to_unit", event.unit),
        reason=_reason(event),
        acknowledge_by=acknowledge_by and cut(acknowledge_by),
        resolve_by=resolve_by and cut(resolve_by),
        day=getattr(event, "day", None),
    )


def in_order(steps: Iterable[Step]) -> list[Step]:
    """The steps as they happened: by their writer's count, then by time, then as they usually come."""
    return sorted(steps, key=lambda step: (step.version, step.at, RANKS[step.step], step.cause))


def status(steps: Iterable[Step]) -> str:
    """The status of a report that has had these steps, given in any order."""
    now = "accepted"
    for step in in_order(steps):
        now = _AFTER.get((step.step, now), now)
    return now


def responsible(steps: Sequence[Step]) -> Step | None:
    """The step, of steps in order, that made the present unit responsible; None before the first."""
    return next((step for step in reversed(steps) if step.step in ("routed", "handed_over")), None)


def _as_it_is(moment: datetime) -> datetime:
    return moment


def _reason(event: ReportEvent) -> str | None:
    if isinstance(event, events.DeliveryFailed):
        return None  # what a system answered says nothing to a resident
    if isinstance(event, events.ReportResolved):
        return event.outcome
    reason: str | None = getattr(event, "reason", None)
    return reason
