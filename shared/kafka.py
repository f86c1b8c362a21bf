"""Kafka: every client is made here, so that no default that loses data is left standing.

Topics are made by the deployment (`python -m shared.kafka create-topics`), never by a client.
"""

import argparse
import asyncio
import logging
import ssl
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, KafkaTimeoutError, SaslAuthenticationFailed
from faststream.kafka import KafkaBroker
from faststream.kafka.prometheus import KafkaPrometheusMiddleware
from faststream.security import BaseSecurity, SASLScram512
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from shared import access, topics
from shared.cluster import Where, at
from shared.errors import Refusal
from shared.events import DEAD_LETTER_BYTES, Topic, all_topics
from shared.settings import KafkaSettings

# How long a broker waits for more to come before it answers a reader: what is looked for is there or is not,
# and of each partition two such answers are waited for.
LOOK_MS = 50
# A broker that hangs must not hold up a stop for longer than a process is given to stop in.
REQUEST_TIMEOUT_MS = 10_000
MAX_BATCH_BYTES = 262_144
STOP_SECONDS = 3.0
METADATA_MS = 30_000
METADATA_PAUSE_SECONDS = 0.1


def producer(where: Where, client_id: str) -> AIOKafkaProducer:
    """An idempotent producer: acknowledged by all in-sync replicas, in order within a partition."""
    made = AIOKafkaProducer(
        **at(where).settings(),
        client_id=client_id,
        enable_idempotence=True,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        max_batch_size=MAX_BATCH_BYTES,
        # What a topic does not take, its broker refuses; a dead letter must not fail before it is sent.
        max_request_size=DEAD_LETTER_BYTES,
        retry_backoff_ms=100,
    )
    _ask_seldom(made.client)
    return made


def _ask_seldom(client: Any) -> None:
    """Without a leader the producer's sender asks for one again at once, a thousand times a second, as long
    as there is none: let it ask METADATA_PAUSE_SECONDS after it has asked before."""
    update, asked = client._metadata_update, -METADATA_PAUSE_SECONDS

    async def paced(*arguments: Any) -> Any:
        nonlocal asked
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, asked + METADATA_PAUSE_SECONDS - now))
        asked = asyncio.get_running_loop().time()
        return await update(*arguments)

    client._metadata_update = paced


def reader(where: Where, client_id: str) -> AIOKafkaConsumer:
    """A consumer outside every group, for looking at a topic's ends and tails."""
    return AIOKafkaConsumer(
        **at(where).settings(),
        client_id=client_id,
        group_id=None,
        enable_auto_commit=False,
        fetch_max_wait_ms=LOOK_MS,
        auto_offset_reset="earliest",
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )


class _Unsized(Collector):
    """What FastStream measures, but not how large the messages are: that tells the category and area of one
    that comes alone."""

    def __init__(self, measured: CollectorRegistry) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        return (metric for metric in self._measured.collect() if not metric.name.endswith("_size_bytes"))


def broker(where: Where, client_id: str, registry: CollectorRegistry) -> KafkaBroker:
    """FastStream's broker for a service's one consumer; it hands over bytes and publishes nothing."""
    cluster = at(where)
    measured = CollectorRegistry()
    registry.register(_Unsized(measured))
    security = BaseSecurity(cluster.tls())
    if cluster.user:
        security = SASLScram512(cluster.user, cluster.password, cluster.tls())
    return KafkaBroker(
        cluster.bootstrap.split(","),
        security=security,
        client_id=client_id,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        allow_auto_create_topics=False,
        # How soon a consumer sees that a topic was made anew; until then it has no partition of it.
        metadata_max_age_ms=METADATA_MS,
        # No producer and no admin client beside the consumer: nothing here publishes, nothing pings.
        consumer_only=True,
        apply_types=False,
        # Shorter than STOP_SECONDS: a handler that lasts longer is cancelled, its batch read again.
        graceful_timeout=2.0,
        logger=logging.getLogger("faststream"),
        log_level=logging.DEBUG,
        middlewares=[KafkaPrometheusMiddleware(registry=measured, app_name=client_id)],
    )


@asynccontextmanager
async def admin(where: Where) -> AsyncIterator[AIOKafkaAdminClient]:
    """An administrator's client, for as long as the block lasts. Raises KafkaError where Kafka is away."""
    client = AIOKafkaAdminClient(**at(where).settings(), request_timeout_ms=REQUEST_TIMEOUT_MS)
    await client.start()
    try:
        await _know_the_controller(client)
        yield client
    finally:
        await client.close()


async def _know_the_controller(client: AIOKafkaAdminClient) -> None:
    """Wait until the brokers say who leads them: one that has just started names nobody yet, and aiokafka's
    administrator then fails with an AttributeError. Raises KafkaTimeoutError."""
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_MS / 1000):
            while client._client.cluster.controller is None:
                await client._client.force_metadata_update()
                await asyncio.sleep(METADATA_PAUSE_SECONDS)
    except TimeoutError:
        raise KafkaTimeoutError("no broker says who the controller is; are all of them up?") from None


async def check_access(where: Where) -> None:
    """Raise Refusal where Kafka answers and lets this client in no more: its password or the certificate is
    wrong. A Kafka that does not answer, or does not yet, is no refusal."""
    cluster = at(where)
    settings = cluster.connection()
    for host, port in cluster.addresses():
        try:
            connection = await create_conn(host, port, request_timeout_ms=REQUEST_TIMEOUT_MS, **settings)
        except SaslAuthenticationFailed:
            raise Refusal(
                f"Kafka at {host}:{port} refuses the password of user {cluster.user}; set "
                "IBUURT_KAFKA_PASSWORD to that user's, or give the user this one"
            ) from None
        except ssl.SSLCertVerificationError as error:
            raise Refusal(
                f"Kafka's certificate at {host}:{port} is not accepted: {error.verify_message}; renew it and "
                "restart Kafka, or name the authority that it comes from in IBUURT_KAFKA_CA"
            ) from None
        except (OSError, KafkaError, TimeoutError):
            continue
        connection.close()


async def stop_quietly(client: Any) -> None:
    """Stop a client without waiting for a broker that does not answer."""
    # It awaits tasks that it cancels; one that has not begun would cancel whoever awaits it.
    await asyncio.sleep(0)
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
    consumer: AIOKafkaConsumer, wanted: Iterable[Topic], beside: Iterable[Topic] = ()
) -> Mapping[tuple[str, int], int]:
    """The end offset of each partition of the topics.

    Raises Refusal where one of them or of those `beside` is missing or has another number of partitions than
    the contract says.
    """
    # aiokafka has no public call for fresh metadata: what it keeps would hide a topic made anew.
    cluster = await consumer._client.fetch_all_metadata()
    _partitions(cluster, beside)
    offsets = await consumer.end_offsets(_partitions(cluster, wanted))
    return {(place.topic, place.partition): offset for place, offset in offsets.items()}


def _partitions(cluster: Any, wanted: Iterable[Topic]) -> list[TopicPartition]:
    places = []
    for topic in wanted:
        found = sorted(cluster.partitions_for_topic(topic.name) or ())
        if not found:
            raise Refusal(f"topic {topic.name} is missing; run `docker compose up -d`, which makes it")
        if len(found) != topic.partitions:
            raise Refusal(topics.wrong_partitions(topic, len(found)))
        places += [TopicPartition(topic.name, partition) for partition in found]
    return places


async def starts(consumer: AIOKafkaConsumer, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The first offset that each of these partitions still holds."""
    found = await consumer.beginning_offsets([TopicPartition(*place) for place in places])
    return {(place.topic, place.partition): offset for place, offset in found.items()}


async def extent(consumer: AIOKafkaConsumer, place: tuple[str, int]) -> range:
    """The offsets that a partition still holds."""
    where = TopicPartition(*place)
    return range((await starts(consumer, [place]))[place], (await consumer.end_offsets([where]))[where])


async def records(
    consumer: AIOKafkaConsumer, place: tuple[str, int], first: int, end: int, *, at_most: int | None = None
) -> AsyncIterator[ConsumerRecord]:
    """What a partition holds from offset `first` up to `end`, `at_most` so many taken apart at a time; the
    consumer reads nothing else meanwhile.

    Raises KafkaTimeoutError when it stops coming.
    """
    where = TopicPartition(*place)
    consumer.assign([where])
    consumer.seek(where, max(first, (await starts(consumer, [place]))[place]))
    while (position := await consumer.position(where)) < end:
        batches = await consumer.getmany(where, timeout_ms=REQUEST_TIMEOUT_MS, max_records=at_most)
        read = batches.get(where, [])
        for record in read:
            if record.offset < end:
                yield record
        if not read and await consumer.position(where) == position:
            raise KafkaTimeoutError(f"{place[0]} partition {place[1]} stops at {position}, before {end}")


async def create_topics(where: Where, *, replication: int = 1, mend_settings: bool = False) -> list[str]:
    """Make the topics that are missing, with their settings; returns their names.

    Raises Refusal where one exists with other partitions, or with other settings and not `mend_settings`.
    """
    async with admin(where) as client:
        return await topics.make(client, replication=replication, mend_settings=mend_settings)


async def prepare(where: Where, *, replication: int = 1, mend_settings: bool = False) -> str:
    """Make the topics and, where this cluster has users, grant their rights; says what. Raises Refusal."""
    await check_access(where)
    async with admin(where) as client:
        made = await topics.make(client, replication=replication, mend_settings=mend_settings)
        said = f"{len(made)} topics made, {len(all_topics()) - len(made)} were there"
        if at(where).user:
            granted, taken = await access.settle(client)
            said += f"; {granted} rights granted, {taken} taken away"
    return said


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m shared.kafka",
        description="Make the topics with their settings; where IBUURT_KAFKA_USER is set, the rights too.",
    )
    parser.add_argument("command", choices=["create-topics"])
    parser.add_argument("bootstrap", nargs="?", help="HOST:PORT; by default IBUURT_KAFKA_BOOTSTRAP")
    parser.add_argument("--replication", type=int, default=1, help="replicas of each new topic")
    parser.add_argument(
        "--mend-settings", action="store_true", help="give topics the settings of the contract again"
    )
    asked = parser.parse_args(arguments)
    try:
        where = KafkaSettings.read(kafka_bootstrap=asked.bootstrap).kafka
        print(asyncio.run(prepare(where, replication=asked.replication, mend_settings=asked.mend_settings)))
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except (KafkaError, TimeoutError) as error:
        why = f"Kafka does not answer ({type(error).__name__}); is it up at that address?"
        print(why, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
