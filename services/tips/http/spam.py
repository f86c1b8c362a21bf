"""Spam and abuse: a mark that can be taken back, and in some days an erasure (retention.py)."""

import uuid
from typing import Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from services.tips.body_following import READER, Spam
from services.tips.core.chain import entry
from services.tips.core.emails import email_id
from services.tips.core.keeping import spam_until
from services.tips.core.report import Report
from services.tips.http.desk import Desk, connection
from services.tips.http.documented import BODY, INSIDE, TOKEN, body, problems
from services.tips.http.unsealing import erased, locked
from services.tips.queries import disclosures, emails, keeping
from services.tips.schemas import SpamMark
from shared import web

SPAM_URL = "/internal/v1/reports/{report_id}/spam"


def add_spam(internal: FastAPI, desk: Desk, notify_token: str) -> None:
    """Add what `notify` says of spam to the internal application."""
    tokens = {"notify": notify_token}

    @internal.post(
        SPAM_URL,
        response_model=SpamMark,
        responses=problems(*INSIDE, *BODY),
        dependencies=TOKEN,
        openapi_extra=body(Spam),
    )
    async def mark_as_spam(report_id: uuid.UUID, request: Request) -> Response:
        """The report is spam or abuse: its sender reads that, and it is erased after some days, in which the
        mark can be taken back; a message of its sender takes it back too. The same decision again changes
        nothing, nor does another while it is marked; one that its sender has withdrawn is not marked."""
        service = web.caller(request, tokens)
        sent = await web.read_json(request, Spam)
        today = desk.clock().date()
        async with connection(desk) as taken, taken.transaction():
            report, _ = await locked(taken, report_id)
            if report.status == "erased":
                return JSONResponse({"status": "erased", "until": None})
            _, marked_on = await keeping.stay_of(taken, report_id)
            new = await keeping.decide_spam(taken, report_id, sent.decision_id)
            if marked_on is None:
                # Nobody works on what was withdrawn, and its sender could not say that it is none.
                if not new or report.status == "withdrawn":
                    return JSONResponse({"status": "unmarked", "until": None})
                await keeping.mark_spam(taken, report_id, today)
                if report.kind == "issue":
                    await emails.add_news(taken, {email_id(sent.decision_id): (report_id, "spam")})
                await _log_mark(taken, desk, report, "spam_marked", sent.by, service)
        until = spam_until(marked_on or today)
        return JSONResponse({"status": "marked", "until": until.isoformat()})

    @internal.delete(SPAM_URL, response_model=SpamMark, responses=problems(*INSIDE, 410), dependencies=TOKEN)
    async def take_mark_back(
        report_id: uuid.UUID, request: Request, by: str = Query(pattern=READER)
    ) -> Response:
        """The report is not spam after all, says `by`. Again changes nothing."""
        service = web.caller(request, tokens)
        async with connection(desk) as taken, taken.transaction():
            report, _ = await locked(taken, report_id)
            if report.status == "erased":
                raise erased()
            _, marked_on = await keeping.stay_of(taken, report_id)
            if marked_on is not None:
                await keeping.unmark_spam(taken, report_id)
                await _log_mark(taken, desk, report, "spam_unmarked", by, service)
        return JSONResponse({"status": "unmarked", "until": None})


async def _log_mark(
    connection: Any, desk: Desk, report: Report, purpose: str, actor: str, service: str
) -> None:
    """Log that a report is taken for spam, or no more; last in the transaction."""
    line = entry(report, desk.clock(), "alteration", actor, purpose, service)
    await disclosures.record(connection, [line])
