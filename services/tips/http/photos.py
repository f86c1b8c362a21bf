"""Photos: residents upload them before what they belong to is sent; a receipt and `notify` read them back."""

import uuid
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError

from services.tips.body import Reading
from services.tips.core import chain
from services.tips.core.report import Report
from services.tips.http.desk import LATER, Desk, connection
from services.tips.http.documented import RECEIPT, TOKEN, problems
from services.tips.http.receipt import STATUS_URL, receipt_sent, report_of_receipt
from services.tips.http.unsealing import report_key, unknown_report
from services.tips.photos import KINDS, MAX_PHOTO_BYTES, MAX_PIXELS, Fault, holding
from services.tips.photos.decoders import Busy, Undecodable
from services.tips.photos.store import StoreAway
from services.tips.queries import disclosures, photos, reports
from services.tips.queries.photos import Held
from shared import web
from shared.web import Problem

# Uploads that no report has taken: about a gigabyte. Residents leave these to units.
MAX_UPLOADS = 1_000
UNITS_UPLOADS = 100
# For a phone with a poor connection; longer than a report's words are given.
UPLOAD_SECONDS = 60
SOON = {"Retry-After": "30"}
log = structlog.get_logger()

_JPEG = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "description": f"The bytes of one photo: {KINDS}.",
        "content": {
            f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
            for kind in ("jpeg", "png", "webp", "heic")
        },
    }
}
_READING = {
    "parameters": [
        {"name": name, "in": "query", "required": True, "schema": schema}
        for name, schema in Reading.model_json_schema()["properties"].items()
    ]
}


_UPLOADED: dict[int | str, dict[str, Any]] = {
    201: {
        "description": "Stored for a day, until what it belongs to is sent",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["photo"],
                    "properties": {"photo": {"type": "string", "format": "uuid"}},
                }
            }
        },
    },
    **problems(
        _400="Cut off",
        _408="Too slow",
        _413="Too large a file",
        _422="No photo, a broken one, or one of too many pixels",
        _503="More photos come than can be taken, or the database is away: try again later",
    ),
}
_SHOWN: dict[int | str, dict[str, Any]] = {
    200: {"description": "The photo", "content": _JPEG},
    **problems(
        _401="Not authenticated",
        _404="No such report or photo",
        _410="Erased",
        _422="Not as described",
        _503="The database, the key or the photo cannot be had now: try again later",
    ),
}


def add_photos(app: FastAPI, desk: Desk) -> None:
    """Add what residents do with photos."""

    @app.post(
        "/v1/photos",
        status_code=201,
        responses=_UPLOADED | problems(_429="Too many from your network: the answer says when to try again"),
        openapi_extra=_UPLOAD,
    )
    async def post_photo(request: Request) -> Response:
        """Upload a photo. The answer's id, which nobody else must learn, goes into the report or message that
        the photo belongs to, within a day. What is kept are its pixels: shrunk, and without any metadata.
        Send one after another: a network may have few on their way at once."""
        try:
            with desk.limits.uploading(request):
                desk.limits.take(request, "photos")
                photo_id = await _take(desk, request, _most(desk, request))
        except Problem as problem:
            desk.metrics.photos_refused.labels(problem.body["type"].rpartition(":")[2]).inc()
            raise
        desk.metrics.photos_taken.inc()
        return JSONResponse({"photo": str(photo_id)}, 201)

    @app.get(
        STATUS_URL + "/photos/{photo_id}",
        responses=_SHOWN | problems(_429="Too many wrong receipts from your network"),
        response_class=Response,
        dependencies=RECEIPT,
    )
    async def get_own_photo(photo_id: uuid.UUID, request: Request) -> Response:
        """A photo of the report that the receipt leads to."""
        receipt_sent(request, desk)
        async with connection(desk) as taken, taken.transaction():
            report = await report_of_receipt(taken, request, desk)
            found = await _found(desk, taken, report.report_id, photo_id)
        return await _shown(desk, found)


def add_photos_of_reports(internal: FastAPI, desk: Desk, notify_token: str) -> None:
    """Add the reading of photos to the internal application, for `notify`."""
    tokens = {"notify": notify_token}

    @internal.post(
        "/internal/v1/photos",
        status_code=201,
        responses=_UPLOADED | problems(401),
        dependencies=TOKEN,
        openapi_extra=_UPLOAD,
    )
    async def post_units_photo(request: Request) -> Response:
        """Upload a photo for a message of a unit, as residents do for theirs."""
        web.caller(request, tokens)
        return JSONResponse({"photo": str(await _take(desk, request, MAX_UPLOADS))}, 201)

    @internal.get(
        "/internal/v1/reports/{report_id}/photos/{photo_id}",
        responses=_SHOWN,
        response_class=Response,
        dependencies=TOKEN,
        openapi_extra=_READING,
    )
    async def read_photo(report_id: uuid.UUID, photo_id: uuid.UUID, request: Request) -> Response:
        """A report's photo, after logging who reads it and why."""
        service = web.caller(request, tokens)
        reading = _reading(request)
        async with connection(desk) as taken, taken.transaction():
            found = await _found(desk, taken, report_id, photo_id)
        # Between the two, since no transaction waits for the store; only what can be given is logged.
        answer = await _shown(desk, found)
        async with connection(desk) as taken, taken.transaction():
            found = await _found(desk, taken, report_id, photo_id)
            line = chain.reading(found.report, desk.clock(), reading.purpose, reading.reader, service)
            await disclosures.record(taken, [line])
        desk.metrics.words_read.inc()
        return answer


def _most(desk: Desk, request: Request) -> int:
    """How many uploads may wait for one of a resident to be taken. From an address that many share one person
    may send without end: that leaves the other half to everybody else."""
    return MAX_UPLOADS // 2 if desk.limits.is_shared(request) else MAX_UPLOADS - UNITS_UPLOADS


async def _take(desk: Desk, request: Request, most: int) -> uuid.UUID:
    async with connection(desk) as taken:
        if await _waiting(taken, desk) >= most:
            raise Problem(
                503,
                "photos-full",
                "No more photos can be taken now",
                f"{most} photos wait for their reports, the most that may. Send the report without"
                " photos, or try again later.",
                headers={"Retry-After": "600"},
            )
    jpeg = await _jpeg_sent(desk, request)
    async with connection(desk) as taken, taken.transaction():
        return await holding.stage(taken, desk.keys, jpeg, desk.clock())


async def _waiting(connection: Any, desk: Desk) -> int:
    """How many uploads wait. Where it is half of what may, those of before the last hour go: so what one
    network has waiting is what it may send in two hours, which is far less."""
    waiting = await photos.count_uploads(connection)
    if waiting < MAX_UPLOADS // 2:
        return waiting
    await holding.drop_early(connection, desk.clock())
    return await photos.count_uploads(connection)


async def _jpeg_sent(desk: Desk, request: Request) -> bytes:
    """What becomes of the body. Its own bytes are let go with its place."""
    try:
        async with desk.decoders.place():
            photo = await web.read_body(
                request, MAX_PHOTO_BYTES, code="photo-too-large", seconds=UPLOAD_SECONDS
            )
            return await desk.decoders.jpeg_of(photo)
    except Busy:
        raise Problem(
            503, "photos-busy", "Many photos are coming in", "Try again in half a minute.", headers=SOON
        ) from None
    except Undecodable as undecodable:
        raise _undecodable(undecodable.fault) from None


def _undecodable(fault: Fault) -> Problem:
    code, title, detail = {
        Fault.NOT_A_PHOTO: (
            "not-a-photo",
            "Not a photo",
            f"Send the bytes of one photo as the body: {KINDS}.",
        ),
        Fault.TOO_MANY_PIXELS: (
            "photo-too-many-pixels",
            "Too many pixels",
            f"Send a photo of at most {MAX_PIXELS // 1_000_000} megapixels.",
        ),
        Fault.BROKEN: (
            "photo-broken",
            "The photo cannot be read",
            f"It is damaged or incomplete. Send it again, take another one, or save it as {KINDS}.",
        ),
    }[fault]
    return Problem(422, code, title, detail)


@dataclass(frozen=True)
class _Found:
    """A photo with the report that it belongs to and that one's own key."""

    report: Report
    report_key: bytes
    held: Held


async def _found(desk: Desk, taken: Any, report_id: uuid.UUID, photo_id: uuid.UUID) -> _Found:
    """A report's photo, its report kept as it is until the transaction ends.
    Raises Problem 404, 410 or 503."""
    found = (await reports.lock_for_reading(taken, [report_id])).get(report_id)
    if found is None:
        raise unknown_report()
    report, sealed = found
    key = await report_key(taken, desk, report, sealed)
    held = await photos.photo_of(taken, report_id, photo_id)
    if held is None:
        raise Problem(404, "photo-unknown", "Unknown", "This report has no photo of that id.")
    return _Found(report, key, held)


async def _shown(desk: Desk, found: _Found) -> Response:
    """The photo as an answer. Raises Problem 503."""
    try:
        jpeg = await holding.jpeg_of(desk.photo_store, found.report.report_id, found.report_key, found.held)
    except StoreAway as away:
        log.warning("photo_store_away", error=str(away), mend="look at IBUURT_PHOTO_STORE")
        raise web.not_now() from None
    except holding.PhotoMissing:
        log.error("photo_missing", mend="restore the photo store from its backup")
        raise Problem(
            503,
            "photo-missing",
            "Cannot be read now",
            "Ask again later; the operator is told.",
            headers=LATER,
        ) from None
    return Response(
        jpeg, media_type="image/jpeg", headers={"Content-Disposition": 'inline; filename="photo.jpg"'}
    )


def _reading(request: Request) -> Reading:
    """Who reads and why. Raises Problem 422."""
    try:
        return Reading.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise web.invalid_request(
            error.errors(include_url=False, include_input=False, include_context=False)
        ) from None
