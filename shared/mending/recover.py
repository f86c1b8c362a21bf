"""`outbox recover`: a service restored from a backup takes back what its topics know of it.

What it sent after the backup is on its own topics: the numbers go on from there, what was sent is not sent
again, and the service applies to its state what its own events say. What no event says is lost, and is named.
"""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from shared import fence, kafka, outbox, postgres
from shared.cloudevents import Envelope, from_record, number_of
from shared.cluster import Where
from shared.errors import Poison, Refusal
from shared.events import SUBSCRIPTIONS, Event, Place, numbered_topics
from shared.mending.journal import Say, kept_for, note
from shared.outbox import Numbered
from shared.relay import RELAY_LOCK


@dataclass(frozen=True)
class History:
    """What the topics know and this database does not, in the order of the topics.

    `own` is what the service said after its backup; `heard` what it had read after it from others, which its
    consumer will read again. `deliver_again` is a person's word that what was open may be sent once more.
    """

    own: Sequence[Envelope[Event]]
    heard: Sequence[Envelope[Event]]
    deliver_again: bool


@dataclass(frozen=True)
class Recovered:
    """What a service made of it: lines for the operator, and what must be said now."""

    lines: Sequence[str]
    events: Sequence[Envelope[Any]] = ()


Recover = Callable[[Any, History], Awaitable[Recovered]]


@dataclass
class _Tail:
    """The records of one own partition that are behind the backup, its end and last number, and how many
    records of another writer were left."""

    end: int
    last: int = 0
    left: int = 0
    records: list[Numbered] = field(default_factory=list)
    envelopes: list[Envelope[Event]] = field(default_factory=list)


async def recover(
    dsn: str,
    where: Where,
    service: str,
    take_back: Recover,
    *,
    deliver_again: bool,
    first_counts: bool,
    who: str | None,
    say: Say,
) -> None:
    """Bring a restored database up to what its topics hold, in one transaction; without `who` it is rolled
    back, after saying the same.

    Raises Refusal while the service runs, where records that no reader takes are on its topics (with
    `first_counts` they are left, as every reader left them), and where a delivery might go out twice without
    `deliver_again`.
    """
    connection = await postgres.connect(dsn, f"{service}-recover")
    consumer = kafka.reader(where, f"{service}-recover")
    try:
        await _refuse_running(connection, service)
        await consumer.start()
        tails = await _tails(connection, consumer, service, first_counts)
        own = [envelope for tail in tails.values() for envelope in tail.envelopes]
        heard = await _heard(connection, consumer, service) if own else []
        async with kept_for(connection, who):
            dropped = await _take_numbers(connection, tails)
            found = await take_back(connection, History(own, heard, deliver_again))
            await outbox.append(connection, found.events)
            say(f"{len(own)} events were sent after the backup; {dropped} that waited here had been sent")
            if left := sum(tail.left for tail in tails.values()):
                say(f"{left} records that no reader took were left")
            for line in found.lines:
                say(line)
            if who is not None:
                detail = {"events": len(own), "dropped": dropped, "said": list(found.lines)}
                await note(connection, who, "outbox recover", detail)
        say(
            f"done; start {service}: it reads on from where the backup stood"
            if who is not None
            else "dry run: all of this was taken back; with --by NAME it is done"
        )
    finally:
        await kafka.stop_quietly(consumer)
        await connection.close()


async def _refuse_running(connection: Any, service: str) -> None:
    others = await connection.fetchval(
        """SELECT count(*) FROM pg_stat_activity
           WHERE datname = current_database() AND application_name = ANY($1)""",
        [service, f"{service}-relay"],
    )
    if others or not await connection.fetchval("SELECT pg_try_advisory_lock($1)", RELAY_LOCK):
        raise Refusal(f"{service} runs on this database; stop every {service}, run this again, then start it")


async def _tails(
    connection: Any, consumer: AIOKafkaConsumer, service: str, first_counts: bool
) -> dict[Place, _Tail]:
    acknowledged = await outbox.acknowledged_offsets(connection)
    known = {
        (row["topic"], row["partition"], row["number"]): row["id"]
        for row in await connection.fetch(
            """SELECT t AS topic, p AS partition, n AS number, i AS id FROM outbox_batch b,
               unnest(b.topics, b.partitions, b.numbers, b.ids) AS r (t, p, n, i)"""
        )
    }
    tails = {}
    for place, end in (await kafka.ends(consumer, numbered_topics(service))).items():
        tail = tails[place] = _Tail(end)
        seen: dict[int, uuid.UUID] = {}
        async for record in kafka.records(consumer, place, acknowledged.get(place, -1) + 1, end):
            try:
                number, event_id = number_of(record.headers)
                first = number not in seen
                _refuse_second(
                    number, event_id, seen.setdefault(number, known.get((*place, number), event_id))
                )
                tail.last = max(tail.last, number)
                if first and (*place, number) not in known:
                    envelope = from_record(record.topic, record.key, record.value, record.headers)
                    tail.records.append(_stored(record, envelope, number))
                    tail.envelopes.append(envelope)
            except Poison as poison:
                if not first_counts:
                    raise Refusal(
                        f"{place[0]} partition {place[1]} offset {record.offset}: {poison}; another writer "
                        "was there: withdraw its credentials and see docs/operating.md, Two writers"
                    ) from None
                tail.left += 1
    return tails


def _refuse_second(number: int, event_id: uuid.UUID, first: uuid.UUID) -> None:
    if event_id != first:
        raise Poison("number_used_twice", f"number {number} is there under two ids")


def _stored(record: ConsumerRecord, envelope: Envelope[Event], number: int) -> Numbered:
    return Numbered(
        envelope.id,
        envelope.event.type,
        record.topic,
        record.key,
        record.value,
        envelope.source,
        envelope.time,
        record.partition,
        number,
    )


async def _take_numbers(connection: Any, tails: Mapping[Place, _Tail]) -> int:
    """Let numbers, offsets and stored batches say what the topics say; returns how many rows need not go."""
    for (topic, partition), tail in tails.items():
        await connection.execute(
            """INSERT INTO outbox_partition AS p (topic, partition, last_number, acknowledged_offset)
               VALUES ($1, $2, $3, $4) ON CONFLICT (topic, partition) DO UPDATE
               SET last_number = greatest(p.last_number, excluded.last_number),
                   acknowledged_offset = greatest(p.acknowledged_offset, excluded.acknowledged_offset)""",
            topic,
            partition,
            tail.last,
            tail.end - 1,
        )
    records = [record for tail in tails.values() for record in tail.records]
    if records:
        await outbox.store_sent(connection, records)
    dropped = await connection.fetch(
        "DELETE FROM outbox WHERE id = ANY($1) RETURNING id", [record.id for record in records]
    )
    return len(dropped)


async def _heard(connection: Any, consumer: AIOKafkaConsumer, service: str) -> list[Envelope[Event]]:
    """What the service's group read after its backup, and will read again."""
    ends = await kafka.ends(consumer, SUBSCRIPTIONS[service])
    fences = await fence.load(connection, service, ends)
    heard = []
    for place, end in ends.items():
        async for record in kafka.records(consumer, place, fences[place].next_offset, end):
            try:
                heard.append(from_record(record.topic, record.key, record.value, record.headers))
            except Poison:
                continue
    return heard
