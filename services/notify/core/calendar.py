"""Working time: when a unit works, and what a number of its hours from a moment on comes to.

Moments are UTC; days, weekdays and opening hours are of the municipality's zone. An hour is an hour of real
time: on the night that the clock is put back, a unit that works through it works an hour more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from shared.municipality import LONGEST_WEEKS, Municipality, Unit, Week

_DAY = timedelta(days=1)
# Twice what a folder's target may take, so that holidays have room: only a calendar on which nobody ever
# works comes to its end.
_LONGEST = 2 * timedelta(weeks=LONGEST_WEEKS)


@dataclass(frozen=True)
class Calendar:
    """When a unit works: `week` has the spans of each weekday, from Monday on, in order and apart;
    `is_holiday` tells the days on which it does not, whatever the weekday."""

    zone: ZoneInfo
    week: Week
    is_holiday: Callable[[date], bool]
    _days: dict[date, tuple[tuple[datetime, datetime], ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, municipality: Municipality, unit: Unit) -> Self:
        """When a unit of a municipality works; one without hours works on holidays too."""
        resting = municipality.holidays.include if unit.hours and municipality.holidays else _never
        return cls(municipality.tz, unit.week, resting)

    def after(self, start: datetime, hours: float) -> datetime:
        """The moment (UTC) at which so many hours of work have passed since `start`. Raises ValueError where
        nobody ever works."""
        left = timedelta(hours=hours)
        for begin, end in self._worked_from(start):
            if end - begin >= left:
                return begin + left
            left -= end - begin
        raise ValueError("there are no working hours in twenty years")

    def before(self, end: datetime, hours: float) -> datetime:
        """The moment (UTC) from which so many hours of work are left until `end`. Raises ValueError as
        `after`."""
        left = timedelta(hours=hours)
        for begin, stop in self._worked_until(end):
            if stop - begin >= left:
                return stop - left
            left -= stop - begin
        raise ValueError("there are no working hours in twenty years")

    def opens(self, day: date, earliest_hour: int) -> datetime | None:
        """When a day of work begins, but not before an hour of the municipality's time (UTC); None where
        nobody works then."""
        earliest = self._moment(day, earliest_hour * 60)
        return next((max(begin, earliest) for begin, end in self._worked_on(day) if end > earliest), None)

    def between(self, start: datetime, end: datetime) -> timedelta:
        """The working time that lies between two moments; none where the second is not later."""
        total = timedelta()
        for begin, stop in self._worked_from(start):
            if begin >= end:
                break
            total += min(stop, end) - begin
        return total

    def _worked_from(self, start: datetime) -> Iterator[tuple[datetime, datetime]]:
        """What is worked from a moment on, in order."""
        start = start.astimezone(UTC)
        day = start.astimezone(self.zone).date()
        last = day + _LONGEST
        while day < last:
            for begin, end in self._worked_on(day):
                if end > max(begin, start):
                    yield max(begin, start), end
            day += _DAY

    def _worked_until(self, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """What is worked until a moment, from the last on."""
        end = end.astimezone(UTC)
        day = end.astimezone(self.zone).date()
        first = day - _LONGEST
        while day > first:
            for begin, stop in reversed(self._worked_on(day)):
                if begin < min(stop, end):
                    yield begin, min(stop, end)
            day -= _DAY

    def _worked_on(self, day: date) -> tuple[tuple[datetime, datetime], ...]:
        """When is worked on a day; looked up once for all reports."""
        if day not in self._days:
            spans = () if self.is_holiday(day) else self.week[day.weekday()]
            worked = tuple((self._moment(day, span.begin), self._moment(day, span.end)) for span in spans)
            self._days[day] = worked
        return self._days[day]

    def _moment(self, day: date, minutes: int) -> datetime:
        """A local time of a day, as minutes since its midnight; one that the clock leaves out is as late as
        it would have been, of one that comes twice it is the first."""
        if minutes == 24 * 60:
            day, minutes = day + _DAY, 0
        local = datetime.combine(day, time(minutes // 60, minutes % 60), self.zone)
        return local.astimezone(UTC)


def _never(_day: date) -> bool:
    return False
