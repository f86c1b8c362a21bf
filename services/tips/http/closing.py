"""The resident's word on how it ended: a rating, that it is not solved, or that it is taken back."""

import uuid
from datetime import datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.tips import intake, sealing
from services.tips.acting import take_step
from services.tips.body_following import NewRating, NewReopening
from services.tips.core.certificate import PUBLIC_TEXT
from services.tips.core.chain import entry
from services.tips.core.conversation import Rating
from services.tips.core.lifecycle import DONE, Step
from services.tips.core.report import Report
from services.tips.http.conversing import Draft, add_message, note_written
from services.tips.http.desk import Desk, connection
from services.tips.http.documented import BODY, EMERGENCY, MINE, RECEIPT, body, problems
from services.tips.http.mine import Mine, stand
from services.tips.http.receipt import STATUS_URL, lock_of_receipt, receipt_sent
from services.tips.http.unsealing import report_key
from services.tips.queries import disclosures, issues, messages, ratings
from services.tips.schemas import RatingAnswer, ReportAnswer
from services.tips.sealing import Sealed
from shared import web
from shared.events import ReportReopened, ReportWithdrawn
from shared.web import Problem


def add_closing(app: FastAPI, desk: Desk) -> None:
    """Add what a resident says at the end."""

    @app.put(
        f"{STATUS_URL}/rating",
        response_model=RatingAnswer,
        responses=problems(*MINE, *BODY, 409, 410),
        dependencies=RECEIPT,
        openapi_extra=body(NewRating),
    )
    async def put_rating(request: Request) -> Response:
        """Rate how it went, once it is resolved or refused; another rating replaces it for some days."""
        receipt_sent(request, desk)
        sent = await web.read_json(request, NewRating)
        rating = Rating(sent.satisfied, sent.stars)
        async with connection(desk) as taken, taken.transaction():
            report, _ = await lock_of_receipt(taken, request, desk)
            mine = await stand(taken, report, desk)
            if mine.standing.rating != rating:
                mine.check("rate", desk.clock())
                await ratings.set_rating(taken, report.report_id, rating)
        return JSONResponse({"rating": {"satisfied": rating.satisfied, "stars": rating.stars}})

    @app.post(
        f"{STATUS_URL}/reopening",
        response_model=ReportAnswer,
        responses=problems(*MINE, *BODY, 409, 410, _422=EMERGENCY),
        dependencies=RECEIPT,
        openapi_extra=body(NewReopening),
    )
    async def post_reopening(request: Request) -> Response:
        """Say that it is not solved: the unit has it again. Saying it twice changes nothing."""
        receipt_sent(request, desk)
        sent = await web.read_json(request, NewReopening)
        now = desk.clock()
        async with connection(desk) as taken, taken.transaction():
            report, sealed = await lock_of_receipt(taken, request, desk)
            written, insists = [sent.text or ""], sent.not_an_emergency
            intake.check_emergency(written, report.language, desk.municipality, insists=insists)
            mine = await stand(taken, report, desk)
            reopened = _reopened(mine)
            if reopened:
                await _check_same_text(taken, desk, mine, sealed, reopened, sent.text)
            else:
                mine.check("reopen", now)
                mine = await stand(taken, await _reopen(taken, desk, mine, sealed, sent, now), desk)
        if not reopened:
            desk.wake()
        return JSONResponse({"report": mine.view(desk, now)})

    @app.post(
        f"{STATUS_URL}/withdrawal",
        response_model=ReportAnswer,
        responses=problems(*MINE, 409, 410),
        dependencies=RECEIPT,
    )
    async def post_withdrawal(request: Request) -> Response:
        """Take the report back: nobody works on it any more, and no text of it is public. Its words stay
        until they are erased."""
        receipt_sent(request, desk)
        now = desk.clock()
        async with connection(desk) as taken, taken.transaction():
            report, _ = await lock_of_receipt(taken, request, desk)
            mine = await stand(taken, report, desk)
            before = report.status
            if before != "withdrawn":
                mine.check("withdraw", now)
                report, _ = await take_step(taken, report, mine.steps, ReportWithdrawn, now, desk.source)
                mine = await _without_text(taken, desk, await stand(taken, report, desk), now)
        if before != "withdrawn":
            desk.wake()
        return JSONResponse({"report": mine.view(desk, now)})


def _reopened(mine: Mine) -> Step | None:
    """The step that reopened the report, where nothing but the unit's work on it came after."""
    ended = DONE | {"reopened", "withdrawn", "erased"}
    last = next((step for step in reversed(mine.steps) if step.step in ended), None)
    return last if last and last.step == "reopened" else None


async def _reopen(
    connection: Any, desk: Desk, mine: Mine, sealed: Sealed | None, sent: NewReopening, now: datetime
) -> Report:
    after, step = await take_step(connection, mine.report, mine.steps, ReportReopened, now, desk.source)
    if sent.text is not None:
        insists = sent.not_an_emergency
        draft = Draft(_message_of(step), "resident", sent.text, not_an_emergency=insists)
        await add_message(connection, desk, mine, sealed, draft, now)
        await note_written(connection, mine, now)
    return after


async def _without_text(connection: Any, desk: Desk, mine: Mine, now: datetime) -> Mine:
    """Take the public text of a report away, where it has one, and log it, last in the transaction."""
    if mine.standing.public is None or mine.standing.public.text is None:
        return mine
    await issues.set_public_text(connection, mine.report.report_id, None, None, now)
    line = entry(mine.report, now, "alteration", "resident", PUBLIC_TEXT)
    await disclosures.record(connection, [line])
    return await stand(connection, mine.report, desk)


async def _check_same_text(
    connection: Any, desk: Desk, mine: Mine, sealed: Sealed | None, reopened: Step, text: str | None
) -> None:
    if text is None:
        return
    report_id, part_id = mine.report.report_id, _message_of(reopened)
    stored = await messages.message_text(connection, report_id, part_id)
    key = await report_key(connection, desk, mine.report, sealed)
    if stored is None or sealing.unseal_part(key, report_id, part_id, stored.sealed)["text"] != text:
        raise Problem(
            409,
            "reopened-before",
            "It was reopened before",
            "The unit has it again. Send what you want to add as a message.",
            status_of_report=mine.report.status,
        )


def _message_of(step: Step) -> uuid.UUID:
    """The id of the message that a reopening's text becomes."""
    return uuid.uuid5(step.cause, "message")
