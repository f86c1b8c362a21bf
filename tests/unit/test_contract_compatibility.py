"""What subscribers would not survive is refused, by name and with the mend; what they would, passes."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import Field, StringConstraints, create_model

from deploy.contract.asyncapi import document
from deploy.contract.compatibility import breaks, schema_breaks
from shared.events import (
    EVENT_TYPES,
    INCIDENTS,
    ISSUES,
    REPORTS,
    STATISTICS,
    TOPICS,
    Code,
    Event,
    IssueChanged,
    ReleasedCell,
    ReportAccepted,
    ReportAcknowledged,
    ReportErased,
    ReportRouted,
    StatisticsReleased,
    Topic,
    Version,
)

PUBLISHED = document()
Schema = dict[str, Any]


def planted(event: type[Event], without: str = "", **fields: Any) -> dict[str, Any]:
    """The document with one event changed: a field taken away, others set to (type, default)."""
    kept: dict[str, Any] = {
        name: (field.annotation, field) for name, field in event.model_fields.items() if name != without
    }
    changed = create_model(event.__name__, __base__=Event, __doc__=event.__doc__, **(kept | fields))
    changed.topic, changed.type, changed.keyed_by = event.topic, event.type, event.keyed_by
    return document([changed if one is event else one for one in EVENT_TYPES.values()])


def with_topic(old: Topic, **changes: Any) -> dict[str, Any]:
    """The document with one topic changed."""
    return document(topics=[replace(one, **changes) if one == old else one for one in TOPICS.values()])


def with_setting(old: Topic, name: str, value: str) -> dict[str, Any]:
    return with_topic(old, settings=dict(old.settings) | {name: value})


def without_event(event: type[Event]) -> dict[str, Any]:
    return document([one for one in EVENT_TYPES.values() if one is not event])


def moved(event: type[Event], topic: Topic) -> dict[str, Any]:
    changed = planted(event)
    name = event.type.removeprefix("ibuurt.")
    channels = changed["channels"]
    channels[topic.name]["messages"][name] = channels[event.topic.name]["messages"].pop(name)
    return changed


def keyed_otherwise() -> dict[str, Any]:
    changed = planted(IssueChanged)
    changed["components"]["messages"]["IssueChanged.v1"]["x-ibuurt-key"] = "page"
    return changed


def without_number() -> dict[str, Any]:
    changed = planted(IssueChanged)
    headers = changed["components"]["messages"]["IssueChanged.v1"]["headers"]
    del headers["properties"]["ce_sequence"]
    headers["required"].remove("ce_sequence")
    return changed


def redescribed() -> dict[str, Any]:
    changed = copy.deepcopy(PUBLISHED)
    for message in changed["components"]["messages"].values():
        message["summary"] = "said otherwise"
        for header in message["headers"]["properties"].values():
            header["description"] = "said otherwise"
    return changed


class RoundedCell(ReleasedCell):
    """A figure of another type, in a list inside an event."""

    value: float  # type: ignore[assignment] # the mistake that is planted


Digits = Annotated[str, StringConstraints(pattern="^[0-9]+$")]
Wide = Annotated[str, StringConstraints(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]
ISSUE, TOPIC = "IssueChanged.v1", "ibuurt.issues.v1"

INCOMPATIBLE: dict[str, tuple[Callable[[], dict[str, Any]], str, str]] = {
    "a field removed": (lambda: planted(IssueChanged, "page"), ISSUE, "field `page` is gone"),
    "a field renamed": (
        lambda: planted(
            ReportAcknowledged, "took", duration=(ReportAcknowledged.model_fields["took"].annotation, ...)
        ),
        "ReportAcknowledged.v1",
        "field `took` is gone (renamed `duration`?)",
    ),
    "a required field added": (
        lambda: planted(ReportRouted, desk=(Code, ...)),
        "ReportRouted.v1",
        "field `desk` is new and required",
    ),
    "an optional field required": (
        lambda: planted(IssueChanged, latitude=(float | None, ...)),
        ISSUE,
        "field `latitude` could be missing, now it is required",
    ),
    "a required field optional": (
        lambda: planted(ReportRouted, unit=(Code, "nobody")),
        "ReportRouted.v1",
        "field `unit` was always there, now it may be missing",
    ),
    "a type changed": (
        lambda: planted(IssueChanged, version=(Code, ...)),
        ISSUE,
        "field `version`: minimum was 1, now it is not there, pattern was not there",
    ),
    "a type widened to null": (
        lambda: planted(IssueChanged, version=(Version | None, ...)),
        ISSUE,
        "field `version`: anyOf was not there",
    ),
    "a range narrowed": (
        lambda: planted(IssueChanged, version=(Annotated[int, Field(ge=2)], ...)),
        ISSUE,
        "field `version`: minimum was 1, now it is 2",
    ),
    "a pattern narrowed": (
        lambda: planted(IssueChanged, category=(Digits, ...)),
        ISSUE,
        "field `category`: pattern was '^[A-Za-z0-9]",
    ),
    "a pattern widened": (
        lambda: planted(IssueChanged, category=(Wide, ...)),
        ISSUE,
        "field `category`: pattern was '^[A-Za-z0-9]",
    ),
    "a code made a list of values": (
        lambda: planted(ReportRouted, unit=(Literal["police", "parks"], ...)),
        "ReportRouted.v1",
        "field `unit`: enum was not there, now it is ['police', 'parks']",
    ),
    "a value of a list removed": (
        lambda: planted(ReportErased, reason=(Literal["resident", "retention", "spam"], ...)),
        "ReportErased.v1",
        "field `reason` no longer takes 'lost'; kept records have it",
    ),
    "a value of a list added": (
        lambda: planted(
            ReportErased, reason=(Literal["resident", "retention", "spam", "lost", "court"], ...)
        ),
        "ReportErased.v1",
        "field `reason` also takes 'court'; readers take a published list of values for complete",
    ),
    "a default changed": (
        lambda: planted(IssueChanged, latitude=(IssueChanged.model_fields["latitude"].annotation, 52.0)),
        ISSUE,
        "field `latitude`: ",
    ),
    "a field inside a list changed": (
        lambda: planted(StatisticsReleased, cells=(tuple[RoundedCell, ...], ...)),
        "StatisticsReleased.v1",
        "field `cells[].value`: type was 'integer', now it is 'number'",
    ),
    "what a map's values are changed": (
        lambda: planted(ReportAccepted, areas=(dict[Code, Digits], ...)),
        "ReportAccepted.v1",
        "field `areas{}`: pattern was",
    ),
    "what a map's keys are changed": (
        lambda: planted(ReportAccepted, areas=(dict[Digits, Code], ...)),
        "ReportAccepted.v1",
        "field `areas`: patternProperties was",
    ),
    "a header removed": (without_number, ISSUE, "header `ce_sequence` is gone"),
    "another key": (keyed_otherwise, ISSUE, "the key was `issue_id`, now it is `page`"),
    "an event removed": (lambda: without_event(IssueChanged), ISSUE, "the event is gone"),
    "an event moved": (
        lambda: moved(IssueChanged, STATISTICS),
        ISSUE,
        "it went to the topic ibuurt.issues.v1, now to ibuurt.statistics.v1",
    ),
    "other partitions": (lambda: with_topic(ISSUES, partitions=24), TOPIC, "partitions was 12, now it is 24"),
    "another writer": (
        lambda: with_topic(ISSUES, writer="notify"),
        TOPIC,
        "its writer was 'tips', now it is 'notify'",
    ),
    "numbers taken away": (
        lambda: with_topic(ISSUES, numbered=False),
        TOPIC,
        "numbered (ce_sequence) was True, now it is False",
    ),
    "closed to outsiders": (
        lambda: with_topic(ISSUES, outsiders=False),
        TOPIC,
        "other systems could read it",
    ),
    "a topic removed": (
        lambda: document(topics=[one for one in TOPICS.values() if one != INCIDENTS]),
        "ibuurt.incidents.v1",
        "the topic is gone",
    ),
    "deleted instead of compacted": (
        lambda: with_setting(ISSUES, "cleanup.policy", "delete"),
        TOPIC,
        "cleanup.policy was ['compact'], now it is ['delete']",
    ),
    "compacted and deleted": (
        lambda: with_setting(ISSUES, "cleanup.policy", "compact,delete"),
        TOPIC,
        "cleanup.policy was ['compact'], now it is ['compact', 'delete']",
    ),
    "compacted sooner": (
        lambda: with_setting(ISSUES, "min.compaction.lag.ms", "1"),
        TOPIC,
        "min.compaction.lag.ms was 604800000, now it is 1",
    ),
    "compacted later than residents were told": (
        lambda: with_setting(ISSUES, "max.compaction.lag.ms", "9223372036854775807"),
        TOPIC,
        "max.compaction.lag.ms was 691200000",
    ),
    "smaller events than were taken": (
        lambda: with_setting(REPORTS, "max.message.bytes", "100"),
        "ibuurt.reports.v1",
        "max.message.bytes was not there, now it is",
    ),
    "tombstones kept for less": (
        lambda: with_setting(ISSUES, "delete.retention.ms", "86400000"),
        TOPIC,
        "delete.retention.ms was 2592000000, now it is 86400000",
    ),
    "kept for less": (
        lambda: with_setting(REPORTS, "retention.ms", "86400000"),
        "ibuurt.reports.v1",
        "retention.ms was 7776000000, now it is 86400000",
    ),
    "no longer kept for ever": (
        lambda: with_setting(STATISTICS, "retention.ms", "7776000000"),
        "ibuurt.statistics.v1",
        "retention.ms was -1, now it is 7776000000",
    ),
    "kept for Kafka's default": (
        lambda: with_topic(REPORTS, settings={}),
        "ibuurt.reports.v1",
        "retention.ms was 7776000000, now it is not there",
    ),
    "cut at a size": (
        lambda: with_setting(REPORTS, "retention.bytes", "1000000"),
        "ibuurt.reports.v1",
        "retention.bytes was not there, now it is 1000000",
    ),
    "another timestamp": (
        lambda: with_setting(ISSUES, "message.timestamp.type", "LogAppendTime"),
        TOPIC,
        "message.timestamp.type was not there, now it is 'LogAppendTime'",
    ),
}


@pytest.mark.parametrize("kind", INCOMPATIBLE)
def test_what_subscribers_would_not_survive_is_named_with_its_mend(kind: str) -> None:
    """The event or topic, the field or setting, and what to make instead; and nothing else is blamed."""
    change, where, what = INCOMPATIBLE[kind]
    found = breaks(PUBLISHED, change())
    assert any(what in one.what for one in found), found
    assert {one.where for one in found} == {where}
    for one in found:
        assert f"leave {where} as it was published" in str(one)
        assert f"{where.rpartition('.v')[0]}.v2 beside it" in str(one)


class Photo(Event):
    """A field's own fields may grow too."""

    width: int | None = None


class MoreCell(ReleasedCell):
    note: Code | None = None


class IssueChanged2(IssueChanged):
    """A new version beside the old."""

    type = "ibuurt.IssueChanged.v2"
    photos: int


COMPATIBLE: dict[str, Callable[[], dict[str, Any]]] = {
    "nothing": document,
    "an optional field": lambda: planted(IssueChanged, photos=(int | None, None)),
    "an optional object": lambda: planted(IssueChanged, photo=(Photo | None, None)),
    "an optional field inside a list": lambda: planted(StatisticsReleased, cells=(tuple[MoreCell, ...], ...)),
    "a new version beside the old": lambda: document([*EVENT_TYPES.values(), IssueChanged2]),
    "a new topic": lambda: document(topics=[*TOPICS.values(), Topic("ibuurt.issues.v2", "tips")]),
    "kept for longer": lambda: with_setting(REPORTS, "retention.ms", str(91 * 86_400_000)),
    "kept for ever": lambda: with_setting(REPORTS, "retention.ms", "-1"),
    "compacted later": lambda: with_setting(ISSUES, "min.compaction.lag.ms", str(8 * 86_400_000)),
    "a setting that no reader can tell": lambda: with_setting(ISSUES, "min.insync.replicas", "2"),
    "open to outsiders": lambda: with_topic(INCIDENTS, outsiders=True),
    "another description": redescribed,
}


@pytest.mark.parametrize("kind", COMPATIBLE)
def test_what_tolerant_readers_do_not_notice_passes(kind: str) -> None:
    """Nothing is said of it."""
    assert breaks(PUBLISHED, COMPATIBLE[kind]()) == []


LEAVES: tuple[Schema, ...] = (
    {"type": "string", "pattern": "^[a-z]+$"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "enum": ["a", "b"]},
    {"type": "integer", "minimum": 1},
    {"type": "boolean"},
    {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
)
NAMES = st.text("abcdef", min_size=1, max_size=3)


def objects(parts: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    """An object with a few fields, some of them required."""

    def made(fields: dict[str, tuple[Schema, bool]]) -> Schema:
        required = [name for name, (_, needed) in fields.items() if needed]
        properties = {name: copy.deepcopy(part) for name, (part, _) in fields.items()}
        return {"type": "object", "properties": properties, "required": required}

    return st.dictionaries(NAMES, st.tuples(parts, st.booleans()), min_size=1, max_size=4).map(made)


def containers(parts: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return (
        objects(parts)
        | parts.map(lambda part: {"type": "array", "items": copy.deepcopy(part)})
        | parts.map(lambda part: {"type": "object", "patternProperties": {"^[a-z]+$": copy.deepcopy(part)}})
    )


VALUES = objects(st.recursive(st.sampled_from(LEAVES), containers, max_leaves=6))


def fields_in(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema, str]]:
    """Every field at any depth: its path as a message names it, the object that has it, its name there."""
    for name, part in schema.get("properties", {}).items():
        inner = f"{path}.{name}" if path else name
        yield inner, schema, name
        yield from fields_in(part, inner)
    if "items" in schema:
        yield from fields_in(schema["items"], f"{path}[]")
    for part in schema.get("patternProperties", {}).values():
        yield from fields_in(part, f"{path}{{}}")


@given(st.data(), VALUES)
def test_optional_fields_may_be_added_anywhere_again_and_again(data: st.DataObject, value: Schema) -> None:
    """However deep; and what is compatible step by step is compatible with the first step."""
    first = copy.deepcopy(value)
    for _ in range(3):
        before = copy.deepcopy(value)
        owner = data.draw(st.sampled_from([value, *(owner for _, owner, _ in fields_in(value))]))
        name = data.draw(NAMES)
        assume(name not in owner["properties"])
        owner["properties"][name] = data.draw(st.sampled_from(LEAVES))
        assert list(schema_breaks(before, value)) == []
        assert list(schema_breaks(first, value)) == []


@given(st.data(), VALUES)
def test_a_field_cannot_go_change_or_become_required_unnoticed(data: st.DataObject, value: Schema) -> None:
    """Whichever it is and however deep, the message names its path."""
    changed = copy.deepcopy(value)
    path, owner, name = data.draw(st.sampled_from(list(fields_in(changed))))
    how = data.draw(st.sampled_from(["removed", "changed", "required", "renamed"]))
    if how in {"removed", "renamed"}:
        part = owner["properties"].pop(name)
        owner["required"] = [one for one in owner["required"] if one != name]
        if how == "renamed":
            owner["properties"]["z"] = part
    elif how == "changed":
        owner["properties"][name] = data.draw(
            st.sampled_from(LEAVES).filter(lambda leaf: leaf != owner["properties"][name])
        )
    elif name in owner["required"]:
        owner["required"].remove(name)
    else:
        owner["required"].append(name)
    found = list(schema_breaks(value, changed))
    assert found
    assert all(f"field `{path}" in one for one in found)
