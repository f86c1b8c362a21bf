"""In how many days a city promised to resolve, and the clock by which its 311 system counted them.

That clock was read from the target_dt of Boston's requests of 2011: README.md of the folder has how often it
is right. Times are the city's wall time, without a zone, as the export writes them.
"""

import re
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import NamedTuple

from shared.errors import Refusal

BEGIN, END = time(8, 30), time(17)
WORKED_DAY_HOURS = 8.5
_DAY = timedelta(days=1)
_TEXT = re.compile(r"([1-9][0-9]{0,3})( working)? days?", re.ASCII)
# No promise was longer; in working days, with more than a year of them.
LONGEST_DAYS, LONGEST_WORKING_DAYS = 720, 260


class Promise(NamedTuple):
    """So many days; `working` where Saturdays and Sundays are not counted."""

    days: int
    working: bool

    def due(self, opened: datetime) -> datetime:
        """By when the city promised it."""
        if not self.working:
            return opened + self.days * _DAY
        due = begin(opened)
        weeks, days = divmod(self.days, 5)
        due += 7 * weeks * _DAY
        for _ in range(days):
            due = _weekday(due + _DAY)
        return due

    def hours(self, *, opening_hours: bool) -> float:
        """The promise as a target of a folder: in hours of a unit with opening hours of 8.5 hours on five
        days, else in hours of day and night.

        Where the unit counts otherwise than the city, calendar days are 5 of 7 working days, and working days
        the calendar days that they are from most days of the week.
        """
        if opening_hours:
            return WORKED_DAY_HOURS * (self.days if self.working else round(self.days * 5 / 7))
        return 24.0 * (self.days + (2 * ((self.days + 2) // 5) if self.working else 0))

    def __str__(self) -> str:
        return f"{self.days}{' working' if self.working else ''} day{'s' if self.days > 1 else ''}"


def begin(opened: datetime) -> datetime:
    """When the city's clock begins to count working days: at once, on a weekend on Monday at that time of the
    day; what this makes 17:00 or later waits for 8:30 on the next weekday. It knows no holidays."""
    start = _weekday(opened)
    return start if start.time() < END else datetime.combine(_weekday(start + _DAY), BEGIN)


def _weekday(moment: datetime) -> datetime:
    return moment + max(0, 7 - moment.weekday()) * _DAY if moment.weekday() >= 5 else moment


def read_promises(written: Mapping[str, str]) -> dict[str, Promise]:
    """The table [promises] of types.toml. Raises Refusal for one that cannot be read."""
    promises = {}
    for name, text in written.items():
        found = _TEXT.fullmatch(text)
        if not found:
            raise Refusal(
                f'types.toml: promises: {name}: {text!r} is no promise; write "2 working days" or "30 days"'
            )
        promises[name] = Promise(int(found[1]), bool(found[2]))
    return promises


def whole_days(opened: datetime, target: datetime, tolerance: timedelta) -> Promise | None:
    """The number of days, of either sort, that is from opening to target by the city's clock; None where
    it is none."""
    apart = (target - opened) / _DAY
    near = range(max(1, int(apart) - 1), min(LONGEST_DAYS, int(apart) + 2))
    fewer = range(max(1, int(apart * 5 / 7) - 4), min(LONGEST_WORKING_DAYS, int(apart * 5 / 7) + 4))
    for promise in [Promise(days, True) for days in fewer] + [Promise(days, False) for days in near]:
        if abs(promise.due(opened) - target) <= tolerance:
            return promise
    return None
