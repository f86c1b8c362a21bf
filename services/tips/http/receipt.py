"""The receipt: the one way by which every route of a resident finds the report.

A receipt that is wrong, unknown or forgotten gets the same answer after the same work everywhere.
"""

from typing import Any

from fastapi import Request

from services.tips import receipts
from services.tips.core.report import Report
from services.tips.http.desk import Desk
from services.tips.queries import reports
from services.tips.sealing import Sealed
from shared.web import Problem

STATUS_URL = "/v1/reports/mine"


def receipt_sent(request: Request, desk: Desk) -> None:
    """What every route does first, before it waits for anything. Raises Problem 401 without a receipt, 429
    where the network has asked or tried too often."""
    _code(request)
    # Where many share an address, one who tries wrong receipts must not keep the others from theirs.
    if not desk.limits.is_shared(request):
        desk.limits.check(request, "receipts")
    desk.limits.take(request, "reading")


async def report_of_receipt(connection: Any, request: Request, desk: Desk) -> Report:
    """The report that the request's receipt leads to. Raises Problem 404."""
    lookup_id, can_be = _lookup(request, desk)
    report = await reports.report_by_lookup_id(connection, lookup_id)
    if report is None or not can_be:
        raise _unknown_receipt(request, desk)
    return report


async def lock_of_receipt(connection: Any, request: Request, desk: Desk) -> tuple[Report, Sealed | None]:
    """The same with its sealed words (None when erased), locked until the transaction ends."""
    lookup_id, can_be = _lookup(request, desk)
    found = await reports.lock_by_lookup_id(connection, lookup_id)
    if found is None or not can_be:
        raise _unknown_receipt(request, desk)
    return found


def _code(request: Request) -> str:
    """The code in the request's header, as it was typed."""
    scheme, _, code = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "receipt" or not code.strip():
        raise Problem(
            401,
            "receipt-missing",
            "No receipt",
            "Send the header `Authorization: Receipt` with the code that you got when you sent the report.",
            headers={"WWW-Authenticate": "Receipt"},
        )
    # Headers are read as Latin-1; what a phone puts in for a hyphen or a space comes as UTF-8.
    try:
        return code.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return code


def _lookup(request: Request, desk: Desk) -> tuple[bytes, bool]:
    receipt = receipts.read(_code(request))
    # The same work for whatever was sent, so that neither answer nor time tells why it leads nowhere.
    return receipts.lookup_id(receipt or receipts.NO_RECEIPT, desk.peppers.lookup), receipt is not None


def _unknown_receipt(request: Request, desk: Desk) -> Problem:
    desk.limits.take(request, "receipts")
    return Problem(
        404,
        "receipt-unknown",
        "No report has this receipt",
        "Check every character: a receipt has 21 letters and digits, and its report is kept for a limited"
        " time.",
    )
