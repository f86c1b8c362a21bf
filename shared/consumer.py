"""The way in: a batch of records is applied once, or it is as if it had never been read.

Four outcomes, and no fifth. Applied: the state, the fence and what follows commit together. Poison: what
cannot be read goes to the dead-letter topic and the fence moves over it. Not now: the database or broker is
away; roll back, wait, try again. Superseded: another consumer moved the fence; drop the batch, read on from
where it stands. No offset is committed to Kafka: the fence alone says how far a group is.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError
from faststream.kafka import KafkaBroker

from shared import fence, postgres
from shared.cloudevents import Envelope
from shared.cluster import Where
from shared.dead_letters import DeadLetters, PoisonCap
from shared.errors import Poison, Refusal, Superseded, typed
from shared.events import TOPICS, Event, Place, Topic
from shared.examine import Plan, examine, examine_in_turns
from shared.fence import Fence, Verdict
from shared.metrics import ConsumerMetrics
from shared.standing import Standing
from shared.subscription import Subscription

GAP_SECONDS = 60.0
WATCH_SECONDS = 1.0
# For a batch that is being dealt with; then it is given up, and read again by the next owner.
STOP_SECONDS = 2.0
BACKOFF_SECONDS = (0.1, 5.0)

log = structlog.get_logger()

Apply = Callable[[Any, Sequence[Envelope[Event]]], Awaitable[None]]


@dataclass
class Early:
    """A record ahead of a missing one was seen, at a time of the monotonic clock."""

    since: float
    looked_back: bool = False


class Consumer:
    """A group's one consumer in this process. `run` ends by cancellation or with what stopped it."""

    def __init__(
        self,
        broker: KafkaBroker,
        bootstrap: Where,
        pool: Any,
        group: str,
        topics: Sequence[Topic],
        apply: Apply,
        metrics: ConsumerMetrics,
        applied: Callable[[], None] = lambda: None,
        at_most: int | None = None,
    ) -> None:
        """`applied` is called each time that something was applied and committed; a batch has `at_most` so
        many records, or as many as are worth a commit."""
        self._pool = pool
        self._group = group
        self._apply = apply
        self._applied = applied
        self._metrics = metrics
        self._fences: dict[Place, Fence] = {}
        self._early: dict[Place, Early] = {}
        # How often reading had to start over, and the last time for which the fences were sought.
        self._started_over = self._sought = 0
        self._doubted = asyncio.Event()
        # The batch that is dealt with, and what it comes to.
        self._work: asyncio.Task[None] | None = None
        self._plan: Plan | None = None
        # A batch and the watch have the fences one after the other.
        self._turn = asyncio.Lock()
        self._cap = PoisonCap()
        self._dead_letters = DeadLetters(bootstrap, group)
        # Set once the group has told this consumer which partitions are its own, even if none are.
        self.joined = asyncio.Event()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._subscription = Subscription(
            broker, group, topics, self.handle, self._rebalanced, self._stop, at_most
        )
        self._standing = Standing(bootstrap, pool, group, self._subscription, metrics)

    async def run(self) -> None:
        """Consume until cancelled. Raises Refusal above the poison cap, or what broke the handler."""
        watching = asyncio.create_task(self._watch())
        try:
            await self._subscription.start()
            await asyncio.wait({self._ended, watching}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (self._ended, watching):
                if ended.done():
                    await ended
        finally:
            # A handler that waits for its database gives up its batch: the next owner reads it again.
            self._ended.cancel()
            watching.cancel()
            await self._subscription.stop()
            if self._work:
                await asyncio.wait({self._work}, timeout=STOP_SECONDS)
                self._work.cancel()
                await asyncio.gather(self._work, return_exceptions=True)
            await self._dead_letters.close()

    def assigned(self) -> set[Place]:
        """The partitions that are this consumer's now, as far as it knows."""
        return self._subscription.assigned()

    async def handle(self, records: Sequence[ConsumerRecord]) -> None:
        """Take a batch. It is examined while the one before commits, and commits while the next is read."""
        plan = await self._look_ahead(records)
        if self._work:
            await asyncio.wait({self._work})
        beside = plan is not None and self._fits(plan)
        self._work = asyncio.create_task(self._finish(records, plan, beside))
        self._plan = plan if beside else None
        if not beside:
            # What is read next depends on where this one seeks to.
            await asyncio.wait({self._work})

    async def _look_ahead(self, records: Sequence[ConsumerRecord]) -> Plan | None:
        """What the batch comes to if the one before is applied; None where its fences are not known."""
        ahead = self._fences | self._plan.after if self._plan else self._fences
        # Where a fence is not known. FastStream would swallow what is raised; `_finish` meets it again.
        with suppress(Exception):
            return await examine_in_turns(records, ahead)
        return None

    def _fits(self, plan: Plan) -> bool:
        return all(self._fences.get(place) == before for place, before in plan.before.items())

    async def _finish(self, records: Sequence[ConsumerRecord], plan: Plan | None, beside: bool) -> None:
        """Deal with a batch, however long it takes; what breaks ends the consumer by `run`.

        `beside` says that the next one is being read meanwhile.
        """
        pause = BACKOFF_SECONDS[0]
        while not self._ended.done():
            try:
                async with self._turn:
                    await self._deal_with(records, plan, beside)
            except Superseded:
                # The next try reads the fences anew, and drops what does not begin where they stand.
                self._metrics.superseded.inc()
                self._fences.clear()
            except Exception as error:  # noqa: BLE001 - handed to `run`, which ends the consumer with it
                if not _passes(error):
                    self._stop(error)
                    return
                self._metrics.not_now.inc()
                log.warning("not_now", error=type(error).__name__, group=self._group)
                await asyncio.wait({self._ended}, timeout=pause * random.uniform(0.5, 1))  # noqa: S311 - jitter
                pause = min(pause * 2, BACKOFF_SECONDS[1])
                # Trying may have changed it.
                plan = plan and examine(records, plan.before)
            else:
                return

    def _stop(self, error: Exception) -> None:
        self._metrics.stopped.set(1)
        if not self._ended.done():
            self._ended.set_exception(error)

    async def _deal_with(self, records: Sequence[ConsumerRecord], plan: Plan | None, beside: bool) -> None:
        self._forget_where_started_over()
        if plan and self._fits(plan):
            if not (renewed := _renewed(plan)):
                await self._apply_plan(plan)
                return
            self._standing.doubt(renewed)
        in_place = await self._in_place(records)
        if in_place:
            await self._apply_plan(examine(in_place, self._fences))
        if beside:
            # The next batch may have been read before this one sought.
            self._fences.clear()

    async def _apply_plan(self, plan: Plan) -> None:
        try:
            await self._commit(plan)
        except (Superseded, Refusal):
            raise
        except Exception as error:
            if _passes(error):
                raise
            # One event of the batch cannot be applied: find it, so that it alone is set aside.
            await self._commit_one_by_one(plan)
        self._note(plan)
        if plan.news:
            self._applied()

    async def _in_place(self, records: Sequence[ConsumerRecord]) -> Sequence[ConsumerRecord]:
        """The records that follow on their partition's stored fence; others were read before a seek."""
        batches: dict[Place, range] = {}
        for record in records:
            place = record.topic, record.partition
            first = batches[place].start if place in batches else record.offset
            batches[place] = range(first, record.offset + 1)
        stored = await self._seek_to_fences(batches)
        # Sought to once: a topic that has lost old records begins behind the fence the second time too.
        self._fences = stored
        placed = {
            place
            for place, batch in batches.items()
            if place in stored and stored[place].next_offset == batch.start
        }
        return [record for record in records if (record.topic, record.partition) in placed]

    async def _seek_to_fences(self, batches: Mapping[Place, range]) -> dict[Place, Fence]:
        """Read the stored fences and read on from them, or behind a batch at hand that begins there; a
        partition that does not hold what its fence says was applied is left out, and paused."""
        started_over = self._started_over
        stored = await self._load(self._subscription.assigned() | batches.keys())
        for place, at in stored.items():
            batch = batches.get(place)
            follows = batch is not None and batch.start == at.next_offset
            self._subscription.seek(place, batch.stop if batch and follows else at.next_offset)
        self._sought = started_over
        return stored

    async def _load(self, places: Collection[Place]) -> dict[Place, Fence]:
        async with self._pool.acquire() as connection:
            stored = await fence.load(connection, self._group, places)
        return await self._standing.found(stored)

    async def _commit(self, plan: Plan) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            # The fence first: its row lock makes a second consumer wait, and then lose, before it works.
            await fence.move(connection, self._group, plan.before, plan.after)
            if plan.news:
                await self._apply(connection, [envelope for _, envelope in plan.news])
            await self._set_aside(plan)

    async def _commit_one_by_one(self, plan: Plan) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await fence.move(connection, self._group, plan.before, plan.after)
            news, plan.news = plan.news, []
            for record, envelope in news:
                try:
                    async with connection.transaction():
                        await self._apply(connection, [envelope])
                except Exception as error:
                    if isinstance(error, Refusal) or _passes(error) or postgres.is_schema_fault(error):
                        raise
                    plan.poison.append((record, _unapplied(error)))
                else:
                    plan.news.append((record, envelope))
            await self._set_aside(plan)

    async def _set_aside(self, plan: Plan) -> None:
        """Send the dead letters, last before the commit: a batch that is rolled back has sent none.

        Raises Refusal where there are too many, KafkaError where they could not be sent.
        """
        replace(self._cap).count(plan.outcomes())
        await self._dead_letters.send(plan.poison)

    def _note(self, plan: Plan) -> None:
        self._cap.count(plan.outcomes())
        counters = {
            Verdict.REPEAT: self._metrics.repeats,
            Verdict.EARLY: self._metrics.early,
            Verdict.CONFLICT: self._metrics.conflicts,
        }
        for (verdict, topic), count in plan.passed_over.items():
            if counter := counters.get(verdict):
                counter.labels(topic).inc(count)
        for record, fault in plan.poison:
            self._metrics.poison.labels(record.topic, fault.reason).inc()
            # Without the offset: beside the line's time it would tell a tip's minute. The dead letter has it.
            log.error("poison", group=self._group, topic=record.topic, reason=fault.reason)
        for topic, count in Counter(record.topic for record, _ in plan.news).items():
            self._metrics.applied.labels(topic).inc(count)
        for place, after in plan.after.items():
            self._fences[place] = after
            self._note_early(place, after.early)

    def _note_early(self, place: Place, early: bool) -> None:
        if early:
            self._early.setdefault(place, Early(time.monotonic()))
        elif self._early.pop(place, None):
            self._metrics.gap.labels(*place).set(0)

    async def _rebalanced(self) -> None:
        """Waits for nothing: while partitions are handed out the group hears nothing of this consumer, and
        after ten seconds gives them to others."""
        self.joined.set()
        self._subscription.pause(self._subscription.assigned())
        self._start_over()

    def _start_over(self) -> None:
        """Have every fence read anew before the next batch, and read on from where it stands."""
        self._started_over += 1
        self._doubted.set()

    def _forget_where_started_over(self) -> None:
        if self._sought == self._started_over:
            return
        self._fences.clear()
        for place in self._early:
            self._metrics.gap.labels(*place).set(0)
        self._early.clear()
        self._standing.doubt(self._subscription.assigned())

    async def _watch(self) -> None:
        """Raise the alarm for a number that did not come, and read on where a person accepted it; and look
        again at topics that do not hold what was applied."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._doubted.wait(), WATCH_SECONDS)
            self._doubted.clear()
            if self._sought == self._started_over and not self._early and not self._standing.unsure():
                continue
            try:
                async with self._turn:
                    self._forget_where_started_over()
                    if self._sought != self._started_over:
                        await self._seek_to_fences({})
                    for place in list(self._early):
                        await self._look_at_gap(place)
                    await self._look_again()
            except Exception as error:
                if not _later(error):
                    raise
                self._metrics.not_now.inc()
                log.warning("not_now", error=type(error).__name__, group=self._group)

    async def _look_at_gap(self, place: Place) -> None:
        async with self._pool.acquire() as connection:
            stored = (await fence.load(connection, self._group, [place]))[place]
            known, early = self._fences.get(place), self._early.get(place)
            if known is None or early is None:
                return
            waited = time.monotonic() - early.since
            moved = stored.position != known.position
            overdue = waited >= GAP_SECONDS and not moved
            if overdue and await fence.mark_gap(connection, self._group, place, stored):
                # Without the number: beside the line's time it would tell a tip's minute. The row has it.
                lost = typed(
                    self._group, f"consumer accept-gap --topic {place[0]} --partition {place[1]} --by NAME"
                )
                mend = (
                    f"run {typed(TOPICS[place[0]].writer, 'outbox resend --by NAME')}; if it is lost, {lost}"
                )
                log.error("gap", group=self._group, topic=place[0], partition=place[1], mend=mend)
        if moved:
            self._start_over()
        elif overdue:
            self._metrics.gap.labels(*place).set(1)
        elif waited >= GAP_SECONDS / 2 and not early.looked_back:
            # A topic that was made anew may hold the number before the fence's offset.
            early.looked_back = True
            self._subscription.seek(place, 0)

    async def _look_again(self) -> None:
        """Read on where the topic holds by now what was applied; raise the alarm where it does not."""
        if due := self._standing.due():
            for place, at in (await self._load(due)).items():
                self._fences[place] = at
                self._subscription.seek(place, at.next_offset)
        await self._standing.alarm(GAP_SECONDS)


def _renewed(plan: Plan) -> set[Place]:
    """The partitions that were read from before their fence, though no missing number is looked for there:
    their topic was made anew, or has lost what was applied."""
    return {
        place
        for place, offset in plan.first.items()
        if offset < plan.before[place].next_offset and not plan.before[place].early
    }


def _later(error: Exception) -> bool:
    return _passes(error) or isinstance(error, Superseded)


def _passes(error: Exception) -> bool:
    return isinstance(error, KafkaError) or postgres.is_transient(error)


def _unapplied(error: Exception) -> Poison:
    fault = error if isinstance(error, Poison) else Poison("not_applicable")
    if fault is not error:
        fault.__cause__ = error
    return fault
