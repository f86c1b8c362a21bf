"""Kafka: every client is made here, so that no default that loses data is left standing.

Topics are made by the deployment (`python -m shared.kafka create-topics`), never by a client.
"""

import asyncio
import logging
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code
from faststream.kafka import KafkaBroker
from faststream.kafka.prometheus import KafkaPrometheusMiddleware
from prometheus_client import CollectorRegistry

from shared.errors import Refusal
from shared.events import DEAD_LETTER_BYTES, Topic, all_topics

# A broker that hangs must not hold up a stop for longer than a process is given to stop in.
REQUEST_TIMEOUT_MS = 10_000
MAX_BATCH_BYTES = 262_144
STOP_SECONDS = 3.0


def producer(bootstrap: str, client_id: str) -> AIOKafkaProducer:
    """An idempotent producer: acknowledged by all in-sync replicas, in order within a partition."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id=client_id,
        enable_idempotence=True,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        max_batch_size=MAX_BATCH_BYTES,
        # What a topic does not take, its broker refuses; a dead letter must not fail before it is sent.
        max_request_size=DEAD_LETTER_BYTES,
        retry_backoff_ms=100,
    )


def reader(bootstrap: str, client_id: str) -> AIOKafkaConsumer:
    """A consumer outside every group, for looking at a topic's ends and tails."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id=client_id,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )


def broker(bootstrap: str, client_id: str, registry: CollectorRegistry) -> KafkaBroker:
    """FastStream's broker for a service's one consumer; it hands over bytes and publishes nothing."""
    return KafkaBroker(
        bootstrap,
        client_id=client_id,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        allow_auto_create_topics=False,
        # No producer and no admin client beside the consumer: nothing here publishes, nothing pings.
        consumer_only=True,
        apply_types=False,
        # Shorter than STOP_SECONDS: a handler that lasts longer is cancelled, its batch read again.
        graceful_timeout=2.0,
        logger=logging.getLogger("faststream"),
        log_level=logging.DEBUG,
        middlewares=[KafkaPrometheusMiddleware(registry=registry, app_name=client_id)],
    )


async def stop_quietly(client: Any) -> None:
    """Stop a client without waiting for a broker that does not answer."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await client.stop()
    except Exception as error:  # noqa: BLE001 - it is being thrown away; what was not sent is sent again
        logging.getLogger(__name__).debug("client did not stop cleanly: %s", type(error).__name__)


async def abandon(producer: AIOKafkaProducer) -> None:
    """Throw a producer away at once; what it had not sent is not waited for."""
    # Its own `stop` flushes first, and then waits for the answers of a broker that may never answer: the
    # connections are closed under its sender instead.
    producer._closed = True
    closing = [producer.client.close()]
    if producer._sender is not None:
        closing.append(producer._sender.close())
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_SECONDS):
            await asyncio.gather(*closing, return_exceptions=True)


async def ends(
    consumer: AIOKafkaConsumer, topics: Iterable[Topic], beside: Iterable[Topic] = ()
) -> Mapping[tuple[str, int], int]:
    """The end offset of each partition of the topics.

    Raises Refusal where one of them or of those `beside` is missing or has another number of partitions than
    the contract says.
    """
    # aiokafka has no public call for fresh metadata: what it keeps would hide a topic made anew.
    cluster = await consumer._client.fetch_all_metadata()
    _partitions(cluster, beside)
    offsets = await consumer.end_offsets(_partitions(cluster, topics))
    return {(place.topic, place.partition): offset for place, offset in offsets.items()}


def _partitions(cluster: Any, topics: Iterable[Topic]) -> list[TopicPartition]:
    wanted = []
    for topic in topics:
        found = sorted(cluster.partitions_for_topic(topic.name) or ())
        if not found:
            raise Refusal(f"topic {topic.name} is missing; run `python -m shared.kafka create-topics`")
        if len(found) != topic.partitions:
            raise Refusal(
                f"topic {topic.name} has {len(found)} partitions, the contract says {topic.partitions}; "
                "a partition count is for a topic's life: make the topic anew, or deploy the contract it had"
            )
        wanted += [TopicPartition(topic.name, partition) for partition in found]
    return wanted


async def create_topics(bootstrap: str, *, replication: int = 1) -> list[str]:
    """Make the topics that are missing, with their settings; returns their names.

    Raises Refusal where one exists with another number of partitions.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS)
    await admin.start()
    try:
        existing = {entry["topic"]: entry for entry in await admin.describe_topics()}
        for topic in all_topics():
            count = len(existing.get(topic.name, {}).get("partitions", []))
            if count not in {0, topic.partitions}:
                raise Refusal(
                    f"topic {topic.name} has {count} partitions, the contract says {topic.partitions}"
                )
        missing = [topic for topic in all_topics() if topic.name not in existing]
        if missing:
            response = await admin.create_topics(
                [
                    NewTopic(topic.name, topic.partitions, replication, topic_configs=dict(topic.settings))
                    for topic in missing
                ]
            )
            _raise_first(response)
    finally:
        await admin.close()
    return [topic.name for topic in missing]


def _raise_first(response: Any) -> None:
    for name, code, *detail in response.topic_errors:
        if code and for_code(code).__name__ != "TopicAlreadyExistsError":
            raise Refusal(f"topic {name} could not be made: {for_code(code).__name__} {detail}")


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] != "create-topics":
        print("usage: python -m shared.kafka create-topics HOST:PORT", file=sys.stderr)  # noqa: T201
        return 2
    try:
        made = asyncio.run(create_topics(arguments[1]))
    except Refusal as refusal:
        print(refusal, file=sys.stderr)  # noqa: T201
        return 1
    except KafkaError as error:
        print(f"{arguments[1]} does not answer as Kafka ({type(error).__name__}); is it up?", file=sys.stderr)  # noqa: T201
        return 1
    print(f"{len(made)} topics made, {len(all_topics()) - len(made)} were there")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
