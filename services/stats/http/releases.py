"""Releases: which there are, and each as it was published, under an address that has its digest."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.responses import Response

from services.stats import queries_public
from services.stats.core import figures
from services.stats.core.figures import VIEWS
from services.stats.http import asked, writing
from services.stats.http.desk import A_WHILE, FOR_EVER, Desk, answer, connection
from shared.documented import problems
from shared.web import ANYWHERE, Problem, etag_of, not_now

URL = "/v1/releases"
TABLES = tuple(dict.fromkeys(view.released for view in VIEWS))
FILES = {
    "release.json": writing.JSON,
    "figures.json": writing.JSON,
    "figures.csv": writing.CSV,
    "datapackage.json": writing.JSON,
    "package.zip": writing.ZIP,
}
OF_AREA = ("figures.json", "figures.csv")
KEPT_BYTES = 8_000_000
KEPT_EACH = 400_000
_LIST: dict[str, Any] = {
    "type": "object",
    "required": ["releases", "next"],
    "properties": {
        "releases": {"type": "array", "items": {"type": "object"}},
        "next": {"type": ["string", "null"], "description": "the next page; null on the last"},
    },
}


class Made(NamedTuple):
    """An answer, as it is kept."""

    body: bytes
    etag: str


class Kept:
    """The answers that were last asked for. They never change, and there are never too many."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self._most, self._bytes = most, 0
        self._made: OrderedDict[tuple[str, ...], Made] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> Made | None:
        found = self._made.get(key)
        if found:
            self._made.move_to_end(key)
        return found

    def put(self, key: tuple[str, ...], made: Made) -> None:
        if len(made.body) > KEPT_EACH or key in self._made:
            return
        self._made[key] = made
        self._bytes += len(made.body)
        while self._bytes > self._most:
            self._bytes -= len(self._made.popitem(last=False)[1].body)


def add_releases(app: FastAPI, desk: Desk) -> None:
    """Add the list and each release's files."""
    kept = Kept()

    @app.get(
        URL,
        responses={**_documented({writing.JSON: _LIST}), **problems(422, 503)},
        openapi_extra={
            "parameters": [
                asked.parameter("table", enum=list(TABLES), says="of this table alone"),
                asked.parameter("after", says="after this number", type="integer", minimum=0, maximum=10**9),
                asked.parameter("limit", says="at most so many", type="integer", minimum=1, maximum=500),
            ]
        },
    )
    async def list_releases(request: Request) -> Response:
        """Every release, in the order of the chain. Only what was read back from its topic is here."""
        given = asked.query(request, ("table", "after", "limit"))
        table = asked.chosen(given, "table", TABLES)
        after = asked.number(given, "after", 0, 0, 10**9)
        limit = asked.number(given, "limit", 100, 1, 500)
        async with connection(desk) as taken:
            found = await queries_public.listed(taken, table, after, limit + 1)
        more = f"&table={table}" if table else ""
        following = f"{URL}?after={found[limit - 1]['number']}&limit={limit}{more}" if found[limit:] else None
        body = writing.as_json({"releases": [_listed(one) for one in found[:limit]], "next": following})
        return answer(request, body, writing.JSON, etag_of(body), A_WHILE)

    @app.get(
        f"{URL}/{{digest}}/{{file}}",
        responses={
            **_documented({writing.JSON: {}, writing.CSV: {"type": "string"}, writing.ZIP: {}}),
            **problems(422, 503, _404="No release is shown by this digest, or there is no such file"),
        },
        openapi_extra={
            "parameters": [
                asked.parameter("digest", "path", "of the release", pattern="^[0-9a-f]{64}$"),
                asked.parameter("file", "path", "how it is told", enum=list(FILES)),
                asked.parameter("area", says="its figures alone", enum=list(desk.areas)),
            ]
        },
    )
    async def get_release(request: Request) -> Response:
        """A release: `release.json` byte for byte as it was published and signed, its figures as JSON or CSV,
        and all as a Frictionless data package. It never changes: keep it for ever. `area` is for figures."""
        digest, file = request.path_params["digest"], request.path_params["file"]
        if file not in FILES:
            raise asked.unknown(404, "format", tuple(FILES), "/path/file")
        area = ""
        if request.url.query:
            given = asked.query(request, ("area",) if file in OF_AREA else ())
            area = asked.chosen(given, "area", desk.areas) or ""
        made = kept.get((digest, file, area))
        if made is None:
            content = await _content(desk, digest)
            body = await asyncio.to_thread(_made, content, file, area, desk)
            made = Made(body, etag_of(file, body))
            kept.put((digest, file, area), made)
        more = {}
        if file in ("package.zip", "figures.csv"):
            suffix = file.rpartition(".")[2]
            more["Content_Disposition"] = f'attachment; filename="release-{digest[:16]}.{suffix}"'
        return answer(request, made.body, FILES[file], made.etag, FOR_EVER, **more)


async def _content(desk: Desk, digest: str) -> bytes:
    if re.fullmatch("[0-9a-f]{64}", digest):
        async with connection(desk) as taken:
            content = await queries_public.content_of(taken, digest)
        if content is not None:
            return content
    raise Problem(
        404,
        "release-unknown",
        "No release is shown by this digest",
        f"Take the address from {URL}.",
        headers=ANYWHERE,
    )


def _made(content: bytes, file: str, area: str, desk: Desk) -> bytes:
    if file == "release.json":
        return content
    release = figures.release_of(content)
    found = figures.figures(release, {"area": [area]} if area else {})
    if file == "figures.json":
        told = {name: release.get(name) for name in _TOLD}
        cells = [{"table": one.table, **writing.figure_as_json(one)} for one in found]
        return writing.as_json(told | {"confidence": 0.95, "figures": cells})
    written = writing.release_as_csv(release, found)
    if file == "figures.csv":
        return written
    files = {"figures.csv": written, "release.json": content}
    license_id = desk.license_of(release["spec"])
    if license_id is None:
        # Its version is not known here yet, which `stats` says when it starts; what is told is for ever.
        raise not_now()
    package = writing.as_json(writing.data_package(release, files, license_id))
    if file == "datapackage.json":
        return package
    return writing.zipped({"datapackage.json": package, **files})


_TOLD = ("number", "digest", "spec", "table", "period", "edition", "state", "reason")


def _listed(one: Mapping[str, Any]) -> dict[str, Any]:
    base = f"{URL}/{one['digest']}"
    return {
        "number": one["number"],
        "digest": one["digest"],
        "spec": one["spec"],
        "table": one["table_id"],
        "period": one["period"],
        "edition": one["edition"],
        "state": one["state"],
        "files": {file: f"{base}/{file}" for file in FILES},
    }


def _documented(contents: Mapping[str, Mapping[str, Any]]) -> dict[int | str, dict[str, Any]]:
    content = {media: {"schema": dict(schema)} for media, schema in contents.items()}
    return {
        200: {"description": "With an ETag, which `If-None-Match` asks for again.", "content": content},
        304: {"description": "The ETag of If-None-Match still holds."},
    }
