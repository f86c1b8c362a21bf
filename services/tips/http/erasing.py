"""Erasing for residents, and the certificate of what was destroyed."""

import uuid
from typing import Any

from fastapi import FastAPI, Path, Request
from fastapi.responses import JSONResponse, Response

from services.tips import erasing
from services.tips.body_following import READER, Confirmed
from services.tips.core import texts
from services.tips.core.acts import Waiting
from services.tips.core.certificate import Confirmation, destinations
from services.tips.core.report import Report
from services.tips.core.view import Words, utc
from services.tips.http.desk import Desk, connection
from services.tips.http.documented import BODY, INSIDE, MINE, RECEIPT, TOKEN, body, problems
from services.tips.http.mine import certificate_of
from services.tips.http.receipt import STATUS_URL, lock_of_receipt, receipt_sent
from services.tips.http.unsealing import erased, locked
from services.tips.queries import erasures
from services.tips.queries.holds import Hold
from services.tips.schemas import CertificateAnswer, ConfirmationView
from shared import web
from shared.events import time_of
from shared.web import Problem


def add_erasing(app: FastAPI, desk: Desk) -> None:
    """Add the resident's erasing and the certificate."""

    @app.delete(
        STATUS_URL, response_model=CertificateAnswer, responses=problems(*MINE, 409), dependencies=RECEIPT
    )
    async def delete_report(request: Request) -> Response:
        """Erase the report: words, messages and all else that was written about it are gone for good. Erasing
        it again gives the same certificate. Where the law keeps them, 409 `on-hold` says until when: they
        are locked away, and erased after that day; asking again changes nothing."""
        receipt_sent(request, desk)
        async with connection(desk) as taken, taken.transaction():
            report, _ = await lock_of_receipt(taken, request, desk)
            new = report.status != "erased"
            held = new and await erasing.erase_and_log(
                taken, report, "resident", desk.clock(), desk.source, "resident", "tips"
            )
            answer = {} if held else await _certificate(taken, desk, report)
        if held:
            raise _on_hold(desk, report, held)
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
            return JSONResponse(await _certificate(taken, desk, report))


def add_erasures(internal: FastAPI, desk: Desk, notify_token: str) -> None:
    """Add what `notify` says of erasing to the internal application."""
    tokens = {"notify": notify_token}

    @internal.put(
        "/internal/v1/reports/{report_id}/erasure-confirmations/{destination}",
        response_model=ConfirmationView,
        responses=problems(*INSIDE, *BODY, 409, 410),
        dependencies=TOKEN,
        openapi_extra=body(Confirmed),
    )
    async def confirm_erasure(
        report_id: uuid.UUID, request: Request, destination: str = Path(pattern=READER)
    ) -> Response:
        """What a reader that was sent words says of its copy: gone, or it cannot be erased there.
        `destination` is the reader as it fetched the words. What is confirmed stays confirmed. 410 where the
        report was lost with a database: nobody has a receipt to it, and there is no certificate."""
        web.caller(request, tokens)
        sent = await web.read_json(request, Confirmed)
        async with connection(desk) as taken, taken.transaction():
            report, _ = await locked(taken, report_id)
            if await erasures.erasure_of(taken, report_id) is None:
                raise erased() if report.status == "erased" else _not_erased(report)
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


async def _certificate(connection: Any, desk: Desk, report: Report) -> dict[str, Any]:
    found = await certificate_of(connection, desk, report)
    if found is None:
        raise _not_erased(report)
    return {"certificate": found}


def _on_hold(desk: Desk, report: Report, hold: Hold) -> Problem:
    words = Words(desk.municipality, report.language)
    waiting = Waiting(hold.erase_when_lifted or "other", hold.until, held=True)
    return Problem(
        409,
        "on-hold",
        words.of(texts.HELD_TITLE),
        words.waiting(waiting),
        until=hold.until.isoformat(),
        language=report.language,
    )


def _not_erased(report: Report) -> Problem:
    return Problem(
        409,
        "not-erased",
        "Not erased",
        "There is a certificate once the report is erased.",
        status_of_report=report.status,
    )
