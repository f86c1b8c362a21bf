"""What resident and unit write to each other, and what the resident thinks of how it went."""

import hmac
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Sender = Literal["resident", "unit"]
MESSAGE_CHARACTERS = 5_000
MESSAGES_PER_SENDER = 100


@dataclass(frozen=True, slots=True)
class Message:
    """A message without its text. `number` counts the messages of a report from 1; `asks` when the unit wants
    an answer, `read` when the resident has read it. `at` is UTC, a tip's is a whole hour."""

    number: int
    message_id: uuid.UUID
    sender: Sender
    unit: str | None
    asks: bool
    read: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Rating:
    """What the resident thinks of how it went; `stars` from 1 to 5, if given."""

    satisfied: bool
    stars: int | None = None


def open_question(messages: Sequence[Message]) -> Message | None:
    """The unit's last question, of messages in order, while the resident has written nothing since."""
    for message in reversed(messages):
        if message.sender == "resident":
            return None
        if message.asks:
            return message
    return None


def unread(messages: Sequence[Message]) -> int:
    """How many of the unit's messages the resident has not read."""
    return sum(not message.read for message in messages)


def full(messages: Sequence[Message], sender: Sender) -> bool:
    """Whether that side has written as much as one may about one report."""
    return sum(message.sender == sender for message in messages) >= MESSAGES_PER_SENDER


def message_id(report_id: uuid.UUID, key: str, pepper: bytes) -> uuid.UUID:
    """The id of a resident's message: the same for the same report and key, and random to everybody else."""
    digest = hmac.digest(pepper, b"ibuurt message 1\0" + report_id.bytes + key.encode(), "sha256")
    return uuid.UUID(bytes=digest[:16], version=4)
