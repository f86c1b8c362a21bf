"""HTTP: residents send and follow reports; other services read words, which is logged.

Each handler parses, opens one transaction, and wakes the relay after the commit. No line is logged for a
tip: its time would be the tip's minute.
"""

import asyncio
import hmac
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog
from asyncpg import UniqueViolationError
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.tips import intake, queries, receipts, sealing
from services.tips.areas import Areas
from services.tips.body import NewReport, Reading
from services.tips.core.report import Report, accept, drop_after
from services.tips.core.view import utc, view
from services.tips.keys import KeyDestroyed, KeyFolder, KeyLost
from services.tips.metrics import TipsMetrics
from services.tips.sealing import Sealed
from shared import outbox, postgres, web
from shared.cloudevents import Envelope
from shared.events import hour_of
from shared.municipality import Municipality
from shared.web import Problem

TURN_SECONDS = 5
# Fewer than the pool's connections: the consumer, the relay's watchdog and the probes have theirs besides.
TURNS = 7
STATUS_URL = "/v1/reports/mine"
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


@dataclass(frozen=True)
class Peppers:
    """The two secrets that receipts are made with, and looked up with."""

    receipt: bytes
    lookup: bytes


@dataclass(frozen=True)
class Desk:
    """What the handlers work with. `clock` gives the time in UTC; `wake` tells the relay."""

    pool: Any
    municipality: Municipality
    areas: Areas
    keys: KeyFolder
    peppers: Peppers
    metrics: TipsMetrics
    wake: Callable[[], None]
    clock: Callable[[], datetime]
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(TURNS))


@dataclass(frozen=True)
class _Submission:
    """A submission with its receipt, and what is kept of both."""

    receipt: str
    lookup_id: bytes
    macs: tuple[bytes, bytes]


def public_app(desk: Desk) -> FastAPI:
    """The residents' application."""
    app = web.new_app("IBuurt tips", openapi="/v1/openapi.json")

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

    @app.get(STATUS_URL)
    async def get_report(request: Request) -> Response:
        """Follow a report: its status, who is responsible, by when, and why."""
        code = _receipt_sent(request)
        receipt = receipts.read(code)
        # The same work for whatever was sent, so that neither answer nor time tells why it leads nowhere.
        lookup_id = receipts.lookup_id(receipt or receipts.NO_RECEIPT, desk.peppers.lookup)
        async with _connection(desk) as connection:
            report = await queries.report_by_lookup_id(connection, lookup_id)
            if report is None or receipt is None:
                raise _unknown_receipt()
            steps = await queries.steps_of(connection, [report.report_id])
        return JSONResponse({"report": view(report, steps[report.report_id], desk.municipality)})

    return app


def add_words(internal: FastAPI, desk: Desk, notify_token: str) -> None:
    """Add the reading of words to the internal application, for `notify`."""
    tokens = {"notify": notify_token}

    @internal.post("/internal/v1/reports/{report_id}/words")
    async def read_words(report_id: uuid.UUID, request: Request) -> Response:
        """A report's words, after logging who reads them and why."""
        service = web.caller(request, tokens)
        reading = await web.read_json(request, Reading)
        async with _connection(desk) as connection, connection.transaction():
            found = await queries.report_for_reading(connection, report_id)
            if found is None:
                raise Problem(404, "report-unknown", "Unknown", "There is no report of that id here.")
            report, sealed = found
            words = _unseal(desk, report, sealed)
            now = desk.clock()
            await queries.insert_disclosure(
                connection,
                at=hour_of(now) if report.kind == "tip" else now,
                report_id=report_id,
                reader=reading.reader,
                service=service,
                purpose=reading.purpose,
                act="disclosure" if reading.purpose == "delivery" else "consultation",
            )
        desk.metrics.words_read.inc()
        return JSONResponse(
            {
                "report_id": str(report_id),
                "kind": report.kind,
                "category": report.category,
                "language": report.language,
                "areas": dict(report.areas),
                "description": words["description"],
                "location": words["location"],
                "accepted_at": utc(report.accepted_at),
            }
        )


async def _post_report(desk: Desk, request: Request, started: float) -> dict[str, Any]:
    key = intake.check_key(request.headers.getlist("idempotency-key"))
    body = await web.read_json(request, NewReport)
    category = intake.check_category(body, desk.municipality)
    language = intake.check_language(body, desk.municipality)
    areas = intake.check_place(body.location, desk.municipality, desk.areas)
    submission = _submission(desk.peppers, key, body)
    now, report_id = desk.clock(), uuid.uuid4()
    report, event = accept(report_id, category, areas, language, desk.municipality.version, now)
    name = sealing.key_name(report.accepted_at, category.regime)
    sealed = sealing.seal(report_id, name, desk.keys.make(name), _words(body))
    envelope = Envelope.of(event, id=uuid.uuid4(), source=f"/{desk.municipality.slug}/tips", now=now)
    earlier = await _store(desk, report, sealed, submission, envelope, now)
    if earlier is None:
        desk.wake()
        desk.metrics.accepted.inc()
        desk.metrics.intake_seconds.observe(time.perf_counter() - started)
        if report.kind == "issue":
            log.info("report_accepted", report_id=str(report_id), event_id=str(envelope.id))
    return {
        "receipt": receipts.shown(submission.receipt),
        # As it was when it was accepted: a repeated submission gets the same answer.
        "report": view(earlier or report, [], desk.municipality),
        "status_url": STATUS_URL,
    }


async def _store(
    desk: Desk,
    report: Report,
    sealed: Sealed,
    submission: _Submission,
    envelope: Envelope[Any],
    now: datetime,
) -> Report | None:
    """Store a report and its event; or the report that the same submission has stored before."""
    try:
        async with _connection(desk) as connection, connection.transaction():
            if await queries.insert_report(
                connection, report, sealed, submission.lookup_id, submission.macs, drop_after(now)
            ):
                await outbox.append(connection, [envelope])
                return None
            earlier = await queries.submitted(connection, submission.macs[0])
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


def _submission(peppers: Peppers, key: str, body: NewReport) -> _Submission:
    receipt = receipts.from_key(key, peppers.receipt)
    return _Submission(
        receipt,
        receipts.lookup_id(receipt, peppers.lookup),
        receipts.submission_macs(key, body.canonical(), peppers.lookup),
    )


def _words(body: NewReport) -> dict[str, Any]:
    return {"description": body.description, "location": body.location.model_dump(exclude_none=True)}


def _unseal(desk: Desk, report: Report, sealed: Sealed | None) -> dict[str, Any]:
    erased = Problem(410, "report-erased", "Erased", "The words are gone for good; do not ask again.")
    if sealed is None:
        raise erased
    try:
        return sealing.unseal(report.report_id, sealed, desk.keys.get(sealed.key_name))
    except KeyDestroyed:
        raise erased from None
    except KeyLost:
        log.error("key_lost", key=sealed.key_name, mend="restore the key folder from its backup")
        raise Problem(
            503, "key-lost", "Cannot be read now", "Ask again later; the operator is told.", headers=_LATER
        ) from None


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


@asynccontextmanager
async def _connection(desk: Desk) -> AsyncIterator[Any]:
    """A connection of the pool. Raises Problem 503 where the database is away or busy."""
    try:
        # The wait for a turn and the connecting have each their own time: with one for both, those who have
        # waited long would break off each new connection after an outage, and nobody would ever have one.
        await asyncio.wait_for(desk.turns.acquire(), TURN_SECONDS)
        try:
            async with desk.pool.acquire() as connection:
                yield connection
        finally:
            desk.turns.release()
    except Exception as error:
        if not postgres.is_transient(error):
            raise
        log.warning("database_away", error=type(error).__name__)
        raise Problem(
            503,
            "not-now",
            "Not now",
            "Try again in a few seconds; a report with the same Idempotency-Key is stored only once.",
            headers=_LATER,
        ) from None


_LATER = {"Retry-After": "5"}


def _unknown_receipt() -> Problem:
    return Problem(
        404,
        "receipt-unknown",
        "No report has this receipt",
        "Check every character: a receipt has 21 letters and digits, and its report is kept for a limited"
        " time.",
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
