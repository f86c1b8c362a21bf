"""When a report counts: in one week-part and one month, by the municipality's calendar."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stats.core import (
    NO_CATEGORY,
    OTHER_CATEGORY,
    UNKNOWN_AREA,
    Accepted,
    Cell,
    Scope,
    cells,
    count,
    day_of,
    month,
    week_part,
)

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
SCOPE = Scope(AMSTERDAM, "district", frozenset({"oakwood", "harbour"}), frozenset({"graffiti", "noise"}))
NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)


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
    assert week_part(day) == name


@given(st.dates(date(1, 1, 8), date(9999, 12, 24)))
def test_a_week_part_is_a_run_of_days_within_one_week_and_one_month(day: date) -> None:
    """Every day is in exactly one, which nests in its ISO week and in its month: both are sums of parts."""
    around = [day + timedelta(days=offset) for offset in range(-7, 8)]
    alike = [other for other in around if week_part(other) == week_part(day)]
    assert alike == [
        other
        for other in around
        if other.isocalendar()[:2] == day.isocalendar()[:2] and month(other) == month(day)
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
    st.sampled_from(["Europe/Amsterdam", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "UTC"]),
)
def test_every_hour_counts_in_one_week_part_and_one_month_that_agree(moment: datetime, zone: str) -> None:
    """In any zone the two tables put a report in the same month, so that they can be held together."""
    scope = Scope(ZoneInfo(zone), "district", SCOPE.areas, SCOPE.categories)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    part, whole = cells(scope, Accepted(hour, "oakwood", "noise"))
    assert (part.grain, whole.grain) == ("week_part", "month")
    assert part.period.endswith(f"-{whole.period}")


@pytest.mark.parametrize(
    ("area", "category", "counted_area", "counted_category"),
    [
        ("oakwood", "noise", "oakwood", "noise"),
        (None, "noise", UNKNOWN_AREA, "noise"),
        ("atlantis", "noise", UNKNOWN_AREA, "noise"),
        ("oakwood", "moon_landing", "oakwood", OTHER_CATEGORY),
        ("atlantis", "moon_landing", UNKNOWN_AREA, OTHER_CATEGORY),
    ],
)
def test_what_the_folder_does_not_know_is_counted_all_the_same(
    area: str | None, category: str, counted_area: str, counted_category: str
) -> None:
    """A report of an area or category that was removed, or is newer than this folder, never vanishes."""
    assert cells(SCOPE, Accepted(NOON, area, category)) == (
        Cell("week_part", "2026-W31-2026-08", counted_area, NO_CATEGORY),
        Cell("month", "2026-08", counted_area, counted_category),
    )


REPORTS = st.builds(
    Accepted,
    st.sampled_from([NOON + timedelta(hours=hours) for hours in (-20, -13, 0, 60, 800)]),
    st.sampled_from(["oakwood", "harbour", "atlantis", None]),
    st.sampled_from(["graffiti", "noise", "moon_landing"]),
)


@given(st.lists(REPORTS | st.none()))
def test_both_tables_add_up_to_the_number_of_reports(reports: list[Accepted | None]) -> None:
    """Each report enters each table once, which is what the privacy budget is reckoned by."""
    counted = count(SCOPE, reports)
    for grain in ("week_part", "month"):
        total = sum(number for cell, number in counted.items() if cell.grain == grain)
        assert total == sum(report is not None for report in reports)
    assert all(number > 0 for number in counted.values())
