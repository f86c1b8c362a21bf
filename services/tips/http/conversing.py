"""Resident and unit write to each other; both sides' messages are sealed with the report's key."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.tips import intake, sealing
from services.tips.acting import take_step
from services.tips.body_following import NewMessage
from services.tips.core.chain import entry
from services.tips.core.conversation import (
    MESSAGES_PER_SENDER,
    Message,
    Sender,
    full,
    message_id,
    open_question,
)
from services.tips.core.report import Report
from services.tips.core.view import utc
from services.tips.http.desk import Desk, connection
from services.tips.http.documented import BODY, EMERGENCY, KEY_HEADER, MINE, RECEIPT, body, problems
from services.tips.http.mine import Mine, stand
from services.tips.http.receipt import STATUS_URL, lock_of_receipt, receipt_sent
from services.tips.http.unsealing import report_key
from services.tips.photos import holding
from services.tips.queries import disclosures, keeping, messages
from services.tips.schemas import Conversation, MessageAnswer
from services.tips.sealing import Sealed
from shared import web
from shared.events import ReportAnswered, ReportSupplemented, time_of
from shared.web import Problem

MESSAGES_URL = f"{STATUS_URL}/messages"


class Draft(NamedTuple):
    """A message that is to be stored."""

    message_id: uuid.UUID
    sender: Sender
    text: str
    unit: str | None = None
    asks: bool = False
    photos: tuple[uuid.UUID, ...] = ()
    not_an_emergency: bool = False

    @property
    def content(self) -> dict[str, Any]:
        """What is sealed."""
        said = {"not_an_emergency": True} if self.not_an_emergency else {}
        return {"text": self.text, "photos": [str(one) for one in self.photos], **said}


def add_conversing(app: FastAPI, desk: Desk) -> None:
    """Add the resident's side of the conversation."""

    @app.get(MESSAGES_URL, response_model=Conversation, responses=problems(*MINE, 410), dependencies=RECEIPT)
    async def get_messages(request: Request) -> Response:
        """The conversation, in order. What the unit wrote counts as read from now on."""
        receipt_sent(request, desk)
        async with connection(desk) as taken, taken.transaction():
            report, sealed = await lock_of_receipt(taken, request, desk)
            key = await report_key(taken, desk, report, sealed)
            stored = await messages.messages_of(taken, report.report_id)
            shown = [told(desk, report, one.message, key, one.sealed) for one in stored]
            await messages.mark_read(taken, report.report_id)
        question = open_question([one.message for one in stored])
        return JSONResponse({"messages": shown, "question_open": question is not None})

    @app.post(
        MESSAGES_URL,
        status_code=201,
        response_model=MessageAnswer,
        responses=problems(*MINE, *BODY, 409, 410, _422=EMERGENCY),
        dependencies=RECEIPT,
        openapi_extra=body(NewMessage, parameters=(KEY_HEADER,)),
    )
    async def post_message(request: Request) -> Response:
        """Write to the unit: an answer where it asked something, else something to add."""
        receipt_sent(request, desk)
        idempotency_key = intake.check_key(request.headers.getlist("idempotency-key"), "message")
        sent = await web.read_json(request, NewMessage)
        now = desk.clock()
        async with connection(desk) as taken, taken.transaction():
            report, sealed = await lock_of_receipt(taken, request, desk)
            insists = sent.not_an_emergency
            intake.check_emergency([sent.text], report.language, desk.municipality, insists=insists)
            mine = await stand(taken, report, desk)
            draft = Draft(
                message_id(report.report_id, idempotency_key, desk.peppers.lookup),
                "resident",
                sent.text,
                photos=tuple(sent.photos),
                not_an_emergency=insists,
            )
            message, new = await add_message(taken, desk, mine, sealed, draft, now)
            if new:
                said = ReportAnswered if mine.standing.question_open else ReportSupplemented
                await take_step(taken, report, mine.steps, said, now, desk.source)
                await note_written(taken, mine, now)
        if new:
            desk.wake()
        return JSONResponse({"message": _message(desk, report, message, draft.content)}, 201)


async def add_message(
    connection: Any, desk: Desk, mine: Mine, sealed: Sealed | None, draft: Draft, now: datetime
) -> tuple[Message, bool]:
    """Store a message of a report that is locked; the message, and False where it was there already.

    Raises Problem 410 where the words are gone or locked away, 409 where the id belongs to another message,
    where the report takes none any more, and above MESSAGES_PER_SENDER.
    """
    report_id = mine.report.report_id
    key = await report_key(connection, desk, mine.report, sealed)
    if earlier := await messages.message_text(connection, report_id, draft.message_id):
        known = sealing.unseal_part(key, report_id, draft.message_id, earlier.sealed)
        message = earlier.message
        same = (message.sender, message.unit, message.asks) == (draft.sender, draft.unit, draft.asks)
        if not same or known != draft.content:
            raise _another_message()
        return message, False
    mine.check("message", now)
    objecting = mine.standing.waiting is not None and draft.sender == "resident"
    if full(mine.messages, draft.sender) and not objecting:
        raise _too_many()
    message = Message(
        number=len(mine.messages) + 1,
        message_id=draft.message_id,
        sender=draft.sender,
        unit=draft.unit,
        asks=draft.asks,
        read=draft.sender == "resident",
        at=time_of(mine.report.kind, now),
    )
    part = sealing.seal_part(key, report_id, draft.message_id, draft.content)
    await messages.insert_message(connection, report_id, message, part)
    await holding.attach(connection, desk.keys, report_id, key, draft.photos, now)
    return message, True


async def note_written(connection: Any, mine: Mine, now: datetime) -> None:
    """Log that the resident wrote more, last in the transaction; what was taken for spam is so no more: who
    says more wants to be heard, and somebody reads it first."""
    lines = [entry(mine.report, now, "collection", "resident", "message")]
    if mine.standing.waiting and mine.standing.waiting.reason == "spam":
        await keeping.unmark_spam(connection, mine.report.report_id)
        lines.append(entry(mine.report, now, "alteration", "resident", "spam_unmarked"))
    await disclosures.record(connection, lines)


def told(desk: Desk, report: Report, message: Message, key: bytes, sealed: bytes) -> dict[str, Any]:
    """A message as JSON for the resident."""
    content = sealing.unseal_part(key, report.report_id, message.message_id, sealed)
    return _message(desk, report, message, content)


def _message(desk: Desk, report: Report, message: Message, content: Mapping[str, Any]) -> dict[str, Any]:
    unit = desk.municipality.units.get(message.unit or "")
    name = desk.municipality.text(unit.names, report.language) if unit else message.unit
    return {
        "number": message.number,
        "sender": message.sender,
        "unit": {"id": message.unit, "name": name} if message.unit else None,
        "text": content["text"],
        "photos": content["photos"],
        "asks": message.asks,
        "at": utc(message.at),
    }


def _another_message() -> Problem:
    return Problem(
        409,
        "message-id-reused",
        "This id or key belongs to another message",
        "Mint a new one for each message.",
    )


def _too_many() -> Problem:
    return Problem(
        409,
        "too-many-messages",
        "Too many messages",
        f"Each side may write {MESSAGES_PER_SENDER} messages about one report; send a new report.",
        limit_messages=MESSAGES_PER_SENDER,
    )
