"""Working hours: what is promised by when, over nights, weekends, holidays and the turns of the clock."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notify.core.calendar import Calendar
from shared.municipality.hours import ALWAYS, LONGEST_WEEKS, Holidays, week_of

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
OFFICE = week_of(["mon-fri 08:30-12:30 13:00-17:00"])
DUTCH = Holidays(country="NL")
HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    """A moment of the town's own time."""
    return datetime.fromisoformat(text).replace(tzinfo=AMSTERDAM).astimezone(UTC)


def calendar(lines: Iterable[str] = (), holidays: Holidays | None = None) -> Calendar:
    return Calendar(AMSTERDAM, week_of(lines), holidays.include if holidays else lambda _: False)


@pytest.mark.parametrize(
    ("start", "hours", "end"),
    [
        ("2026-11-25T09:00", 2, "2026-11-25T11:00"),
        ("2026-11-25T12:00", 1, "2026-11-25T13:30"),  # over lunch
        ("2026-11-25T16:30", 1, "2026-11-26T09:00"),  # over night
        ("2026-11-25T04:00", 8, "2026-11-25T17:00"),  # a whole day of work ends with it
        ("2026-11-27T16:00", 2, "2026-11-30T09:30"),  # over a weekend
        ("2026-11-28T12:00", 0.5, "2026-11-30T09:00"),  # sent on a Saturday
        ("2026-12-24T16:00", 2, "2026-12-28T09:30"),  # Christmas, and a weekend
        ("2026-04-24T16:30", 1, "2026-04-28T09:00"),  # a weekend, and the King's day
        ("2026-10-23T16:30", 1, "2026-10-26T09:00"),  # the clock is put back between
        ("2027-03-25T16:30", 1, "2027-03-30T09:00"),  # put forward, and Easter
    ],
)
def test_hours_are_those_in_which_the_unit_works(start: str, hours: float, end: str) -> None:
    """In the town's own time: what is promised for nine o'clock is nine o'clock in summer and in winter."""
    office = Calendar(AMSTERDAM, OFFICE, DUTCH.include)
    assert office.after(at(start), hours) == at(end)
    assert office.between(at(start), at(end)) == timedelta(hours=hours)


@pytest.mark.parametrize("day", ["mon", "thu", "sat"])
def test_the_longest_target_that_a_folder_may_have_is_met(day: str) -> None:
    """Ten years of one hour a week, and no holiday keeps it from its end."""
    weekly = calendar([f"{day} 10:00-11:00"], DUTCH)
    assert weekly.after(at("2026-11-25T09:00"), LONGEST_WEEKS) < at("2039-11-25T09:00")
    assert weekly.before(at("2026-11-25T09:00"), LONGEST_WEEKS) > at("2013-11-25T09:00")


@pytest.mark.parametrize("night", ["2026-10-25", "2026-03-29"])
def test_who_always_works_has_plain_hours(night: str) -> None:
    """Also through the night that has an hour more or less."""
    always = Calendar(AMSTERDAM, ALWAYS, lambda _: False)
    start = at(f"{night}T00:00")
    for hours in (1.0, 2.5, 3, 24, 36.5, 200):
        assert always.after(start, hours) == start + hours * HOUR


@pytest.mark.parametrize(
    ("night", "worked"), [("2026-10-25", 5), ("2026-03-29", 3)], ids=["put back", "put forward"]
)
def test_a_night_shift_works_what_the_night_has(night: str, worked: int) -> None:
    """From midnight to four: five hours where one comes twice, three where one is left out."""
    shift = calendar(["sun 00:00-04:00"])
    assert shift.between(at(f"{night}T00:00"), at(f"{night}T23:00")) == worked * HOUR
    assert shift.after(at(f"{night}T00:00"), worked) == at(f"{night}T04:00")


def test_a_shift_that_changes_in_the_hour_that_comes_twice_changes_at_the_first() -> None:
    """At half past two, of which there are two: the first shift ends then and the second begins."""
    night = "2026-10-25"
    first, second = calendar(["sun 00:00-02:30"]), calendar(["sun 02:30-04:00"])
    assert first.between(at(f"{night}T00:00"), at(f"{night}T23:00")) == 2.5 * HOUR
    assert second.between(at(f"{night}T00:00"), at(f"{night}T23:00")) == 2.5 * HOUR


def test_holidays_are_the_countrys_and_the_towns_own() -> None:
    """A day of the town's own is one, and a holiday on which is worked is none."""
    town = Holidays(country="NL", closed=(date(2026, 10, 3),), worked=(date(2026, 4, 3),))
    days = [date(2026, 1, 1), date(2026, 4, 3), date(2026, 10, 3), date(2026, 10, 5)]
    assert [town.include(day) for day in days] == [True, False, True, False]
    boston = Holidays(country="US", subdivision="MA")
    assert boston.include(date(2015, 4, 20))
    assert not Holidays(country="US").include(date(2015, 4, 20))


def test_nobody_ever_works() -> None:
    """A town that is closed for ever has no due times: a mistake of the folder, not a loop without end."""
    closed = Calendar(AMSTERDAM, OFFICE, lambda _: True)
    with pytest.raises(ValueError, match="no working hours"):
        closed.after(at("2026-11-25T09:00"), 1)


_LINES = st.lists(
    st.sampled_from(["mon-thu 08:00-17:00", "fri 09:00-12:15", "sat 22:00-24:00", "sun 00:00-06:00"]),
    min_size=1,
    unique=True,
)
_MOMENTS = st.integers(0, 3 * 366 * 24 * 60).map(
    lambda minutes: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


@given(_LINES, _MOMENTS, st.integers(1, 60 * 400), st.integers(1, 60 * 400))
def test_hours_add_up(lines: list[str], start: datetime, minutes: int, more: int) -> None:
    """From any moment: what lies between is what was asked for, a part and the rest come to the whole, and
    later is never earlier."""
    town = calendar(lines, DUTCH)
    end = town.after(start, minutes / 60)
    assert abs(town.between(start, end) - timedelta(minutes=minutes)) < timedelta(milliseconds=1)
    later = town.after(start, (minutes + more) / 60)
    assert start < end < later
    assert abs(town.between(end, later) - timedelta(minutes=more)) < timedelta(milliseconds=1)
    assert town.between(start, start) == town.between(end, start) == timedelta()


@given(
    st.timedeltas(timedelta(), timedelta(days=730)),
    st.floats(0.01, 300),
)
def test_before_is_after_the_other_way_round(later: timedelta, hours: float) -> None:
    """From the moment that `before` gives, just as much is worked until the end."""
    office = Calendar(AMSTERDAM, OFFICE, DUTCH.include)
    end = office.after(datetime(2026, 1, 1, tzinfo=UTC) + later, hours)
    begin = office.before(end, hours)
    wanted = timedelta(hours=hours)
    assert office.between(begin, end) == wanted
    assert abs(office.after(begin, hours) - end) <= timedelta(microseconds=1)
