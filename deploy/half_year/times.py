"""Why a due time, or whether it was kept, differs from what the city wrote: kinds, each with the rule that
finds it. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from deploy.half_year.cases import Export
from deploy.half_year.departments import UNEXPLAINED
from deploy.half_year.playing import Played
from deploy.half_year.promises import END, WORKED_DAY_HOURS, Promise, whole_days
from services.notify.core.calendar import Calendar
from shared.municipality import Municipality

# Two due times that are no further apart are the same: a tip's is cut to the hour, and the city adds days to
# what the clock shows, whichever night it is put forward or back on. Besides, the city's targets lack some
# seconds.
HOUR = timedelta(hours=1, minutes=1)
# How far the two ways of counting days may come apart: two weekends.
CALENDARS_APART = timedelta(days=4)
SAME, SAME_WORK = "same", "same_work"
AGREES: Final = (SAME, SAME_WORK)
DUE_KINDS: Final[Mapping[str, str]] = {
    SAME: "The same, within an hour.",
    SAME_WORK: "The same in working time: at most an hour of the department's work lies between. Ours ends "
    "a day at 17:00 where the city's ends the next morning.",
    "weekend": "Sent on a weekend: the city's clock begins on Monday at the same time of the day, and after"
    " 17:00 on Tuesday morning; ours begins when the department opens on Monday.",
    "coarser_group": "The city promised this type another number of days than most of its group, and a "
    "target is of the group.",
    "calendar_days": "The city promised calendar days, which our target says in hours of a department that "
    "rests on weekends.",
    "working_days": "The city promised working days, which our target says in hours of a department that "
    "counts day and night.",
    "handed_over": "The report came to a department that counts otherwise than the first one: the hours of "
    "the target are those of whoever has it.",
    "other_promise": "The city's target is a whole number of days by its own clock, but not those of nearly"
    " all others of the type: another priority, or the type was changed afterwards.",
    "set_by_hand": "The city's target does not follow from when it was opened: somebody moved or chose it.",
    "before_opening": "The city's target lies before it was opened: a mistake.",
    UNEXPLAINED: "None of these.",
}
NO_TARGET, NOT_SAID = "no_target", "not_said"
ON_TIME_KINDS: Final[Mapping[str, str]] = {
    NO_TARGET: "The city had set no target, which its column calls on time; our folder has one for every "
    "category.",
    NOT_SAID: "The city's column is empty.",
    UNEXPLAINED: "It was not closed between the two due times.",
}


class Times:
    """Explains differences of due times. `until` is the last moment that the export knows of."""

    def __init__(self, town: Municipality, export: Export, until: datetime) -> None:
        self._town = town
        self._promises = export.promises
        self._calendars = {unit.id: Calendar.of(town, unit) for unit in town.units.values()}
        self._until = until

    def due_kind(self, played: Played, target: datetime) -> str:
        """How the due time compares with the city's: the first kind that holds."""
        case = played.case
        if self._same(played.unit, played.resolve_by, target) is not None:
            return SAME if abs(played.resolve_by - target) <= HOUR else SAME_WORK
        if not self._ours_follows(played):
            return UNEXPLAINED
        promise = self._promises.get(case.type)
        wall_target = case.wall_target or target.astimezone(self._town.tz).replace(tzinfo=None)
        if promise is None or abs(promise.due(case.wall) - wall_target) > HOUR:
            return _by_the_city(case.wall, wall_target)
        return self._by_us(played, promise, target)

    def _by_us(self, played: Played, promise: Promise, target: datetime) -> str:
        """The city kept its own rule, so the difference is in ours."""
        case, apart = played.case, abs(played.resolve_by - target)
        hours = self._town.categories[case.category].targets.resolve_hours
        opening_hours = bool(self._town.units[played.unit].hours)
        if played.turn > 1 and opening_hours != bool(self._town.units[played.first_unit].hours):
            return "handed_over"
        if promise.hours(opening_hours=opening_hours) != hours:
            return "coarser_group"
        if promise.working != opening_hours and apart <= CALENDARS_APART:
            return "working_days" if promise.working else "calendar_days"
        # Both due times follow from the same number of working days.
        return "weekend" if opening_hours and case.wall.weekday() >= 5 else UNEXPLAINED

    def _ours_follows(self, played: Played) -> bool:
        """Whether our due time is what our target comes to by the city's clock, which knows nothing of
        notify's: no explanation of the city's covers a mistake of ours."""
        case = played.case
        hours = self._town.categories[case.category].targets.resolve_hours
        if not self._town.units[played.unit].hours:
            return abs(case.opened + timedelta(hours=hours) - played.resolve_by) <= HOUR
        days = hours / WORKED_DAY_HOURS
        if not days.is_integer():
            return played.turn > 1  # hours of day and night, which came to a department with opening hours
        opened = case.wall
        if opened.weekday() >= 5:  # ours begins when the department opens on Monday
            opened = datetime.combine(opened.date() - timedelta(days=opened.weekday() - 4), END)
        counted = Promise(int(days), working=True).due(opened).replace(tzinfo=self._town.tz)
        return self._same(played.unit, played.resolve_by, counted.astimezone(UTC)) is not None

    def _same(self, unit: str, one: datetime, other: datetime) -> timedelta | None:
        """The working time between two due times, where it is an hour at most."""
        first, last = sorted((one, other))
        if last - first <= HOUR:
            return last - first
        worked = self._calendars[unit].between(first, last)
        return worked if worked <= HOUR else None

    def on_time(self, played: Played) -> bool:
        """Whether it was in time by notify: what it said when it was resolved; what is still open is not
        once it was due."""
        return played.in_time if played.in_time is not None else self._until <= played.resolve_by

    def on_time_kind(self, played: Played) -> str:
        """Why the two disagree on whether it was on time: the kind of the due times between which it was
        closed, or one of ON_TIME_KINDS."""
        case = played.case
        if case.on_time is None:
            return NOT_SAID
        if case.target is None:
            return NO_TARGET
        ended = case.closed or self._until
        first, last = sorted((case.target, played.resolve_by))
        return self.due_kind(played, case.target) if first < ended <= last else UNEXPLAINED


def _by_the_city(opened: datetime, target: datetime) -> str:
    """The city did not keep the rule of the type, so the difference is in its target."""
    if target < opened:
        return "before_opening"
    return "other_promise" if whole_days(opened, target, HOUR) else "set_by_hand"
