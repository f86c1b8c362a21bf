"""What a batch of records comes to, before anything is done."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from aiokafka import ConsumerRecord

from shared.cloudevents import Envelope, from_record, number_of
from shared.errors import Poison
from shared.events import TOPICS, Event, Place, is_compacted
from shared.fence import Fence, Verdict

# A few milliseconds' work.
AT_ONCE = 100


@dataclass
class Plan:
    """What is news, what is poison, and where the fences stand before and after."""

    records: Sequence[ConsumerRecord]
    # The offset of each partition's first record.
    first: dict[Place, int] = field(default_factory=dict)
    before: dict[Place, Fence] = field(default_factory=dict)
    after: dict[Place, Fence] = field(default_factory=dict)
    news: list[tuple[ConsumerRecord, Envelope[Event]]] = field(default_factory=list)
    poison: list[tuple[ConsumerRecord, Poison]] = field(default_factory=list)
    # How many were no news, by topic.
    passed_over: dict[tuple[Verdict, str], int] = field(default_factory=dict)

    def outcomes(self) -> list[bool]:
        """For each record that is news or poison, in the order read, whether it is news."""
        if not self.poison:
            return [True] * len(self.news)
        good = {id(record) for record, _ in self.news}
        bad = {id(record) for record, _ in self.poison}
        return [id(record) in good for record in self.records if id(record) in good or id(record) in bad]


def examine(records: Sequence[ConsumerRecord], fences: Mapping[Place, Fence]) -> Plan:
    """Judge each record against its partition's fence, in order. Pure. Raises KeyError where a partition has
    none.

    Of a compacted topic what compaction took is passed over, and a repeat is news once more: whoever applies
    it knows by its version whether it has it."""
    plan = Plan(records)
    _examine_part(plan, records, fences)
    return plan


async def examine_in_turns(records: Sequence[ConsumerRecord], fences: Mapping[Place, Fence]) -> Plan:
    """As `examine`, while whatever else this process does goes on: what the batch before waits for."""
    plan = Plan(records)
    for start in range(0, len(records), AT_ONCE):
        _examine_part(plan, records[start : start + AT_ONCE], fences)
        await asyncio.sleep(0)
    return plan


def _examine_part(plan: Plan, records: Sequence[ConsumerRecord], fences: Mapping[Place, Fence]) -> None:
    for place, run in groupby(records, attrgetter("topic", "partition")):
        current = plan.after.get(place, fences[place])
        plan.before.setdefault(place, current)
        in_order = list(run)
        plan.first.setdefault(place, in_order[0].offset)
        one = _examine_one if TOPICS[place[0]].numbered else _examine_foreign
        for record in in_order:
            current = one(plan, record, current)
        plan.after[place] = current


def _examine_one(plan: Plan, record: ConsumerRecord, current: Fence) -> Fence:
    """Add a record to the plan; the fence behind it."""
    number = event_id = None
    fault: Poison | None = None
    try:
        number, event_id = number_of(record.headers)
    except Poison as poison:
        fault = poison
    verdict = current.judge(record.offset, number, event_id)
    again = False
    if verdict in (Verdict.EARLY, Verdict.REPEAT) and is_compacted(TOPICS[record.topic]):
        if verdict is Verdict.EARLY and current.follows_a_hole(record.offset, number):
            verdict = Verdict.NEWS
        # Compaction may have taken its first copy, and its number was passed over then.
        again = verdict is Verdict.REPEAT and fault is None
    if verdict is Verdict.NEWS or again:
        try:
            envelope = from_record(record.topic, record.key, record.value, record.headers, event_id)
            plan.news.append((record, envelope))
        except Poison as poison:
            fault = poison
    if verdict is Verdict.REPEAT:
        fault = None
    elif verdict is Verdict.CONFLICT:
        fault = Poison("number_used_twice", "another writer, or a database restored from a backup")
    if verdict is not Verdict.NEWS:
        plan.passed_over[verdict, record.topic] = plan.passed_over.get((verdict, record.topic), 0) + 1
    if fault:
        plan.poison.append((record, fault))
    return current.after(verdict, record.offset, number, event_id)


def _examine_foreign(plan: Plan, record: ConsumerRecord, current: Fence) -> Fence:
    """The same for a topic whose writers number nothing: its offsets alone say what is news, and whoever
    applies it knows by its own id whether it has it."""
    if record.offset < current.next_offset:
        key = (Verdict.REPEAT, record.topic)
        plan.passed_over[key] = plan.passed_over.get(key, 0) + 1
        return current
    try:
        plan.news.append((record, from_record(record.topic, record.key, record.value, record.headers)))
    except Poison as poison:
        plan.poison.append((record, poison))
    return current._replace(next_offset=record.offset + 1)
