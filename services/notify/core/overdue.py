"""When a report's clocks tell something: a reminder before a target ends, levels after it was missed."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from services.notify.core.calendar import Calendar
from services.notify.core.steps import Dispatch
from shared.municipality import Municipality

Target = Literal["acknowledge", "answer", "resolve"]
# What a report needs, the worst first.
Need = Literal["resolve_overdue", "answer_overdue", "acknowledge_overdue", "not_delivered", "soon"]
REMINDER = 0


class Moment(NamedTuple):
    """At `at` (UTC) a target of a report is told to the level; REMINDER before its end."""

    at: datetime
    target: Target
    level: int


class Clocks:
    """The municipality's reminders and levels, in working hours of the unit that has a report."""

    def __init__(self, municipality: Municipality, calendars: Mapping[str, Calendar]) -> None:
        self._clocks = municipality.clocks
        self._categories = municipality.categories
        self._calendars = calendars

    def told_at(self, level: int) -> str | None:
        """The unit that is told at a level besides the one that has the report."""
        return self._clocks.levels[level - 1].unit if level <= len(self._clocks.levels) else None

    def levels_of(self, unit: str) -> list[int]:
        """The levels at which a unit is told of others' reports."""
        return [number for number, one in enumerate(self._clocks.levels, 1) if one.unit == unit]

    def above(self, dispatch: Dispatch, *, again: bool = False) -> int:
        """The level to which a report goes whose unit is of no use: the first above its own at which another
        unit is told, the next where there is none. Its own `again`, where another unit is told there."""
        levels = enumerate(self._clocks.levels, 1)
        others = [number for number, one in levels if one.unit and one.unit != dispatch.unit]
        if again and dispatch.level in others:
            return dispatch.level
        return next((number for number in others if number > dispatch.level), dispatch.level + 1)

    def due(self, dispatch: Dispatch, now: datetime) -> list[Moment]:
        """What is to be told by now and has not been, in order."""
        return sorted(one for one in self._moments(dispatch) if dispatch.clocks_until < one.at <= now)

    def next(self, dispatch: Dispatch) -> datetime | None:
        """When there is something to tell next."""
        later = (one.at for one in self._moments(dispatch) if one.at > dispatch.clocks_until)
        return min(later, default=None)

    def _moments(self, dispatch: Dispatch) -> Iterator[Moment]:
        calendar = self._calendars.get(dispatch.unit)
        if calendar is None:
            # Whoever starts with a folder without it gives its reports to others (reassigning.py).
            return
        for target, by in running(dispatch):
            if hours := self._hours(dispatch.category, target):
                left = hours * (1 - self._clocks.remind_at)
                yield Moment(calendar.before(by, left), target, REMINDER)
            for level, one in enumerate(self._clocks.levels, 1):
                yield Moment(calendar.after(by, one.after_hours), target, level)

    def _hours(self, category: str, target: Target) -> float:
        """The target's hours of work; 0 for a category that has left the folder, of which nobody is
        reminded."""
        known = self._categories.get(category)
        if known is None:
            return 0
        hours = {
            "acknowledge": known.targets.acknowledge_hours,
            "answer": known.targets.answer_hours or 0,
            "resolve": known.targets.resolve_hours,
        }
        return hours[target]


def running(dispatch: Dispatch) -> Iterator[tuple[Target, datetime]]:
    """The targets whose clocks run, and when they end (UTC); none while it waits for the resident."""
    if dispatch.status not in ("routed", "delivered", "acknowledged", "planned") or dispatch.waits_since:
        return
    if dispatch.seen_at is None:
        yield "acknowledge", dispatch.acknowledge_by
    if dispatch.answer_by is not None and dispatch.answered_at is None:
        yield "answer", dispatch.answer_by
    yield "resolve", dispatch.resolve_by


def need(dispatch: Dispatch, now: datetime, *, unheard: bool = False) -> Need | None:
    """What a report that was told about needs now; None where nothing any more. `unheard` where its unit was
    not reached with something that its resident wrote."""
    late = {target for target, by in running(dispatch) if by <= now}
    if "resolve" in late:
        return "resolve_overdue"
    if "answer" in late:
        return "answer_overdue"
    if "acknowledge" in late:
        return "acknowledge_overdue"
    if unheard or (dispatch.status == "routed" and dispatch.level):
        return "not_delivered"
    return "soon" if dispatch.reminded and any(running(dispatch)) else None
