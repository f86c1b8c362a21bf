"""What a range of periods comes to that is asked for with one end, or with none."""

from datetime import date

import pytest

from services.stats.http.asked import Span, span
from shared.web import Problem

TODAY = date(2026, 11, 27)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Span("2016-11", "9999")),
        ({"from": "2020-01"}, Span("2020-01", "9999")),
        ({"until": "2015-06"}, Span("2005-06", "2015-06")),
        ({"from": "2030-01"}, Span("2030-01", "9999")),
        ({"from": "2010-01", "until": "2019-12"}, Span("2010-01", "2019-12")),
    ],
)
def test_an_end_that_is_not_named_is_filled_in(given: dict[str, str], expected: Span) -> None:
    """With the newest, and with ten years before the other or before today."""
    assert span(given, "month", TODAY) == expected


@pytest.mark.parametrize(
    "given", [{"from": "1000-01"}, {"from": "2010-01"}, {"from": "1999-01", "until": "2026-01"}]
)
def test_no_range_is_longer_than_ten_years(given: dict[str, str]) -> None:
    with pytest.raises(Problem, match="range-too-long"):
        span(given, "month", TODAY)
