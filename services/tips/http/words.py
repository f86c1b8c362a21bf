"""The internal API: other services read words, which is logged."""

import uuid

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.tips.body import Reading
from services.tips.core.report import time_of
from services.tips.core.view import utc
from services.tips.http.desk import Desk, connection
from services.tips.http.documented import BODY, INSIDE, TOKEN, body, problems
from services.tips.http.unsealing import check_not_restricted, unknown_report, unsealed_words
from services.tips.queries import disclosures, reports
from services.tips.schemas import Words
from shared import web


def add_words(internal: FastAPI, desk: Desk, notify_token: str) -> None:
    """Add the reading of words to the internal application, for `notify`."""
    tokens = {"notify": notify_token}

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
        reading = await web.read_json(request, Reading)
        async with connection(desk) as taken, taken.transaction():
            found = await reports.report_for_reading(taken, report_id)
            if found is None:
                raise unknown_report()
            report, sealed = found
            await check_not_restricted(taken, report_id)
            words = unsealed_words(desk, report, sealed)
            now = desk.clock()
            delivered = reading.purpose == "delivery"
            entry = disclosures.Entry(
                report_id=report_id,
                kind=report.kind,
                at=time_of(report.kind, now),
                act="disclosure" if delivered else "consultation",
                actor=reading.reader,
                service=service,
                purpose=reading.purpose,
                recipient=reading.reader if delivered else None,
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
                "location": words.get("location"),
                "happened": words.get("happened"),
                "answers": words.get("answers", {}),
                "contact": words.get("contact"),
                "photos": words.get("photos", []),
                "not_an_emergency": words.get("not_an_emergency", False),
                "accepted_at": utc(report.accepted_at),
            }
        )
