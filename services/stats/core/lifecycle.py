"""What the events of one report add up to.

A report counts once, as it was accepted: under the area and category that ReportAccepted names, in the
period of its hour. A later category does not move it.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, get_args

from shared.events import (
    REPORTS,
    Kind,
    ReportAccepted,
    ReportAcknowledged,
    ReportDelivered,
    ReportErased,
    ReportEvent,
    ReportRecategorised,
    ReportRefused,
    ReportReopened,
    ReportResolved,
    ReportRouted,
    ReportWithdrawn,
    Took,
)


class Accepted(NamedTuple):
    """What a report counts by; `hour` is UTC, `area` of the primary area set."""

    hour: datetime
    area: str | None
    category: str


class Latest(NamedTuple):
    """A value, and the version of the event that gave it."""

    version: int
    value: Any


class Lifecycle(NamedTuple):
    """What is known of one report.

    `merge` is commutative, associative and idempotent, so that the events of one report come to the same
    whatever their order and however often one comes: each field only ever grows. It takes for granted what
    the contract says: a writer's version names one event, and a report is accepted once.
    """

    kind: Kind
    accepted: Accepted | None = None
    category: Latest | None = None
    tips_version: int = 0
    notify_version: int = 0
    routed: bool = False
    # of the last time a unit got it: above resolved's where the resident said that it is not solved
    routed_version: int | None = None
    delivered: bool = False
    acknowledged: Took | None = None
    # (outcome, whether it was in time), of the last time
    resolved: Latest | None = None
    refused_version: int | None = None
    reopened: bool = False
    withdrawn: bool = False
    erased: bool = False


_SHORTEST_FIRST: tuple[Took, ...] = get_args(Took)

# What cannot be told from an event's type alone.
_TELLS: Mapping[type[ReportEvent], Callable[[Any, str], Lifecycle]] = {
    ReportAccepted: lambda event, area_set: Lifecycle(
        event.kind,
        accepted=Accepted(event.hour, event.areas.get(area_set), event.category),
        category=Latest(event.version, event.category),
        tips_version=event.version,
    ),
    ReportRecategorised: lambda event, _: Lifecycle(
        event.kind, category=Latest(event.version, event.category), tips_version=event.version
    ),
    ReportAcknowledged: lambda event, _: Lifecycle(
        event.kind, notify_version=event.version, acknowledged=event.took
    ),
    ReportResolved: lambda event, _: Lifecycle(
        event.kind,
        notify_version=event.version,
        resolved=Latest(event.version, (event.outcome, event.in_time)),
    ),
}


def lifecycle_of(event: ReportEvent, area_set: str) -> Lifecycle:
    """What one event tells; of those that no statistic reads, that it was there."""
    if tells := _TELLS.get(type(event)):
        return tells(event, area_set)
    return _by_type(type(event), event.kind, event.version)


@lru_cache(maxsize=1024)
def _by_type(event_type: type[ReportEvent], kind: Kind, version: int) -> Lifecycle:
    from_tips = event_type.topic is REPORTS
    return Lifecycle(
        kind,
        tips_version=version if from_tips else 0,
        notify_version=0 if from_tips else version,
        routed=event_type is ReportRouted,
        routed_version=version if event_type is ReportRouted else None,
        delivered=event_type is ReportDelivered,
        refused_version=version if event_type is ReportRefused else None,
        reopened=event_type is ReportReopened,
        withdrawn=event_type is ReportWithdrawn,
        erased=event_type is ReportErased,
    )


def merge(one: Lifecycle, other: Lifecycle) -> Lifecycle:
    """What two partial lifecycles of the same report come to."""
    return Lifecycle(
        # A report's kind never changes; should a writer break that, it is taken for the more private one.
        kind="tip" if "tip" in (one.kind, other.kind) else "issue",
        accepted=one.accepted or other.accepted,
        category=_later(one.category, other.category),
        tips_version=max(one.tips_version, other.tips_version),
        notify_version=max(one.notify_version, other.notify_version),
        routed=one.routed or other.routed,
        routed_version=_latest(one.routed_version, other.routed_version),
        delivered=one.delivered or other.delivered,
        acknowledged=_shorter(one.acknowledged, other.acknowledged),
        resolved=_later(one.resolved, other.resolved),
        refused_version=_latest(one.refused_version, other.refused_version),
        reopened=one.reopened or other.reopened,
        withdrawn=one.withdrawn or other.withdrawn,
        erased=one.erased or other.erased,
    )


def merge_events(area_set: str, events: Iterable[ReportEvent]) -> dict[uuid.UUID, Lifecycle]:
    """What the events tell of each report, by report id; `area_set` is the one that is counted by."""
    merged: dict[uuid.UUID, Lifecycle] = {}
    for event in events:
        told = lifecycle_of(event, area_set)
        known = merged.setdefault(event.report_id, told)
        if known is not told:
            merged[event.report_id] = merge(known, told)
    return merged


def _later(one: Latest | None, other: Latest | None) -> Latest | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda latest: latest.version)


def _latest(one: int | None, other: int | None) -> int | None:
    return max(one or 0, other or 0) or None


def _shorter(one: Took | None, other: Took | None) -> Took | None:
    if one is None or other is None:
        return one or other
    return min(one, other, key=_SHORTEST_FIRST.index)
