"""The way out, in the database: events are appended in the transaction that changes the state, then moved
into stored batches and numbered per partition. The process that does the moving is shared/relay.py.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from shared import postgres
from shared.cloudevents import Envelope, attributes, to_value
from shared.events import EVENT_TYPES, TOPICS, Place

TYPES = ("uuid", "text", "text", "bytea", "bytea", "text", "timestamptz")
COLUMNS = "id, type, topic, key, value, source, time"
CLAIM_ROWS = 2_000
KEEP_DAYS = 14
KEEP_BATCHES = 1_000
_APPEND = f"INSERT INTO outbox ({COLUMNS}) SELECT * FROM unnest({postgres.arrays(TYPES)})"  # noqa: S608 - names of columns


async def append(connection: Any, envelopes: Sequence[Envelope[Any]]) -> None:
    """Add events to the outbox on the caller's connection, inside the caller's transaction.

    Raises ValueError for an event that could not be sent, so that no unsendable row can exist. The caller
    has locked the row that the events are about: that is what keeps the events of one key in order.
    """
    await connection.execute(_APPEND, *columns(envelopes))


def columns(envelopes: Sequence[Envelope[Any]]) -> Sequence[Sequence[Any]]:
    """An array for each of COLUMNS, for whoever appends in a larger statement. Raises as `append`."""
    for envelope in envelopes:
        _check_contract(envelope)
    events = [envelope.event for envelope in envelopes]
    return (
        [envelope.id for envelope in envelopes],
        [event.type for event in events],
        [event.topic.name for event in events],
        [event.key.encode() for event in events],
        [to_value(event) for event in events],
        [envelope.source for envelope in envelopes],
        [envelope.time for envelope in envelopes],
    )


def _check_contract(envelope: Envelope[Any]) -> None:
    event = envelope.event
    if EVENT_TYPES.get(event.type) is not type(event) or TOPICS.get(event.topic.name) != event.topic:
        raise ValueError(
            f"{event.type} is not in the contract; add the event and its topic to shared/events.py"
        )
    writer = envelope.source.rsplit("/", 1)[-1]
    if writer != event.topic.writer or not event.topic.numbered:
        raise ValueError(
            f"{envelope.source} may not append to {event.topic.name}, which {event.topic.writer} writes; a "
            "second writer would give its numbers twice"
        )


class Numbered(NamedTuple):
    """One record of a stored batch, with its place. A tuple: there are many, and each is made twice."""

    id: uuid.UUID
    type: str
    topic: str
    key: bytes
    value: bytes | None
    source: str
    time: datetime
    partition: int
    number: int

    def headers(self) -> list[tuple[str, bytes]]:
        number = ("ce_sequence", str(self.number).encode())
        return [*attributes(self.id, self.source, self.type, self.time, self.key), number]


@dataclass(frozen=True, slots=True)
class Batch:
    """What was claimed in one transaction."""

    batch: int
    records: tuple[Numbered, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch of which every record is acknowledged, and the last offset of each partition."""

    batch: Batch
    offsets: Mapping[Place, int]


async def claim(connection: Any, sent: "Sent | None" = None) -> Batch | None:
    """Move up to CLAIM_ROWS rows into a numbered batch and mark the one before as sent, in one statement.

    The partition of a record is the CRC-32 of its key (zlib's) modulo its topic's partitions; its number is
    the next of its partition. Only the session that holds the relay's lock may call this.
    """
    if not sent and not await connection.fetchval("SELECT EXISTS (SELECT FROM outbox)"):
        return None
    row = await connection.fetchrow(
        f"""WITH marked AS (UPDATE outbox_batch SET sent_on = current_date WHERE batch = $1),
            taken AS (
                DELETE FROM outbox WHERE position <= (
                    SELECT max(position) FROM (SELECT position FROM outbox ORDER BY position LIMIT $5))
                RETURNING *),
            placed AS (
                SELECT taken.*, (crc32(key) % partitions)::integer AS partition
                FROM taken
                LEFT JOIN unnest($6::text[], $7::integer[]) AS t (topic, partitions) USING (topic)),
            given AS (
                INSERT INTO outbox_partition AS p (topic, partition, last_number, acknowledged_offset)
                SELECT topic, partition, coalesce(count, 0), coalesce(acknowledged, -1)
                FROM (SELECT topic, partition, count(*) FROM placed GROUP BY topic, partition)
                FULL JOIN unnest($2::text[], $3::integer[], $4::bigint[])
                    AS a (topic, partition, acknowledged) USING (topic, partition)
                ON CONFLICT (topic, partition) DO UPDATE
                    SET last_number = p.last_number + excluded.last_number,
                        acknowledged_offset = greatest(p.acknowledged_offset, excluded.acknowledged_offset)
                RETURNING topic, partition, last_number),
            numbered AS (
                SELECT placed.*, last_number - count(*) OVER place
                    + row_number() OVER (PARTITION BY topic, partition ORDER BY position) AS number
                FROM placed JOIN given USING (topic, partition)
                WINDOW place AS (PARTITION BY topic, partition)
                ORDER BY position)
            INSERT INTO outbox_batch ({", ".join(_ARRAYS)})
            SELECT array_agg(id ORDER BY position), array_agg(type ORDER BY position),
                array_agg(topic ORDER BY position), array_agg(key ORDER BY position),
                array_agg(value ORDER BY position), array_agg(source ORDER BY position),
                array_agg(time ORDER BY position), array_agg(partition ORDER BY position),
                array_agg(number ORDER BY position)
            FROM numbered HAVING count(*) > 0
            RETURNING *""",  # noqa: S608 - names of columns
        *(_marks(sent) if sent else (None, [], [], [])),
        CLAIM_ROWS,
        list(TOPICS),
        [topic.partitions for topic in TOPICS.values()],
    )
    return _batch(row) if row else None


async def unsent_batches(connection: Any) -> list[Batch]:
    """Every stored batch that is not known to be sent, oldest first."""
    rows = await connection.fetch("SELECT * FROM outbox_batch WHERE sent_on IS NULL ORDER BY batch")
    return [_batch(row) for row in rows]


async def sent_batches(connection: Any) -> list[int]:
    """The numbers of the stored batches that are known to be sent, oldest first."""
    rows = await connection.fetch("SELECT batch FROM outbox_batch WHERE sent_on IS NOT NULL ORDER BY batch")
    return [row["batch"] for row in rows]


async def stored_batch(connection: Any, batch: int) -> Batch:
    """One stored batch."""
    return _batch(await connection.fetchrow("SELECT * FROM outbox_batch WHERE batch = $1", batch))


async def mark_sent(connection: Any, sent: Sent) -> None:
    """Record that every record of a batch is acknowledged, and up to which offset."""
    await connection.execute(
        """WITH marked AS (UPDATE outbox_batch SET sent_on = current_date WHERE batch = $1)
           UPDATE outbox_partition p SET acknowledged_offset = greatest(acknowledged_offset, a.acknowledged)
           FROM unnest($2::text[], $3::integer[], $4::bigint[]) AS a (topic, partition, acknowledged)
           WHERE p.topic = a.topic AND p.partition = a.partition""",
        *_marks(sent),
    )


def _marks(sent: Sent) -> tuple[int, list[str], list[int], list[int]]:
    """The batch, and the partitions with their last acknowledged offsets, an array each."""
    return (
        sent.batch.batch,
        [topic for topic, _ in sent.offsets],
        [partition for _, partition in sent.offsets],
        list(sent.offsets.values()),
    )


async def acknowledged_offsets(connection: Any) -> dict[Place, int]:
    """The last offset of each partition that Kafka has acknowledged; -1 where none is."""
    rows = await connection.fetch("SELECT topic, partition, acknowledged_offset FROM outbox_partition")
    return {(row["topic"], row["partition"]): row["acknowledged_offset"] for row in rows}


async def forget_sent(connection: Any) -> None:
    """Drop the batches that were sent more than KEEP_DAYS ago, all but the last KEEP_BATCHES: a relay that
    wakes late may send those once more, and the check at start must know them for its own."""
    await connection.execute(
        """DELETE FROM outbox_batch WHERE sent_on < current_date - $1::integer
           AND batch <= (SELECT max(batch) FROM outbox_batch) - $2::integer""",
        KEEP_DAYS,
        KEEP_BATCHES,
    )


async def store_sent(connection: Any, records: Sequence[Numbered]) -> None:
    """Keep records that this database did not know it had sent, as one batch that is sent."""
    columns = [[getattr(record, field) for record in records] for field in Numbered._fields]
    await connection.execute(
        f"INSERT INTO outbox_batch ({', '.join(_ARRAYS)}, sent_on)"  # noqa: S608 - names of columns
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, current_date)",
        *columns,
    )


_ARRAYS = ("ids", "types", "topics", "keys", "contents", "sources", "times", "partitions", "numbers")


def _batch(row: Any) -> Batch:
    columns: list[list[Any]] = [row[array] for array in _ARRAYS]
    return Batch(row["batch"], tuple(Numbered(*values) for values in zip(*columns, strict=True)))
