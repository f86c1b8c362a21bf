"""The AsyncAPI 3.0 document of the whole system."""

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deploy.contract.schemas import header_schema, name_of, value_schema
from shared.events import EVENT_TYPES, SUBSCRIPTIONS, TOPICS, Event, Topic, dead_letter_topics

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "golden"
Document = dict[str, Any]

BINDING = {"bindingVersion": "0.5.0"}
ABOUT = """\
The events of a municipality's neighbourhood safety service. They carry facts, never words: nothing that \
somebody wrote, no address, no contact. Other systems read ibuurt.issues.v1 and ibuurt.statistics.v1; the \
other topics are our services' own. How to subscribe is in docs/subscribing.md.

CloudEvents 1.0 in Kafka's binary mode: the attributes are headers, the value is JSON. Fields and headers \
may be added: ignore what you do not know. Anything else is a new version beside the old."""
SERVERS = {
    "outside": {
        "host": "{bootstrap}",
        "protocol": "kafka-secure",
        "description": "For other systems: TLS, SASL/SCRAM-SHA-512. An operator hands out address, user "
        "name, password and the CA's certificate.",
        "variables": {"bootstrap": {"description": "host:port, from the operator"}},
        "security": [{"$ref": "#/components/securitySchemes/scram"}],
    },
    "inside": {
        "host": "{bootstrap}",
        "protocol": "kafka-secure",
        "description": "For our own services, in the deployment's network: TLS, SASL/SCRAM-SHA-512.",
        "variables": {"bootstrap": {"description": "host:port, IBUURT_KAFKA_BOOTSTRAP of the services"}},
        "security": [{"$ref": "#/components/securitySchemes/scram"}],
    },
}
WHY_DEAD = {
    "dlt_reason": "a short code",
    "dlt_exception": "the class of the error",
    "dlt_topic": "the topic it was read from",
    "dlt_partition": "and its partition",
    "dlt_offset": "and its offset",
    "dlt_timestamp": "the record's own timestamp, ms since 1970",
    "dlt_group": "the consumer group that could not read it",
}
DEAD_LETTER = "DeadLetter"


def document(
    events: Iterable[type[Event]] = EVENT_TYPES.values(), topics: Iterable[Topic] = TOPICS.values()
) -> Document:
    """The document, made from the models and the topics; the same bytes for the same input."""
    types, listed = list(events), list(topics)
    channels = {topic.name: _channel(topic, types) for topic in listed}
    channels |= {topic.name: _dead_letters(topic) for topic in dead_letter_topics()}
    messages = {name_of(event): _message(event) for event in types} | {DEAD_LETTER: _dead_letter()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "IBuurt events",
            "version": _version(),
            "description": ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": SERVERS,
        "channels": channels,
        "operations": _operations(listed),
        "components": {
            "messages": messages,
            "securitySchemes": {"scram": {"type": "scramSha512"}},
        },
    }


def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def _channel(topic: Topic, events: Iterable[type[Event]]) -> Document:
    names = [name_of(event) for event in events if event.topic.name == topic.name]
    servers = ["outside", "inside"] if topic.outsiders else ["inside"]
    readers = "Other municipal systems may read it." if topic.outsiders else "For our own services only."
    return {
        "address": topic.name,
        "description": f"Written by {topic.writer}. {readers}",
        "servers": [{"$ref": f"#/servers/{server}"} for server in servers],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": _topic_binding(topic),
        "x-ibuurt-writer": topic.writer,
        "x-ibuurt-numbered": topic.numbered,
        "x-ibuurt-outsiders": topic.outsiders,
    }


def _topic_binding(topic: Topic) -> Document:
    settings: dict[str, Any] = {"cleanup.policy": "delete"} | dict(topic.settings)
    for name, value in settings.items():
        if name == "cleanup.policy":
            settings[name] = value.split(",")
        elif value.lstrip("-").isdigit():
            settings[name] = int(value)
    return {"kafka": {"partitions": topic.partitions, "topicConfiguration": settings} | BINDING}


def _message(event: type[Event]) -> Document:
    return {
        "name": event.type,
        "title": event.__name__,
        "summary": " ".join((event.__doc__ or "").split()),
        "headers": header_schema(event),
        "payload": value_schema(event),
        "bindings": {"kafka": {"key": {"type": "string", "format": "uuid"}} | BINDING},
        "examples": _examples(event),
        "x-ibuurt-key": event.keyed_by,
    }


def _examples(event: type[Event]) -> list[Document]:
    """The record that readers are tested against for ever, where the event has one already."""
    path = SAMPLES / f"{name_of(event)}.json"
    if not path.exists():
        return []
    sample = json.loads(path.read_text("utf-8"))
    return [{"headers": sample["headers"], "payload": sample["value"]}]


def _dead_letters(topic: Topic) -> Document:
    return {
        "address": topic.name,
        "description": f"What the group {topic.writer} could not read, as it came, with why.",
        "servers": [{"$ref": "#/servers/inside"}],
        "messages": {DEAD_LETTER: {"$ref": f"#/components/messages/{DEAD_LETTER}"}},
        "bindings": _topic_binding(topic),
        "x-ibuurt-writer": topic.writer,
    }


def _dead_letter() -> Document:
    why = {name: {"type": "string", "description": told} for name, told in WHY_DEAD.items()}
    return {
        "title": "Dead letter",
        "summary": "A record that could not be read: its own key, value and headers, and why.",
        "headers": {"type": "object", "properties": why, "required": list(why)},
    }


def _operations(topics: Iterable[Topic]) -> Document:
    """Who writes what, and which consumer group reads what."""
    operations: Document = {}
    for topic in [*topics, *dead_letter_topics()]:
        operations[f"{topic.writer}.writes.{topic.name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{topic.name}"},
        }
    for group, read in SUBSCRIPTIONS.items():
        for topic in read:
            operations[f"{group}.reads.{topic.name}"] = {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{topic.name}"},
                "bindings": {"kafka": {"groupId": {"type": "string", "const": group}} | BINDING},
            }
    return operations
