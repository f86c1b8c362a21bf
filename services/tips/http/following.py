"""Residents follow what became of their report."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.tips import receipts
from services.tips.core.report import Report
from services.tips.core.view import view
from services.tips.http.desk import Desk, connection
from services.tips.http.sending import STATUS_URL
from services.tips.queries import reports, steps
from shared.web import Problem


def add_following(app: FastAPI, desk: Desk) -> None:
    """Add what a receipt opens."""

    @app.get(STATUS_URL)
    async def get_report(request: Request) -> Response:
        """Follow a report: its status, who is responsible, by when, and why."""
        async with connection(desk) as taken:
            report = await report_of(request, desk, taken)
            had = await steps.steps_of(taken, [report.report_id])
        return JSONResponse({"report": view(report, had[report.report_id], desk.municipality)})


async def report_of(request: Request, desk: Desk, taken: Any) -> Report:
    """The report that the request's receipt leads to. Raises Problem 401, 404 or 429: for a wrong receipt and
    an unknown one the same, after the same work, so that neither answer nor time tells which it was."""
    desk.limits.check(request, "receipts")
    code = _receipt_sent(request)
    receipt = receipts.read(code)
    lookup_id = receipts.lookup_id(receipt or receipts.NO_RECEIPT, desk.peppers.lookup)
    report = await reports.report_by_lookup_id(taken, lookup_id)
    if report is None or receipt is None:
        desk.limits.take(request, "receipts")
        raise _unknown_receipt()
    return report


def _receipt_sent(request: Request) -> str:
    scheme, _, code = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "receipt" or not code.strip():
        raise Problem(
            401,
            "receipt-missing",
            "No receipt",
            "Send the header `Authorization: Receipt` with the code that you got when you sent the report.",
            headers={"WWW-Authenticate": "Receipt"},
        )
    return code


def _unknown_receipt() -> Problem:
    return Problem(
        404,
        "receipt-unknown",
        "No report has this receipt",
        "Check every character: a receipt has 21 letters and digits, and its report is kept for a limited"
        " time.",
    )
