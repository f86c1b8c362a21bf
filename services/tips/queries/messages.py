"""What resident and unit write to each other."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from services.tips.core.conversation import Message

_MESSAGE = "number, message_id, sender, unit, asks, read, at"


@dataclass(frozen=True, slots=True)
class Stored:
    """A message, and its text as it is sealed."""

    message: Message
    sealed: bytes


async def insert_message(connection: Any, report_id: uuid.UUID, message: Message, sealed: bytes) -> None:
    """Store a message of a report that is locked."""
    await connection.execute(
        f"""INSERT INTO message (report_id, {_MESSAGE}, sealed)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)""",  # noqa: S608 - names of columns
        report_id,
        message.number,
        message.message_id,
        message.sender,
        message.unit,
        message.asks,
        message.read,
        message.at,
        sealed,
    )


async def messages_of(connection: Any, report_id: uuid.UUID) -> list[Stored]:
    """The conversation about a report, in order."""
    rows = await connection.fetch(
        f"SELECT {_MESSAGE}, sealed FROM message WHERE report_id = $1 ORDER BY number",  # noqa: S608 - names of columns
        report_id,
    )
    return [_stored(row) for row in rows]


async def heads_of(connection: Any, report_id: uuid.UUID) -> list[Message]:
    """The same without the texts."""
    rows = await connection.fetch(
        f"SELECT {_MESSAGE} FROM message WHERE report_id = $1 ORDER BY number",  # noqa: S608 - names of columns
        report_id,
    )
    return [Message(*row) for row in rows]


async def message_text(connection: Any, report_id: uuid.UUID, message_id: uuid.UUID) -> Stored | None:
    """The message of that id."""
    row = await connection.fetchrow(
        f"SELECT {_MESSAGE}, sealed FROM message WHERE report_id = $1 AND message_id = $2",  # noqa: S608 - names of columns
        report_id,
        message_id,
    )
    return _stored(row) if row else None


async def mark_read(connection: Any, report_id: uuid.UUID) -> None:
    """The resident has read all that the unit wrote."""
    await connection.execute("UPDATE message SET read = true WHERE report_id = $1 AND NOT read", report_id)


async def delete_messages(connection: Any, report_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Destroy the conversations about reports; how many messages each had."""
    rows = await connection.fetch(
        """WITH gone AS (DELETE FROM message WHERE report_id = ANY($1::uuid[]) RETURNING report_id)
           SELECT report_id, count(*) AS messages FROM gone GROUP BY report_id""",
        list(report_ids),
    )
    return {row["report_id"]: row["messages"] for row in rows}


def _stored(row: Any) -> Stored:
    *head, sealed = row
    return Stored(Message(*head), sealed)
