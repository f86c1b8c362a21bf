"""How an event is written on Kafka and read back: CloudEvents 1.0, binary mode.

The attributes are headers (ce_id, ce_source, ce_type, ce_time, ce_subject, and ce_sequence, which the relay
adds), the value is the event as a small JSON object.
"""

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Self, TypeVar

from pydantic import ValidationError

from shared.errors import Poison
from shared.events import EVENT_TYPES, Event, IssueGone, hour_of, utc

E = TypeVar("E", bound=Event)
_READ = frozenset(("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject"))
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"^[1-9][0-9]{0,18}\Z")
_TYPE = re.compile(r"^ibuurt\.(?P<name>[A-Za-z]+)\.v(?P<version>[0-9]{1,4})$")


@dataclass(frozen=True, slots=True)
class Envelope(Generic[E]):
    """An event with its CloudEvents attributes. `time` is UTC, cut to the hour where the event is a tip's."""

    id: uuid.UUID
    source: str
    time: datetime
    event: E

    @classmethod
    def of(cls, event: E, *, id: uuid.UUID, source: str, now: datetime) -> Self:  # noqa: A002 - the attribute's name
        """Wrap an event that happens `now`; `source` is `/<municipality>/<service>`."""
        moment = now.astimezone(UTC)
        return cls(id, source, hour_of(moment) if event.coarse else moment, event)


def derived_id(cause: uuid.UUID, event_type: type[Event]) -> uuid.UUID:
    """The id of an event that follows from another one: deriving it again gives the same id."""
    return uuid.uuid5(cause, event_type.type)


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record, not yet numbered. `timestamp` is in ms since 1970; a tombstone has no value."""

    topic: str
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int


Headers = Iterable[tuple[str, bytes | None]]


def attributes(
    event_id: uuid.UUID, source: str, event_type: str, time: datetime, subject: bytes
) -> tuple[tuple[str, bytes], ...]:
    """The CloudEvents attributes as Kafka headers, all but the number, which the relay adds."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", str(event_id).encode()),
        ("ce_source", source.encode()),
        ("ce_type", event_type.encode()),
        ("ce_time", time.isoformat().replace("+00:00", "Z").encode()),
        ("ce_subject", subject),
        ("content-type", b"application/json"),
    )


def to_value(event: Event) -> bytes | None:
    """The value of an event's record. Raises ValueError where it is above the event's `max_bytes`."""
    value = None if isinstance(event, IssueGone) else event.model_dump_json().encode()
    if value is not None and len(value) > event.max_bytes:
        raise ValueError(
            f"{event.type} is {len(value)} bytes, the limit is {event.max_bytes}; "
            "an event carries facts, not text"
        )
    return value


def to_record(envelope: Envelope[Any]) -> Record:
    """Write an envelope. Raises ValueError as `to_value`."""
    event = envelope.event
    value = to_value(event)
    headers = attributes(envelope.id, envelope.source, event.type, envelope.time, event.key.encode())
    return Record(event.topic.name, event.key.encode(), value, headers, int(envelope.time.timestamp() * 1000))


def number_of(headers: Headers) -> tuple[int, uuid.UUID]:
    """The record's number in its partition and its event id: all that the fence needs.

    Raises Poison where either cannot be read.
    """
    try:
        named = dict(headers)
        sequence = (named.get("ce_sequence") or b"").decode("ascii")
        event_id = _id((named.get("ce_id") or b"").decode("ascii"))
    except (ValueError, TypeError) as error:
        raise Poison("unnumbered", "ce_sequence or ce_id is missing or unreadable") from error
    # Nothing but digits: int() would take `1_0` and `+1` too, and two spellings of one number.
    if not _NUMBER.match(sequence) or (number := int(sequence)) >= 2**63:
        raise Poison("unnumbered", "ce_sequence must be a positive whole number")
    return number, event_id


def _id(text: str) -> uuid.UUID:
    """A UUID as it is written by us. Raises ValueError for every other spelling."""
    if not _UUID.match(text):
        raise ValueError("not the usual form of a UUID")
    return uuid.UUID(text)


def from_record(
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    event_id: uuid.UUID | None = None,
) -> Envelope[Event]:
    """Read a record; `event_id` is its ce_id where that has been read already. Raises Poison with the reason:
    bad_headers, unknown_type, unknown_version, wrong_topic, tombstone, bad_value or wrong_key."""
    try:
        # Only what is read here: a header of somebody else's may hold any bytes.
        named = {name: (content or b"").decode("utf-8") for name, content in headers if name in _READ}
        event_id, source, event_type = event_id or _id(named["ce_id"]), named["ce_source"], named["ce_type"]
        time = utc(datetime.fromisoformat(named["ce_time"]))
    except (ValueError, KeyError) as error:
        raise Poison("bad_headers", type(error).__name__) from error
    if named.get("ce_specversion") != "1.0":
        raise Poison("bad_headers", "not CloudEvents 1.0")
    model = _model(event_type)
    if model.topic.name != topic:
        raise Poison("wrong_topic", event_type)
    event = _value(model, key, value)
    subject = event.key
    if key is None or subject.encode() != key or named.get("ce_subject") != subject:
        raise Poison("wrong_key", "key, ce_subject and value name different subjects")
    return Envelope(event_id, source, time, event)


def _model(event_type: str) -> type[Event]:
    if model := EVENT_TYPES.get(event_type):
        return model
    parts = _TYPE.match(event_type)
    known = {name.rsplit(".", 1)[0] for name in EVENT_TYPES}
    if parts and f"ibuurt.{parts['name']}" in known:
        raise Poison("unknown_version", "upgrade this reader, then replay the dead letter")
    raise Poison("unknown_type", "upgrade this reader, then replay the dead letter")


def _value(model: type[Event], key: bytes | None, value: bytes | None) -> Event:
    if value is None:
        if model is not IssueGone:
            raise Poison("tombstone", "this topic has no tombstones")
        try:
            return IssueGone(issue_id=uuid.UUID((key or b"").decode("ascii")))
        except ValueError as error:
            raise Poison("wrong_key", "a tombstone's key must be an issue id") from error
    if len(value) > model.max_bytes:
        raise Poison("bad_value", f"more than {model.max_bytes} bytes")
    try:
        return model.model_validate_json(value, extra=model.unknown)
    except ValidationError as error:
        # Names of our fields and kinds of mistakes only: the input, and a key in it, may hold what must
        # not be logged.
        faults = ", ".join(
            f"{fault['loc'][0] if fault['loc'] else 'value'} {fault['type']}"
            for fault in error.errors(include_input=False)
        )
        raise Poison("bad_value", faults[:500]) from None
