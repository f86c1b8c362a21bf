"""`outbox resend`: what a service has sent and a topic has lost is sent again, under the numbers it had.

The relay keeps what it sent for KEEP_DAYS (shared/outbox.py). Readers skip what they have applied before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer

from shared import kafka, outbox, postgres
from shared.cluster import Where
from shared.errors import Refusal, typed
from shared.events import STATISTICS, TOPICS, Place, Topic, is_compacted, numbered_topics
from shared.mending.journal import Say, known_topic, note
from shared.outbox import Batch
from shared.relay import RELAY_LOCK, hand_over, utc_now
from shared.standing import numbers

SHOWN_EVERY = 20


@dataclass(frozen=True)
class Missing:
    """Numbers `first` to `last` are to be sent again; they are kept from `kept` on."""

    first: int
    last: int
    kept: int

    @property
    def count(self) -> int:
        return max(0, self.last - max(self.first, self.kept) + 1)


async def resend(
    dsn: str,
    where: Where,
    service: str,
    *,
    topic: str | None = None,
    partition: int | None = None,
    from_number: int | None = None,
    who: str | None,
    say: Say,
) -> None:
    """Send again what the service's topics lack, or all from a number on; without `who`, only say what.

    Raises Refusal while the service's relay is active: its numbers must not come in between.
    """
    topics = {one.name: one for one in numbered_topics(service)}
    if topic:
        topics = {topic: topics[known_topic(topic, topics)]}
    connection = await postgres.connect(dsn, f"{service}-resend")
    consumer = kafka.reader(where, f"{service}-resend")
    try:
        if who is not None and not await connection.fetchval("SELECT pg_try_advisory_lock($1)", RELAY_LOCK):
            raise Refusal(f"the relay of {service} is active; stop {service}, run this again, then start it")
        await consumer.start()
        ends = await kafka.ends(consumer, topics.values())
        chosen = {place: end for place, end in ends.items() if partition in {None, place[1]}}
        missing = await _missing(connection, consumer, topics, chosen, from_number)
        _tell(missing, say)
        if who is None:
            say("dry run: nothing was sent; with --by NAME it is")
            return
        acknowledged = await _send(connection, where, service, missing, say)
        async with connection.transaction():
            await _correct(connection, chosen, acknowledged)
            detail = {f"{name}/{part}": [one.first, one.last] for (name, part), one in missing.items()}
            await note(connection, who, "outbox resend", detail)
        say(f"{sum(one.count for one in missing.values())} events sent again; start {service}")
    finally:
        await kafka.stop_quietly(consumer)
        await connection.close()


async def _missing(
    connection: Any,
    consumer: AIOKafkaConsumer,
    topics: Mapping[str, Topic],
    ends: Mapping[Place, int],
    from_number: int | None,
) -> dict[Place, Missing]:
    rows = await connection.fetch(
        """WITH stored AS (
               SELECT t AS topic, p AS partition, min(n) FILTER (WHERE sent_on IS NOT NULL) AS kept,
                      max(n) FILTER (WHERE sent_on IS NOT NULL) AS last, min(n) AS first
               FROM outbox_batch b, unnest(b.topics, b.partitions, b.numbers) AS r (t, p, n) GROUP BY t, p)
           -- Of a partition of which nothing is kept that was sent: up to what is still to be sent.
           SELECT topic, partition, coalesce(kept, first, last_number + 1) AS kept,
                  coalesce(last, first - 1, last_number) AS last
           FROM outbox_partition LEFT JOIN stored USING (topic, partition) WHERE last_number > 0"""
    )
    acknowledged = await outbox.acknowledged_offsets(connection)
    missing = {}
    for row in rows:
        place = row["topic"], row["partition"]
        if place in ends:
            # A topic that ends before what was acknowledged is a new one: compaction has taken nothing yet.
            renewed = ends[place] <= acknowledged.get(place, -1)
            compacted = not renewed and is_compacted(topics[place[0]])
            there = 0 if from_number else await _there(consumer, compacted, place, ends[place])
            found = Missing(from_number or there + 1, row["last"], row["kept"])
            if found.first <= found.last:
                missing[place] = found
    return missing


async def _there(consumer: AIOKafkaConsumer, compacted: bool, place: Place, end: int) -> int:
    """The last number up to which the partition holds all that it can still hold."""
    start = (await kafka.starts(consumer, [place]))[place]
    # What compaction or retention took away was there; a partition that never lost any begins with 1.
    whole, beyond = (0 if start == 0 and not compacted else None), set()
    async for _, number, _ in numbers(consumer, place, 0, end):
        if compacted:
            whole = max(whole or 0, number)
            continue
        whole = number if whole is None else whole
        beyond.add(number)
        while whole + 1 in beyond:
            whole += 1
            beyond.discard(whole)
    return whole or 0


def _tell(missing: Mapping[Place, Missing], say: Say) -> None:
    if not missing:
        say("the topics hold every number that was sent; nothing is missing")
    for (topic, partition), one in sorted(missing.items()):
        say(f"{topic} partition {partition}: numbers {one.first} to {one.last} ({one.count} are kept)")
        if one.first < one.kept:
            needed = "a group that lacks them needs `consumer accept-gap`, which its log names"
            if is_compacted(TOPICS[topic]):
                needed = (
                    f"{typed(TOPICS[topic].writer, 'issues say-again --by NAME')} says every issue once more"
                )
            elif topic == STATISTICS.name:
                needed = f"{typed(TOPICS[topic].writer, 'say-again --by NAME')} says every release once more"
            say(f"  numbers {one.first} to {min(one.kept - 1, one.last)} are kept no longer: {needed}")


async def _send(
    connection: Any, where: Where, service: str, missing: Mapping[Place, Missing], say: Say
) -> dict[Place, int]:
    """Send, oldest first; returns the last offset of each partition."""
    acknowledged: dict[Place, int] = {}
    if not missing:
        return acknowledged
    producer = kafka.producer(where, f"{service}-resend")
    await producer.start()
    try:
        batches = await outbox.sent_batches(connection)
        for nth, batch in enumerate(batches, start=1):
            records = tuple(
                record
                for record in (await outbox.stored_batch(connection, batch)).records
                if (found := missing.get((record.topic, record.partition))) and record.number >= found.first
            )
            sent = await (await hand_over(producer, Batch(batch, records), utc_now()))
            acknowledged |= sent.offsets
            if nth % SHOWN_EVERY == 0:
                say(f"  {nth} of {len(batches)} batches looked through")
    finally:
        await kafka.abandon(producer)
    return acknowledged


async def _correct(connection: Any, ends: Mapping[Place, int], acknowledged: Mapping[Place, int]) -> None:
    """Let the check at start expect what the topics hold now: a topic made anew begins with offset 0."""
    offsets = {place: acknowledged.get(place, end - 1) for place, end in ends.items()}
    await connection.execute(
        """UPDATE outbox_partition p SET acknowledged_offset =
               CASE WHEN a.sent OR a.acknowledged < p.acknowledged_offset
                    THEN a.acknowledged ELSE p.acknowledged_offset END
           FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::boolean[])
               AS a (topic, partition, acknowledged, sent)
           WHERE p.topic = a.topic AND p.partition = a.partition""",
        [topic for topic, _ in offsets],
        [partition for _, partition in offsets],
        list(offsets.values()),
        [place in acknowledged for place in offsets],
    )
