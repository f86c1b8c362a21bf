"""Residents send reports."""

import asyncio
import hmac
import time
import uuid
from dataclasses import replace
from typing import Any

import structlog
from asyncpg import UniqueViolationError
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.tips import intake, receipts, sealing
from services.tips.body import NewReport
from services.tips.core.report import Report, accept, drop_after
from services.tips.core.view import view
from services.tips.http.desk import Desk, connection, not_now
from services.tips.queries import reports
from services.tips.queries.reports import Submission
from shared import web
from shared.cloudevents import Envelope
from shared.web import Problem

STATUS_URL = "/v1/reports/mine"
# To wait for the group before and to commit with the next.
STORE_SECONDS = 10
log = structlog.get_logger()
_SCHEMA_PLACE = "#/paths/~1v1~1reports/post/requestBody/content/application~1json/schema/$defs/"
_POST_DESCRIPTION = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{receipts.KEY_PATTERN.pattern}$"},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": NewReport.model_json_schema(ref_template=_SCHEMA_PLACE + "{model}")
            }
        },
    },
}


def add_sending(app: FastAPI, desk: Desk) -> None:
    """Add what sends a report."""

    @app.post("/v1/reports", status_code=201, openapi_extra=_POST_DESCRIPTION)
    async def post_report(request: Request) -> Response:
        """Send a report. The answer has the receipt, which is the only way back to it."""
        started = time.perf_counter()
        try:
            answer = await _post_report(desk, request, started)
        except Problem as problem:
            desk.metrics.refused.labels(problem.body["type"].rpartition(":")[2]).inc()
            raise
        return JSONResponse(answer, 201, {"Location": STATUS_URL})


async def _post_report(desk: Desk, request: Request, started: float) -> dict[str, Any]:
    desk.limits.take(request, "reports")
    key = intake.check_key(request.headers.getlist("idempotency-key"))
    body = await web.read_json(request, NewReport)
    category = intake.check_category(body, desk.municipality)
    language = intake.check_language(body, desk.municipality)
    areas = intake.check_place(body.location, desk.municipality, desk.areas)
    receipt = receipts.from_key(key, desk.peppers.receipt)
    now, report_id = desk.clock(), uuid.uuid4()
    report, event = accept(report_id, category, areas, language, desk.municipality.version, now)
    name = sealing.key_name(report.accepted_at, category.regime, category.retention_days)
    sealed = sealing.seal(report_id, name, desk.keys.make(name), _words(body))
    envelope = Envelope.of(event, id=uuid.uuid4(), source=f"/{desk.municipality.slug}/tips", now=now)
    submission = Submission(
        report,
        sealed,
        receipts.lookup_id(receipt, desk.peppers.lookup),
        receipts.submission_macs(key, body.canonical(), desk.peppers.lookup),
        drop_after(now),
    )
    earlier = await _store(desk, submission, envelope)
    if earlier is None:
        desk.metrics.accepted.inc()
        desk.metrics.intake_seconds.observe(time.perf_counter() - started)
        if report.kind == "issue":
            log.info("report_accepted", report_id=str(report_id), event_id=str(envelope.id))
    return {
        "receipt": receipts.shown(receipt),
        # As it was when it was accepted: a repeated submission gets the same answer.
        "report": view(earlier or report, [], desk.municipality),
        "status_url": STATUS_URL,
    }


async def _store(desk: Desk, submission: Submission, envelope: Envelope[Any]) -> Report | None:
    """Store a report and its event; or the report that the same submission has stored before."""
    try:
        async with not_now(), asyncio.timeout(STORE_SECONDS):
            if await desk.storing.store(submission, envelope):
                return None
        async with connection(desk) as taken:
            earlier = await reports.submitted(taken, submission.macs[0])
    except UniqueViolationError as error:
        if error.constraint_name != "report_one_per_receipt":
            raise
        raise _key_of_another_day() from None
    if earlier is None:  # forgotten between the two statements
        raise _key_of_another_day()
    body_mac, stored = earlier
    if not hmac.compare_digest(body_mac, submission.macs[1]):
        raise _key_of_another_report()
    return replace(stored, status="accepted")


def _words(body: NewReport) -> dict[str, Any]:
    return {"description": body.description, "location": body.location.model_dump(exclude_none=True)}


def _key_of_another_report() -> Problem:
    return Problem(
        409,
        "idempotency-key-reused",
        "This Idempotency-Key belongs to another report",
        "Mint a new Idempotency-Key for each report.",
    )


def _key_of_another_day() -> Problem:
    return Problem(
        409,
        "idempotency-key-expired",
        "This Idempotency-Key was used more than a day ago",
        "Its report is stored, and its receipt still leads to it. Mint a new key for another report.",
    )
