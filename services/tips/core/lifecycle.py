"""What happens to a report after it is accepted: steps, and the status that follows from them.

The status depends on the steps alone, not on the order in which they arrived. Two writers make steps:
`notify` by its dispatches, and `tips` itself by what residents do. One of our own steps keeps the highest
version of a dispatch that was known when it happened, and so has its place among them.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from shared import events
from shared.cloudevents import Envelope
from shared.events import Kind, ReportEvent, time_of

# The step that each dispatch makes, in the order in which they usually come.
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
# The step that each of our own events makes; the others make none.
OWN_STEPS: Mapping[type[ReportEvent], str] = {
    events.ReportSupplemented: "supplemented",
    events.ReportAnswered: "answered",
    events.ReportReopened: "reopened",
    events.ReportWithdrawn: "withdrawn",
    events.ReportErased: "erased",
}
RANKS = {step: rank for rank, step in enumerate([*STEPS.values(), *OWN_STEPS.values()])}
OPEN = frozenset({"accepted", "routed", "delivered", "acknowledged", "planned"})
DONE = frozenset({"resolved", "refused"})


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
    # No dispatch leads away from the next three: only the resident or the end of the words' time does.
    Transition("withdrawn", OPEN, "withdrawn", "the resident took it back"),
    Transition("reopened", DONE, "routed", "the resident says that it is not solved: the unit has it again"),
    Transition("erased", OPEN | DONE | {"withdrawn"}, "erased", "its words are gone for good"),
)
_AFTER = {(one.step, before): one.after for one in TRANSITIONS for before in one.before}


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a report's timeline. `cause` is the event's id, `version` its number at its writer; `unit`
    is who is responsible from then on. `seen` is None for a dispatch; for one of our own steps it is the
    highest version of a dispatch that was known when it happened. Times are UTC, a tip's are whole hours."""

    report_id: uuid.UUID
    cause: uuid.UUID
    step: str
    at: datetime
    version: int
    unit: str | None = None
    reason: str | None = None
    acknowledge_by: datetime | None = None
    resolve_by: datetime | None = None
    answer_by: datetime | None = None
    day: date | None = None
    seen: int | None = None


def step_of(envelope: Envelope[Any], kind: Kind, seen: int | None = None) -> Step:
    """The step that an event makes for a report of that kind; `seen` is for our own events only. Raises
    KeyError for an event without one."""
    event = envelope.event

    def due(name: str) -> datetime | None:
        moment = getattr(event, name, None)
        return time_of(kind, moment) if moment else None

    return Step(
        report_id=event.report_id,
        cause=envelope.id,
        step=(STEPS if seen is None else OWN_STEPS)[type(event)],
        at=time_of(kind, envelope.time),
        version=event.version,
        unit=getattr(event, "to_unit", getattr(event, "unit", None)),
        reason=_reason(event),
        acknowledge_by=due("acknowledge_by"),
        resolve_by=due("resolve_by"),
        answer_by=due("answer_by"),
        day=getattr(event, "day", None),
        seen=seen,
    )


def seen(steps: Iterable[Step]) -> int:
    """The highest version of a dispatch among steps; 0 where there is none."""
    return max((step.version for step in steps if step.seen is None), default=0)


def in_order(steps: Iterable[Step]) -> list[Step]:
    """The steps as they happened: dispatches by their writer's count, then by time, then as they usually
    come; our own after the dispatches that were known then and before all later ones."""
    return sorted(steps, key=_place)


def _place(step: Step) -> tuple[Any, ...]:
    rest = (step.at, RANKS[step.step], step.cause)
    return (step.version, 0, *rest) if step.seen is None else (step.seen, 1, step.version, *rest)


def status(steps: Iterable[Step]) -> str:
    """The status of a report that has had these steps, given in any order."""
    now = "accepted"
    for step in in_order(steps):
        now = _AFTER.get((step.step, now), now)
    return now


def done_at(steps: Sequence[Step]) -> datetime | None:
    """When the unit last resolved or refused it, of steps in order; None where it never did."""
    return next((step.at for step in reversed(steps) if step.step in DONE), None)


def responsible(steps: Sequence[Step]) -> Step | None:
    """The step, of steps in order, that made the present unit responsible; None before the first."""
    return next((step for step in reversed(steps) if step.step in ("routed", "handed_over")), None)


def _reason(event: ReportEvent) -> str | None:
    if isinstance(event, events.DeliveryFailed):
        return None  # what a system answered says nothing to a resident
    if isinstance(event, events.ReportResolved):
        return event.outcome
    reason: str | None = getattr(event, "reason", None)
    return reason
