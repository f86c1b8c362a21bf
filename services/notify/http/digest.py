"""HTTP: a unit's digest, as JSON for the desk and as a page behind a signed link."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.notify.core.links import read_digest_token
from services.notify.digests import Digests, as_json
from services.notify.http import page
from services.notify.http.desk import Desk, unsuitable
from services.notify.http.digest_page import digest_page
from shared import postgres, web
from shared.documented import INSIDE, TOKEN, problems
from shared.municipality import Municipality


def add_digest(internal: FastAPI, desk: Desk, digests: Digests, desk_token: str) -> None:
    """Add the digest to the internal application."""
    tokens = {"desk": desk_token}

    @internal.get("/internal/v1/units/{unit}/digest", responses=problems(*INSIDE), dependencies=TOKEN)
    async def get_digest(unit: str, request: Request, area: str | None = None) -> Response:
        """What a unit has before it: open issues of public categories by area, what is late or nears its
        time, what is planned for today, and places with several public issues. Of each of the three an area
        lists at most 100; its `totals` are of all."""
        web.caller(request, tokens)
        town = desk.municipality
        if unit not in town.units:
            raise unsuitable("unit", "this is no unit", town.units)
        _check(area, town)
        async with desk.connected():
            return JSONResponse(as_json(await digests.of(unit, area)))


def add_digest_page(app: FastAPI, desk: Desk, digests: Digests, link_secret: str) -> None:
    """Add the page to the public application."""
    languages = page.spoken(desk.municipality)

    @app.get("/digest/{token}")
    async def show_digest(request: Request, token: str, area: str | None = None) -> Response:
        """The digest of now, to print; of one area alone where it is given."""
        language = web.choose_language(
            languages, request.query_params.get("language"), request.headers.get("accept-language", "")
        )
        pages = page.Page(desk.municipality, language, languages)
        link = read_digest_token(token, link_secret)
        if link is None or link.unit not in desk.municipality.units:
            return page.html(pages.refusal("unreadable"), 404, language)
        if link.expires <= desk.clock():
            return page.html(pages.refusal("digest_expired"), 410, language)
        _check(area, desk.municipality)
        try:
            found = await digests.of(link.unit, area)
        except Exception as error:
            if not postgres.is_transient(error):
                raise
            return page.html(pages.refusal("later"), 503, language)
        shown = digest_page(found, desk.municipality, language, "../answer.css", area)
        return page.html(shown, 200, language)


def _check(area: str | None, town: Municipality) -> None:
    """Raise Problem for an area that the first area set does not have."""
    areas = town.area_sets[town.primary_area_set].areas
    if area is not None and area not in areas:
        raise unsuitable("area", "this is no area", areas)
