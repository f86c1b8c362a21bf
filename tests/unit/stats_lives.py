"""Lives of reports: every event of one, in every writer's own order of versions."""

from collections.abc import Sequence
from uuid import UUID

from hypothesis import strategies as st

from shared.events import (
    DISPATCHES,
    EVENT_TYPES,
    REPORTS,
    ReportAccepted,
    ReportAcknowledged,
    ReportEvent,
    ReportResolved,
)
from tests.golden.expected import EXPECTED
from tests.unit.strategies import events_of

_TYPES = [event_type for event_type in EVENT_TYPES.values() if issubclass(event_type, ReportEvent)]
_DISPATCHED = [event_type for event_type in _TYPES if event_type.topic is DISPATCHES]
_TOLD = [
    event_type for event_type in _TYPES if event_type.topic is REPORTS and event_type is not ReportAccepted
]


def _any_of(event_types: Sequence[type[ReportEvent]]) -> st.SearchStrategy[ReportEvent]:
    return st.one_of([events_of(event_type) for event_type in event_types])


@st.composite
def lives(draw: st.DrawFn, report_id: UUID | None = None) -> list[ReportEvent]:
    """All events of one report: accepted once, then anything that `tips` and `notify` may say of it, as often
    as they like. A writer's versions count from 1. (The contract has no other order between two topics.)"""
    kind = draw(st.sampled_from(["tip", "issue"]))
    told = [draw(events_of(ReportAccepted)), *draw(st.lists(_any_of(_TOLD), max_size=4))]
    dispatched = draw(st.lists(_any_of(_DISPATCHED), max_size=6))
    report_id = report_id or draw(st.uuids())
    return [
        event.model_copy(update={"report_id": report_id, "kind": kind, "version": version})
        for writer in (told, dispatched)
        for version, event in enumerate(writer, start=1)
    ]


def seen_and_done_twice() -> list[ReportEvent]:
    """A report acknowledged after a day and again later, resolved in time and again too late."""
    seen: ReportAcknowledged = EXPECTED["ReportAcknowledged.v1"].event
    done: ReportResolved = EXPECTED["ReportResolved.v1"].event
    return [
        seen.model_copy(update={"version": 3, "took": "24h"}),
        seen.model_copy(update={"version": 8, "took": "later"}),
        done.model_copy(update={"version": 5, "outcome": "repaired", "in_time": True}),
        done.model_copy(update={"version": 9, "outcome": "replaced", "in_time": False}),
    ]
