"""A topic whose writers number nothing is fenced by its offsets: each record once, the unreadable aside."""

from aiokafka import ConsumerRecord

from shared.cloudevents import Headers
from shared.events import INCIDENTS
from shared.examine import examine
from shared.fence import Fence, Verdict
from tests.golden.samples import SAMPLES, parts_of

PLACE = (INCIDENTS.name, 4)
KEY, VALUE, HEADERS = parts_of(SAMPLES["IncidentRecorded.v1"])


def record(offset: int, value: bytes | None = VALUE, headers: Headers = HEADERS) -> ConsumerRecord:
    return ConsumerRecord(*PLACE, offset, 0, 0, KEY, value, None, 0, len(value or b""), list(headers))


def test_what_is_behind_the_offset_is_news_once() -> None:
    """Without a number and with one, which a foreign writer may make up; whatever came before is a repeat."""
    numbered = [*HEADERS, ("ce_sequence", b"1")]
    plan = examine([record(5), record(6), record(7, headers=numbered)], {PLACE: Fence(next_offset=6)})
    assert [given.offset for given, _ in plan.news] == [6, 7]
    assert plan.passed_over == {(Verdict.REPEAT, INCIDENTS.name): 1}
    assert plan.after == {PLACE: Fence(next_offset=8)}
    again = examine([record(6), record(7)], plan.after)
    assert (again.news, again.after) == ([], plan.after)


def test_what_cannot_be_read_is_set_aside_and_passed() -> None:
    """It holds up nothing behind it."""
    bad = [record(0, b"{"), record(1, headers=()), record(2, None), record(3)]
    plan = examine(bad, {PLACE: Fence()})
    assert [fault.reason for _, fault in plan.poison] == ["bad_value", "bad_headers", "tombstone"]
    assert [given.offset for given, _ in plan.news] == [3]
    assert plan.after == {PLACE: Fence(next_offset=4)}


def test_offsets_that_are_left_out_hold_nothing_up() -> None:
    """Retention has taken them; that something is missing is told by the start of the partition."""
    plan = examine([record(40)], {PLACE: Fence(next_offset=3)})
    assert plan.after == {PLACE: Fence(next_offset=41)}
    assert not plan.after[PLACE].early
