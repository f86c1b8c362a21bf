"""What an OpenAPI document says of routes that read their own requests."""

from typing import Any

from fastapi import Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "pattern": "^urn:ibuurt:problem:"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
_SAYS = {
    400: "The body is not whole, not UTF-8 or no JSON; or the Idempotency-Key is missing or weak",
    401: "No receipt, or no token",
    404: "Nothing of that receipt or id is here",
    408: "The body came too slowly",
    409: "Not possible now; `status_of_report` and `possible` say what is",
    410: "Gone for good; do not ask again",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "Not as described; `errors` says where",
    429: "Too many from your network; `Retry-After` says when to try again",
    503: "Not now; try again",
}
_LATER = {
    "Retry-After": {
        "required": True,
        "description": "seconds until a try can succeed",
        "schema": {"type": "string", "pattern": "^[1-9][0-9]*$"},
    }
}
_HEADERS = {
    401: {
        "WWW-Authenticate": {
            "required": True,
            "description": "the scheme to authenticate with",
            "schema": {"type": "string"},
        }
    },
    429: _LATER,
    503: _LATER,
}
BODY = (400, 408, 413, 415, 422)
# What every internal route about a report may answer.
INSIDE = (401, 404, 422, 503)
# Read by shared/web.py; here it only stands in the document.
TOKEN = [Security(HTTPBearer(scheme_name="Token", description="this service's token", auto_error=False))]


def problems(*statuses: int, **says: str) -> dict[int | str, dict[str, Any]]:
    """The refusals that a route may answer with, by status; `says`, such as `_422`, is for those of which
    there is more to say."""
    content = {"application/problem+json": {"schema": _PROBLEM}}
    described = _SAYS | {int(status.removeprefix("_")): why for status, why in says.items()}
    wanted = {*statuses, *(int(status.removeprefix("_")) for status in says)}
    return {
        status: {"description": described[status], "content": content, "headers": _HEADERS.get(status, {})}
        for status in sorted(wanted)
    }


def body(model: type[BaseModel], *, parameters: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """The JSON that a route reads, and its headers."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    described: dict[str, Any] = {"requestBody": {"required": True, "content": content}}
    return described | ({"parameters": list(parameters)} if parameters else {})
