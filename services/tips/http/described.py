"""What the OpenAPI document says of answers."""

from collections.abc import Mapping
from typing import Any

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457; `type` ends in a stable code, `detail` says what to do instead.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "pattern": "^urn:ibuurt:problem:[a-z-]+$"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "a JSON pointer into the body"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
# What any route may answer.
_ALWAYS = {500: "A fault here", 503: "Not now: ask again after Retry-After"}


def problems(refusals: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route by status, for FastAPI's `responses`, with those that any route has."""
    content = {"application/problem+json": {"schema": _PROBLEM}}
    return {
        status: {"description": why, "content": content} for status, why in {**refusals, **_ALWAYS}.items()
    }


def answer(why: str, schema: Mapping[str, Any], **headers: str) -> dict[str, Any]:
    """An answer in JSON; `headers` are its headers with what they say."""
    return {
        "description": why,
        "content": {"application/json": {"schema": dict(schema)}},
        "headers": {
            name.replace("_", "-"): {"description": says, "schema": {"type": "string"}}
            for name, says in headers.items()
        },
    }
