"""`dead-letters replay`: what a group could not read once and can read now is applied in its database.

Nothing is published again: a dead letter is one group's, and every other group has applied it long ago.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from shared import kafka, postgres
from shared.cloudevents import Envelope, from_record, number_of
from shared.cluster import Where
from shared.consumer import Apply
from shared.errors import Poison, Refusal
from shared.events import SUBSCRIPTIONS, TOPICS, Event, dead_letter_topics
from shared.mending.journal import Say, known_topic, note

# Another writer's, or an event of a future that a restored database took back: only when named.
DANGEROUS = frozenset(("number_used_twice",))


@dataclass(frozen=True)
class Filter:
    """Which dead letters; what is None does not choose."""

    topic: str | None = None
    reason: str | None = None
    event_id: str | None = None

    def takes(self, letter: "Letter") -> bool:
        if self.reason is None and letter.reason in DANGEROUS:
            return False
        return (
            self.topic in {None, letter.topic}
            and self.reason in {None, letter.reason}
            and self.event_id in {None, letter.event_id}
        )


@dataclass(frozen=True)
class Letter:
    """A dead letter: the record as it came, where it stood, and why it was set aside."""

    record: ConsumerRecord
    topic: str
    partition: int
    offset: int
    reason: str

    @property
    def event_id(self) -> str | None:
        return (dict(self.record.headers).get("ce_id") or b"").decode("utf-8", "replace") or None

    def read(self) -> Envelope[Event]:
        """Its event. Raises Poison where it still cannot be read, or never came from a relay of ours."""
        headers = [one for one in self.record.headers if not one[0].startswith("dlt_")]
        if (known := TOPICS.get(self.topic)) is None or known.numbered:
            number_of(headers)
        return from_record(self.topic, self.record.key, self.record.value, headers)


async def replay(
    dsn: str,
    where: Where,
    group: str,
    apply: Apply,
    chosen: Filter,
    *,
    rate: float,
    who: str | None,
    say: Say,
) -> None:
    """Apply the group's dead letters that `chosen` takes, at most `rate` a second, each in a transaction of
    its own and once for ever; without `who`, only say which could be read. Raises Refusal for a topic that
    the group does not read."""
    if chosen.topic:
        known_topic(chosen.topic, {topic.name: topic for topic in SUBSCRIPTIONS[group]})
    if rate <= 0:
        raise Refusal("--rate must be above 0")
    connection = await postgres.connect(dsn, f"{group}-replay")
    consumer = kafka.reader(where, f"{group}-replay")
    became: Counter[str] = Counter()
    try:
        await consumer.start()
        async for letter in _letters(consumer, group):
            if not chosen.takes(letter):
                became["not chosen"] += 1
                continue
            fate = await _deal_with(connection, group, apply, letter, dry=who is None)
            became[fate] += 1
            say(
                f"{letter.topic} partition {letter.partition} offset {letter.offset}: {letter.reason}: {fate}"
            )
            if who is not None:
                await asyncio.sleep(1 / rate)
    finally:
        # Also of one that was broken off: what it applied stays applied.
        if who is not None and became:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await note(connection, who, "dead-letters replay", dict(became))
        await kafka.stop_quietly(consumer)
        await connection.close()
    say(", ".join(f"{count} {fate}" for fate, count in became.items()) or "there are no dead letters")
    if who is None:
        say("dry run: nothing was applied; with --by NAME it is")


async def _letters(consumer: AIOKafkaConsumer, group: str) -> AsyncIterator[Letter]:
    for place, end in sorted((await kafka.ends(consumer, dead_letter_topics([group]))).items()):
        async for record in kafka.records(consumer, place, 0, end):
            named = {name: (content or b"").decode("utf-8", "replace") for name, content in record.headers}
            yield Letter(
                record,
                named.get("dlt_topic", ""),
                int(named.get("dlt_partition", -1)),
                int(named.get("dlt_offset", -1)),
                named.get("dlt_reason", ""),
            )


async def _deal_with(connection: Any, group: str, apply: Apply, letter: Letter, *, dry: bool) -> str:
    try:
        envelope = letter.read()
    except Poison as poison:
        return f"still cannot be read ({poison.reason})"
    if dry:
        known = await connection.fetchval(
            "SELECT true FROM replayed WHERE consumer_group = $1 AND event_id = $2", group, envelope.id
        )
        return "applied before" if known else "can be read now"
    try:
        async with connection.transaction():
            if not await connection.fetchval(
                "INSERT INTO replayed VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
                group,
                envelope.id,
            ):
                return "applied before"
            await apply(connection, [envelope])
    except Poison as poison:
        return f"still cannot be applied ({poison.reason})"
    except Exception as error:
        if postgres.is_transient(error) or postgres.is_schema_fault(error):
            raise
        return f"still cannot be applied ({type(error).__name__})"
    return "applied"
