"""The fence in a compacted topic: what compaction took is passed over, what was lost is not."""

import uuid
from collections.abc import Sequence

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from shared.cloudevents import Envelope, to_record
from shared.events import ISSUES, REPORTS, Event, IssueChanged, Topic
from shared.examine import examine
from shared.fence import Fence
from tests.spine import NOW, envelope, headers

PLACE = (ISSUES.name, 5)
KEYS = [uuid.uuid4() for _ in range(4)]


def state(key: int, version: int) -> Envelope[Event]:
    """One of four issues, at that version."""
    event = IssueChanged(
        issue_id=KEYS[key], version=version, category="light", areas={}, status="routed", page="http://a/b"
    )
    return Envelope.of(event, id=uuid.uuid4(), source="/test/tips", now=NOW)


def record(offset: int, number: int, given: Envelope[Event]) -> ConsumerRecord:
    made = to_record(given)
    named = tuple(headers(number, given))
    return ConsumerRecord(made.topic, 5, offset, 0, 0, made.key, made.value, None, 0, 0, named)


def numbers_applied(log: Sequence[ConsumerRecord], fence: Fence, topic: Topic = ISSUES) -> list[int]:
    place = (topic.name, 5)
    plan = examine(log, {place: fence})
    return [int(dict(found.headers)["ce_sequence"]) for found, _ in plan.news]


@given(st.data())
def test_whatever_compaction_takes_the_rest_is_applied(data: st.DataObject) -> None:
    """From any place where a reader may have stopped, batches that were sent again included: each number
    that is left is handed on, and nothing waits for what does not come."""
    keys = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=20))
    written = [(number, key, state(key, number)) for number, key in enumerate(keys, start=1)]
    if data.draw(st.booleans()):
        # The relay died before its first batch was marked: all of it once more, before what follows.
        batch = data.draw(st.integers(1, len(written)))
        written = written[:batch] + written
    log = [record(offset, number, given) for offset, (number, _, given) in enumerate(written)]
    newest = {key: offset for offset, (_, key, _) in enumerate(written)}
    left = [
        one
        for one, (_, key, _) in zip(log, written, strict=True)
        if one.offset == newest[key] or data.draw(st.booleans())
    ]
    stopped = data.draw(st.integers(0, len(log)))
    before = examine(log[:stopped], {PLACE: Fence()})
    fence = before.after.get(PLACE, Fence())
    rest = [one for one in left if one.offset >= stopped]
    applied = numbers_applied(rest, fence)
    assert {written[one.offset][0] for one in rest} == set(applied)
    new = [number for number in applied if number > fence.sequence]
    assert sorted(set(new)) == sorted(
        {written[one.offset][0] for one in rest} - set(range(fence.sequence + 1))
    )
    # Of each issue the last state was handed on, now or before.
    last = {key: number for number, key, _ in written}
    assert set(last.values()) <= set(applied) | set(numbers_applied(log[:stopped], Fence()))


@pytest.mark.parametrize(
    ("offset", "number", "taken"),
    [
        (2, 3, True),  # the next
        (5, 6, True),  # three offsets for three numbers
        (9, 6, True),  # some of them twice
        (4, 6, False),  # two offsets for three numbers: one of them never was there
        (2, 4, False),  # nothing is left out in front of it: what is missing is lost, or comes later
    ],
)
def test_a_number_is_passed_over_only_where_offsets_are_missing(
    offset: int, number: int, taken: bool
) -> None:
    """After number 2 at offset 1."""
    fence = Fence(2, uuid.uuid4(), 2)
    assert numbers_applied([record(offset, number, state(0, 1))], fence) == ([number] if taken else [])


def test_behind_what_is_lost_nothing_is_passed_over() -> None:
    """Number 3 was never there; what follows waits for it, holes or not."""
    fence = Fence(2, uuid.uuid4(), 2)
    log = [record(2, 4, state(0, 1)), record(7, 5, state(1, 1)), record(20, 9, state(2, 1))]
    assert numbers_applied(log, fence) == []


def test_in_a_topic_that_is_not_compacted_a_hole_is_a_loss() -> None:
    """Of reports none may be missing."""
    given = envelope(KEYS[0], 1)
    made = to_record(given)
    named = tuple(headers(6, given))
    early = ConsumerRecord(made.topic, 5, 5, 0, 0, made.key, made.value, None, 0, 0, named)
    assert numbers_applied([early], Fence(2, uuid.uuid4(), 2), REPORTS) == []


def test_a_repeat_is_handed_on_and_moves_no_number() -> None:
    """2 at offset 1 passed over 1, whose second copy was left; a repeat that cannot be read is no poison."""
    first, second = state(0, 1), state(1, 1)
    plan = examine([record(1, 2, second), record(2, 1, first), record(3, 2, second)], {PLACE: Fence()})
    assert [given.id for _, given in plan.news] == [second.id, first.id, second.id]
    assert plan.after[PLACE] == Fence(2, second.id, 4)
    broken = record(4, 1, first)
    broken.value = b"{"
    assert examine([broken], plan.after).poison == []
