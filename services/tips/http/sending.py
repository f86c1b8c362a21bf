"""Residents send reports."""

import asyncio
import hmac
import time
import uuid
from dataclasses import replace
from http import HTTPStatus
from typing import Any, NamedTuple

import structlog
from asyncpg import UniqueViolationError
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.tips import answers, intake, receipts, sealing
from services.tips.body import Location, NewReport
from services.tips.core import grid, public
from services.tips.core.acts import Standing
from services.tips.core.keeping import last_moment
from services.tips.core.public import Publicly
from services.tips.core.report import Report, accept, drop_after
from services.tips.core.view import view
from services.tips.http.desk import Desk, connection, not_now
from services.tips.http.documented import EMERGENCY, KEY_HEADER, answer, problems
from services.tips.http.receipt import STATUS_URL
from services.tips.queries import listing, reports
from services.tips.queries.submissions import Submission
from services.tips.storing import Sent
from shared import web
from shared.cloudevents import Envelope
from shared.web import Problem

# To wait for the group before and to commit with the next.
STORE_SECONDS = 10
log = structlog.get_logger()
_SCHEMA_PLACE = "#/paths/~1v1~1reports/post/requestBody/content/application~1json/schema/$defs/"
_POST_DESCRIPTION = {
    "parameters": [KEY_HEADER],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": NewReport.model_json_schema(ref_template=_SCHEMA_PLACE + "{model}")
            }
        },
    },
}
_ANSWERS = {
    201: answer(
        "The report is stored; the same submission again within 24 hours gets the same answer",
        {
            "type": "object",
            "required": ["receipt", "report", "status_url"],
            "properties": {
                "receipt": {"type": "string", "description": "the only way back to the report"},
                "report": {"type": "object"},
                "status_url": {"type": "string"},
            },
        },
        Location="where the receipt leads back to the report",
    ),
    **problems(
        400,
        408,
        413,
        415,
        429,
        503,
        _410="The same submission came before, and its report was erased since: nothing is stored, and"
        " `receipt` leads to the certificate",
        _409="The Idempotency-Key was used for another report, or more than a day ago",
        _422=EMERGENCY,
    ),
}


class _Taken(NamedTuple):
    """A report as it was accepted, the key that its words are under, the page of its public issue, and
    whether it was stored now."""

    report: Report
    key_name: str
    page: str | None
    new: bool


def add_sending(app: FastAPI, desk: Desk) -> None:
    """Add what sends a report."""

    @app.post("/v1/reports", status_code=201, openapi_extra=_POST_DESCRIPTION, responses=_ANSWERS)
    async def post_report(request: Request) -> Response:
        """Send a report. The answer has the receipt, which is the only way back to it."""
        started = time.perf_counter()
        try:
            stored = await _post_report(desk, request, started)
        except Problem as problem:
            desk.metrics.refused.labels(problem.body["type"].rpartition(":")[2]).inc()
            # Whoever is refused may have written of danger, which was not looked for then.
            problem.body.setdefault("emergency_number", desk.municipality.emergency_number)
            raise
        return JSONResponse(stored, 201, {"Location": STATUS_URL})


async def _post_report(desk: Desk, request: Request, started: float) -> dict[str, Any]:
    desk.limits.take(request, "reports")
    key = intake.check_key(request.headers.getlist("idempotency-key"))
    body = await web.read_json(request, NewReport)
    receipt = receipts.from_key(key, desk.peppers.receipt)
    macs = receipts.submission_macs(key, body.canonical(), desk.peppers.lookup)
    try:
        taken = await _taken(desk, body, receipt, macs, request.headers.get("accept-language", ""))
    except Problem as refused:
        earlier = await _taken_before(desk, receipt, macs, refused)
        if earlier is None:
            raise
        taken = earlier
    if taken.new:
        desk.metrics.accepted.inc()
        desk.metrics.intake_seconds.observe(time.perf_counter() - started)
    return {
        "receipt": receipts.shown(receipt),
        "report": view(taken.report, [], desk.municipality, _standing(taken)),
        "status_url": STATUS_URL,
    }


async def _taken(
    desk: Desk, body: NewReport, receipt: str, macs: tuple[bytes, bytes], accepted: str
) -> _Taken:
    """Store a report, or find that the same submission had been; `accepted` are the languages of its sender
    (Accept-Language), for a report that does not say in which it is. Raises Problem."""
    category = intake.check_category(body, desk.municipality)
    language = intake.check_language(body, desk.municipality)
    place = body.location.address if body.location else None
    written = [body.description, *answers.texts(body.answers, category), place or ""]
    insists = body.not_an_emergency
    spoken = web.choose_language(desk.municipality.languages, body.language, accepted)
    intake.check_emergency(written, spoken, desk.municipality, insists=insists, category=category)
    now, report_id = desk.clock(), uuid.uuid4()
    intake.check_contact(body.contact, category)
    intake.check_happened(body.happened, desk.municipality.tz, now)
    given = answers.check_answers(body.answers, category)
    areas = intake.check_place(body.location, desk.municipality, desk.areas)
    read = answers.for_rules(given, desk.municipality.answers_read(category.id))
    report, event = accept(report_id, category, areas, language, desk.municipality.version, now, read)
    name = desk.keys.newest(sealing.key_name(report.accepted_at, category.regime, category.retention_days))
    report_key = sealing.new_key()
    sealed = sealing.seal(report_id, name, desk.keys.make(name), body.words(given), report_key)
    envelope = Envelope.of(event, id=uuid.uuid4(), source=desk.source, now=now)
    lookup_id = receipts.lookup_id(receipt, desk.peppers.lookup)
    submission = Submission(report, sealed, lookup_id, macs, drop_after(now), report_key, body.photos)
    issue = public.first(uuid.uuid4(), report, category, _grid_place(body.location), desk.public_url)
    try:
        async with not_now(), asyncio.timeout(STORE_SECONDS):
            new = await desk.storing.store(Sent(submission, envelope, issue))
    except UniqueViolationError as error:
        if error.constraint_name != "report_one_per_receipt":
            raise
        raise _key_of_another_day() from None
    if not new:
        earlier = await _stored_before(desk, receipt, macs)
        if earlier is None:  # forgotten between the two statements
            raise _key_of_another_day()
        return earlier
    if report.kind == "issue":
        log.info("report_accepted", report_id=str(report_id), event_id=str(envelope.id))
    return _Taken(report, name, issue.page if issue else None, new=True)


async def _taken_before(
    desk: Desk, receipt: str, macs: tuple[bytes, bytes], refused: Problem
) -> _Taken | None:
    """The report of a submission that is refused now and was stored before: the form has changed since, or
    its photos are its own by now, and only the answer was lost."""
    # Who tells of danger is answered at once, whatever the database does.
    if refused.status != HTTPStatus.UNPROCESSABLE_ENTITY or refused.body["type"].endswith(":emergency"):
        return None
    try:
        return await _stored_before(desk, receipt, macs)
    except Problem as problem:
        if problem.status in {HTTPStatus.CONFLICT, HTTPStatus.GONE}:
            raise
        return None  # the refusal says more


async def _stored_before(desk: Desk, receipt: str, macs: tuple[bytes, bytes]) -> _Taken | None:
    """The report, as it was when it was accepted, that the same submission has stored before. Raises Problem
    409 where its key stored another, 410 where it was erased since, 503."""
    async with connection(desk) as taken:
        earlier = await reports.submitted(taken, macs[0])
        shown = await listing.shown_of(taken, earlier.report.report_id) if earlier else None
    if earlier is None:
        return None
    if not hmac.compare_digest(earlier.body_mac, macs[1]):
        raise _key_of_another_report()
    if earlier.key_name is None:
        raise _erased(receipts.shown(receipt))
    page = shown.issue.page if shown else None
    return _Taken(replace(earlier.report, status="accepted"), earlier.key_name, page, new=False)


def _standing(taken: _Taken) -> Standing:
    """How a report stands that was just accepted."""
    end = last_moment(taken.key_name)
    return Standing(
        kept_until=end.date() if end else None, public=Publicly(taken.page) if taken.page else None
    )


def _grid_place(location: Location | None) -> grid.Place | None:
    """What may be public of a place: a rounded point; of an address or an area nothing."""
    point = location.point if location else None
    return grid.rounded(point.latitude, point.longitude) if point else None


def _erased(receipt: str) -> Problem:
    return Problem(
        410,
        "report-sent-and-erased",
        "This report was erased",
        "It came before, and was erased since; nothing is stored now. The receipt leads to its certificate."
        " Mint a new Idempotency-Key to send a report again.",
        receipt=receipt,
        status_url=STATUS_URL,
    )


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
