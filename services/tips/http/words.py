"""The internal API: other services read words, which is logged."""

import asyncio
import uuid
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.tips import sealing
from services.tips.body import Reading
from services.tips.core import chain
from services.tips.core.report import Report
from services.tips.core.view import utc
from services.tips.grouping import Grouping
from services.tips.http.desk import Desk, not_now
from services.tips.http.documented import BODY, INSIDE, TOKEN, body, problems
from services.tips.http.unsealing import erased, opened, unknown_report
from services.tips.queries import disclosures, reports
from services.tips.queries.reports import Stored
from services.tips.schemas import Words
from shared import web
from shared.web import Problem

# To wait for the group before and to read with the next.
READ_SECONDS = 10


class _Asked(NamedTuple):
    report_id: uuid.UUID
    reading: Reading
    service: str


# A report with its words, or why there are none.
_Read = tuple[Report, dict[str, Any]] | Problem


def add_words(internal: FastAPI, desk: Desk, notify_token: str) -> None:
    """Add the reading of words to the internal application, for `notify`."""
    tokens = {"notify": notify_token}

    async def read(group: Sequence[_Asked]) -> list[_Read]:
        return await _read(desk, group)

    # After an outage many are read at once: together they wait once for the head of the log.
    reading = Grouping(read)

    @internal.post(
        "/internal/v1/reports/{report_id}/words",
        response_model=Words,
        responses=problems(*INSIDE, *BODY, 410),
        dependencies=TOKEN,
        openapi_extra=body(Reading),
    )
    async def read_words(report_id: uuid.UUID, request: Request) -> Response:
        """A report's words, after logging who reads them and why."""
        service = web.caller(request, tokens)
        asked = _Asked(report_id, await web.read_json(request, Reading), service)
        async with not_now(), asyncio.timeout(READ_SECONDS):
            found = await reading.do(asked)
        if isinstance(found, Problem):
            raise found
        desk.metrics.words_read.inc()
        return JSONResponse(_told(*found))


async def _read(desk: Desk, group: Sequence[_Asked]) -> list[_Read]:
    """Read the words of a group, and log each reading before any of them is given."""
    async with desk.pool.acquire() as connection:
        known = await _opened_all(connection, desk, {one.report_id for one in group})
        # A key may have been destroyed after its words were put under another one.
        if gone := {report_id for report_id, one in known.items() if _is_gone(one)}:
            known |= await _opened_all(connection, desk, gone)
        read = [known[one.report_id] for one in group]
        now = desk.clock()
        entries = [
            chain.reading(report[0], now, one.reading.purpose, one.reading.reader, one.service)
            for one, report in zip(group, read, strict=True)
            if not isinstance(report, Problem)
        ]
        # No lock was held since they were found: what is gone by now is neither logged nor given.
        logged = await disclosures.record_readings(connection, entries)
    return [one if isinstance(one, Problem) or one[0].report_id in logged else erased() for one in read]


async def _opened_all(
    connection: Any, desk: Desk, report_ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, _Read]:
    found = await reports.for_reading(connection, report_ids)
    return {report_id: _opened(desk, found.get(report_id)) for report_id in report_ids}


def _is_gone(one: _Read) -> bool:
    return isinstance(one, Problem) and one.status == HTTPStatus.GONE


def _opened(desk: Desk, found: Stored | None) -> _Read:
    if found is None:
        return unknown_report()
    report, sealed, locked_away = found
    try:
        return report, opened(desk, report, sealed, sealing.unseal, locked_away=locked_away)
    except Problem as problem:
        return problem


def _told(report: Report, words: dict[str, Any]) -> dict[str, Any]:
    return {
        "report_id": str(report.report_id),
        "kind": report.kind,
        "category": report.category,
        "language": report.language,
        "areas": dict(report.areas),
        "description": words["description"],
        "location": words.get("location"),
        "happened": words.get("happened"),
        "answers": words.get("answers", {}),
        "contact": words.get("contact"),
        "photos": words.get("photos", []),
        "not_an_emergency": words.get("not_an_emergency", False),
        "accepted_at": utc(report.accepted_at),
    }
