"""E-mail about an issue, for who wants it: asked for by receipt, confirmed by a link, ended by one click.

Never for a tip. The links open a page with a button: opening changes nothing, so that a scanner of links in a
mail server harms nobody. The e-mails themselves are sent by emailing.py.
"""

import uuid
from datetime import timedelta
from html import escape
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from services.tips import sealing
from services.tips.body import EmailAddress
from services.tips.core import emails as core
from services.tips.http.desk import Desk, connection
from services.tips.http.documented import BODY, MINE, RECEIPT, answer, body, problems
from services.tips.http.receipt import STATUS_URL, lock_of_receipt, receipt_sent, report_of_receipt
from services.tips.http.unsealing import report_key
from services.tips.queries import emails
from shared import web
from shared.events import hour_of
from shared.web import Problem

CONFIRM_HOURS = 48
POLICY = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
ACTIONS = ("confirm", "end")
_STATE = answer(
    "How it stands",
    {
        "type": "object",
        "required": ["email"],
        "properties": {"email": {"enum": ["none", "unconfirmed", "confirmed"]}},
    },
)
LINK = "/v1/email/{subscription_id}/{token}/{action}"
_HTML = {"text/html": {"schema": {"type": "string"}}}
_PAGES: dict[int | str, dict[str, Any]] = {
    200: {"description": "A page with a button, or that it is done", "content": _HTML},
    404: {"description": "A page: the link is none of ours, or too old", "content": _HTML},
}


def add_email(app: FastAPI, desk: Desk) -> None:
    """Add what asks for e-mail, confirms it and ends it."""
    _add_asking(app, desk)
    _add_links(app, desk)


def _add_asking(app: FastAPI, desk: Desk) -> None:

    @app.put(
        f"{STATUS_URL}/email",
        status_code=202,
        responses={202: _STATE, **problems(*MINE, *BODY, 409, 410)},
        dependencies=RECEIPT,
        openapi_extra=body(EmailAddress),
    )
    async def put_email(request: Request) -> Response:
        """Ask for e-mail when there is news. One e-mail comes with a link to confirm, within 48 hours."""
        receipt_sent(request, desk)
        if desk.sender is None:
            raise _not_offered()
        sent = await web.read_json(request, EmailAddress)
        desk.limits.take(request, "emails")
        now, subscription_id = desk.clock(), uuid.uuid4()
        async with connection(desk) as taken, taken.transaction():
            mine, words = await lock_of_receipt(taken, request, desk)
            if mine.kind == "tip":
                raise Problem(
                    409,
                    "no-email-for-tips",
                    "There is no e-mail about tips",
                    "A tip is anonymous, and an e-mail address is not. Come back with your receipt instead.",
                )
            key = await report_key(taken, desk, mine, words)
            desk.limits.take_of_all(request, "emails_to_one", sent.address.lower().encode())
            sealed = sealing.seal_part(key, mine.report_id, subscription_id, {"address": sent.address})
            drop_after = hour_of(now) + timedelta(hours=CONFIRM_HOURS + 1)
            await emails.set_address(taken, subscription_id, mine.report_id, sealed, drop_after)
            await emails.add(taken, uuid.uuid4(), subscription_id, core.CONFIRM)
        return JSONResponse({"email": "unconfirmed"}, 202)

    @app.get(f"{STATUS_URL}/email", responses={200: _STATE, **problems(*MINE)}, dependencies=RECEIPT)
    async def get_email(request: Request) -> Response:
        """Whether e-mail is asked for: none, unconfirmed or confirmed. Never the address."""
        receipt_sent(request, desk)
        async with connection(desk) as taken:
            mine = await report_of_receipt(taken, request, desk)
            state = await email_state(taken, mine.report_id)
        return JSONResponse({"email": state})

    @app.delete(f"{STATUS_URL}/email", status_code=204, responses=problems(*MINE), dependencies=RECEIPT)
    async def delete_email(request: Request) -> Response:
        """No more e-mail; the address is erased."""
        receipt_sent(request, desk)
        async with connection(desk) as taken, taken.transaction():
            mine = await report_of_receipt(taken, request, desk)
            await emails.forget_of(taken, [mine.report_id])
        return Response(status_code=204)


async def email_state(connection: Any, report_id: uuid.UUID) -> str:
    """Whether e-mail about a report is asked for: none, unconfirmed or confirmed."""
    confirmed = await emails.state(connection, report_id)
    return "none" if confirmed is None else "confirmed" if confirmed else "unconfirmed"


def _add_links(app: FastAPI, desk: Desk) -> None:
    @app.get(LINK, responses=_PAGES | problems(503), response_class=HTMLResponse)
    async def get_page(subscription_id: str, token: str, action: str) -> Response:
        """The page behind a link: a button. Opening it changes nothing."""
        found = _subscription(subscription_id, token, action, desk)
        async with connection(desk) as taken:
            language = await emails.subscribed(taken, found, desk.clock()) if found else None
        if language is None:
            return _page(desk, desk.municipality.languages[0], "gone", 404)
        return _page(desk, language, action)

    @app.post(LINK, responses=_PAGES | problems(503), response_class=HTMLResponse)
    async def post_page(subscription_id: str, token: str, action: str) -> Response:
        """The button was pressed; for `end` also a mail program's one click (RFC 8058)."""
        found = _subscription(subscription_id, token, action, desk)
        async with connection(desk) as taken, taken.transaction():
            language = await emails.subscribed(taken, found, desk.clock()) if found else None
            if found is None or language is None:
                return _page(desk, desk.municipality.languages[0], "gone", 404)
            if action == core.CONFIRM:
                await emails.confirm(taken, found)
            else:
                await emails.forget(taken, found)
        return _page(desk, language, action, done=True)


def _subscription(subscription_id: str, token: str, action: str, desk: Desk) -> uuid.UUID | None:
    """The subscription that a link is of; None where it is not one of ours."""
    try:
        found = uuid.UUID(subscription_id)
    except ValueError:
        return None
    good = core.is_token(token, found, desk.peppers.lookup)
    return found if good and action in ACTIONS else None


def _page(desk: Desk, language: str, which: str, status: int = 200, *, done: bool = False) -> HTMLResponse:
    said = core.texts(language, desk.municipality.languages)
    language = next(one for one, texts in core.TEXTS.items() if texts is said)
    title = escape(said[f"title_{which}"])
    if which == "gone":
        body = f"<p>{escape(said['gone'])}</p>"
    elif done:
        body = f'<p role="status">{escape(said[f"did_{which}"])}</p>'
    else:
        button = f"<button>{escape(said[f'press_{which}'])}</button>"
        body = f'<p>{escape(said[f"ask_{which}"])}</p><form method="post">{button}</form>'
    return HTMLResponse(
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="robots" content="noindex"><title>{title}</title></head>'
        f"<body><main><h1>{title}</h1>{body}</main></body></html>",
        status,
        {"Content-Security-Policy": POLICY},
    )


def _not_offered() -> Problem:
    return Problem(
        409,
        "no-email-here",
        "This municipality sends no e-mail",
        "Come back with your receipt to see what is new.",
    )
