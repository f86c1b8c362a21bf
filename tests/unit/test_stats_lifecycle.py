"""One row per report, the same whatever the order and however often its events come."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stats.core.lifecycle import Accepted, Latest, Lifecycle, lifecycle_of, merge, merge_events
from shared.events import EVENT_TYPES, ReportEvent
from tests.golden.expected import EXPECTED, ISSUE, TIP
from tests.unit.stats_lives import lives, seen_and_done_twice

REPORT_TYPES = [event_type for event_type in EVENT_TYPES.values() if issubclass(event_type, ReportEvent)]


def told_by(events: Sequence[ReportEvent]) -> Lifecycle:
    [lifecycle] = merge_events("district", events).values()
    return lifecycle


@given(lives(), st.data())
def test_any_order_and_any_repeats_of_a_reports_events_give_one_row(
    life: list[ReportEvent], data: st.DataObject
) -> None:
    """Reports and dispatches are two topics, and a replay comes late: order must not matter."""
    repeats = data.draw(st.lists(st.sampled_from(life), max_size=4))
    shuffled = data.draw(st.permutations([*life, *repeats]))
    assert told_by(shuffled) == told_by(life)


@given(lives())
def test_every_order_of_a_short_life_gives_one_row(life: list[ReportEvent]) -> None:
    """All permutations, not only those that chance draws."""
    short = life[:5]
    rows = {repr(told_by(order)) for order in itertools.permutations(short)}
    assert len(rows) == 1


@given(lives(), st.data())
def test_merging_is_commutative_associative_and_idempotent(
    life: list[ReportEvent], data: st.DataObject
) -> None:
    """The three laws together say that batches may be cut anywhere."""
    pieces = [lifecycle_of(event, "district") for event in life]
    one, two, three = (reduce(merge, data.draw(st.lists(st.sampled_from(pieces), min_size=1))) for _ in "123")
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three))
    assert merge(one, one) == one
    assert merge(merge(one, two), two) == merge(one, two)


def test_a_whole_life_is_told_in_its_row() -> None:
    """What the release of a closed period will need is all there, and nothing finer than the hour."""
    issue = [
        EXPECTED[f"Report{name}.v1"].event
        for name in (
            "Recategorised",
            "Reopened",
            "Routed",
            "Delivered",
            "Acknowledged",
            "Resolved",
            "Refused",
        )
    ]
    assert told_by(issue) == Lifecycle(
        kind="issue",
        category=Latest(2, "road_damage"),
        tips_version=3,
        notify_version=6,
        routed=True,
        routed_version=1,
        delivered=True,
        acknowledged="4h",
        resolved=Latest(5, ("repaired", True)),
        refused_version=6,
        reopened=True,
    )
    tip = [EXPECTED[f"{name}.v1"].event for name in ("ReportAccepted", "ReportWithdrawn", "ReportErased")]
    assert told_by(tip) == Lifecycle(
        kind="tip",
        accepted=Accepted(datetime(2026, 11, 5, 14, tzinfo=UTC), "oakwood", "drug_dealing"),
        category=Latest(1, "drug_dealing"),
        tips_version=5,
        withdrawn=True,
        erased=True,
    )


def test_events_of_several_reports_do_not_mix() -> None:
    """A batch holds many reports; each event changes its own row only."""
    both = [EXPECTED["ReportAccepted.v1"].event, EXPECTED["ReportRouted.v1"].event]
    merged = merge_events("district", both)
    assert merged.keys() == {TIP, ISSUE}
    assert (merged[TIP].routed, merged[ISSUE].routed) == (False, True)
    assert merged[ISSUE].accepted is None


@pytest.mark.parametrize("event_type", REPORT_TYPES, ids=lambda event_type: event_type.__name__)
def test_every_event_about_a_report_is_understood(event_type: type[ReportEvent]) -> None:
    """Also one that no statistic reads leaves its version, so that its report has a row."""
    event = EXPECTED[event_type.type.removeprefix("ibuurt.")].event
    lifecycle = lifecycle_of(event, "district")
    assert event.version == max(lifecycle.tips_version, lifecycle.notify_version)
    assert lifecycle.kind == event.kind


def test_the_first_acknowledgement_counts_and_the_last_resolution() -> None:
    """The bucket is of the time until anybody had seen it; what was tried before is not how it ended."""
    for order in itertools.permutations(seen_and_done_twice()):
        row = told_by(order)
        assert row.acknowledged == "24h"
        assert row.resolved == Latest(9, ("replaced", False))


def test_a_writer_that_changes_a_kind_makes_the_report_a_tip() -> None:
    """A report's kind never changes; where one breaks that, the more private one holds, in any order."""
    event = EXPECTED["ReportRouted.v1"].event
    life = [event, event.model_copy(update={"kind": "tip", "version": 2})]
    assert {told_by(order).kind for order in itertools.permutations(life)} == {"tip"}
