"""What the codes of areas, categories and outcomes are called, for whoever downloads figures."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from services.stats.http import asked, writing
from services.stats.http.desk import A_WHILE, Desk, answer
from shared.documented import problems
from shared.web import etag_of

URL = "/v1/codes.json"
# Whether a report was solved is not among them: a unit that could do nothing is done too.
OUTCOMES: Mapping[str, Mapping[str, str]] = {
    "in_time": {"nl": "op tijd klaar, zegt het team", "en": "done in time, says the team"},
    "late": {"nl": "te laat klaar, zegt het team", "en": "done late, says the team"},
    "refused": {"nl": "geen team nam het aan", "en": "no team took it"},
    "withdrawn": {"nl": "ingetrokken", "en": "taken back"},
    "open": {"nl": "nog niet klaar", "en": "not done yet"},
}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["areas", "categories", "crimes"],
    "additionalProperties": {"type": "object", "additionalProperties": {"type": "object"}},
}


def add_codes(app: FastAPI, desk: Desk) -> None:
    """Add the list."""
    body = writing.as_json(codes_of(desk))

    @app.get(
        URL,
        responses={
            200: {"description": "With an ETag.", "content": {writing.JSON: {"schema": _SCHEMA}}},
            304: {"description": "The ETag of If-None-Match still holds."},
            **problems(422),
        },
    )
    async def get_codes(request: Request) -> Response:
        """The names of areas, of categories of reports and of recorded crime, by their codes, in the
        municipality's languages; a code of an earlier folder is not here any more. And those of outcomes:
        whoever is done says so himself, also where nothing was found or could be done; a report that a unit
        refuses goes to another one, and is `open` until that is done."""
        asked.query(request, ())
        return answer(request, body, writing.JSON, etag_of(body), A_WHILE)


def codes_of(desk: Desk) -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """By kind and code, the name in each language."""
    town = desk.municipality
    return {
        "areas": {one.id: dict(one.names) for one in town.area_sets[town.primary_area_set].areas.values()},
        "categories": {one.id: dict(one.names) for one in town.categories.values()},
        "crimes": {one.id: dict(one.names) for one in town.statistics.incidents.categories},
        "outcomes": {code: dict(names) for code, names in OUTCOMES.items()},
    }
