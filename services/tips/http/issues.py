"""Everybody reads what is public of issues: lists as JSON, GeoJSON and Atom, and each with its timeline.

The format is chosen by the path: /v1/issues, /v1/issues.geojson, /v1/issues.atom.
"""

import json
import uuid
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response

from services.tips.core import public_view
from services.tips.core.asked import After
from services.tips.core.lifecycle import Step
from services.tips.core.public_view import Feed, Shown
from services.tips.http.desk import Desk, connection
from services.tips.http.documented import problems
from services.tips.http.open_data import answered, check_language, documented
from services.tips.http.search import Search
from services.tips.queries import listing, steps
from shared.web import Problem

LIST_URL = "/v1/issues"
JSON, GEOJSON, ATOM = "application/json", "application/geo+json", "application/atom+xml"
_ISSUE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["id", "category", "areas", "status", "version", "page", "accepted_at", "changed_at"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "category": {"type": "string"},
        "areas": {"type": "object", "additionalProperties": {"type": "string"}},
        "place": {
            "type": ["object", "null"],
            "description": "rounded to 0.001 degrees; null where the resident gave no point",
        },
        "status": {"type": "string"},
        "version": {"type": "integer"},
        "page": {"type": "string", "format": "uri"},
        "accepted_at": {"type": "string", "format": "date-time"},
        "changed_at": {"type": "string", "format": "date-time"},
        "text": {"type": ["string", "null"], "description": "given or approved by the unit"},
        "text_by": {"enum": ["unit", "resident", None]},
        "supporters": {
            "type": "integer",
            "description": "how often it was said: this is mine too. No vote, and no number of people",
        },
    },
}
_LIST_SCHEMA = {
    "type": "object",
    "required": ["issues", "next"],
    "properties": {
        "issues": {"type": "array", "items": _ISSUE_SCHEMA},
        "next": {"type": ["string", "null"], "description": "the next page; null on the last"},
    },
}
_ONE_SCHEMA = {
    "type": "object",
    "required": ["issue", "timeline", "feed"],
    "properties": {
        "issue": _ISSUE_SCHEMA,
        "timeline": {"type": "array", "items": {"type": "object"}},
        "feed": {"type": "string", "format": "uri"},
    },
}
_FEATURES_SCHEMA = {
    "type": "object",
    "required": ["type", "features"],
    "properties": {"type": {"const": "FeatureCollection"}, "features": {"type": "array"}},
}
_FEED_SCHEMA = {"type": "string", "description": "an Atom feed (RFC 4287)"}
Wanted = Annotated[Search, Query()]
Language = Annotated[str | None, Query(description="a language of the municipality; without it, its first")]


def add_issues(app: FastAPI, desk: Desk) -> None:
    """Add what everybody may read of issues."""

    @app.get(
        LIST_URL, responses={**documented(JSON, "A page of issues.", _LIST_SCHEMA), **problems(422, 503)}
    )
    async def list_issues(request: Request, search: Wanted) -> Response:
        """Public issues, the newest first. `next` leads to the next page: nothing is doubled or left out
        while new ones come."""

        async def make() -> bytes:
            found, after = await _found(desk, search)
            listed = [public_view.as_json(one) for one in found]
            return _json({"issues": listed, "next": _next(desk, "", search, after)})

        return await answered(request, JSON, make)

    @app.get(
        f"{LIST_URL}.geojson",
        responses={**documented(GEOJSON, "A page of issues.", _FEATURES_SCHEMA), **problems(422, 503)},
    )
    async def list_features(request: Request, search: Wanted) -> Response:
        """The same as GeoJSON (RFC 7946), for maps. An issue whose place is not public has no geometry."""

        async def make() -> bytes:
            found, after = await _found(desk, search)
            features = [public_view.as_feature(one) for one in found]
            following = _next(desk, ".geojson", search, after)
            return _json({"type": "FeatureCollection", "features": features, "next": following})

        return await answered(request, GEOJSON, make)

    @app.get(
        f"{LIST_URL}.atom",
        responses={**documented(ATOM, "A page of issues.", _FEED_SCHEMA), **problems(422, 503)},
    )
    async def list_entries(request: Request, search: Annotated[SearchFeed, Query()]) -> Response:
        """The same as an Atom feed (RFC 4287), to follow with a feed reader: each filter has a feed."""

        async def make() -> bytes:
            language = check_language(search.language, desk.municipality)
            found, after = await _found(desk, search)
            feed = Feed(
                f"{_base(desk)}{LIST_URL}.atom{search.query()}",
                f"{_base(desk)}/issues",
                _next(desk, ".atom", search, after),
            )
            return public_view.issues_feed(found, feed, desk.municipality, language)

        return await answered(request, ATOM, make)


def add_issue(app: FastAPI, desk: Desk) -> None:
    """Add what everybody may read of one issue; after the paths that this would take for an id."""

    @app.get(
        f"{LIST_URL}/{{issue_id}}.atom",
        responses={**documented(ATOM, "The issue's feed.", _FEED_SCHEMA), **problems(404, 410, 422, 503)},
    )
    async def follow_issue(issue_id: uuid.UUID, request: Request, language: Language = None) -> Response:
        """What became of an issue, as an Atom feed with an entry for each step."""

        async def make() -> bytes:
            chosen = check_language(language, desk.municipality)
            shown, had = await _one(desk, issue_id)
            feed = Feed(feed_of(desk, issue_id), shown.issue.page)
            return public_view.issue_feed(shown, had, feed, desk.municipality, chosen)

        return await answered(request, ATOM, make)

    @app.get(
        f"{LIST_URL}/{{issue_id}}",
        responses={**documented(JSON, "The issue.", _ONE_SCHEMA), **problems(404, 410, 422, 503)},
    )
    async def get_issue(issue_id: uuid.UUID, request: Request, language: Language = None) -> Response:
        """One issue with its public timeline: each step with its time, who is responsible, and why."""

        async def make() -> bytes:
            chosen = check_language(language, desk.municipality)
            shown, had = await _one(desk, issue_id)
            steps_shown = public_view.timeline(shown.issue, had, desk.municipality, chosen)
            feed = feed_of(desk, issue_id)
            return _json({"issue": public_view.as_json(shown), "timeline": steps_shown, "feed": feed})

        return await answered(request, JSON, make)


class SearchFeed(Search):
    """The filters of a feed."""

    language: str | None = None


def feed_of(desk: Desk, issue_id: uuid.UUID) -> str:
    """The address of an issue's own feed."""
    return f"{_base(desk)}{LIST_URL}/{issue_id}.atom"


def issue_unknown() -> Problem:
    """There is no such issue."""
    return Problem(
        404, "issue-unknown", "No issue has this id", "Take the id from /v1/issues or from ibuurt.issues.v1."
    )


def issue_gone() -> Problem:
    """There was such an issue."""
    return Problem(
        410, "issue-gone", "No longer public", "Delete what you have of this issue; do not ask again."
    )


async def _found(desk: Desk, search: Search) -> tuple[list[Shown], After | None]:
    """A page, and after which issue the next one begins."""
    asked, after = search.asked(desk.municipality), search.after()
    async with connection(desk) as taken, taken.transaction():
        await listing.plan_anew(taken)
        few = await listing.are_few(taken, asked.words)
        found = await listing.listed(taken, asked, after, search.limit + 1, texts_first=few)
    if len(found) <= search.limit:
        return found, None
    last = found[search.limit - 1].issue
    return found[: search.limit], After(last.accepted_at, last.issue_id)


async def _one(desk: Desk, issue_id: uuid.UUID) -> tuple[Shown, list[Step]]:
    async with connection(desk) as taken:
        shown = await listing.shown(taken, issue_id)
        if shown is None:
            raise issue_gone() if await listing.is_gone(taken, issue_id) else issue_unknown()
        had = await steps.steps_of(taken, [shown.issue.report_id])
    return shown, had[shown.issue.report_id]


def _next(desk: Desk, path: str, search: Search, after: After | None) -> str | None:
    return f"{_base(desk)}{LIST_URL}{path}{search.query(after)}" if after else None


def _base(desk: Desk) -> str:
    return desk.public_url.rstrip("/")


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
