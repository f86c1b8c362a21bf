"""The JSON Schemas of events: of the value, and of the headers that go with it."""

from typing import Any

from shared.events import Event, IssueGone

Schema = dict[str, Any]

# Where the schemas of a schema's parts are: by name, in a list, or one.
NAMED = ("properties", "patternProperties")
LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
SINGLE = ("items", "additionalProperties", "propertyNames")


def name_of(event: type[Event]) -> str:
    """What an event's version is called in the published contract, such as `IssueChanged.v1`."""
    return event.type.removeprefix("ibuurt.")


def value_schema(event: type[Event]) -> Schema:
    """What a record's value is, for a reader: fields may be added, so others than these are allowed."""
    schema = event.model_json_schema()
    told = {"title": event.__name__, "description": schema["description"]}
    if event is IssueGone:
        return told | {"type": "null"}
    return told | _plain(schema, schema.get("$defs", {}))


def header_schema(event: type[Event]) -> Schema:
    """The CloudEvents attributes of its records. Kafka's headers are bytes; these are their UTF-8 text."""
    headers: dict[str, Schema] = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"format": "uuid", "description": "the event's id: the same however often it is sent"},
        "ce_source": {"description": "/municipality/service"},
        "ce_type": {"const": event.type},
        "ce_time": {"format": "date-time", "description": "UTC; where it is about a tip, cut to the hour"},
        "ce_subject": {"format": "uuid", "description": "the record's key"},
        "content-type": {"const": "application/json"},
    }
    if event.topic.numbered:
        headers["ce_sequence"] = {
            "pattern": "^[1-9][0-9]{0,18}$",
            "description": "the record's number: contiguous in its topic and partition, from 1",
        }
    return {
        "type": "object",
        "properties": {name: {"type": "string"} | header for name, header in headers.items()},
        "required": list(headers),
    }


def _plain(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema in one piece, without the titles that pydantic makes from names."""
    if reference := schema.get("$ref"):
        schema = definitions[reference.rsplit("/", 1)[1]] | {k: v for k, v in schema.items() if k != "$ref"}
    plain = {keyword: part for keyword, part in schema.items() if keyword not in ("title", "$defs")}
    for keyword in NAMED:
        if keyword in plain:
            plain[keyword] = {name: _plain(part, definitions) for name, part in plain[keyword].items()}
    for keyword in LISTED:
        if keyword in plain:
            plain[keyword] = [_plain(part, definitions) for part in plain[keyword]]
    for keyword in SINGLE:
        if isinstance(plain.get(keyword), dict):
            plain[keyword] = _plain(plain[keyword], definitions)
    if "properties" in plain:
        # "No other field" is what binds the writer; a reader that held to it would break on the next one.
        plain.pop("additionalProperties", None)
    elif "patternProperties" in plain:
        plain["additionalProperties"] = False
    return plain
