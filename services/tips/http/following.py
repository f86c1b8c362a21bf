"""Residents follow what became of their report, and take home all that is held about it."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.tips import sealing
from services.tips.core import public_view
from services.tips.core.certificate import reader_shown
from services.tips.core.report import Report
from services.tips.core.view import utc
from services.tips.http.conversing import told
from services.tips.http.desk import Desk, connection
from services.tips.http.documented import MINE, RECEIPT, problems
from services.tips.http.email import email_state
from services.tips.http.mine import Mine, certificate_of, stand
from services.tips.http.receipt import STATUS_URL, lock_of_receipt, receipt_sent, report_of_receipt
from services.tips.http.unsealing import report_key, unsealed_words
from services.tips.queries import emails, erasures, holds, listing, messages, photos
from services.tips.schemas import ExportAnswer, ReportAnswer
from services.tips.sealing import Sealed
from shared.web import Problem


def add_following(app: FastAPI, desk: Desk) -> None:
    """Add what a receipt shows."""

    @app.get(STATUS_URL, response_model=ReportAnswer, responses=problems(*MINE), dependencies=RECEIPT)
    async def get_report(request: Request) -> Response:
        """Follow a report: its status, who is responsible, by when, and why, and what can be done now."""
        receipt_sent(request, desk)
        async with connection(desk) as taken, taken.transaction(isolation="repeatable_read", readonly=True):
            report = await report_of_receipt(taken, request, desk)
            mine = await stand(taken, report, desk)
        return JSONResponse({"report": mine.view(desk, desk.clock())})

    @app.get(
        f"{STATUS_URL}/export", response_model=ExportAnswer, responses=problems(*MINE), dependencies=RECEIPT
    )
    async def get_export(request: Request) -> Response:
        """Everything that is held about the report, as one JSON document; nothing in it leads back here.
        Photos are to be had at the addresses that it lists, with the same receipt."""
        receipt_sent(request, desk)
        async with connection(desk) as taken, taken.transaction():
            report, sealed = await lock_of_receipt(taken, request, desk)
            mine = await stand(taken, report, desk)
            return JSONResponse({"export": await _export(taken, desk, mine, sealed)})


async def _export(connection: Any, desk: Desk, mine: Mine, sealed: Sealed | None) -> dict[str, Any]:
    report, rating = mine.report, mine.standing.rating
    readings = await erasures.readings_of(connection, report.report_id)
    shown = await listing.shown_of(connection, report.report_id)
    hold = await holds.of(connection, report.report_id)
    words, written, address = await _written(connection, desk, report, sealed)
    kept = await photos.photos_of(connection, report.report_id) if words is not None else []
    return {
        "format": "ibuurt.export.v1",
        "report": mine.view(desk, desk.clock()),
        "words": words,
        "messages": written,
        "photos": [f"{STATUS_URL}/photos/{one}" for one in kept],
        "email": await email_state(connection, report.report_id),
        "email_address": address,
        "public": public_view.as_json(shown) if shown else None,
        "hold": {"until": hold.until.isoformat()} if hold else None,
        "rating": {"satisfied": rating.satisfied, "stars": rating.stars} if rating else None,
        "log": [
            {
                "at": utc(reading.at),
                "act": reading.act,
                "reader": reader_shown(reading.reader),
                "service": reading.service,
                # Without the reason of a hold, which is a matter of whoever investigates.
                "purpose": reading.purpose.partition(":")[0],
            }
            for reading in readings
        ],
        "certificate": await certificate_of(connection, desk, report),
    }


async def _written(
    connection: Any, desk: Desk, report: Report, sealed: Sealed | None
) -> tuple[dict[str, Any] | None, list[dict[str, Any]], str | None]:
    """The words, the conversation and where news goes; nothing where they are erased or locked away."""
    try:
        words = await unsealed_words(connection, desk, report, sealed)
        key = await report_key(connection, desk, report, sealed)
    except Problem as problem:
        if problem.status != 410:
            raise
        return None, [], None
    stored = await messages.messages_of(connection, report.report_id)
    written = [told(desk, report, one.message, key, one.sealed) for one in stored]
    wanted = await emails.address_of(connection, report.report_id)
    if wanted is None:
        return words, written, None
    subscription_id, part = wanted
    return words, written, sealing.unseal_part(key, report.report_id, subscription_id, part)["address"]
