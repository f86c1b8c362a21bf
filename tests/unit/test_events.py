"""The contract: what is written is read back, what was ever written is read for ever, and no words fit in."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared import events
from shared.cloudevents import Envelope, derived_id, from_record, number_of, to_record
from shared.errors import Poison
from shared.events import EVENT_TYPES, MAX_VALUE_BYTES, SUBSCRIPTIONS, TOPICS, Event, ReportEvent, hour_of
from tests.golden.expected import EXPECTED
from tests.golden.samples import SAMPLES, parts_of, topic_of
from tests.unit.strategies import MOMENTS, events_of

TYPES = sorted(EVENT_TYPES.values(), key=lambda event_type: event_type.type)
NAMES = [event_type.type for event_type in TYPES]

# The only strings that are no code, enumeration, id or time, each with what keeps words out of it.
OPEN_STRINGS = {
    "ibuurt.IssueChanged.v1 page": "the address of the issue's public page, made by tips from its id",
    "ibuurt.StatisticsReleased.v1 signature": "an Ed25519 signature, longer than a code, made by stats",
}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_every_golden_sample_is_read_as_it_always_was(name: str) -> None:
    """An event of any version that was ever written means the same to today's program."""
    assert from_record(topic_of(SAMPLES[name]), *parts_of(SAMPLES[name])) == EXPECTED[name]


def test_every_event_type_has_a_golden_sample_and_every_sample_a_type() -> None:
    """No type is added or dropped without its sample, no sample without what it means."""
    assert {f"ibuurt.{name}" for name in SAMPLES} == set(EVENT_TYPES)
    assert SAMPLES.keys() == EXPECTED.keys()
    assert {
        sample["headers"]["ce_type"].removeprefix("ibuurt."): name for name, sample in SAMPLES.items()
    } == {name: name for name in SAMPLES}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_golden_samples_of_numbered_topics_carry_their_number(name: str) -> None:
    """What the fence needs is readable without the value; a foreign writer's records have none."""
    headers = parts_of(SAMPLES[name])[2]
    if TOPICS[topic_of(SAMPLES[name])].numbered:
        number, event_id = number_of(headers)
        assert number >= 1
        assert event_id == EXPECTED[name].id
    else:
        with pytest.raises(Poison, match="unnumbered"):
            number_of(headers)


@pytest.mark.parametrize("event_type", TYPES, ids=NAMES)
@given(data=st.data())
def test_whatever_is_written_is_read_back_equal(event_type: type[Event], data: st.DataObject) -> None:
    """No event that can be made is lost or altered on its way through a record."""
    event = data.draw(events_of(event_type))
    envelope = Envelope.of(event, id=data.draw(st.uuids()), source="/ibuurt/tips", now=data.draw(MOMENTS))
    record = to_record(envelope)
    assert from_record(record.topic, record.key, record.value, record.headers) == envelope
    assert (record.key, record.topic) == (event.key.encode(), event_type.topic.name)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_reader_ignores_fields_and_headers_that_it_does_not_know(name: str) -> None:
    """An optional field or header of a newer writer, or anybody's binary header, stops nobody. Of a release
    it is kept, since it is hashed; nothing looks at it."""
    sample = json.loads(json.dumps(SAMPLES[name]))
    if sample["value"] is not None:
        sample["value"]["a_newer_field"] = {"nested": [1, None, "x"]}
        for cell in sample["value"].get("cells", []):
            cell["a_newer_field"] = 1
    key, value, headers = parts_of(sample)
    headers += [("ce_newer", b"1"), ("trace-bin", b"\xff\xfe"), ("empty", None)]
    read = from_record(topic_of(sample), key, value, headers)
    if read.event.unknown == "allow":
        assert read.event.model_extra == {"a_newer_field": {"nested": [1, None, "x"]}}
        read = replace(read, event=type(read.event).model_validate_json(value or b"", extra="ignore"))
    assert read == EXPECTED[name]


def wrong(value: Any) -> Iterator[Any]:
    """Values of another type than the given one: strict means that none of them is converted."""
    yield None
    yield {"a": object()}
    yield str(value) if not isinstance(value, str) else 1
    if isinstance(value, int) and not isinstance(value, bool):
        yield float(value)
        yield True


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_writer_cannot_write_an_unknown_or_wrongly_typed_field(name: str) -> None:
    """The writer's mistake shows where it is made, not in a reader's dead letters."""
    event = EXPECTED[name].event
    fields = dict(event)
    with pytest.raises(ValidationError, match="extra_forbidden"):
        type(event)(**fields, description="a man in a red coat")
    # What came later than the sample has no value in it.
    for field, value in ((field, value) for field, value in fields.items() if value is not None):
        optional = field in ("latitude", "longitude", "answer_by")
        for other in wrong(value):
            if optional and other is None:
                continue
            with pytest.raises(ValidationError):
                type(event)(**fields | {field: other})
    with pytest.raises(ValidationError, match="frozen"):
        event.report_id = None


def test_an_event_above_the_limit_cannot_be_written() -> None:
    """So that no unsendable row can exist in an outbox."""
    event = EXPECTED["ReportAccepted.v1"].event
    large = type(event)(**dict(event) | {"areas": {f"set{number:061}": "a" * 64 for number in range(150)}})
    with pytest.raises(ValueError, match=f"limit is {MAX_VALUE_BYTES}"):
        to_record(Envelope.of(large, id=EXPECTED["ReportAccepted.v1"].id, source="/x/tips", now=large.hour))


REPORT_TYPES = [event_type for event_type in TYPES if issubclass(event_type, ReportEvent)]


@given(st.sampled_from(REPORT_TYPES).flatmap(events_of), st.uuids(), MOMENTS)
def test_a_tips_envelope_and_record_tell_no_more_than_the_hour(
    event: ReportEvent, event_id: uuid.UUID, now: datetime
) -> None:
    """Neither ce_time nor Kafka's own timestamp tells a tip's minute; an issue's is kept."""
    envelope = Envelope.of(event, id=event_id, source="/ibuurt/tips", now=now)
    record = to_record(envelope)
    written = dict(record.headers)["ce_time"]
    if event.kind == "tip":
        assert envelope.time == hour_of(now)
        assert written.endswith(b":00:00Z")
        assert record.timestamp % 3_600_000 == 0
    else:
        assert envelope.time == now
        assert written.endswith(b"Z")


def test_an_event_derived_again_has_the_same_id() -> None:
    """What a consumer derives from one event is one event, however often; another type is another event."""
    cause = EXPECTED["ReportAccepted.v1"].id
    assert derived_id(cause, events.ReportRouted) == derived_id(cause, events.ReportRouted)
    assert derived_id(cause, events.ReportRouted) != derived_id(cause, events.ReportDelivered)


def strings_in(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every place in a JSON schema that takes a string, or anything at all."""
    if isinstance(schema, list):
        for part in schema:
            yield from strings_in(part, path)
        return
    if schema.get("type") == "string" or not schema:
        yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from strings_in(part, f"{path} {name}")
    for pattern, part in schema.get("patternProperties", {}).items():
        yield f"{path} key", {"pattern": pattern}
        yield from strings_in(part, path)
    if extra := schema.get("additionalProperties"):
        yield f"{path} key", schema.get("propertyNames", {})
        yield from strings_in({} if extra is True else extra, path)
    for name in ("items", "prefixItems", "anyOf", "oneOf", "allOf"):
        yield from strings_in(schema.get(name, []), path)
    for name, part in schema.get("$defs", {}).items():
        yield from strings_in(part, f"{path} {name}")


def test_no_event_has_a_field_that_could_hold_words() -> None:
    """Every string is a code, one of a list, an id or a time; the exceptions are listed with their reason."""
    code = TypeAdapter(events.Code).json_schema()["pattern"]
    kept_out = [
        path
        for event_type in TYPES
        for path, schema in strings_in(event_type.model_json_schema(), event_type.type)
        if not (
            schema.get("pattern") == code
            or schema.get("format") in ("uuid", "date", "date-time")
            or "enum" in schema
            or "const" in schema
        )
    ]
    assert sorted(kept_out) == sorted(OPEN_STRINGS)


def test_the_walk_finds_words_where_there_are_some() -> None:
    """The test above would be worth nothing if its walk missed a string in a list, a mapping or an option."""

    class Loose(Event):
        plain: str
        listed: tuple[str, ...]
        mapped: dict[str, str]
        optional: str | None = None
        anything: Any = None
        free: dict[events.Code, Any]

    paths = {path for path, schema in strings_in(Loose.model_json_schema(), "L") if "pattern" not in schema}
    assert paths >= {"L plain", "L listed", "L mapped key", "L mapped", "L optional", "L free"}


def test_topics_and_subscriptions_agree_with_the_types() -> None:
    """Every type goes to a topic that the deployment makes, and nobody subscribes to another."""
    assert {event_type.topic.name for event_type in TYPES} == set(TOPICS)
    assert {topic.name for topics in SUBSCRIPTIONS.values() for topic in topics} <= set(TOPICS)
    made = [topic.name for topic in events.all_topics()]
    assert len(made) == len(set(made))
    for group, topics in SUBSCRIPTIONS.items():
        assert {topic.dead_letters(group) for topic in topics} <= set(made)
