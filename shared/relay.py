"""The relay: sends what a service has appended to its outbox, in order, each event under its number.

One relay is active per database: the session that holds the advisory lock is the connection it claims on.
After a crash or a failed send every unsent batch goes out again, whole and with the same numbers, so that a
reader can tell a repeat from news (shared/fence.py).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from shared import outbox, postgres
from shared.cluster import Where
from shared.events import Place, hour_of
from shared.kafka import abandon
from shared.kafka import producer as new_producer
from shared.metrics import RelayMetrics
from shared.outbox import Batch, Sent
from shared.tails import check_tails

POLL_SECONDS = 0.02
FILL_ROWS = 250
ON_THEIR_WAY = 3
LOCK_RETRY_SECONDS = 1.0
# A relay that stood still for longer loses its session, and with it the lock, to the next one.
IDLE_SESSION_SECONDS = 15
HEARTBEAT_SECONDS = 5.0
FORGET_SECONDS = 3_600.0
# Then Kafka is away, and a new producer tries to reach it again and again: the client would wait for one
# partition after the other, and for long after Kafka is back.
SEND_SECONDS = 10.0
RELAY_LOCK = 0x1B_0002

log = structlog.get_logger()


def utc_now() -> datetime:
    """The time by this machine's clock, in UTC."""
    return datetime.now(UTC)


class Relay:
    """Sends what a service has appended. `run` ends only by cancellation or by a Refusal."""

    def __init__(
        self,
        dsn: str,
        bootstrap: Where,
        service: str,
        metrics: RelayMetrics,
        *,
        make_producer: Callable[[Any, str], AIOKafkaProducer] = new_producer,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._dsn = dsn
        self._bootstrap = bootstrap
        self._service = service
        self._metrics = metrics
        self._make_producer = make_producer
        self._clock = clock
        self._woken = asyncio.Event()
        self._handing_over = asyncio.Lock()
        # Set once the topics were found to agree with this database: the service's consumer waits for it.
        self.checked = asyncio.Event()

    def wake(self) -> None:
        """Say that something was appended and committed; without it the relay looks every 20 ms."""
        self._woken.set()

    async def run(self) -> None:
        """Relay until cancelled. Raises Refusal where database and topics disagree."""
        while True:
            try:
                await self._hold_lock_and_relay()
            except Exception as error:
                if not isinstance(error, KafkaError) and not postgres.is_transient(error):
                    raise
                log.warning("relay_interrupted", error=type(error).__name__)
                self._metrics.restarts.inc()
                await asyncio.sleep(LOCK_RETRY_SECONDS)

    async def _hold_lock_and_relay(self) -> None:
        connection = await postgres.connect(self._dsn, f"{self._service}-relay")
        try:
            await connection.execute(f"SET idle_session_timeout = '{IDLE_SESSION_SECONDS}s'")
            await connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_SESSION_SECONDS}s'")
            await self._check(connection)
            self.checked.set()
            if not await self._take_lock(connection):
                await self._wait_for_lock(connection)
                await self._check(connection)
            self._metrics.active.set(1)
            log.info("relay_active", service=self._service)
            while True:
                # A producer lives until its first failure; what it left half sent is sent again whole.
                await self._relay_with_one_producer(connection)
        finally:
            self._metrics.active.set(0)
            with suppress(Exception):
                await asyncio.wait_for(connection.close(), 2)

    async def _check(self, connection: Any) -> None:
        await self._heartbeat_while(connection, check_tails(self._dsn, self._bootstrap, self._service))

    async def _wait_for_lock(self, connection: Any) -> None:
        while not await self._take_lock(connection):  # noqa: ASYNC110 - the lock is in the database
            await asyncio.sleep(LOCK_RETRY_SECONDS)

    async def _take_lock(self, connection: Any) -> bool:
        return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", RELAY_LOCK))

    async def _relay_with_one_producer(self, connection: Any) -> None:
        producer = self._make_producer(self._bootstrap, f"{self._service}-relay")
        try:
            await self._heartbeat_while(connection, producer.start())
            for batch in await outbox.unsent_batches(connection):
                sent = await self._heartbeat_while(connection, self.send(producer, batch))
                async with connection.transaction():
                    await outbox.mark_sent(connection, sent)
            await self._relay_new(connection, producer)
        except (KafkaError, TimeoutError) as error:
            log.warning("send_failed", error=type(error).__name__)
            self._metrics.failed_sends.inc()
            await asyncio.sleep(LOCK_RETRY_SECONDS)
            # However long Kafka is away, the session stays, and with it the lock.
            await connection.execute("SELECT 1")
        finally:
            await abandon(producer)

    async def _relay_new(self, connection: Any, producer: AIOKafkaProducer) -> None:
        sent: Sent | None = None
        on_their_way: deque[asyncio.Task[Sent]] = deque()
        forget_at = 0.0
        try:
            while True:
                # The next batch is claimed while those before are on their way; each is marked in its turn.
                claimed = await self.claim(connection, sent)
                sent = None
                if claimed:
                    on_their_way.append(asyncio.create_task(self.send(producer, claimed)))
                if len(on_their_way) == ON_THEIR_WAY or (on_their_way and not claimed):
                    sent = await self._heartbeat_while(connection, on_their_way.popleft())
                elif not claimed:
                    if (now := asyncio.get_running_loop().time()) >= forget_at:
                        await outbox.forget_sent(connection)
                        forget_at = now + FORGET_SECONDS
                    await self._rest()
        finally:
            for sending in on_their_way:
                await _give_up(sending)

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._woken.wait()
        self._woken.clear()

    async def _heartbeat_while(self, connection: Any, work: Any) -> Any:
        """Await `work`, keeping the session alive: only a process that stands still may lose the lock."""
        task = asyncio.ensure_future(work)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=HEARTBEAT_SECONDS)
                if done:
                    return task.result()
                await connection.execute("SELECT 1")
        except BaseException:
            await _give_up(task)
            raise

    async def claim(self, connection: Any, sent: Sent | None) -> Batch | None:
        return await outbox.claim(connection, sent)

    async def send(self, producer: AIOKafkaProducer, batch: Batch) -> Sent:
        async with asyncio.timeout(SEND_SECONDS):
            async with self._handing_over:
                sending = await hand_over(producer, batch, self._clock())
            sent = await sending
        self._metrics.sent.inc(len(batch.records))
        return sent


async def hand_over(producer: AIOKafkaProducer, batch: Batch, now: datetime) -> Coroutine[Any, Any, Sent]:
    """Give a batch to the client, each partition's records in order: what is handed over next comes after.

    Await what is returned for the acknowledgements; it raises KafkaError or TimeoutError when any record
    failed, once the fate of all is known.

    What a clock that was ahead has dated after `now` has this hour as its record's time: Kafka takes nothing
    that is more than an hour ahead of its own clock, and all that comes after it would wait.
    """
    given: list[tuple[Place, int, asyncio.Future[Any]]] = []
    failed: BaseException | None = None
    try:
        for place, filled in await _fill(producer, batch, now):
            topic, partition = place
            future = await producer.send_batch(filled, topic, partition=partition)
            given.append((place, filled.record_count() - 1, future))
    except (KafkaError, TimeoutError) as error:
        failed = error
    return _fate(batch, given, failed)


async def _fate(
    batch: Batch, given: Sequence[tuple[Place, int, asyncio.Future[Any]]], failed: BaseException | None
) -> Sent:
    results = await asyncio.gather(*(future for _, _, future in given), return_exceptions=True)
    offsets: dict[Place, int] = {}
    for (place, last, _), result in zip(given, results, strict=True):
        if isinstance(result, BaseException):
            failed = failed or result
        else:
            offsets[place] = max(offsets.get(place, -1), result.offset + last)
    if failed:
        raise failed
    return Sent(batch, offsets)


async def _fill(
    producer: AIOKafkaProducer, batch: Batch, now: datetime
) -> Sequence[tuple[Place, BatchBuilder]]:
    """The batch as batches of the client, each of one partition: cheaper than giving it record by record."""
    filled: list[tuple[Place, BatchBuilder]] = []
    current: dict[Place, BatchBuilder] = {}
    for start in range(0, len(batch.records), FILL_ROWS):
        # The claim of the next batch goes on in between: its database works while this one is filled.
        await asyncio.sleep(0)
        for record in batch.records[start : start + FILL_ROWS]:
            place = (record.topic, record.partition)
            time = record.time if record.time <= now else hour_of(now)
            given = {
                "timestamp": int(time.timestamp() * 1000),
                "key": record.key,
                "value": record.value,
                "headers": record.headers(),
            }
            if place not in current or not current[place].append(**given):
                current[place] = producer.create_batch()
                current[place].append(**given)
                filled.append((place, current[place]))
    return filled


async def _give_up(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
