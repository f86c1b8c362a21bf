"""The way in: a batch of records is applied once, or it is as if it had never been read.

Four outcomes, and no fifth. Applied: the state, the fence and what follows commit together. Poison: what
cannot be read goes to the dead-letter topic and the fence moves over it. Not now: the database or broker is
away; roll back, wait, try again. Superseded: another consumer moved the fence; drop the batch, read on from
where it stands. The offset committed to Kafka is a hint for lag monitors; the fence decides.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.message import StreamMessage

from shared import fence, kafka, postgres
from shared.cloudevents import Envelope
from shared.dead_letters import DeadLetters, PoisonCap
from shared.errors import Poison, Refusal, Superseded
from shared.events import Event, Topic
from shared.examine import Plan, examine
from shared.fence import Fence, Place, Verdict
from shared.metrics import ConsumerMetrics

MAX_RECORDS = 2_000
BATCH_TIMEOUT_MS = 20
GAP_SECONDS = 60.0
COMMIT_SECONDS = 1.0
BACKOFF_SECONDS = (0.1, 5.0)

log = structlog.get_logger()

Apply = Callable[[Any, Sequence[Envelope[Event]]], Awaitable[None]]


class _Assigned(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Forgets the fences on every rebalance, so that they are read again and sought to."""

    def __init__(self, forget: Callable[[], Awaitable[None]]) -> None:
        self._forget = forget

    async def on_partitions_revoked(self, revoked: Any) -> None:
        await self._forget()

    async def on_partitions_assigned(self, assigned: Any) -> None:
        await self._forget()


class Consumer:
    """A group's one consumer in this process. `run` ends by cancellation or with what stopped it."""

    def __init__(
        self,
        broker: KafkaBroker,
        bootstrap: str,
        pool: Any,
        group: str,
        topics: Sequence[Topic],
        apply: Apply,
        metrics: ConsumerMetrics,
    ) -> None:
        self._broker = broker
        self._pool = pool
        self._group = group
        self._topics = topics
        self._apply = apply
        self._metrics = metrics
        self._fences: dict[Place, Fence] = {}
        self._early_since: dict[Place, float] = {}
        self._uncommitted: dict[TopicPartition, int] = {}
        self._cap = PoisonCap()
        self._dead_letters = DeadLetters(bootstrap, group)
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._subscriber = broker.subscriber(
            *(topic.name for topic in topics),
            group_id=group,
            batch=True,
            max_records=MAX_RECORDS,
            batch_timeout_ms=BATCH_TIMEOUT_MS,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            parser=_parse,
            decoder=_decode,
            listener=_Assigned(self._forget),
        )
        self._subscriber(self.handle)

    async def run(self) -> None:
        """Consume until cancelled. Raises Refusal above the poison cap, or what broke the handler."""
        await self._start()
        watching = asyncio.create_task(self._watch_gaps())
        committing = asyncio.create_task(self._commit_offsets())
        try:
            await asyncio.wait({self._failed, watching, committing}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (self._failed, watching, committing):
                if ended.done():
                    await ended
        finally:
            for task in (watching, committing):
                task.cancel()
            await self._stop()

    async def _start(self) -> None:
        while True:
            try:
                await self._broker.start()
            except KafkaError as error:
                log.warning("kafka_away", error=type(error).__name__)
                await kafka.stop_quietly(self._broker)
                await asyncio.sleep(BACKOFF_SECONDS[1])
            else:
                return

    async def _stop(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(1):
                await self._commit_now()
        await kafka.stop_quietly(self._broker)
        await self._dead_letters.close()

    async def handle(self, records: Sequence[ConsumerRecord]) -> None:
        """Deal with a batch, however long it takes; FastStream would swallow what is raised here."""
        if self._failed.done():
            return
        pause = BACKOFF_SECONDS[0]
        while True:
            try:
                await self._deal_with(records)
            except Superseded:
                self._metrics.superseded.inc()
                await self._forget()
            except Exception as error:  # noqa: BLE001 - handed to `run`, which ends the consumer with it
                if isinstance(error, KafkaError) or postgres.is_transient(error):
                    self._metrics.not_now.inc()
                    log.warning("not_now", error=type(error).__name__, group=self._group)
                    await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
                    pause = min(pause * 2, BACKOFF_SECONDS[1])
                    continue
                self._metrics.stopped.set(1)
                if not self._failed.done():
                    self._failed.set_exception(error)
                return
            else:
                return

    async def _deal_with(self, records: Sequence[ConsumerRecord]) -> None:
        known = await self._known(records)
        if not known:
            return
        plan = examine(known, self._fences)
        cap = replace(self._cap)
        cap.count(len(plan.news), len(plan.poison))
        await self._dead_letters.send(plan.poison)
        try:
            await self._commit(plan)
        except (Superseded, Refusal):
            raise
        except Exception as error:
            if isinstance(error, KafkaError) or postgres.is_transient(error):
                raise
            # One event of the batch cannot be applied: find it, so that it alone is set aside.
            await self._commit_one_by_one(plan, cap)
        self._cap = cap
        self._note(plan)

    async def _known(self, records: Sequence[ConsumerRecord]) -> Sequence[ConsumerRecord]:
        """The records whose partition's fence is loaded; the others are loaded, sought to and dropped."""
        unknown = {(record.topic, record.partition) for record in records} - self._fences.keys()
        if not unknown:
            return records
        async with self._pool.acquire() as connection:
            loaded = await fence.load(connection, self._group, unknown)
        expected: dict[Place, int] = {}
        for record in records:
            expected.setdefault((record.topic, record.partition), record.offset)
        misplaced = {place for place in unknown if loaded[place].next_offset != expected[place]}
        assignment = self._subscriber.consumer.assignment() if self._subscriber.consumer else ()
        for place in misplaced:
            where = TopicPartition(*place)
            if where in assignment:
                self._subscriber.consumer.seek(where, loaded[place].next_offset)  # type: ignore[union-attr]
        self._fences |= loaded
        return [record for record in records if (record.topic, record.partition) not in misplaced]

    async def _commit(self, plan: Plan) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            # The fence first: its row lock makes a second consumer wait, and then lose, before it works.
            await fence.move(connection, self._group, plan.before, plan.after)
            if plan.news:
                await self._apply(connection, [envelope for _, envelope in plan.news])

    async def _commit_one_by_one(self, plan: Plan, cap: PoisonCap) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await fence.move(connection, self._group, plan.before, plan.after)
            spoiled = []
            for record, envelope in plan.news:
                try:
                    async with connection.transaction():
                        await self._apply(connection, [envelope])
                except Exception as error:
                    if postgres.is_transient(error):
                        raise
                    spoiled.append((record, _unapplied(error)))
            cap.count(0, len(spoiled))
            await self._dead_letters.send(spoiled)
            plan.poison += spoiled

    def _note(self, plan: Plan) -> None:
        self._fences |= plan.after
        counters = {
            Verdict.REPEAT: self._metrics.repeats,
            Verdict.EARLY: self._metrics.early,
            Verdict.CONFLICT: self._metrics.conflicts,
        }
        for (verdict, topic), count in plan.verdicts.items():
            if counter := counters.get(verdict):
                counter.labels(topic).inc(count)
        for record, fault in plan.poison:
            self._metrics.poison.labels(record.topic, fault.reason).inc()
            log.error("poison", group=self._group, **_where(record), reason=fault.reason)
        for record, _ in plan.news:
            self._metrics.applied.labels(record.topic).inc()
        now = time.monotonic()
        for place, after in plan.after.items():
            self._uncommitted[TopicPartition(*place)] = after.next_offset
            if after.early:
                self._early_since.setdefault(place, now)
            elif place in self._early_since:
                self._early_since.pop(place)
                self._metrics.gap.labels(*place).set(0)

    async def _forget(self) -> None:
        """Read every fence anew before the next batch, and seek to where it stands."""
        self._fences.clear()
        self._early_since.clear()
        consumer = self._subscriber.consumer
        places = {(where.topic, where.partition) for where in consumer.assignment()} if consumer else set()
        if not consumer or not places:
            return
        try:
            async with self._pool.acquire() as connection:
                loaded = await fence.load(connection, self._group, places)
        except Exception as error:
            if not postgres.is_transient(error):
                raise
            # The handler loads what it does not know, once the database is back.
            return
        for place, stored in loaded.items():
            where = TopicPartition(*place)
            if where in consumer.assignment():
                consumer.seek(where, stored.next_offset)
        self._fences |= loaded

    async def _watch_gaps(self) -> None:
        """Raise the alarm for a number that did not come, and read on where a person accepted it."""
        while True:
            await asyncio.sleep(1)
            overdue = [
                place for place, since in self._early_since.items() if time.monotonic() - since >= GAP_SECONDS
            ]
            try:
                for place in overdue:
                    await self._alarm(place)
            except Exception as error:
                if not postgres.is_transient(error):
                    raise

    async def _alarm(self, place: Place) -> None:
        known = self._fences.get(place)
        async with self._pool.acquire() as connection:
            stored = (await fence.load(connection, self._group, [place]))[place]
            if known and (stored.sequence, stored.next_offset) != (known.sequence, known.next_offset):
                await self._forget()
                return
            if not stored.gap:
                await fence.mark_gap(connection, self._group, place)
                log.error(
                    "gap",
                    group=self._group,
                    topic=place[0],
                    partition=place[1],
                    missing=stored.sequence + 1,
                    mend="run `outbox resend` at the writer, or `consumer accept-gap` here",
                )
        self._metrics.gap.labels(*place).set(1)

    async def _commit_offsets(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(5):
                    await self._commit_now()

    async def _commit_now(self) -> None:
        consumer = self._subscriber.consumer
        if not consumer or not self._uncommitted:
            return
        mine = {
            where: offset for where, offset in self._uncommitted.items() if where in consumer.assignment()
        }
        self._uncommitted.clear()
        if mine:
            await consumer.commit(mine)


def _unapplied(error: Exception) -> Poison:
    fault = error if isinstance(error, Poison) else Poison("not_applicable")
    if fault is not error:
        fault.__cause__ = error
    return fault


def _where(record: ConsumerRecord) -> dict[str, Any]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}


async def _parse(records: tuple[ConsumerRecord, ...]) -> StreamMessage[Any]:
    """Hand over the records as they are: FastStream's own parser drops a batch for one bad header."""
    return KafkaMessage(
        body=[record.value or b"" for record in records],
        raw_message=records,
        message_id=f"{records[0].offset}-{records[-1].offset}",
        correlation_id="",
        consumer=None,  # type: ignore[arg-type] # nothing is acknowledged through the message
    )


async def _decode(message: StreamMessage[Any]) -> Any:
    return message.raw_message
