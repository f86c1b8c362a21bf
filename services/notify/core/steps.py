"""The steps of a report at its units: what acts lead to, and what its own events say came of it."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import date, datetime
from typing import Any, NamedTuple

from services.notify.core.acts import Act, Status, Step, transition
from services.notify.core.calendar import Calendar
from services.notify.core.clocks import took
from services.notify.core.responsible import Responsible
from services.notify.core.turns import Turn, last_turn
from shared.events import (
    DeliveryFailed,
    Kind,
    ReportAccepted,
    ReportAcknowledged,
    ReportAnswerAsked,
    ReportDelivered,
    ReportEscalated,
    ReportEvent,
    ReportHandedOver,
    ReportPlanned,
    ReportRefused,
    ReportResolved,
    ReportRouted,
    time_of,
)

# Why a report is told to the next level, where its clocks are not the reason and nobody has to decide.
NOT_DELIVERED = "not_delivered"


class Dispatch(NamedTuple):
    """Where one report stands. Times are UTC; the times of a tip are cut to the hour.

    `turn` counts how often it came to a unit, the same one or another; `refused_by` are the units that have
    refused it, `past` the turns that have ended since it came or was reopened. Of the present turn are:
    `came_at`, when it began; `seen_at`; `answered_at`, when the resident was first told something, for a
    category that promises that by `answer_by`; `waits_since`, since when it waits for the resident;
    `reminded`, and `level`, the highest that was told. The clocks have told all that they had to tell until
    `clocks_until`. The other times are those at which a step was reached first.
    """

    report_id: uuid.UUID
    kind: Kind
    category: str
    unit: str
    rule: str
    reason: str
    accepted_at: datetime
    acknowledge_by: datetime
    resolve_by: datetime
    status: Status
    version: int
    came_at: datetime
    clocks_until: datetime
    answer_by: datetime | None = None
    turn: int = 1
    refused_by: tuple[str, ...] = ()
    past: tuple[Turn, ...] = ()
    level: int = 0
    reminded: bool = False
    day: date | None = None
    seen_at: datetime | None = None
    answered_at: datetime | None = None
    waits_since: datetime | None = None
    delivered_at: datetime | None = None
    acknowledged_at: datetime | None = None
    resolved_at: datetime | None = None


Moved = tuple[Dispatch, tuple[ReportEvent, ...]]


def first_step(
    report: ReportAccepted, accepted_at: datetime, chosen: Responsible, rules_version: str
) -> tuple[Dispatch, ReportRouted]:
    """The report is with the unit that was chosen."""
    routed = ReportRouted(
        report_id=report.report_id,
        kind=report.kind,
        version=1,
        unit=chosen.unit,
        rule=chosen.rule,
        rules_version=rules_version,
        reason=chosen.reason,
        acknowledge_by=chosen.acknowledge_by,
        resolve_by=chosen.resolve_by,
        answer_by=chosen.answer_by,
    )
    return dispatched(report, accepted_at, routed), routed


def dispatched(report: ReportAccepted, accepted_at: datetime, routed: ReportRouted) -> Dispatch:
    """Where a report stands that was routed so."""
    return Dispatch(
        report.report_id,
        report.kind,
        report.category,
        routed.unit,
        routed.rule,
        routed.reason,
        accepted_at,
        routed.acknowledge_by,
        routed.resolve_by,
        "routed",
        routed.version,
        came_at=accepted_at,
        clocks_until=accepted_at,
        answer_by=routed.answer_by,
    )


def advance(
    dispatch: Dispatch, act: Act, now: datetime, rules_version: str, to: Responsible | None = None
) -> Moved:
    """What an act leads to; `to` is who is responsible then, where it moves on or comes again. No events: it
    was done before. Raises Impossible."""
    found = transition(dispatch.status, act.action)
    if found is None:
        return dispatch, ()
    events: list[ReportEvent] = []
    for step in found.steps:
        event = _event(dispatch, step, act, now, rules_version, to)
        dispatch = follow(dispatch, event, now)
        events.append(event)
        if step == "handed_over" and to is not None:
            to = _with_its_times(dispatch, to)
            if to.person:
                dispatch, escalated = escalate(dispatch, dispatch.level + 1, to.person)
                events.append(escalated)
    if dispatch.status != found.after:
        dispatch = dispatch._replace(status=found.after)
    return dispatch, tuple(events)


def give_up(dispatch: Dispatch, channel: str, reason: str, attempts: int) -> Moved:
    """A channel was tried as often as it may be."""
    failed = DeliveryFailed(**_about(dispatch), channel=channel, reason=reason, attempts=attempts)
    return follow(dispatch, failed, dispatch.accepted_at), (failed,)


def escalate(dispatch: Dispatch, level: int, reason: str) -> tuple[Dispatch, ReportEscalated]:
    """The next level is told, and why."""
    escalated = ReportEscalated(**_about(dispatch), level=level, reason=reason)
    return follow(dispatch, escalated, dispatch.accepted_at), escalated


def go_on(dispatch: Dispatch, calendar: Calendar, now: datetime, rules_version: str) -> Moved:
    """The resident has answered, or the unit is done with it: the working time of the wait is added to the
    time to resolve it. Nothing where nobody waited."""
    if dispatch.waits_since is None or dispatch.status not in ("acknowledged", "planned"):
        return dispatch, ()
    at = time_of(dispatch.kind, now)
    waited = calendar.between(dispatch.waits_since, at)
    dispatch = dispatch._replace(waits_since=None)
    if not waited:
        return dispatch, ()
    later = calendar.after(dispatch.resolve_by, waited.total_seconds() / 3600)
    due = Responsible(
        *(dispatch.unit, dispatch.rule, dispatch.reason),
        *(dispatch.acknowledge_by, dispatch.answer_by, later),
    )
    routed = _routed(dispatch, due, rules_version)
    return dispatch._replace(resolve_by=later, version=routed.version), (routed,)


def follow(dispatch: Dispatch, event: ReportEvent, at: datetime) -> Dispatch:
    """What an event of `notify` says became of the report; what is known already changes nothing."""
    if event.version <= dispatch.version:
        return dispatch
    changes: dict[str, Any] = {}
    if change := _SAID.get(type(event)):
        changes = change(dispatch, event, time_of(dispatch.kind, at))
    return dispatch._replace(version=event.version, **changes)


def _with_its_times(dispatch: Dispatch, to: Responsible) -> Responsible:
    """Who is responsible now; one that had it before by the times that it had then."""
    if last_turn(dispatch.past, to.unit) is None:
        return to
    by = dispatch.acknowledge_by, dispatch.answer_by, dispatch.resolve_by
    return Responsible(to.unit, to.rule, to.reason, *by, to.person)


def _event(
    dispatch: Dispatch, step: Step, act: Act, now: datetime, rules_version: str, to: Responsible | None
) -> ReportEvent:
    about = _about(dispatch)
    if step == "delivered":
        return ReportDelivered(**about, channel=act.via)
    if step == "acknowledged":
        return ReportAcknowledged(**about, by=act.via, took=took(now - dispatch.accepted_at))
    if step == "answer_asked":
        return ReportAnswerAsked(**about)
    if step == "planned":
        if act.day is None:
            raise ValueError("a plan needs a day")
        return ReportPlanned(**about, day=act.day)
    if step == "resolved":
        return ReportResolved(**about, outcome=act.outcome, in_time=now <= dispatch.resolve_by)
    if step == "refused":
        return ReportRefused(**about, reason=act.reason)
    if to is None:
        raise ValueError("nobody is named who is responsible then")
    if step == "handed_over":
        return ReportHandedOver(**about, to_unit=to.unit, reason=act.reason)
    return _routed(dispatch, to, rules_version)


def _routed(dispatch: Dispatch, to: Responsible, rules_version: str) -> ReportRouted:
    return ReportRouted(
        **_about(dispatch) | {"unit": to.unit},
        rule=to.rule,
        rules_version=rules_version,
        reason=to.reason,
        acknowledge_by=to.acknowledge_by,
        resolve_by=to.resolve_by,
        answer_by=to.answer_by,
    )


def _about(dispatch: Dispatch) -> dict[str, Any]:
    return {
        "report_id": dispatch.report_id,
        "kind": dispatch.kind,
        "version": dispatch.version + 1,
        "unit": dispatch.unit,
    }


def _delivered(dispatch: Dispatch, _event: Any, at: datetime) -> dict[str, Any]:
    status = "delivered" if dispatch.status == "routed" else dispatch.status
    return {"status": status, "delivered_at": dispatch.delivered_at or at}


def _acknowledged(dispatch: Dispatch, _event: Any, at: datetime) -> dict[str, Any]:
    return {
        "status": "acknowledged" if dispatch.status in ("routed", "delivered") else dispatch.status,
        "seen_at": dispatch.seen_at or at,
        "acknowledged_at": dispatch.acknowledged_at or at,
    }


def _asked(dispatch: Dispatch, _event: Any, at: datetime) -> dict[str, Any]:
    return {"waits_since": dispatch.waits_since or at, "answered_at": dispatch.answered_at or at}


def _planned(dispatch: Dispatch, event: Any, at: datetime) -> dict[str, Any]:
    return {"status": "planned", "day": event.day, "answered_at": dispatch.answered_at or at}


def _resolved(dispatch: Dispatch, _event: Any, at: datetime) -> dict[str, Any]:
    return {
        "status": "resolved",
        "waits_since": None,
        "answered_at": dispatch.answered_at or at,
        "resolved_at": dispatch.resolved_at or at,
    }


def _refused(dispatch: Dispatch, event: Any, _at: datetime) -> dict[str, Any]:
    known = dispatch.refused_by
    return {"refused_by": known if event.unit in known else (*known, event.unit)}


def _handed_over(dispatch: Dispatch, event: Any, at: datetime) -> dict[str, Any]:
    """A unit that had it before goes on where it was: no move gives more time than it had."""
    present = Turn(**{one.name: getattr(dispatch, one.name) for one in fields(Turn)})
    before = last_turn(dispatch.past, event.to_unit)
    kept = asdict(before) if before else {"unit": event.to_unit}
    return _anew(dispatch, at) | kept | {"past": (*dispatch.past, present)}


def _routed_again(dispatch: Dispatch, event: Any, at: datetime) -> dict[str, Any]:
    """After it was handed over; or by when, since nobody waits for the resident any more; or the same unit
    has it again, since the resident says that it is not solved."""
    changes = {
        "unit": event.unit,
        "rule": event.rule,
        "reason": event.reason,
        "acknowledge_by": event.acknowledge_by,
        "answer_by": event.answer_by,
        "resolve_by": event.resolve_by,
    }
    if dispatch.status == "resolved":
        return changes | _anew(dispatch, at) | {"past": ()}
    return changes | {"waits_since": None}


def _anew(dispatch: Dispatch, at: datetime) -> dict[str, Any]:
    return {
        "status": "routed",
        "turn": dispatch.turn + 1,
        "came_at": at,
        "clocks_until": at,
        "level": 0,
        "reminded": False,
        "answered_at": None,
        "day": None,
        "seen_at": None,
        "waits_since": None,
    }


def _escalated(dispatch: Dispatch, event: Any, _at: datetime) -> dict[str, Any]:
    return {"level": max(dispatch.level, event.level)}


_SAID: Mapping[type[ReportEvent], Any] = {
    ReportDelivered: _delivered,
    ReportAcknowledged: _acknowledged,
    ReportAnswerAsked: _asked,
    ReportPlanned: _planned,
    ReportResolved: _resolved,
    ReportRefused: _refused,
    ReportHandedOver: _handed_over,
    ReportRouted: _routed_again,
    ReportEscalated: _escalated,
}
