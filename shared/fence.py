"""The fence: which records of a partition are news. Pure decisions, and the rows that hold them.

Numbers are contiguous per topic and partition. Only the fence's number + 1 is applied; at or below is a
repeat; above is early and is ignored while the fence stays, since the relay sends it again after what is
missing (shared/relay.py).
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from shared.errors import Superseded
from shared.events import Place


class Verdict(Enum):
    """What a record is, by its number alone."""

    NEWS = "news"
    REPEAT = "repeat"
    CONFLICT = "conflict"
    EARLY = "early"
    UNNUMBERED = "unnumbered"


_NEW = tuple.__new__


class Fence(NamedTuple):
    """How far a group has applied one partition; the next record to read is at `next_offset`.

    `early` says that a record ahead of a missing one was seen: until the missing one comes, the fence does
    not move, so that nothing is passed over by a restart. It is not stored.
    `event_id` is None before the first record, and where a person accepted that a number will not come.
    A tuple, since one is made for each record.
    """

    sequence: int = 0
    event_id: uuid.UUID | None = None
    next_offset: int = 0
    gap: bool = False
    early: bool = False

    @property
    def position(self) -> tuple[int, uuid.UUID | None, int]:
        """What is stored and compared."""
        return self.sequence, self.event_id, self.next_offset

    def judge(self, offset: int, number: int | None, event_id: uuid.UUID | None) -> Verdict:
        """What a record at `offset` is to this fence; a number that cannot be read is None."""
        if number == self.sequence + 1:
            return Verdict.NEWS
        if number is None:
            # Before `next_offset` only where a missing number is looked for: it was set aside the first time.
            return Verdict.UNNUMBERED if offset >= self.next_offset else Verdict.REPEAT
        if number > self.sequence:
            return Verdict.EARLY
        if number == self.sequence and self.event_id not in {None, event_id}:
            return Verdict.CONFLICT
        return Verdict.REPEAT

    def follows_a_hole(self, offset: int, number: int | None) -> bool:
        """Whether compaction explains why the numbers before `number` are not there: an offset is missing
        for each of them. What was never there, or comes later, leaves no offsets out."""
        missing = (number or 0) - self.sequence - 1
        return not self.early and 0 < missing <= offset - self.next_offset

    def after(self, verdict: Verdict, offset: int, number: int | None, event_id: uuid.UUID | None) -> "Fence":
        """The fence once that record at `offset` is dealt with."""
        if verdict is Verdict.NEWS:
            # By its name Python takes twice as long.
            return _NEW(Fence, (number, event_id, offset + 1, False, False))
        if verdict is Verdict.EARLY or self.early:
            return self._replace(early=True)
        return self._replace(next_offset=offset + 1)


async def load(connection: Any, group: str, places: Iterable[Place]) -> dict[Place, Fence]:
    """The stored fences of the places, made where they are missing."""
    topics, partitions = _columns(places)
    await connection.execute(
        """INSERT INTO fence (consumer_group, topic, partition)
           SELECT $1, * FROM unnest($2::text[], $3::integer[]) ON CONFLICT DO NOTHING""",
        group,
        topics,
        partitions,
    )
    rows = await connection.fetch(
        """SELECT f.* FROM fence f JOIN unnest($2::text[], $3::integer[]) AS w (topic, partition)
           USING (topic, partition) WHERE f.consumer_group = $1""",
        group,
        topics,
        partitions,
    )
    return {
        (row["topic"], row["partition"]): Fence(
            row["sequence"], row["event_id"], row["next_offset"], row["gap"]
        )
        for row in rows
    }


async def move(
    connection: Any, group: str, before: Mapping[Place, Fence], after: Mapping[Place, Fence]
) -> None:
    """Compare and set every fence that changed, in the caller's transaction. Raises Superseded."""
    changed = sorted(place for place in after if after[place].position != before[place].position)
    topics, partitions = _columns(changed)
    moved = await connection.execute(
        """UPDATE fence f SET sequence = n.sequence, event_id = n.event_id, next_offset = n.next_offset,
               gap = f.gap AND n.sequence = f.sequence
           FROM unnest($2::text[], $3::integer[], $4::bigint[], $5::bigint[], $6::bigint[], $7::uuid[],
                       $8::bigint[])
               AS n (topic, partition, old_sequence, old_offset, sequence, event_id, next_offset)
           WHERE f.consumer_group = $1 AND f.topic = n.topic AND f.partition = n.partition
             AND f.sequence = n.old_sequence AND f.next_offset = n.old_offset""",
        group,
        topics,
        partitions,
        [before[place].sequence for place in changed],
        [before[place].next_offset for place in changed],
        [after[place].sequence for place in changed],
        [after[place].event_id for place in changed],
        [after[place].next_offset for place in changed],
    )
    if moved != f"UPDATE {len(changed)}":
        raise Superseded(f"{moved} of {len(changed)} fences")


async def clear_gaps(connection: Any, group: str, places: Iterable[Place]) -> None:
    """Note that what these partitions waited for is there."""
    topics, partitions = _columns(places)
    await connection.execute(
        """UPDATE fence SET gap = false FROM unnest($2::text[], $3::integer[]) AS n (topic, partition)
           WHERE consumer_group = $1 AND fence.topic = n.topic AND fence.partition = n.partition AND gap""",
        group,
        topics,
        partitions,
    )


async def mark_gap(connection: Any, group: str, place: Place, stored: Fence) -> bool:
    """Note that the number after `stored` did not come in time, for operators and other replicas to see.

    Returns whether that is new; a fence that has moved since is left alone.
    """
    marked = await connection.execute(
        """UPDATE fence SET gap = true WHERE consumer_group = $1 AND topic = $2 AND partition = $3
           AND sequence = $4 AND next_offset = $5 AND NOT gap""",
        group,
        *place,
        stored.sequence,
        stored.next_offset,
    )
    return bool(marked == "UPDATE 1")


def _columns(places: Iterable[Place]) -> tuple[Sequence[str], Sequence[int]]:
    # In one order, so that two consumers that make the same rows never wait for each other.
    listed = sorted(places)
    return [topic for topic, _ in listed], [partition for _, partition in listed]
