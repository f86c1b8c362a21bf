"""A group's place on Kafka: FastStream's batch subscriber, with the settings that lose nothing, made once.

What its defaults would lose is in tests/integration/test_pitfalls.py. Every batch comes as it was read, bytes
and headers untouched; nothing is acknowledged by FastStream.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.message import StreamMessage

from shared import kafka
from shared.events import Topic
from shared.fence import Place

MAX_RECORDS = 2_000
BATCH_TIMEOUT_MS = 20
COMMIT_SECONDS = 1.0
START_RETRY_SECONDS = 5.0

log = structlog.get_logger()

Handle = Callable[[Sequence[ConsumerRecord]], Awaitable[None]]
StartOver = Callable[[], Awaitable[None]]


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    def __init__(self, start_over: StartOver) -> None:
        self._start_over = start_over

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing is handed over: who works on a batch that is no longer its own loses at the fence."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        await self._start_over()


class Subscription:
    """One consumer of a group. `start_over` is called whenever other partitions may be its own."""

    def __init__(
        self,
        broker: KafkaBroker,
        group: str,
        topics: Sequence[Topic],
        handle: Handle,
        start_over: StartOver,
    ) -> None:
        self._broker = broker
        self._hints: dict[TopicPartition, int] = {}
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
            listener=_Rebalances(start_over),
        )
        self._subscriber(handle)

    @property
    def _consumer(self) -> AIOKafkaConsumer | None:
        return self._subscriber.consumer

    async def start(self) -> None:
        """Begin to read; waits for as long as Kafka is away."""
        while True:
            try:
                await self._broker.start()
            except KafkaError as error:
                log.warning("kafka_away", error=type(error).__name__)
                await self._discard()
                await asyncio.sleep(START_RETRY_SECONDS)
            else:
                return

    async def stop(self) -> None:
        """Commit the last hint and leave the group."""
        with suppress(Exception):
            async with asyncio.timeout(1):
                await self._commit()
        await self._discard()

    def assigned(self) -> set[Place]:
        """The partitions that are this consumer's now, as far as it knows."""
        return (
            {(where.topic, where.partition) for where in self._consumer.assignment()}
            if self._consumer
            else set()
        )

    def seek(self, place: Place, offset: int) -> None:
        """Read on from `offset`; a partition that is no longer this consumer's is left alone."""
        where = TopicPartition(*place)
        if self._consumer and where in self._consumer.assignment():
            self._consumer.seek(where, offset)

    def hint(self, place: Place, offset: int) -> None:
        """Let the next commit say that the group has come to `offset`."""
        self._hints[TopicPartition(*place)] = offset

    async def commit_hints(self) -> None:
        """Commit the hints every second, for monitors of the group's lag: the fence decides."""
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(5):
                    await self._commit()

    async def _commit(self) -> None:
        if not self._consumer or not self._hints:
            return
        assignment = self._consumer.assignment()
        mine = {where: offset for where, offset in self._hints.items() if where in assignment}
        self._hints.clear()
        if mine:
            await self._consumer.commit(mine)

    async def _discard(self) -> None:
        consumer = self._consumer
        await kafka.stop_quietly(self._broker)
        if self._consumer and consumer:
            # The broker did not answer: the connections are closed under it.
            with suppress(TimeoutError):
                async with asyncio.timeout(kafka.STOP_SECONDS):
                    closing = [consumer._client.close()]
                    if consumer._fetcher:
                        closing.append(consumer._fetcher.close())
                    await asyncio.gather(*closing, return_exceptions=True)


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
