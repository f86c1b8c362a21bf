"""When a unit works: opening hours per weekday, and the holidays of a municipality."""

import re
from collections.abc import Iterable
from datetime import date
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, get_args

import holidays
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from shared.municipality.parts import Part, wrong

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
DAY_MINUTES = 24 * 60
# What is to be done within a number of hours is done in so many weeks of the unit at most.
LONGEST_WEEKS = 520
_DAY = "|".join(WEEKDAYS)
_LINE = re.compile(rf"({_DAY})(?:-({_DAY}))?((?: \d\d:\d\d-\d\d:\d\d)+)", re.ASCII)
_SPAN = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII)


class Span(NamedTuple):
    """A part of a day, as minutes since its midnight; 24:00 is its end."""

    begin: int
    end: int


Week = tuple[tuple[Span, ...], ...]
ALWAYS: Week = ((Span(0, DAY_MINUTES),),) * len(WEEKDAYS)


def week_of(lines: Iterable[str]) -> Week:
    """The spans of each weekday, from Monday on, in order; without lines always. Raises a mistake and its
    mend."""
    listed = list(lines)
    if not listed:
        return ALWAYS
    week: list[list[Span]] = [[] for _ in WEEKDAYS]
    for line in listed:
        found = _LINE.fullmatch(line)
        if not found:
            raise wrong(f"{line!r} are no hours", 'write them as "mon-fri 08:00-12:30 13:00-17:00"')
        first = WEEKDAYS.index(found[1])
        last = WEEKDAYS.index(found[2]) if found[2] else first
        if last < first:
            raise wrong(f"{line!r} ends before it begins", "begin the week with mon")
        for day in range(first, last + 1):
            week[day] += [_span(line, *map(int, one.groups())) for one in _SPAN.finditer(found[3])]
    for spans in week:
        spans.sort()
    twice = [name for name, spans in zip(WEEKDAYS, week, strict=True) if _overlap(spans)]
    if twice:
        raise wrong(f"two of the hours of {', '.join(twice)} overlap", "write each hour once")
    return tuple(map(tuple, week))


def _overlap(spans: list[Span]) -> bool:
    return any(one.end > after.begin for one, after in pairwise(spans))


def hours_in(week: Week) -> float:
    """The hours of a week in which is worked."""
    return sum(span.end - span.begin for day in week for span in day) / 60


def _span(line: str, hour: int, minute: int, to_hour: int, to_minute: int) -> Span:
    span = Span(hour * 60 + minute, to_hour * 60 + to_minute)
    if max(minute, to_minute) > 59 or max(span) > DAY_MINUTES:
        raise wrong(f"{line!r} has a time that no day has", "write times from 00:00 to 24:00")
    if span.begin >= span.end:
        raise wrong(
            f"{line!r} ends before it begins",
            'write a night as two: "fri 22:00-24:00" and "sat 00:00-06:00"',
        )
    return span


def _readable(line: str) -> str:
    week_of([line])
    return line


def _apart(lines: tuple[str, ...]) -> tuple[str, ...]:
    week_of(lines)
    return lines


# Each line by itself first, so that the mistakes of all are told.
OpeningHours = Annotated[
    tuple[Annotated[str, AfterValidator(_readable)], ...],
    AfterValidator(_apart),
    Field(description='a list such as ["mon-fri 08:00-12:30 13:00-17:00", "sat 10:00-14:00"]'),
]


class Holidays(Part):
    """The days on which nobody works: the country's public holidays, those of one of its parts, and days of
    the municipality's own."""

    country: str = Field(pattern=r"^[A-Z]{2}$", description='a country by its ISO 3166 code, such as "NL"')
    subdivision: str | None = Field(None, description='a part of the country by its ISO code, such as "MA"')
    closed: tuple[date, ...] = Field((), description="a list of days besides, such as [2026-05-15]")
    worked: tuple[date, ...] = Field((), description="a list of holidays on which is worked all the same")

    @field_validator("country")
    @classmethod
    def _known(cls, country: str) -> str:
        try:
            _public(country, None)
        except NotImplementedError:
            problem = f"the holidays of {country!r} are not known"
            raise wrong(problem, "write a country's ISO 3166 code") from None
        return country

    @field_validator("subdivision")
    @classmethod
    def _known_there(cls, subdivision: str | None, info: ValidationInfo) -> str | None:
        # A country that is not known has its own mistake.
        if subdivision is not None and (country := info.data.get("country")):
            try:
                _public(country, subdivision)
            except NotImplementedError:
                known = ", ".join(_public(country, None).subdivisions)
                mend = f"write one of {known}" if known else "leave it out"
                raise wrong(f"{country} has no part {subdivision!r}", mend) from None
        return subdivision

    def include(self, day: date) -> bool:
        """Whether nobody works on that day."""
        if day in self.closed:
            return True
        return day in _public(self.country, self.subdivision) and day not in self.worked


@cache
def _public(country: str, subdivision: str | None) -> Any:
    """The library's calendar of them. Raises NotImplementedError for what it does not know."""
    return holidays.country_holidays(country, subdiv=subdivision)
