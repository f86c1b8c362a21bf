"""Statistics by topic and table: of each period the edition that says most, with rates per 1,000
inhabitants.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from services.stats import queries_public
from services.stats.core import figures
from services.stats.core.figures import TOPICS, VIEWS, Figure, View
from services.stats.http import asked, writing
from services.stats.http.desk import A_WHILE, Desk, connection
from shared.documented import problems
from shared.web import ANYWHERE, etag_of, has

URL = "/v1/statistics"
_BEFORE = ("period", "edition", "state")
_AFTER = ("value", "margin", "inhabitants", "per_1000", "per_1000_margin", "release")
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["topic", "table", "confidence", "withheld", "figures"],
    "properties": {
        "topic": {"type": "string"},
        "table": {"type": "string"},
        "confidence": {"type": "number"},
        "withheld": {"type": "array", "items": {"type": "string"}},
        "figures": {"type": "array", "items": {"type": "object"}},
    },
}
Rows = Sequence[Mapping[str, Any]]


def add_statistics(app: FastAPI, desk: Desk) -> None:
    """Add each topic's tables."""
    for view in VIEWS:
        _add(app, desk, view)

    @app.get(f"{URL}/{{topic}}/{{table}}", include_in_schema=False)
    async def no_such_table(request: Request) -> Response:
        topic = request.path_params["topic"]
        if topic not in TOPICS:
            raise asked.unknown(404, "topic", TOPICS, "/path/topic")
        tables = [view.name for view in VIEWS if view.topic == topic]
        raise asked.unknown(404, "table", tables, "/path/table")

    @app.get(f"{URL}/{{topic}}", include_in_schema=False)
    async def no_such_topic(_request: Request) -> Response:
        raise asked.unknown(404, "topic", [f"{view.topic}/{view.name}" for view in VIEWS], "/path/topic")


def _add(app: FastAPI, desk: Desk, view: View) -> None:
    codes = {column: desk.codes(view.released, column) for column in view.columns}
    grain = asked.GRAIN.get(view.name, "month")
    names = ("period", "from", "until", *codes, "format")
    parameters = [
        *(
            asked.parameter(name, pattern=asked.PATTERNS[grain], example=asked.EXAMPLES[grain])
            for name in ("period", "from", "until")
        ),
        *(asked.parameter(column, enum=list(values)) for column, values in codes.items()),
        asked.parameter("format", enum=list(asked.FORMATS)),
    ]
    content = {writing.JSON: {"schema": _SCHEMA}, writing.CSV: {"schema": {"type": "string"}}}

    async def get_statistics(request: Request) -> Response:
        """Released figures, with the bound of each one's error, which holds in 95 % of all cells. Of a month
        and its week-parts those of the month's final edition, once it is out: `edition` and `release` say
        which. The bound of a sum of figures is at most the root of the sum of the squares of theirs. Periods
        that were withheld are named: in `withheld`, and as CSV by a line without figures whose `state` says
        so. Rates are per 1,000 inhabitants of the area, or of the whole town. Ten years at most: the newest,
        unless `from` and `until` say which."""
        given = asked.query(request, names)
        wanted = {
            column: [code]
            for column, values in codes.items()
            if (code := asked.chosen(given, column, values)) is not None
        }
        shape = asked.chosen(given, "format", asked.FORMATS, "json")
        span = asked.span(given, grain, datetime.now(desk.municipality.tz).date())
        async with connection(desk) as taken:
            found = (
                await queries_public.best_of_weeks(taken, view.released, *span)
                if grain == "week_part"
                else await queries_public.best(taken, view.released, *span, final=view.of_final)
            )
        etag = etag_for(desk, view, shape or "", wanted, found)
        headers = {"ETag": etag, **ANYWHERE, **A_WHILE}
        if has(request, etag):
            return Response(status_code=304, headers=headers)
        if shape == "csv":
            headers["Content-Disposition"] = f'attachment; filename="{view.topic}-{view.name}.csv"'
            return StreamingResponse(_csv(desk, view, found, wanted), 200, headers, "text/csv; charset=utf-8")
        return StreamingResponse(_json(desk, view, found, wanted), 200, headers, writing.JSON)

    app.get(
        f"{URL}/{view.topic}/{view.name}",
        name=f"get_{view.topic}_{view.name}".replace("-", "_"),
        responses={
            200: {"description": "With an ETag.", "content": content},
            304: {"description": "The ETag of If-None-Match still holds."},
            **problems(422, 503),
        },
        openapi_extra={"parameters": parameters},
    )(get_statistics)


def etag_for(desk: Desk, view: View, shape: str, wanted: Mapping[str, Sequence[str]], found: Rows) -> str:
    """Of all that an answer is made of: rates are by the folder's inhabitants."""
    return etag_of(
        view.cells,
        shape,
        desk.municipality.version,
        json.dumps(wanted, sort_keys=True),
        *(one["digest"] for one in found),
    )


async def _of_each(
    desk: Desk, view: View, found: Rows, wanted: Mapping[str, Sequence[str]]
) -> AsyncIterator[tuple[Mapping[str, Any], list[Figure]]]:
    """The figures of one period after another, none of what was withheld: never more than one release is in
    memory, and none is read twice, since the week-parts of a month follow one another."""
    digest, of_release = "", list[Figure]()
    for one in found:
        if one["state"] == "withheld":
            yield one, []
            continue
        if one["digest"] != digest:
            digest = one["digest"]
            async with connection(desk) as taken:
                content = await queries_public.content_of(taken, digest)
            release = figures.release_of(content or b"{}")
            of_release = [each for each in figures.figures(release, wanted) if each.table == view.cells]
        yield one, [_of_part(each, view) for each in of_release if figures.is_of(each, one["period"])]


def _of_part(figure: Figure, view: View) -> Figure:
    """The figure as a release of its week-part alone would have it: the period says which it is."""
    return figure._replace(place={column: figure.place[column] for column in view.columns})


async def _json(
    desk: Desk, view: View, found: Rows, wanted: Mapping[str, Sequence[str]]
) -> AsyncIterator[bytes]:
    withheld = [one["period"] for one in found if one["state"] == "withheld"]
    head = {"topic": view.topic, "table": view.name, "confidence": 0.95, "withheld": withheld, "figures": []}
    yield writing.as_json(head)[:-2]
    comma = b""
    async for one, of_it in _of_each(desk, view, found, wanted):
        shown = [
            {"period": one["period"], "edition": one["edition"]}
            | writing.figure_as_json(each, figures.rate(each, desk.inhabitants))
            | {"release": one["digest"]}
            for each in of_it
        ]
        if shown:
            yield comma + writing.as_json(shown)[1:-1]
            comma = b","
    yield b"]}"


async def _csv(
    desk: Desk, view: View, found: Rows, wanted: Mapping[str, Sequence[str]]
) -> AsyncIterator[bytes]:
    yield writing.rows_as_csv((*_BEFORE, *view.columns, *_AFTER), ())
    empty = [""] * (len(view.columns) + len(_AFTER) - 1)
    async for one, of_it in _of_each(desk, view, found, wanted):
        rows = [_row(desk, view, one, each) for each in of_it]
        if one["state"] == "withheld":
            rows = [[*_about(one), *empty, one["digest"]]]
        yield writing.rows_as_csv(None, rows)


def _row(desk: Desk, view: View, one: Mapping[str, Any], figure: Figure) -> list[Any]:
    rate = figures.rate(figure, desk.inhabitants)
    rated = (
        [rate.inhabitants, writing.plain(rate.value), writing.plain(rate.margin)] if rate else ["", "", ""]
    )
    places = [figure.place[column] for column in view.columns]
    counted = [writing.plain(figure.value), writing.plain(figure.margin)]
    return [*_about(one), *places, *counted, *rated, one["digest"]]


def _about(one: Mapping[str, Any]) -> list[str]:
    return [one[name] for name in _BEFORE]
