"""The check at start: do a service's topics hold exactly what its database says it sent?

A topic that is ahead means that this database was restored from a backup; one that is behind means that
Kafka lost what it had acknowledged. Either way new numbers would be given twice or never be seen.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer

from shared import outbox, postgres
from shared.cloudevents import number_of
from shared.cluster import Where
from shared.errors import Poison, Refusal, typed
from shared.events import numbered_topics
from shared.kafka import ends, reader, records, stop_quietly

BATCHES_AT_ONCE = 50

log = structlog.get_logger()


async def check_tails(dsn: str, bootstrap: Where, service: str) -> None:
    """Raise Refusal, naming the mend, where a topic that `service` writes disagrees with its outbox."""
    connection = await postgres.connect(dsn, f"{service}-check")
    consumer = reader(bootstrap, f"{service}-check")
    try:
        acknowledged = await outbox.acknowledged_offsets(connection)
        await consumer.start()
        for (topic, partition), end in (await ends(consumer, numbered_topics(service))).items():
            following = acknowledged.get((topic, partition), -1) + 1
            if end < following:
                raise Refusal(
                    f"{topic} partition {partition} ends at {end}, but offset {following - 1} was "
                    f"acknowledged: Kafka lost records or the topic was made anew; run "
                    f"{typed(service, 'outbox resend --by NAME')} and restart"
                )
            if end > following:
                tail = await _tail(consumer, topic, partition, following, end)
                await _refuse_strangers(connection, service, topic, partition, tail)
    finally:
        await stop_quietly(consumer)
        await connection.close()


async def _tail(
    consumer: AIOKafkaConsumer, topic: str, partition: int, first: int, end: int
) -> Mapping[int, set[uuid.UUID]]:
    """The event ids under each number from offset `first` up to `end`."""
    tail: dict[int, set[uuid.UUID]] = {}
    async for record in records(consumer, (topic, partition), first, end):
        try:
            number, event_id = number_of(record.headers)
        except Poison:
            # Not ours to mend: every reader sends it to its dead letters.
            log.warning("unnumbered_record", topic=topic, partition=partition, offset=record.offset)
        else:
            tail.setdefault(number, set()).add(event_id)
    return tail


async def _refuse_strangers(
    connection: Any, service: str, topic: str, partition: int, tail: Mapping[int, set[uuid.UUID]]
) -> None:
    """Raise Refusal unless every record of the tail is one that this database has stored."""
    unexplained = {(number, event_id) for number, ids in tail.items() for event_id in ids}
    newest = None
    while unexplained:
        rows = await connection.fetch(
            """SELECT batch, n AS number, i AS id
               FROM (SELECT * FROM outbox_batch WHERE $3::bigint IS NULL OR batch < $3
                     ORDER BY batch DESC LIMIT $4) b,
                    unnest(b.topics, b.partitions, b.numbers, b.ids) AS r (t, p, n, i)
               WHERE t = $1 AND p = $2""",
            topic,
            partition,
            newest,
            BATCHES_AT_ONCE,
        )
        unexplained -= {(row["number"], row["id"]) for row in rows}
        older = await connection.fetchval(
            """SELECT min(batch) FROM (SELECT batch FROM outbox_batch
               WHERE $1::bigint IS NULL OR batch < $1 ORDER BY batch DESC LIMIT $2) b""",
            newest,
            BATCHES_AT_ONCE,
        )
        if older is None:
            break
        newest = older
    if unexplained:
        number = min(number for number, _ in unexplained)
        raise Refusal(
            f"{topic} partition {partition} holds number {number}, which this database has not sent: it was "
            f"restored from a backup; stop {service}, run {typed(service, 'outbox recover --by NAME')} and "
            "start it"
        )
