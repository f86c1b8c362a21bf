"""The internal API: units write to residents and read the conversation, which is logged."""

import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response

from services.tips import sealing
from services.tips.body_following import PURPOSE, READER, UnitMessage
from services.tips.core import chain
from services.tips.core.conversation import Message
from services.tips.core.emails import about_message, email_id
from services.tips.core.view import utc
from services.tips.http.conversing import Draft, add_message
from services.tips.http.desk import Desk, connection
from services.tips.http.documented import BODY, INSIDE, TOKEN, body, problems
from services.tips.http.mine import stand
from services.tips.http.unsealing import locked, report_key, unknown_report
from services.tips.queries import disclosures, emails, messages, reports
from services.tips.schemas import UnitConversation, UnitMessageAnswer
from shared import web
from shared.web import Problem

MESSAGES_URL = "/internal/v1/reports/{report_id}/messages"


def add_units(internal: FastAPI, desk: Desk, notify_token: str) -> None:
    """Add the units' side of the conversation, for `notify`."""
    tokens = {"notify": notify_token}

    @internal.post(
        MESSAGES_URL,
        status_code=201,
        response_model=UnitMessageAnswer,
        responses=problems(*INSIDE, *BODY, 409, 410)
        | {200: {"description": "It was there already", "model": UnitMessageAnswer}},
        dependencies=TOKEN,
        openapi_extra=body(UnitMessage),
    )
    async def post_unit_message(report_id: uuid.UUID, request: Request) -> Response:
        """Write to the resident; `asks` when an answer is wanted. The same message again is stored once."""
        service = web.caller(request, tokens)
        sent = await web.read_json(request, UnitMessage)
        if sent.unit not in desk.municipality.units:
            raise _unknown_unit(desk)
        now = desk.clock()
        async with connection(desk) as taken, taken.transaction():
            report, sealed = await locked(taken, report_id)
            mine = await stand(taken, report, desk)
            draft = Draft(sent.message_id, "unit", sent.text, sent.unit, sent.asks, tuple(sent.photos))
            message, new = await add_message(taken, desk, mine, sealed, draft, now)
            if new:
                if report.kind == "issue":
                    about = about_message(asks=sent.asks)
                    await emails.add_news(taken, {email_id(message.message_id): (report_id, about)})
                actor = sent.by or f"unit:{sent.unit}"
                line = chain.entry(report, now, "alteration", actor, "message", service)
                await disclosures.record(taken, [line])
        answer = {
            "message": _told(message, draft.content),
            "report_version": report.version,
            "question_open": mine.standing.question_open or (new and sent.asks),
        }
        return JSONResponse(answer, 201 if new else 200)

    @internal.get(
        MESSAGES_URL,
        response_model=UnitConversation,
        responses=problems(*INSIDE, 410),
        dependencies=TOKEN,
    )
    async def read_messages(
        report_id: uuid.UUID,
        request: Request,
        purpose: str = Query(pattern=PURPOSE),
        reader: str = Query(pattern=READER),
    ) -> Response:
        """The conversation, in order, after logging who reads it and why."""
        service = web.caller(request, tokens)
        async with connection(desk) as taken, taken.transaction():
            found = (await reports.lock_for_reading(taken, [report_id])).get(report_id)
            if found is None:
                raise unknown_report()
            report, sealed = found
            key = await report_key(taken, desk, report, sealed)
            read = [
                _told(one.message, sealing.unseal_part(key, report_id, one.message.message_id, one.sealed))
                for one in await messages.messages_of(taken, report_id)
            ]
            line = chain.reading(report, desk.clock(), purpose, reader, service)
            await disclosures.record(taken, [line])
        desk.metrics.words_read.inc()
        return JSONResponse({"messages": read})


def _told(message: Message, content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "message_id": str(message.message_id),
        "number": message.number,
        "sender": message.sender,
        "unit": message.unit,
        "text": content["text"],
        "photos": content["photos"],
        "not_an_emergency": content.get("not_an_emergency", False),
        "asks": message.asks,
        "at": utc(message.at),
    }


def _unknown_unit(desk: Desk) -> Problem:
    return Problem(
        422,
        "unknown-unit",
        "Not one of those that are possible",
        "Choose one of those in `allowed`.",
        errors=[("/unit", "this is no unit here")],
        allowed=list(desk.municipality.units),
    )
