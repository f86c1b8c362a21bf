"""The watchdog's clocks."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.watchdog import DEAF_SECONDS, Ages, Health, Progress

# Ticks: seconds since the last one, how many numbers came, how many were dealt with.
TICKS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3), st.integers(0, 4)), max_size=60)


@given(ticks=TICKS)
def test_an_age_is_the_time_since_the_oldest_was_first_seen(ticks: list[tuple[int, int, int]]) -> None:
    """For whatever comes and goes in whatever order, as if each number's time had been kept."""
    ages, seen, now, oldest, newest = Ages(), dict[int, float](), 0.0, 1, 0
    for seconds, came, gone in ticks:
        now += seconds
        for number in range(newest + 1, newest + came + 1):
            seen[number] = now
        newest += came
        oldest = min(oldest + gone, newest + 1)
        waits = oldest <= newest
        age = ages.age(oldest if waits else None, newest if waits else None, now)
        assert age == (now - seen[oldest] if waits else 0)


def test_an_age_begins_anew_after_nothing_waited() -> None:
    """An old backlog that is gone does not make the next one old."""
    ages = Ages()
    assert ages.age(5, 9, 100.0) == 0
    assert ages.age(5, 9, 160.0) == 60
    assert ages.age(None, None, 170.0) == 0
    assert ages.age(9, 9, 180.0) == 0


def test_numbers_that_come_do_not_make_the_oldest_younger() -> None:
    """Its age goes on while others queue up behind it, and falls to theirs when it is dealt with."""
    ages = Ages()
    ages.age(1, 1, 0.0)
    assert ages.age(1, 5, 10.0) == 10
    assert ages.age(1, 9, 20.0) == 20
    assert ages.age(2, 9, 30.0) == 20
    assert ages.age(6, 9, 30.0) == 10


def test_a_marker_that_moves_starts_the_clock_again() -> None:
    """Also when it moves back, as a fence does when a topic is made anew."""
    progress = Progress()
    assert progress.still_for((1, None), 1000.0) == 0
    assert progress.still_for((1, None), 1007.0) == 7
    assert progress.still_for((2, None), 1010.0) == 0
    assert progress.still_for((1, None), 1015.0) == 0
    assert progress.still_for((1, None), 1016.0) == 1


@pytest.mark.parametrize(("ago", "deaf"), [(0.0, False), (DEAF_SECONDS - 5, False), (DEAF_SECONDS + 1, True)])
def test_a_watchdog_that_no_longer_looks_is_deaf(ago: float, deaf: bool) -> None:
    """The liveness probe asks for it: a blocked event loop or an ended task cannot say so by itself."""
    assert Health(ticked=time.monotonic() - ago).deaf() is deaf
