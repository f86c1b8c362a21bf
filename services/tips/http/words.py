"""The internal API: other services read words, which is logged."""

import uuid

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.tips.body import Reading
from services.tips.core.view import utc
from services.tips.http.desk import Desk, connection
from services.tips.http.unsealing import unsealed_words
from services.tips.queries import disclosures, reports
from shared import web
from shared.events import hour_of
from shared.web import Problem


def add_words(internal: FastAPI, desk: Desk, notify_token: str) -> None:
    """Add the reading of words to the internal application, for `notify`."""
    tokens = {"notify": notify_token}

    @internal.post("/internal/v1/reports/{report_id}/words")
    async def read_words(report_id: uuid.UUID, request: Request) -> Response:
        """A report's words, after logging who reads them and why."""
        service = web.caller(request, tokens)
        reading = await web.read_json(request, Reading)
        async with connection(desk) as taken, taken.transaction():
            found = await reports.report_for_reading(taken, report_id)
            if found is None:
                raise Problem(404, "report-unknown", "Unknown", "There is no report of that id here.")
            report, sealed = found
            words = unsealed_words(desk, report, sealed)
            now = desk.clock()
            entry = disclosures.Entry(
                report_id=report_id,
                kind=report.kind,
                at=hour_of(now) if report.kind == "tip" else now,
                act="disclosure" if reading.purpose == "delivery" else "consultation",
                actor=reading.reader,
                service=service,
                purpose=reading.purpose,
            )
            await disclosures.record(taken, [entry])
        desk.metrics.words_read.inc()
        return JSONResponse(
            {
                "report_id": str(report_id),
                "kind": report.kind,
                "category": report.category,
                "language": report.language,
                "areas": dict(report.areas),
                "description": words["description"],
                "location": words["location"],
                "accepted_at": utc(report.accepted_at),
            }
        )
