"""The steps of a report: what an action leads to, as a table."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from services.notify.core.calendar import Calendar
from services.notify.core.clocks import due, took
from services.notify.core.routing import Route
from shared.events import (
    DeliveryFailed,
    Kind,
    ReportAccepted,
    ReportAcknowledged,
    ReportDelivered,
    ReportEvent,
    ReportResolved,
    ReportRouted,
    hour_of,
)
from shared.municipality import Municipality

Status = Literal["routed", "delivered", "acknowledged", "resolved", "withdrawn", "erased"]
Action = Literal["deliver", "acknowledge", "resolve"]
Step = Literal["delivered", "acknowledged", "resolved"]


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Where one report stands. Times are UTC; the times of a tip are cut to the hour."""

    report_id: uuid.UUID
    kind: Kind
    category: str
    unit: str
    accepted_at: datetime
    acknowledge_by: datetime
    resolve_by: datetime
    status: Status
    version: int
    delivered_at: datetime | None = None
    acknowledged_at: datetime | None = None
    resolved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """The status that follows and the steps that happen, each with its event."""

    status: Status
    steps: tuple[Step, ...]


# What is not listed changes nothing: it was done before, or the report is withdrawn or erased.
# A unit may answer before the delivery is recorded; the delivery then takes nothing back.
TRANSITIONS: Mapping[tuple[Status, Action], Transition] = {
    ("routed", "deliver"): Transition("delivered", ("delivered",)),
    ("delivered", "deliver"): Transition("delivered", ("delivered",)),
    ("acknowledged", "deliver"): Transition("acknowledged", ("delivered",)),
    ("resolved", "deliver"): Transition("resolved", ("delivered",)),
    ("routed", "acknowledge"): Transition("acknowledged", ("acknowledged",)),
    ("delivered", "acknowledge"): Transition("acknowledged", ("acknowledged",)),
    ("routed", "resolve"): Transition("resolved", ("acknowledged", "resolved")),
    ("delivered", "resolve"): Transition("resolved", ("acknowledged", "resolved")),
    ("acknowledged", "resolve"): Transition("resolved", ("resolved",)),
}

# The action and the step that each event tells of.
_SAID: Mapping[type[ReportEvent], tuple[Action, Step]] = {
    ReportDelivered: ("deliver", "delivered"),
    ReportAcknowledged: ("acknowledge", "acknowledged"),
    ReportResolved: ("resolve", "resolved"),
}


def first_step(
    report: ReportAccepted,
    accepted_at: datetime,
    chosen: Route,
    municipality: Municipality,
    calendar: Calendar,
) -> tuple[Dispatch, ReportRouted]:
    """The report is with the chosen unit, whose calendar is given. Raises KeyError where its category is not
    in the folder."""
    by = due(accepted_at, municipality.categories[report.category].targets, calendar)
    routed = ReportRouted(
        report_id=report.report_id,
        kind=report.kind,
        version=1,
        unit=chosen.unit,
        rule=chosen.rule,
        rules_version=municipality.version,
        reason=chosen.reason,
        acknowledge_by=by.acknowledge_by,
        resolve_by=by.resolve_by,
    )
    return dispatched(report, accepted_at, routed), routed


def dispatched(report: ReportAccepted, accepted_at: datetime, routed: ReportRouted) -> Dispatch:
    """Where a report stands that was routed so."""
    return Dispatch(
        report.report_id,
        report.kind,
        report.category,
        routed.unit,
        accepted_at,
        routed.acknowledge_by,
        routed.resolve_by,
        "routed",
        routed.version,
    )


def advance(
    dispatch: Dispatch, action: Action, via: str, now: datetime
) -> tuple[Dispatch, tuple[ReportEvent, ...]]:
    """What the action leads to; `via` is the channel or the way by which it came. No events: no change."""
    transition = TRANSITIONS.get((dispatch.status, action))
    if not transition:
        return dispatch, ()
    events: list[ReportEvent] = []
    for step in transition.steps:
        dispatch = _take(dispatch, step, now)
        events.append(_event(dispatch, step, via, now))
    return replace(dispatch, status=transition.status), tuple(events)


def give_up(
    dispatch: Dispatch, channel: str, reason: str, attempts: int
) -> tuple[Dispatch, tuple[ReportEvent, ...]]:
    """A channel was tried as often as it may be: a person has to look."""
    dispatch = replace(dispatch, version=dispatch.version + 1)
    return dispatch, (DeliveryFailed(**_about(dispatch), channel=channel, reason=reason, attempts=attempts),)


def follow(dispatch: Dispatch, event: ReportEvent, at: datetime) -> Dispatch:
    """What an event of `notify` says became of the report; what is known already changes nothing."""
    if event.version <= dispatch.version:
        return dispatch
    if said := _SAID.get(type(event)):
        action, step = said
        transition = TRANSITIONS.get((dispatch.status, action))
        status = transition.status if transition else dispatch.status
        dispatch = replace(_take(dispatch, step, at), status=status)
    return replace(dispatch, version=event.version)


def _take(dispatch: Dispatch, step: Step, now: datetime) -> Dispatch:
    at = hour_of(now) if dispatch.kind == "tip" else now
    first = getattr(dispatch, f"{step}_at") or at
    times: dict[str, Any] = {f"{step}_at": first}
    return replace(dispatch, version=dispatch.version + 1, **times)


def _event(dispatch: Dispatch, step: Step, via: str, now: datetime) -> ReportEvent:
    if step == "delivered":
        return ReportDelivered(**_about(dispatch), channel=via)
    if step == "acknowledged":
        return ReportAcknowledged(**_about(dispatch), by=via, took=took(now - dispatch.accepted_at))
    return ReportResolved(**_about(dispatch), outcome="done", in_time=now <= dispatch.resolve_by)


def _about(dispatch: Dispatch) -> dict[str, Any]:
    return {
        "report_id": dispatch.report_id,
        "kind": dispatch.kind,
        "version": dispatch.version,
        "unit": dispatch.unit,
    }
