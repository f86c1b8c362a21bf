"""Erasing for residents and for spam, and the certificate of what was destroyed."""

import uuid
from datetime import datetime
from typing import Any

from fastapi import FastAPI, Path, Request
from fastapi.responses import JSONResponse, Response

from services.tips import erasing
from services.tips.body_following import READER, Confirmed, Spam
from services.tips.core.certificate import Confirmation, certificate, destinations
from services.tips.core.chain import entry
from services.tips.core.report import Report, time_of
from services.tips.core.view import utc
from services.tips.http.desk import Desk, connection
from services.tips.http.documented import BODY, INSIDE, MINE, RECEIPT, TOKEN, body, problems
from services.tips.http.receipt import STATUS_URL, lock_of_receipt, receipt_sent
from services.tips.http.unsealing import unknown_report
from services.tips.queries import disclosures, erasures, holds, reports
from services.tips.queries.holds import Hold
from services.tips.schemas import CertificateAnswer, ConfirmationView, Erased
from shared import web
from shared.web import Problem


def add_erasing(app: FastAPI, desk: Desk) -> None:
    """Add the resident's erasing and the certificate."""

    @app.delete(
        STATUS_URL, response_model=CertificateAnswer, responses=problems(*MINE, 409), dependencies=RECEIPT
    )
    async def delete_report(request: Request) -> Response:
        """Erase the report: words, messages and all else that was written about it are gone for good. Erasing
        it again gives the same certificate."""
        receipt_sent(request, desk)
        async with connection(desk) as taken, taken.transaction():
            report, _ = await lock_of_receipt(taken, request, desk)
            new = report.status != "erased"
            held = new and await _erase(taken, desk, report, "resident", "resident", "tips", desk.clock())
            answer = {} if held else await _certificate(taken, report)
        if held:
            raise _on_hold(held)
        if new:
            desk.wake()
        return JSONResponse(answer)

    @app.get(
        f"{STATUS_URL}/certificate",
        response_model=CertificateAnswer,
        responses=problems(*MINE, 409),
        dependencies=RECEIPT,
    )
    async def get_certificate(request: Request) -> Response:
        """What was destroyed and when, who had been sent words, and what became of their copies."""
        receipt_sent(request, desk)
        async with connection(desk) as taken, taken.transaction():
            report, _ = await lock_of_receipt(taken, request, desk)
            return JSONResponse(await _certificate(taken, report))


def add_erasures(internal: FastAPI, desk: Desk, notify_token: str) -> None:
    """Add what `notify` says of erasing to the internal application."""
    tokens = {"notify": notify_token}

    @internal.post(
        "/internal/v1/reports/{report_id}/spam",
        response_model=Erased,
        responses=problems(*INSIDE, *BODY, 409),
        dependencies=TOKEN,
        openapi_extra=body(Spam),
    )
    async def mark_as_spam(report_id: uuid.UUID, request: Request) -> Response:
        """The report is spam or abuse: it is erased, and its sender reads that. Again changes nothing."""
        service = web.caller(request, tokens)
        sent = await web.read_json(request, Spam)
        async with connection(desk) as taken, taken.transaction():
            report = await _lock(taken, report_id)
            new = report.status != "erased"
            held = new and await _erase(taken, desk, report, "spam", sent.by, service, desk.clock())
        if held:
            raise _on_hold(held)
        if new:
            desk.wake()
        return JSONResponse({"status": "erased"})

    @internal.put(
        "/internal/v1/reports/{report_id}/erasure-confirmations/{destination}",
        response_model=ConfirmationView,
        responses=problems(*INSIDE, *BODY, 409),
        dependencies=TOKEN,
        openapi_extra=body(Confirmed),
    )
    async def confirm_erasure(
        report_id: uuid.UUID, request: Request, destination: str = Path(pattern=READER)
    ) -> Response:
        """What a reader that was sent words says of its copy: gone, or it cannot be erased there.
        `destination` is the reader as it fetched the words. What is confirmed stays confirmed."""
        web.caller(request, tokens)
        sent = await web.read_json(request, Confirmed)
        async with connection(desk) as taken, taken.transaction():
            report = await _lock(taken, report_id)
            if await erasures.erasure_of(taken, report_id) is None:
                raise _not_erased(report)
            if destination not in destinations(await erasures.readings_of(taken, report_id)):
                raise Problem(
                    404,
                    "destination-unknown",
                    "Not a destination",
                    "Name a reader that was sent this report's words, as it was named then.",
                )
            said = Confirmation(sent.state, time_of(report.kind, sent.at))
            await erasures.confirm_erasure(taken, report_id, destination, said)
            known = (await erasures.confirmations_of(taken, report_id))[destination]
        return JSONResponse({"destination": destination, "state": known.state, "at": utc(known.at)})


async def _erase(
    connection: Any,
    desk: Desk,
    report: Report,
    reason: erasing.Reason,
    actor: str,
    service: str,
    now: datetime,
) -> Hold | None:
    """Erase a report that is locked and not erased yet, and log it, last in the transaction. Where a legal
    hold keeps its words they are locked away instead, and the hold is returned."""
    after = await erasing.erase(connection, report, reason, now, desk.source)
    held = None if after.status == "erased" else await holds.of(connection, report.report_id)
    act, purpose = ("alteration", f"restricted:{reason}") if held else ("erasure", reason)
    await disclosures.record(connection, [entry(report, now, act, actor, purpose, service)])
    return held


async def _certificate(connection: Any, report: Report) -> dict[str, Any]:
    erasure = await erasures.erasure_of(connection, report.report_id)
    if erasure is None:
        raise _not_erased(report)
    readings = await erasures.readings_of(connection, report.report_id)
    confirmations = await erasures.confirmations_of(connection, report.report_id)
    return {"certificate": certificate(erasure, readings, confirmations)}


async def _lock(connection: Any, report_id: uuid.UUID) -> Report:
    found = await reports.lock(connection, report_id)
    if found is None:
        raise unknown_report()
    return found[0]


def _on_hold(hold: Hold) -> Problem:
    return Problem(
        409,
        "on-hold",
        "The words must stay for a time",
        f"The law asks us to keep them until {hold.until}. Nobody reads them any more, and they are erased"
        " after that day: you do not have to do anything.",
        until=hold.until.isoformat(),
    )


def _not_erased(report: Report) -> Problem:
    return Problem(
        409,
        "not-erased",
        "Not erased",
        "There is a certificate once the report is erased.",
        status_of_report=report.status,
    )
