"""Periods: the part of an ISO week that lies in one month, the month, the quarter. Each is a run of whole
days of the municipality, from `begin` up to `end`, the first day after it; parts nest in months, and those in
quarters.
"""

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

Grain = Literal["week_part", "month", "quarter"]


class Period(NamedTuple):
    """One period; `name` is what a release is called by, such as `2026-W31-2026-08`."""

    grain: Grain
    begin: date
    end: date

    @property
    def name(self) -> str:
        match self.grain:
            case "week_part":
                year, week, _ = self.begin.isocalendar()
                return f"{year:04d}-W{week:02d}-{self.begin.isoformat()[:7]}"
            case "month":
                return self.begin.isoformat()[:7]
            case "quarter":
                return f"{self.begin.year:04d}-Q{(self.begin.month + 2) // 3}"

    def closes(self, zone: ZoneInfo, after: timedelta) -> datetime:
        """When nothing is counted in it any more: so long after its end, which is a midnight there."""
        return datetime.combine(self.end, time.min, zone).astimezone(UTC) + after


def period(grain: Grain, day: date) -> Period:
    """The period of that grain in which a day lies."""
    month, after = _months(day, 1)
    match grain:
        case "week_part":
            monday = day - timedelta(days=day.weekday())
            return Period(grain, max(monday, month), min(monday + timedelta(days=7), after))
        case "month":
            return Period(grain, month, after)
        case "quarter":
            return Period(grain, *_months(day, 3))


def named(grain: Grain, name: str) -> Period:
    """The period of that name. Raises ValueError for a name that none of this grain has."""
    match grain:
        case "week_part":
            week, month = name[:8], name[9:]
            first = max(date.fromisoformat(f"{week}-1"), date.fromisoformat(f"{month}-01"))
        case "month":
            first = date.fromisoformat(f"{name}-01")
        case "quarter":
            year, _, quarter = name.partition("-Q")
            first = date(int(year), 3 * int(quarter) - 2, 1)
    found = period(grain, first)
    if found.name != name:
        raise ValueError(f"{name} is no {grain}")
    return found


def begin_of(name: str) -> date:
    """The first day of the period of that name, of whatever grain. Raises ValueError for a name of none."""
    if "-W" in name:
        return named("week_part", name).begin
    return named("quarter" if "-Q" in name else "month", name).begin


def periods(grain: Grain, first: date, until: date) -> Iterator[Period]:
    """The periods that begin on `first`, or after it, and before `until`."""
    one = period(grain, first)
    if one.begin < first:
        one = period(grain, one.end)
    while one.begin < until:
        yield one
        one = period(grain, one.end)


def day_of(hour: datetime, zone: ZoneInfo) -> date:
    """The municipality's calendar day in which an hour (of UTC) begins."""
    return hour.astimezone(zone).date()


@lru_cache(maxsize=1024)
def part_of(hour: datetime, zone: ZoneInfo) -> date:
    """The first day of the week-part in which an hour (of UTC) begins."""
    return period("week_part", day_of(hour, zone)).begin


def next_open(part: date, closed: Collection[date]) -> date:
    """The first day of the week-part that what belongs to `part` counts in: its own, or where that is closed
    the next that is open."""
    while part in closed:
        part = period("week_part", part).end
    return part


def _months(day: date, number: int) -> tuple[date, date]:
    begin = date(day.year, (day.month - 1) // number * number + 1, 1)
    end = begin.month + number
    return begin, date(begin.year + (end > 12), (end - 1) % 12 + 1, 1)
