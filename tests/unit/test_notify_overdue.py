"""When clocks tell something, and what a report needs."""

import itertools
from datetime import timedelta

import pytest

from services.notify.core.calendar import Calendar
from services.notify.core.overdue import REMINDER, Clocks, need, running
from services.notify.core.steps import Dispatch
from shared.municipality.model import Clocks as Levels
from shared.municipality.model import Level
from tests.unit.test_notify_routing import IBUURT
from tests.unit.test_notify_steps import HOUR, dispatch

ALWAYS = IBUURT.units["neighbourhood_police_north"]
HOURS = timedelta(hours=1)


def clocks() -> Clocks:
    """Of a unit that always works: reminded at three quarters, told at once, after a day and after two."""
    levels = Levels(levels=(Level(after_hours=0), Level(after_hours=24, unit="a"), Level(after_hours=48)))
    town = IBUURT.model_copy(update={"clocks": levels})
    return Clocks(town, {"parks": Calendar.of(IBUURT, ALWAYS)})


def test_what_is_told_of_a_new_report_is_in_order() -> None:
    """Of both targets, 24 and 120 hours: each moment once, and `next` is the first of them."""
    told = clocks().due(dispatch(), HOUR + 1_000 * HOURS)
    assert told == [
        (HOUR + hours * HOURS, target, level)
        for hours, target, level in (
            (18, "acknowledge", REMINDER),
            (24, "acknowledge", 1),
            (48, "acknowledge", 2),
            (72, "acknowledge", 3),
            (90, "resolve", REMINDER),
            (120, "resolve", 1),
            (144, "resolve", 2),
            (168, "resolve", 3),
        )
    ]
    assert clocks().next(dispatch()) == told[0].at
    for before, after in itertools.pairwise(told):
        at = dispatch()._replace(clocks_until=before.at)
        assert clocks().next(at) == after.at
        assert clocks().due(at, after.at - timedelta(microseconds=1)) == []
    assert clocks().next(dispatch()._replace(clocks_until=told[-1].at)) is None


def test_a_promise_to_answer_has_a_clock_of_its_own() -> None:
    """Until the resident was told something."""
    promised = dispatch("acknowledged")._replace(seen_at=HOUR, answer_by=HOUR + 60 * HOURS)
    assert [target for target, _ in running(promised)] == ["answer", "resolve"]
    assert need(promised, HOUR + 60 * HOURS) == "answer_overdue"
    assert [target for target, _ in running(promised._replace(answered_at=HOUR))] == ["resolve"]


@pytest.mark.parametrize(
    ("changes", "hours", "needs"),
    [
        ({}, 10, None),
        ({"reminded": True}, 20, "soon"),
        ({"reminded": True}, 24, "acknowledge_overdue"),
        ({"reminded": True, "seen_at": HOUR}, 24, "soon"),
        ({"level": 1}, 10, "not_delivered"),
        ({"level": 1, "status": "delivered"}, 10, None),
        ({"level": 1}, 24, "acknowledge_overdue"),
        ({"seen_at": HOUR}, 119, None),
        ({"seen_at": HOUR}, 120, "resolve_overdue"),
        ({"seen_at": HOUR, "waits_since": HOUR}, 500, None),
        ({"status": "resolved"}, 500, None),
        ({"status": "erased"}, 500, None),
    ],
)
def test_what_a_report_needs_is_the_worst_of_it(
    changes: dict[str, object], hours: int, needs: str | None
) -> None:
    """A target is late from its end on."""
    report: Dispatch = dispatch()._replace(**changes)  # type: ignore[arg-type]
    assert need(report, HOUR + hours * HOURS) == needs


def test_a_unit_that_left_the_folder_has_no_clocks() -> None:
    """Nobody is there to be told: its reports go to others (reassigning.py)."""
    gone = dispatch()._replace(unit="closed_down")
    assert clocks().next(gone) is None


def test_a_report_whose_category_left_the_folder_is_late_all_the_same() -> None:
    """By the times that it has; nobody is reminded of it."""
    one = dispatch()
    levels = [moment for moment in clocks().due(one, HOUR + 5_000 * HOURS) if moment.level]
    assert levels
    assert clocks().due(one._replace(category="no_more"), HOUR + 5_000 * HOURS) == levels


def test_who_is_told_besides_is_the_levels_unit() -> None:
    """And a unit finds the levels at which it is told of others' reports."""
    assert [clocks().told_at(level) for level in (1, 2, 3, 4)] == [None, "a", None, None]
    assert clocks().levels_of("a") == [2]
