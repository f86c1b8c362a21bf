"""When something counts: in one week-part, by the municipality's calendar, and when that closes."""

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stats.core.periods import Grain, begin_of, day_of, named, next_open, part_of, period, periods

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
GRAINS: tuple[Grain, ...] = ("week_part", "month", "quarter")
ZONES = ["Europe/Amsterdam", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "UTC"]


@pytest.mark.parametrize(
    ("day", "name"),
    [
        (date(2026, 7, 31), "2026-W31-2026-07"),
        (date(2026, 8, 1), "2026-W31-2026-08"),
        (date(2026, 8, 3), "2026-W32-2026-08"),
        (date(2020, 12, 31), "2020-W53-2020-12"),
        (date(2021, 1, 3), "2020-W53-2021-01"),
        (date(2021, 1, 4), "2021-W01-2021-01"),
        (date(2024, 12, 30), "2025-W01-2024-12"),
        (date(2025, 1, 1), "2025-W01-2025-01"),
        (date(2028, 2, 29), "2028-W09-2028-02"),
    ],
)
def test_a_week_part_is_named_by_its_iso_week_and_its_month(day: date, name: str) -> None:
    """Around the turn of a year the ISO week belongs to another year than the month does."""
    assert period("week_part", day).name == name


@given(st.dates(date(1, 1, 8), date(9999, 12, 24)))
def test_a_week_part_is_a_run_of_days_within_one_week_and_one_month(day: date) -> None:
    """Every day is in exactly one, which nests in its ISO week and in its month: both are sums of parts."""
    around = [day + timedelta(days=offset) for offset in range(-7, 8)]
    alike = [other for other in around if period("week_part", other) == period("week_part", day)]
    assert alike == [
        other
        for other in around
        if other.isocalendar()[:2] == day.isocalendar()[:2]
        and (other.year, other.month) == (day.year, day.month)
    ]
    assert day in alike
    assert alike[-1] - alike[0] == timedelta(days=len(alike) - 1)
    assert 1 <= len(alike) <= 7


@pytest.mark.parametrize(
    ("hour", "day"),
    [
        # Summer time: midnight in Amsterdam is 22:00 UTC.
        (datetime(2026, 7, 31, 21, tzinfo=UTC), date(2026, 7, 31)),
        (datetime(2026, 7, 31, 22, tzinfo=UTC), date(2026, 8, 1)),
        # Winter time: it is 23:00 UTC.
        (datetime(2026, 12, 31, 22, tzinfo=UTC), date(2026, 12, 31)),
        (datetime(2026, 12, 31, 23, tzinfo=UTC), date(2027, 1, 1)),
        # The nights on which the clock changes: a day of 23 hours and one of 25.
        (datetime(2026, 3, 28, 23, tzinfo=UTC), date(2026, 3, 29)),
        (datetime(2026, 3, 29, 21, tzinfo=UTC), date(2026, 3, 29)),
        (datetime(2026, 3, 29, 22, tzinfo=UTC), date(2026, 3, 30)),
        (datetime(2026, 10, 24, 22, tzinfo=UTC), date(2026, 10, 25)),
        (datetime(2026, 10, 25, 22, tzinfo=UTC), date(2026, 10, 25)),
        (datetime(2026, 10, 25, 23, tzinfo=UTC), date(2026, 10, 26)),
    ],
)
def test_the_day_is_the_municipalitys(hour: datetime, day: date) -> None:
    """A report of one o'clock at night counts in the day that its sender was living in."""
    assert day_of(hour, AMSTERDAM) == day


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
    st.sampled_from(ZONES),
)
def test_every_hour_counts_in_the_week_part_of_its_day_there(moment: datetime, zone: str) -> None:
    """In any zone, also where a day has 23 or 25 hours."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    day = hour.astimezone(ZoneInfo(zone)).date()
    part = period("week_part", part_of(hour, ZoneInfo(zone)))
    assert part.begin <= day < part.end


@given(st.dates(date(1990, 1, 1), date(2090, 1, 1)), st.sampled_from(GRAINS))
def test_periods_follow_one_another_nest_and_are_found_by_their_names(day: date, grain: Grain) -> None:
    """Each day is in one, each week-part in one month and quarter, and a name means one period."""
    one = period(grain, day)
    assert one.begin <= day < one.end
    assert named(grain, one.name) == one
    assert begin_of(one.name) == one.begin
    for inner in range(GRAINS.index(grain)):
        parts = list(periods(GRAINS[inner], one.begin, one.end))
        assert parts[0].begin == one.begin
        assert parts[-1].end == one.end
        assert all(before.end == after.begin for before, after in itertools.pairwise(parts))


@pytest.mark.parametrize("name", ["2026-W32-2026-07", "2026-13", "2026-Q5", "2026-W31-2027-07", "", "x"])
def test_a_name_that_no_period_has_is_none(name: str) -> None:
    """Such as a week that does not touch the month."""
    for grain in GRAINS:
        with pytest.raises(ValueError):
            named(grain, name)
    with pytest.raises(ValueError):
        begin_of(name)


def test_periods_begin_where_they_are_asked_to() -> None:
    """None that had begun before, and none that begins on the last day or after."""
    found = [one.name for one in periods("month", date(2026, 8, 2), date(2026, 11, 1))]
    assert found == ["2026-09", "2026-10"]


@pytest.mark.parametrize(
    ("grain", "day", "hours", "closes"),
    [
        ("week_part", date(2026, 11, 4), 48, datetime(2026, 11, 10, 23, tzinfo=UTC)),
        ("month", date(2026, 11, 4), 48, datetime(2026, 12, 2, 23, tzinfo=UTC)),
        # The clock was put back in between: the end is a midnight there, and 48 hours are 48 hours.
        ("month", date(2026, 9, 4), 48, datetime(2026, 10, 2, 22, tzinfo=UTC)),
        ("week_part", date(2026, 10, 23), 48, datetime(2026, 10, 27, 23, tzinfo=UTC)),
        ("month", date(2026, 11, 4), 35 * 24, datetime(2027, 1, 4, 23, tzinfo=UTC)),
        ("quarter", date(2026, 11, 4), 30 * 24, datetime(2027, 1, 30, 23, tzinfo=UTC)),
    ],
)
def test_a_period_closes_so_long_after_its_last_midnight(
    grain: Grain, day: date, hours: int, closes: datetime
) -> None:
    """By the municipality's clock."""
    assert period(grain, day).closes(AMSTERDAM, timedelta(hours=hours)) == closes


def test_what_comes_late_counts_in_the_next_that_is_open() -> None:
    """Over several that are closed, and over the end of a month; what is not late stays where it is."""
    parts = [one.begin for one in periods("week_part", date(2026, 11, 16), date(2026, 12, 31))]
    closed = {*parts[:3]}
    assert [next_open(part, closed) for part in parts[:5]] == [*[parts[3]] * 4, parts[4]]
