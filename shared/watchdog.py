"""The watchdog: what waits, for how long, and whether this process still gets anywhere.

A process whose work stands still while database and broker answer is ended, to be started anew: a consumer
can lose its place in the group, or a relay its producer, without an error that anybody sees.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from shared import expiry, kafka, postgres
from shared.cluster import Where
from shared.errors import Refusal
from shared.events import Place, Topic, dead_letter_topics
from shared.metrics import ConsumerMetrics, RelayMetrics, SurroundingsMetrics

TICK_SECONDS = 5.0
PATIENCE_SECONDS = 120.0
DEAF_SECONDS = 60.0
# How often the certificates are looked at, and how soon again where they could not be seen.
CERTIFICATES_SECONDS, CERTIFICATES_RETRY_SECONDS = 3_600.0, 60.0

log = structlog.get_logger()


class Stuck(Exception):  # noqa: N818 - a state of this process, named by its consequence
    """Nothing moves although it could: the process must be started anew."""


class Ages:
    """How long the oldest of what is numbered upwards has been known: no row or record keeps its time."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def age(self, oldest: int | None, newest: int | None, now: float) -> float:
        """Seconds since a number of at least `oldest` was first seen; 0 where nothing waits."""
        if oldest is None or newest is None:
            self._seen.clear()
            return 0.0
        if not self._seen or self._seen[-1][1] < newest:
            self._seen.append((now, newest))
        while self._seen and self._seen[0][1] < oldest:
            self._seen.popleft()
        return now - self._seen[0][0] if self._seen else 0.0


@dataclass
class Progress:
    """Since when a marker stands still."""

    marker: Any = field(default_factory=object)
    since: float = 0.0

    def still_for(self, marker: Any, now: float) -> float:
        if marker != self.marker:
            self.marker, self.since = marker, now
        return now - self.since


@dataclass
class Health:
    """What the probes answer. `refusals` are the parts that must not go on until a person mends something."""

    ticked: float = field(default_factory=time.monotonic)
    refusals: dict[str, str] = field(default_factory=dict)

    def deaf(self) -> bool:
        """Whether the watchdog itself has stopped: the event loop is blocked or its task is gone."""
        return time.monotonic() - self.ticked > DEAF_SECONDS


class Watchdog:
    """Looks every TICK_SECONDS. `run` ends by cancellation, or with Stuck.

    `assigned` gives the partitions that this process consumes: another replica's are its own watchdog's.
    """

    def __init__(
        self,
        pool: Any,
        bootstrap: Where,
        group: str,
        topics: Sequence[Topic],
        assigned: Callable[[], set[Place]],
        health: Health,
        relay: RelayMetrics,
        consumer: ConsumerMetrics,
        surroundings: SurroundingsMetrics,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._pool = pool
        self._bootstrap = bootstrap
        self._group = group
        self._topics = topics
        self._assigned = assigned
        self._health = health
        self._relay = relay
        self._consumer = consumer
        self._surroundings = surroundings
        self._patience = patience
        self._reader: AIOKafkaConsumer | None = None
        self._reachable = Progress()
        self._outbox = Progress()
        self._fences: dict[tuple[str, int], Progress] = {}
        self._waiting_rows, self._waiting_batches = Ages(), Ages()
        self._lag: dict[tuple[str, int], Ages] = {}
        self._certificates_at = 0.0

    async def run(self) -> None:
        try:
            while True:
                self._health.ticked = time.monotonic()
                await self._tick()
                await asyncio.sleep(TICK_SECONDS)
        finally:
            if self._reader:
                await kafka.stop_quietly(self._reader)

    async def _tick(self) -> None:
        extents = await self._extents()
        now = time.monotonic()
        reachable = 0.0
        if extents is None:
            self._reachable = Progress()
        else:
            reachable = self._reachable.still_for(True, now)
            await self._look_at_certificates(now)
        try:
            async with self._pool.acquire() as connection:
                outbox = await _outbox_state(connection)
                fences = await _fences(connection, self._group)
                oldest = await _oldest_transaction(connection)
        except Exception as error:
            if not postgres.is_transient(error):
                raise
            self._surroundings.database_up.set(0)
            self._reachable = Progress()
            return
        self._surroundings.database_up.set(1)
        self._surroundings.oldest_transaction.set(oldest)
        self._watch_outbox(outbox, reachable, now)
        self._watch_fences(fences, extents or {}, reachable, now)

    def _watch_outbox(self, state: Mapping[str, Any], reachable: float, now: float) -> None:
        rows = self._waiting_rows.age(state["first_row"], state["last_row"], now)
        batches = self._waiting_batches.age(state["first_batch"], state["last_batch"], now)
        self._relay.depth.set(state["depth"])
        self._relay.oldest.set(max(rows, batches))
        still = self._outbox.still_for((state["first_row"], state["first_batch"]), now)
        waits = state["first_row"] is not None or state["first_batch"] is not None
        if waits and "relay" not in self._health.refusals and min(still, reachable) > self._patience:
            raise Stuck("the relay does not move although Kafka and the database answer")

    def _watch_fences(
        self,
        fences: Mapping[tuple[str, int], tuple[int, bool]],
        extents: Mapping[tuple[str, int], range],
        reachable: float,
        now: float,
    ) -> None:
        assigned = self._assigned()
        for place, extent in extents.items():
            following, gap = fences.get(place, (0, False))
            # What retention has deleted cannot be consumed any more.
            waiting = range(max(following, extent.start), extent.stop)
            lag = len(waiting)
            age = self._lag.setdefault(place, Ages()).age(
                waiting[0] if waiting else None, waiting[-1] if waiting else None, now
            )
            self._consumer.lag.labels(*place).set(lag)
            self._consumer.lag_seconds.labels(*place).set(age)
            still = self._fences.setdefault(place, Progress()).still_for(following, now)
            # A relay that refuses keeps its service's consumer from starting.
            # A consumer that was given none may have lost its place in the group.
            mine = place in (assigned or {place})
            stands = mine and lag and not gap and not self._health.refusals.keys() & {"relay", "consumer"}
            if stands and min(still, age, reachable) > self._patience:
                raise Stuck(f"{place[0]} partition {place[1]} is not consumed although it could be")

    async def _look_at_certificates(self, now: float) -> None:
        if now < self._certificates_at:
            return
        try:
            found = await expiry.expiries(self._bootstrap)
        except Refusal as refusal:
            log.error("certificates_not_seen", mend=str(refusal))
            found = {}
        # What is not found now stays as it was seen: a certificate that has ended is shown to nobody.
        for name, end in found.items():
            self._surroundings.certificate.labels(name).set(end)
        self._certificates_at = now + (CERTIFICATES_SECONDS if found else CERTIFICATES_RETRY_SECONDS)

    async def _extents(self) -> Mapping[tuple[str, int], range] | None:
        """The offsets that there are of what is consumed; None while Kafka does not answer."""
        try:
            async with asyncio.timeout(kafka.REQUEST_TIMEOUT_MS / 1000):
                if self._reader is None:
                    self._reader = kafka.reader(self._bootstrap, f"{self._group}-watchdog")
                    await self._reader.start()
                    # A broker that was started anew may show another certificate.
                    self._certificates_at = 0.0
                ends = await kafka.ends(self._reader, self._topics, dead_letter_topics([self._group]))
                self._health.refusals.pop("topics", None)
                self._surroundings.topics_wrong.set(0)
                starts = await self._reader.beginning_offsets([TopicPartition(*place) for place in ends])
                self._surroundings.kafka_up.set(1)
                return {place: range(starts[place], end) for place, end in ends.items()}
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("kafka_away", error=type(error).__name__)
            self._surroundings.kafka_up.set(0)
        except Refusal as refusal:
            self._surroundings.kafka_up.set(1)
            self._surroundings.topics_wrong.set(1)
            self._health.refusals["topics"] = str(refusal)
            log.error("topics_wrong", mend=str(refusal))
        if self._reader:
            with suppress(Exception):
                await kafka.stop_quietly(self._reader)
            self._reader = None
        return None


async def _outbox_state(connection: Any) -> Mapping[str, Any]:
    row: Mapping[str, Any] = await connection.fetchrow(
        """SELECT (SELECT count(*) FROM outbox) AS depth,
                  (SELECT min(position) FROM outbox) AS first_row,
                  (SELECT max(position) FROM outbox) AS last_row,
                  (SELECT min(batch) FROM outbox_batch WHERE sent_on IS NULL) AS first_batch,
                  (SELECT max(batch) FROM outbox_batch WHERE sent_on IS NULL) AS last_batch"""
    )
    return row


async def _oldest_transaction(connection: Any) -> float:
    """Seconds since the oldest transaction of this role in this database began; others' it may not see."""
    seconds = await connection.fetchval(
        """SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
           FROM pg_stat_activity
           WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"""
    )
    return max(0.0, float(seconds))


async def _fences(connection: Any, group: str) -> dict[tuple[str, int], tuple[int, bool]]:
    rows = await connection.fetch(
        "SELECT topic, partition, next_offset, gap FROM fence WHERE consumer_group = $1", group
    )
    return {(row["topic"], row["partition"]): (row["next_offset"], row["gap"]) for row in rows}
