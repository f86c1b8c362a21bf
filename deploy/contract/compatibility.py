"""What a change breaks: the published AsyncAPI document against the one that the models would write.

A published field never changes, in either direction. Readers of today meet the records of tomorrow's writers,
and readers of tomorrow meet the records that are kept: what is wider breaks the former, what is narrower the
latter. What may be added is an optional field or header, an event, a topic.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from deploy.contract.asyncapi import DEAD_LETTER, Document
from deploy.contract.schemas import LISTED, NAMED, SINGLE, Schema

NOT_COMPARED = {"title", "description", "examples", "required", "properties"}
# Subscribers rely on "at least"; -1 is for ever.
AT_LEAST = ("retention.ms", "retention.bytes", "min.compaction.lag.ms", "delete.retention.ms")
# How the broker keeps what it has; nobody who reads sees it. Any other setting stays exactly as it was.
UNSEEN = ("compression.type", "min.insync.replicas", "segment.bytes", "segment.ms")


class Break(NamedTuple):
    """One thing that subscribers would not survive: where (an event's version or a topic), what, the mend."""

    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.mend}"


def breaks(published: Document, now: Document) -> list[Break]:
    """All that is no longer as it was published, sorted; empty when subscribers notice nothing."""
    found = [Break(where, what, _new_version(where)) for where, what in _events(published, now)]
    found += [Break(where, what, _new_topic(where)) for where, what in _topics(published, now)]
    return sorted(found)


def _new_version(name: str) -> str:
    event, _, version = name.rpartition(".v")
    return f"leave {name} as it was published and write {event}.v{int(version) + 1} beside it"


def _new_topic(name: str) -> str:
    topic, _, version = name.rpartition(".v")
    return f"leave {name} as it was published and make {topic}.v{int(version) + 1} beside it"


def _events(published: Document, now: Document) -> Iterator[tuple[str, str]]:
    places, places_now = _topic_of_event(published), _topic_of_event(now)
    messages = now["components"]["messages"]
    for name, before in published["components"]["messages"].items():
        if name == DEAD_LETTER:
            continue
        after = messages.get(name)
        if after is None:
            yield name, "the event is gone; readers of what is kept still need it"
            continue
        if places[name] != places_now.get(name) and places[name] in now["channels"]:
            yield name, f"it went to the topic {places[name]}, now to {places_now.get(name)}"
        if before["x-ibuurt-key"] != after["x-ibuurt-key"]:
            yield name, f"the key was `{before['x-ibuurt-key']}`, now it is `{after['x-ibuurt-key']}`"
        parts = [
            (before["payload"], after["payload"], "field"),
            (before["headers"], after["headers"], "header"),
        ]
        for old, new, kind in parts:
            yield from ((name, what) for what in schema_breaks(old, new, kind))


def _topic_of_event(document: Document) -> dict[str, str]:
    return {name: topic for topic, channel in document["channels"].items() for name in channel["messages"]}


def schema_breaks(before: Schema, after: Schema, kind: str = "field", path: str = "") -> Iterator[str]:
    """What readers would not survive where `before` was published; `kind` says what a part is called."""
    here = f"{kind} `{path}`" if path else "the value"
    yield from _object_breaks(before, after, kind, path)
    if "enum" in before and "enum" in after:
        yield from _enum_breaks(here, before["enum"], after["enum"])
    changed = []
    for keyword in sorted((before.keys() | after.keys()) - NOT_COMPARED):
        old, new = before.get(keyword), after.get(keyword)
        if inner := list(_pairs(keyword, old, new, path)):
            for inner_path, old_part, new_part in inner:
                yield from schema_breaks(old_part, new_part, kind, inner_path)
        elif old != new and not (keyword == "enum" and old and new):
            changed.append(_changed(keyword, old, new))
    if changed:
        yield f"{here}: {', '.join(changed)}"


def _object_breaks(before: Schema, after: Schema, kind: str, path: str) -> Iterator[str]:
    old, new = before.get("properties", {}), after.get("properties", {})
    always, always_now = set(before.get("required", [])), set(after.get("required", []))
    added = [name for name in new if name not in old]
    for name, part in old.items():
        inner = f"{path}.{name}" if path else name
        if name not in new:
            like = next((other for other in added if _same(part, new[other])), None)
            yield f"{kind} `{inner}` is gone" + (f" (renamed `{like}`?)" if like else "")
            continue
        if name in always - always_now:
            yield f"{kind} `{inner}` was always there, now it may be missing"
        if name in always_now - always:
            yield f"{kind} `{inner}` could be missing, now it is required; kept records may lack it"
        yield from schema_breaks(part, new[name], kind, inner)
    for name in added:
        if name in always_now:
            inner = f"{path}.{name}" if path else name
            yield f"{kind} `{inner}` is new and required, and kept records lack it (add an optional one)"


def _same(before: Schema, after: Schema) -> bool:
    return not any(schema_breaks(before, after))


def _enum_breaks(here: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[str]:
    for value in old:
        if value not in new:
            yield f"{here} no longer takes {value!r}; kept records have it"
    for value in new:
        if value not in old:
            yield f"{here} also takes {value!r}; readers take a published list of values for complete"


def _pairs(keyword: str, old: Any, new: Any, path: str) -> Iterator[tuple[str, Schema, Schema]]:
    """The schemas inside a keyword that belong together, with their paths; none where they do not match."""
    if keyword in NAMED and isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        yield from ((f"{path}{{}}", old[name], new[name]) for name in old)
    elif keyword in LISTED and isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        yield from ((path, one, other) for one, other in zip(old, new, strict=True))
    elif keyword in SINGLE and isinstance(old, dict) and isinstance(new, dict):
        yield f"{path}[]" if keyword == "items" else f"{path}{{}}", old, new


def _topics(published: Document, now: Document) -> Iterator[tuple[str, str]]:
    for name, before in published["channels"].items():
        # A dead-letter topic is its group's own: nobody subscribes to it.
        if DEAD_LETTER in before["messages"]:
            continue
        after = now["channels"].get(name)
        if after is None:
            yield name, "the topic is gone"
        else:
            yield from ((name, what) for what in _topic_breaks(before, after))


def _topic_breaks(before: Document, after: Document) -> Iterator[str]:
    kafka, kafka_now = before["bindings"]["kafka"], after["bindings"]["kafka"]
    if kafka["partitions"] != kafka_now["partitions"]:
        yield _changed("partitions", kafka["partitions"], kafka_now["partitions"])
    for name, told in (("x-ibuurt-writer", "its writer"), ("x-ibuurt-numbered", "numbered (ce_sequence)")):
        if before[name] != after[name]:
            yield _changed(told, before[name], after[name])
    if before["x-ibuurt-outsiders"] and not after["x-ibuurt-outsiders"]:
        yield "other systems could read it, now they may not"
    settings, settings_now = kafka["topicConfiguration"], kafka_now["topicConfiguration"]
    for name in sorted((settings.keys() | settings_now.keys()) - set(UNSEEN)):
        old, new = settings.get(name), settings_now.get(name)
        if old != new and not (name in AT_LEAST and _at_least(old, new)):
            yield _changed(name, old, new)


def _at_least(old: int | None, new: int | None) -> bool:
    return old is not None and new is not None and (new == -1 or new >= old >= 0)


def _changed(name: str, old: Any, new: Any) -> str:
    return f"{name} was {_told(old)}, now it is {_told(new)}"


def _told(value: Any) -> str:
    return "not there" if value is None else repr(value)
