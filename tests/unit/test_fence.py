"""The fence's decisions: whatever repeats, jumps or comes in another order, each number once and in order."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace

import pytest
from aiokafka import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from shared.dead_letters import POISON_MAX_RUN, POISON_MAX_SHARE, POISON_WINDOW, PoisonCap
from shared.errors import Refusal
from shared.events import REPORTS
from shared.examine import AT_ONCE, Plan, examine, examine_in_turns
from shared.fence import Fence, Verdict
from tests.spine import envelope, headers, key_in

PLACE = (REPORTS.name, 5)
KEY = key_in(5)
EVENTS = {number: envelope(KEY, number) for number in range(1, 40)}
A, B = uuid.uuid4(), uuid.uuid4()


def _records(numbers: Sequence[int | None]) -> list[ConsumerRecord]:
    """A partition that holds these numbers; None is a record without one."""
    return [_record(offset, number) for offset, number in enumerate(numbers)]


def _record(offset: int, number: int | None) -> ConsumerRecord:
    content = EVENTS[number] if number else EVENTS[1]
    value = content.event.model_dump_json().encode()
    named = tuple(headers(number, content)) if number else ()
    return ConsumerRecord(*PLACE, offset, 0, 0, str(KEY).encode(), value, None, 0, 0, named)


def _applied(plan: Plan) -> list[int]:
    return [event.model_dump()["version"] for event in (found.event for _, found in plan.news)]


@pytest.mark.parametrize(
    ("number", "event_id", "verdict"),
    [
        (6, A, Verdict.NEWS),
        (6, B, Verdict.NEWS),
        (5, A, Verdict.REPEAT),
        (5, B, Verdict.CONFLICT),
        (4, B, Verdict.REPEAT),
        (7, A, Verdict.EARLY),
        (2**62, A, Verdict.EARLY),
        (None, None, Verdict.UNNUMBERED),
    ],
)
def test_a_record_is_judged_by_its_number(
    number: int | None, event_id: uuid.UUID | None, verdict: Verdict
) -> None:
    """Only the next number is news; the last one again under another id is a conflict."""
    assert Fence(5, A, 40).judge(40, number, event_id) is verdict


def test_a_first_number_other_than_one_is_early() -> None:
    """A fence that has seen nothing waits for 1."""
    assert Fence().judge(0, 1, A) is Verdict.NEWS
    assert Fence().judge(0, 2, A) is Verdict.EARLY


def test_each_verdict_moves_the_fence_as_it_must() -> None:
    """News moves number and offset; what is dealt with moves the offset; what is early moves nothing."""
    fence = Fence(5, A, 40)
    assert fence.after(Verdict.NEWS, 40, 6, B) == Fence(6, B, 41)
    assert fence.after(Verdict.REPEAT, 40, 5, A) == Fence(5, A, 41)
    assert fence.after(Verdict.CONFLICT, 40, 5, B) == Fence(5, A, 41)
    assert fence.after(Verdict.UNNUMBERED, 40, None, None) == Fence(5, A, 41)
    assert fence.after(Verdict.EARLY, 40, 7, B) == Fence(5, A, 40, early=True)


def test_while_a_number_is_missing_the_offset_stays() -> None:
    """Whatever follows, a restart begins at the first record that was early, until the missing one comes."""
    waiting = Fence(5, A, 40, gap=True, early=True)
    for verdict in (Verdict.REPEAT, Verdict.CONFLICT, Verdict.UNNUMBERED, Verdict.EARLY):
        assert waiting.after(verdict, 45, 5, A) == waiting
    assert waiting.after(Verdict.NEWS, 46, 6, B) == Fence(6, B, 47)


def test_an_early_record_moves_the_fence_nowhere() -> None:
    """Neither what was read before a seek nor what is read again, from the topic's start, in search of the
    missing number; only that number does, wherever it stands in a topic that was made anew."""
    fence = Fence(5, A, 40)
    for offset in (3, 40, 90):
        assert fence.after(Verdict.EARLY, offset, 99, B) == fence._replace(early=True)
    waiting = fence._replace(early=True)
    assert waiting.after(Verdict.REPEAT, 0, 1, B) == waiting
    assert waiting.after(Verdict.NEWS, 3, 6, B) == Fence(6, B, 4)


def test_what_could_not_be_read_is_set_aside_once() -> None:
    """Read again in search of a missing number, it is a repeat."""
    assert Fence(5, A, 40).judge(39, None, None) is Verdict.REPEAT
    assert Fence(5, A, 40).judge(40, None, None) is Verdict.UNNUMBERED


def test_an_accepted_number_conflicts_with_none() -> None:
    """A person accepted that it will not come: should it come all the same, it is a repeat."""
    assert Fence(5, None, 40).judge(40, 5, B) is Verdict.REPEAT


def test_a_gap_flag_ends_with_the_number_that_was_missing() -> None:
    """News after a gap is news like any other."""
    assert not Fence(5, A, 40)._replace(gap=True).after(Verdict.NEWS, 40, 6, B).gap


def test_partitions_do_not_touch_each_other() -> None:
    """A hole in one partition holds up no other one."""
    other = (REPORTS.name, 6)
    records = _records([1, 3])
    records += [replace(record, partition=6) for record in _records([1, 2])]
    plan = examine(records, {PLACE: Fence(), other: Fence()})
    assert (plan.after[PLACE].sequence, plan.after[other].sequence) == (1, 2)


@given(st.data())
def test_whatever_comes_each_number_is_applied_once_and_in_order(data: st.DataObject) -> None:
    """Any records in any order, read in any pieces, with restarts from what was stored: what is applied is
    1, 2, 3 … without a hole or a repeat, and what is stored of a restart is never ahead of it."""
    log = _records(data.draw(st.lists(st.none() | st.integers(1, 8), max_size=40)))
    fence, position, applied = Fence(), 0, []
    for _ in range(data.draw(st.integers(1, 12))):
        count = data.draw(st.integers(1, 10))
        plan = examine(log[position : position + count], {PLACE: fence})
        fence = plan.after.get(PLACE, fence)
        position += len(plan.records)
        applied += _applied(plan)
        assert applied == list(range(1, fence.sequence + 1))
        if data.draw(st.booleans()):
            fence = fence._replace(early=False)
            position = fence.next_offset


@st.composite
def _sent_logs(draw: st.DrawFn) -> tuple[list[int], int]:
    """What a relay can leave behind: batches in order, each sent in part as often as it failed and then
    whole; and behind it, anywhere, records of earlier batches from a zombie."""
    log: list[int] = []
    last = 0
    for _ in range(draw(st.integers(1, 5))):
        batch = list(range(last + 1, last + 1 + draw(st.integers(1, 6))))
        for _ in range(draw(st.integers(0, 2))):
            log += [number for number in batch if draw(st.booleans())]
            log += draw(st.lists(st.integers(1, last), max_size=3)) if last else []
        log += batch
        last = batch[-1]
    return log, last


@given(_sent_logs(), st.data())
def test_what_a_relay_sends_is_applied_whole_and_no_restart_passes_over_anything(
    sent: tuple[list[int], int], data: st.DataObject
) -> None:
    """At every moment the stored fence is enough: from its offset on the log still holds all that is not
    applied, in order; and at the end everything is."""
    numbers, last = sent
    log = _records(numbers)
    fence, position, applied = Fence(), 0, []
    restarts = data.draw(st.lists(st.booleans(), min_size=len(log), max_size=len(log)))
    chunk = data.draw(st.integers(1, 7))
    while position < len(log):
        plan = examine(log[position : position + chunk], {PLACE: fence})
        fence = plan.after[PLACE]
        position += len(plan.records)
        applied += _applied(plan)
        rest = iter(numbers[fence.next_offset :])
        assert all(number in rest for number in range(fence.sequence + 1, last + 1))
        if restarts and restarts.pop():
            fence = fence._replace(early=False)
            position = fence.next_offset
    assert applied == list(range(1, last + 1))


async def test_a_batch_is_looked_through_in_turns_with_whatever_else_goes_on() -> None:
    """It comes to the same; and what waits for its database is dealt with meanwhile, not behind it."""
    records = _records([*range(1, 20), *[7] * AT_ONCE, None, 20, 39, *[7] * AT_ONCE, 21])
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count_turns())
    plan = await examine_in_turns(records, {PLACE: Fence()})
    other.cancel()
    whole = examine(records, {PLACE: Fence()})
    assert turns >= len(records) // AT_ONCE
    assert plan.outcomes() == whole.outcomes()
    assert (plan.after, plan.before, plan.first, plan.passed_over) == (
        whole.after,
        whole.before,
        whole.first,
        whole.passed_over,
    )
    assert plan.news == whole.news


def test_outcomes_are_in_the_order_read() -> None:
    """Repeats and what is early do not count; a poison record stands where it was read."""
    records = _records([1, 1, None, 2, 9, None, 3])
    plan = examine(records, {PLACE: Fence()})
    # Behind the hole in front of 9, record 3 is still the next one.
    assert plan.outcomes() == [True, False, True, False, True]
    assert examine(_records([1, 2]), {PLACE: Fence()}).outcomes() == [True, True]


def test_the_cap_counts_a_run_across_batches_and_ends_it_with_a_good_record() -> None:
    """POISON_MAX_RUN in a row is believed, one more is not; a good one in between begins anew."""
    cap = PoisonCap()
    cap.count([False] * 30)
    cap.count([False] * (POISON_MAX_RUN - 30))
    cap.count([True] + [False] * POISON_MAX_RUN)
    with pytest.raises(Refusal, match=f"the last {POISON_MAX_RUN + 1} in a row"):
        cap.count([False])


def test_the_cap_counts_a_share_of_its_window() -> None:
    """A tenth of a thousand is believed, one more is not; the next window begins anew."""
    allowed = int(POISON_MAX_SHARE * POISON_WINDOW)
    pattern = [False, *[True] * 9]
    cap = PoisonCap()
    for _ in range(2):
        cap.count(pattern * allowed)
    with pytest.raises(Refusal, match=f"{allowed + 1} of {POISON_WINDOW} records could not be read"):
        cap.count([False, *(pattern * allowed)[:-1]])
