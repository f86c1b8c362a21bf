"""Where a fence stands in its partition: does the topic hold what the fence says was applied?

It does not where the topic was made anew and is not yet filled again, or where its writer's database is of an
earlier moment than the reader's: then numbers that the fence has passed are given to other events, and to
take them for repeats would lose them without a word.
"""

import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from shared import fence, kafka
from shared.cloudevents import number_of
from shared.cluster import Where
from shared.errors import Poison, typed
from shared.events import TOPICS, Place, is_compacted
from shared.fence import Fence
from shared.metrics import ConsumerMetrics
from shared.subscription import UNREADABLE, Subscription

# How soon to look again where the topic does not hold what was applied, or did not answer.
LOOK_AGAIN_SECONDS = 5.0

log = structlog.get_logger()


class Standing:
    """What a consumer knows of its partitions: nothing is read of one until it was found to hold what the
    fence says was applied. `astray` are those that do not, and since when (of the monotonic clock)."""

    def __init__(
        self, where: Where, pool: Any, group: str, subscription: Subscription, metrics: ConsumerMetrics
    ) -> None:
        self._where = where
        self._pool = pool
        self._group = group
        self._subscription = subscription
        self._metrics = metrics
        self._sure: set[Place] = set()
        self.astray: dict[Place, float] = {}
        self._looked_at = 0.0

    def doubt(self, places: Iterable[Place]) -> None:
        """Read nothing of these before they are found again; of others that are given up nothing is kept."""
        assigned = self._subscription.assigned()
        self._sure = (self._sure & assigned).difference(places)
        for place in self.astray.keys() - assigned:
            del self.astray[place]
            self._metrics.gap.labels(*place).set(0)
        self._subscription.pause(places)

    def unsure(self) -> set[Place]:
        """The partitions that were not found yet."""
        return self._subscription.assigned() - self._sure

    def due(self) -> set[Place]:
        """The same, when it is time to look again."""
        waited = time.monotonic() - self._looked_at
        return self.unsure() if waited >= LOOK_AGAIN_SECONDS else set()

    async def found(self, stored: Mapping[Place, Fence]) -> dict[Place, Fence]:
        """Those of the stored fences that are found in their partitions, with the offset at which to read on
        there. Raises Superseded, KafkaError where Kafka answers for none, and what the database raises."""
        unsure = {place: at for place, at in stored.items() if place not in self._sure}
        if not unsure:
            return dict(stored)
        looked = await look(self._where, self._group, unsure)
        found = {
            place: unsure[place]._replace(next_offset=offset)
            for place, offset in looked.items()
            if offset is not None
        }
        if any(found[place].position != unsure[place].position for place in found):
            async with self._pool.acquire() as connection, connection.transaction():
                await fence.move(connection, self._group, unsure, found)
        self._looked_at = time.monotonic()
        back = [place for place in found if self.astray.pop(place, None)]
        if back:
            async with self._pool.acquire() as connection:
                await fence.clear_gaps(connection, self._group, back)
        for place in back:
            self._metrics.gap.labels(*place).set(0)
        assigned = self._subscription.assigned()
        for place in (looked.keys() - found.keys()) & assigned:
            self.astray.setdefault(place, self._looked_at)
        self._sure |= found.keys() & assigned
        self._subscription.pause(self.astray)
        self._subscription.resume(found)
        return {
            place: found.get(place, at)
            for place, at in stored.items()
            if place in found or place in self._sure
        }

    async def alarm(self, seconds: float) -> None:
        """Say which partitions have been astray for so long, for operators and other replicas to see."""
        for place, since in self.astray.items():
            if time.monotonic() - since < seconds:
                continue
            self._metrics.gap.labels(*place).set(1)
            async with self._pool.acquire() as connection:
                stored = (await fence.load(connection, self._group, [place]))[place]
                if await fence.mark_gap(connection, self._group, place, stored):
                    again = typed(self._group, f"consumer read-again --topic {place[0]} --by NAME")
                    resend = typed(TOPICS[place[0]].writer, "outbox resend --by NAME")
                    mend = (
                        f"the topic does not hold what was applied here: run {resend}; if it then holds all"
                        f" that there is, {again}"
                    )
                    log.error("gap", group=self._group, topic=place[0], partition=place[1], mend=mend)


async def look(where: Where, group: str, stored: Mapping[Place, Fence]) -> dict[Place, int | None]:
    """For each fence the offset at which its group reads on, None where the partition does not hold what the
    fence says was applied; a partition that does not answer is left out.
    Raises KafkaError where none does."""
    # Of most partitions nothing was read yet, and then there is nothing to look for.
    found: dict[Place, int | None] = {place: 0 for place, at in stored.items() if at == Fence()}
    if len(found) == len(stored):
        return found
    reader = kafka.reader(where, f"{group}-standing")
    try:
        await reader.start()
        for place in sorted(stored.keys() - found.keys()):
            try:
                found[place] = await standing(reader, place, stored[place])
            except KafkaError as error:
                failed = error
                log.warning("not_now", part="standing", topic=place[0], partition=place[1])
    finally:
        await kafka.stop_quietly(reader)
    if not found:
        raise failed
    return found


async def standing(reader: AIOKafkaConsumer, place: Place, at: Fence) -> int | None:
    """The offset at which to read on behind what `at` says was applied; None where that is not there."""
    extent = await kafka.extent(reader, place)
    if not at.sequence:
        return at.next_offset if at.next_offset <= extent.stop else extent.start
    if 0 < at.next_offset <= extent.start:
        # Retention has taken what was applied. A topic that was made anew begins with offset 0.
        return at.next_offset
    last = at.next_offset - 1
    hole = last in extent and is_compacted(TOPICS[place[0]])
    if last in extent:
        async for _, number, event_id in numbers(reader, place, last, last + 1):
            hole = False
            if number == at.sequence and at.event_id in {None, event_id}:
                return at.next_offset
    found = await _search(reader, place, at, extent)
    # Where compaction took what was applied, all before that offset was dealt with.
    return at.next_offset if hole and found is not None and found >= at.next_offset else found


async def _search(reader: AIOKafkaConsumer, place: Place, at: Fence, extent: range) -> int | None:
    own: int | None = None
    limit, another = extent.stop, False
    async for offset, number, event_id in numbers(reader, place, extent.start, extent.stop):
        if number > at.sequence:
            limit = offset
            break
        if number == at.sequence and own is None:
            own, another = (offset, False) if at.event_id in {None, event_id} else (None, True)
    if own is not None:
        # What lies between was dealt with before, unless something above the fence is among it.
        return at.next_offset if own < at.next_offset <= limit else own + 1
    # What is above it and goes on from something else is no continuation; what begins above it may be.
    return None if another or limit == extent.stop else limit


async def numbers(
    reader: AIOKafkaConsumer, place: Place, first: int, end: int
) -> AsyncIterator[tuple[int, int, uuid.UUID]]:
    """Offset, number and event id of each numbered record of a partition, from offset `first` up to `end`, or
    to what the client cannot take apart."""
    at_most = None
    while True:
        try:
            async for record in kafka.records(reader, place, first, end, at_most=at_most):
                first = record.offset + 1
                with suppress(Poison):
                    yield record.offset, *number_of(record.headers)
        except UNREADABLE:
            if at_most == 1:
                return
            # It has thrown away what it had read beside it.
            at_most = 1
        else:
            return
