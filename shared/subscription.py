"""A group's place on Kafka: FastStream's batch subscriber, with the settings that lose nothing, made once.

What its defaults would lose is in tests/integration/test_pitfalls.py. Every batch comes as it was read, bytes
and headers untouched; nothing is acknowledged by FastStream. What the Kafka client cannot even take apart
stops the group, once everything before it was handed over. No offset is ever committed to Kafka: it would
stamp it with the time, and beside the record that tells a tip's second (docs/adr/0017).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CorruptRecordException, KafkaError, UnsupportedCodecError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.message import StreamMessage

from shared import kafka
from shared.errors import Refusal
from shared.events import Place, Topic

# As many as are worth a commit.
MAX_RECORDS = 2_000
BATCH_TIMEOUT_MS = 20
START_RETRY_SECONDS = 5.0
# A header's name that is not UTF-8 is found by the client's decoder in C, which raises what it meets.
UNREADABLE = (CorruptRecordException, UnsupportedCodecError, UnicodeDecodeError)

log = structlog.get_logger()

Handle = Callable[[Sequence[ConsumerRecord]], Awaitable[None]]
StartOver = Callable[[], Awaitable[None]]
Stop = Callable[[Exception], None]


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    def __init__(self, start_over: StartOver) -> None:
        self._start_over = start_over

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing is handed over: who works on a batch that is no longer its own loses at the fence."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        await self._start_over()


class Subscription:
    """One consumer of a group. `start_over` is called whenever it must read on from the fences: other
    partitions may be its own, or something read was lost. `stop` is called with why it cannot go on."""

    def __init__(
        self,
        broker: KafkaBroker,
        group: str,
        topics: Sequence[Topic],
        handle: Handle,
        start_over: StartOver,
        stop: Stop,
        at_most: int | None = None,
    ) -> None:
        self._broker = broker
        self._group = group
        self._start_over = start_over
        self._stop = stop
        self._subscriber = broker.subscriber(
            *(topic.name for topic in topics),
            group_id=group,
            batch=True,
            max_records=at_most or MAX_RECORDS,
            batch_timeout_ms=BATCH_TIMEOUT_MS,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            parser=_parse,
            decoder=_decode,
            listener=_Rebalances(start_over),
        )
        self._subscriber(handle)
        self._get_batch = self._subscriber.get_msg
        self._subscriber.get_msg = self._get_whole  # type: ignore[method-assign] # there is no other place

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
        """Leave the group."""
        await self._discard()

    async def _get_whole(self, consumer: AIOKafkaConsumer) -> Any:
        try:
            return await self._get_batch(consumer)
        except UNREADABLE:
            if self._subscriber.max_records == 1:
                # Nothing readable stands before it any more.
                place = await _unreadable(consumer)
                if place:
                    self._stop(_refusal(self._group, place, await consumer.position(place)))
            # The client has thrown away what it had read beside it: read on in the smallest steps.
            self._subscriber.max_records = 1
            await self._start_over()
            return ()

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

    def pause(self, places: Iterable[Place]) -> None:
        """Read nothing of these partitions, as far as they are this consumer's, until `resume`."""
        self._of_ours(places, "pause")

    def resume(self, places: Iterable[Place]) -> None:
        """Read them again."""
        self._of_ours(places, "resume")

    def _of_ours(self, places: Iterable[Place], what: Literal["pause", "resume"]) -> None:
        if self._consumer:
            ours = {TopicPartition(*place) for place in places} & self._consumer.assignment()
            getattr(self._consumer, what)(*ours)

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


async def _unreadable(consumer: AIOKafkaConsumer) -> TopicPartition | None:
    """The first partition whose next record the client cannot take apart."""
    for place in sorted(consumer.assignment()):
        if (consumer.highwater(place) or 0) > await consumer.position(place):
            try:
                await consumer.getmany(place, timeout_ms=kafka.REQUEST_TIMEOUT_MS, max_records=1)
            except UNREADABLE:
                return place
    return None


def _refusal(group: str, place: TopicPartition, offset: int) -> Refusal:
    return Refusal(
        f"{group} cannot take apart what {place.topic} partition {place.partition} holds from offset "
        f"{offset}: another program wrote there with this topic's credentials. Everything before is applied. "
        "Withdraw them, run `docker compose exec -T kafka sh /etc/ibuurt/delete-records "
        f"{place.topic} {place.partition} {offset}`, which deletes up to that batch and it, and restart"
    )


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
