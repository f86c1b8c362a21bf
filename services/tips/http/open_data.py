"""Answers that everybody may read, from any page of the web: with an ETag, and never kept unasked."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from shared.municipality import Municipality
from shared.web import ANYWHERE, Problem, etag_of, has

# An issue that is gone must be gone: whoever keeps a copy asks whether it still holds.
_ASK_AGAIN = {"Cache-Control": "no-cache"}


def documented(media_type: str, what: str, schema: Mapping[str, Any]) -> dict[int | str, dict[str, Any]]:
    """What the OpenAPI document says of an answer with an ETag."""
    return {
        200: {"description": what, "content": {media_type: {"schema": schema}}},
        304: {"description": "The ETag of If-None-Match still holds."},
    }


async def answered(request: Request, media_type: str, make: Callable[[], Awaitable[bytes]]) -> Response:
    """The body that `make` gives, 304 where the caller has it already; refusals can be read anywhere too."""
    try:
        body = await make()
    except Problem as problem:
        problem.headers = dict(problem.headers or {}) | ANYWHERE
        raise
    etag = etag_of(body)
    headers = {"ETag": etag, **ANYWHERE, **_ASK_AGAIN}
    if has(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def check_language(language: str | None, municipality: Municipality) -> str:
    """The language to answer in; the municipality's first one where none is given. Raises Problem 422."""
    if language is None:
        return municipality.languages[0]
    if language not in municipality.languages:
        raise Problem(
            422,
            "unknown-language",
            "Not one of those that are possible",
            "Choose one of those in `allowed`.",
            errors=[("/query/language", "this is no language here")],
            allowed=list(municipality.languages),
        )
    return language
