"""Residents follow what became of their report."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.tips import receipts
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
        code = receipt_sent(request)
        receipt = receipts.read(code)
        # The same work for whatever was sent, so that neither answer nor time tells why it leads nowhere.
        lookup_id = receipts.lookup_id(receipt or receipts.NO_RECEIPT, desk.peppers.lookup)
        async with connection(desk) as taken:
            report = await reports.report_by_lookup_id(taken, lookup_id)
            if report is None or receipt is None:
                raise unknown_receipt()
            had = await steps.steps_of(taken, [report.report_id])
        return JSONResponse({"report": view(report, had[report.report_id], desk.municipality)})


def receipt_sent(request: Request) -> str:
    """The code in the header of a request. Raises Problem 401."""
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


def unknown_receipt() -> Problem:
    """The answer to every code that leads nowhere."""
    return Problem(
        404,
        "receipt-unknown",
        "No report has this receipt",
        "Check every character: a receipt has 21 letters and digits, and its report is kept for a limited"
        " time.",
    )
