"""The internal API: a unit decides which text of an issue is public, which is logged."""

import uuid
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.tips.body import PublicText
from services.tips.core import moderation
from services.tips.core.certificate import PUBLIC_TEXT
from services.tips.core.chain import entry
from services.tips.core.moderation import Approval, Summary
from services.tips.core.report import Report
from services.tips.http.desk import Desk, connection
from services.tips.http.documented import BODY, INSIDE, TOKEN, body, problems
from services.tips.http.unsealing import erased, locked, unsealed_words
from services.tips.queries import disclosures, issues
from services.tips.schemas import PublicTextAnswer
from services.tips.sealing import Sealed
from shared import web
from shared.web import Problem


def add_public_text(internal: FastAPI, desk: Desk, notify_token: str) -> None:
    """Add the moderation of public texts to the internal application, for `notify`."""
    tokens = {"notify": notify_token}

    @internal.put(
        "/internal/v1/reports/{report_id}/public-text",
        response_model=PublicTextAnswer,
        responses=problems(*INSIDE, *BODY, 409, 410),
        dependencies=TOKEN,
        openapi_extra=body(PublicText),
    )
    async def put_public_text(report_id: uuid.UUID, request: Request) -> Response:
        """Give an issue its public text, or take it back. Saying the same again changes nothing."""
        service = web.caller(request, tokens)
        sent = await web.read_json(request, PublicText)
        async with connection(desk) as taken, taken.transaction():
            report, sealed = await locked(taken, report_id)
            text = await _decide(taken, desk, report, sealed, sent, service)
        return JSONResponse({"report_id": str(report_id), "public_text": text})


async def _decide(
    taken: Any, desk: Desk, report: Report, sealed: Sealed | None, sent: PublicText, service: str
) -> str | None:
    """Change what is public, log it, and return it."""
    wanted = _wanted(sent)
    _check(desk, report, wanted)
    if report.status == "withdrawn" and wanted not in (Summary(None), Approval(None)):
        raise _taken_back()
    before = await issues.public_text(taken, report.report_id)
    if before is None:
        raise erased() if sealed is None else _not_public()
    approving = isinstance(wanted, Approval) and wanted.digest is not None
    words = (await unsealed_words(taken, desk, report, sealed))["description"] if approving else ""
    try:
        text, text_by = moderation.decided(wanted, words)
    except moderation.OtherWords:
        raise Problem(
            409,
            "other-words",
            "These are not the words that were approved",
            "The resident's words have changed, or the digest is of others: read them again, then approve.",
        ) from None
    if (text, text_by) != before:
        now = desk.clock()
        await issues.set_public_text(taken, report.report_id, text, text_by, now)
        # To everybody; what everybody may have read cannot be taken back, only shown no more.
        act = "disclosure" if text else "alteration"
        await disclosures.record(taken, [entry(report, now, act, sent.by, PUBLIC_TEXT, service)])
    return text


def _wanted(sent: PublicText) -> Summary | Approval:
    return Summary(sent.text) if sent.approve is None else Approval(sent.digest)


def _check(desk: Desk, report: Report, wanted: Summary | Approval) -> None:
    try:
        moderation.check(report, desk.municipality.categories.get(report.category), wanted)
    except moderation.NoPublicText:
        raise Problem(
            409,
            "no-public-text",
            "This report never has a public text",
            "Its kind or its category (public_text) says so: answer the resident instead.",
        ) from None
    except moderation.OtherText as other:
        mend = {
            "summary": "Write a summary and send it as `text`.",
            "words": "Approve the resident's words with `approve` and their `digest`, or leave them private.",
        }
        raise Problem(
            409, "other-public-text", "Its category has another sort of public text", mend[other.wanted]
        ) from None


def _taken_back() -> Problem:
    return Problem(
        409,
        "report-withdrawn",
        "Its sender took it back",
        "Leave it without a public text: nobody works on it any more.",
    )


def _not_public() -> Problem:
    return Problem(
        409,
        "not-public",
        "This issue is not public",
        "It came under a category that was not public, or is public no more: answer the resident instead.",
    )
