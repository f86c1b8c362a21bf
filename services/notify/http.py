"""HTTP: the page behind a signed link, where a unit says that it has seen or solved a report.

Opening it changes nothing: mail scanners and previews open links.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response

from services.notify import page, queries
from services.notify.core import links, steps
from services.notify.core.links import Link
from services.notify.core.steps import Action, Dispatch
from services.notify.metrics import DeliveryMetrics
from shared import outbox, postgres, web
from shared.cloudevents import Envelope
from shared.municipality import Municipality

FORM_BYTES = 1_024
FORM_SECONDS = 10
ACTIONS: dict[str, Action] = {"acknowledge": "acknowledge", "resolve": "resolve"}
_OVER = ("withdrawn", "erased")


class _Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The page of `code` is shown with `status`."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class Answers:
    """What a unit answers by link. `appended` is called when events were committed."""

    def __init__(
        self,
        pool: Any,
        municipality: Municipality,
        link_secret: str,
        *,
        metrics: DeliveryMetrics,
        clock: Callable[[], datetime],
        appended: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._municipality = municipality
        self._languages = page.spoken(municipality)
        self._secret = link_secret
        self._metrics = metrics
        self._clock = clock
        self._appended = appended

    async def show(self, request: Request, token: str) -> Response:
        """The page as it stands; changes nothing."""

        async def work(link: Link) -> tuple[Dispatch, str | None]:
            async with self._pool.acquire() as connection:
                return _its_own(link, await queries.dispatch_of(connection, link.report_id)), None

        return await self._answer(request, token, work)

    async def press(self, request: Request, token: str) -> Response:
        """Do what was pressed; pressing again, or what follows from before, changes nothing."""

        async def work(link: Link) -> tuple[Dispatch, str | None]:
            action = await _pressed(request)
            before, after = await self._do(link, action)
            self._metrics.answers.labels("already" if after == before else "done").inc()
            if after == before:
                return after, None if after.status in _OVER else "already"
            self._appended()
            return after, f"did_{action}"

        return await self._answer(request, token, work)

    async def _do(self, link: Link, action: Action) -> tuple[Dispatch, Dispatch]:
        now = self._clock()
        async with self._pool.acquire() as connection, connection.transaction():
            locked = await queries.lock_dispatches(connection, [link.report_id])
            before = _its_own(link, locked.get(link.report_id))
            after, events = steps.advance(before, action, "link", now)
            if events:
                source = f"/{self._municipality.slug}/notify"
                await queries.update_dispatches(connection, [after])
                await outbox.append(
                    connection,
                    [Envelope.of(event, id=uuid.uuid4(), source=source, now=now) for event in events],
                )
        return before, after

    async def _answer(
        self,
        request: Request,
        token: str,
        work: Callable[[Link], Awaitable[tuple[Dispatch, str | None]]],
    ) -> Response:
        language = web.choose_language(
            self._languages,
            request.query_params.get("language"),
            request.headers.get("accept-language", ""),
        )
        pages = page.Page(self._municipality, language, self._languages)
        try:
            dispatch, message = await work(self._link(token))
            return _html(pages.report(dispatch, message), 200, language)
        except _Refused as refused:
            self._metrics.answers.labels("refused").inc()
            return _html(pages.refusal(refused.code), refused.status, language)
        except Exception as error:
            if not postgres.is_transient(error):
                raise
            return _html(pages.refusal("later"), 503, language)

    def _link(self, token: str) -> Link:
        link = links.read_token(token, self._secret)
        if link is None:
            raise _Refused(404, "unreadable")
        if link.expires <= self._clock():
            raise _Refused(410, "expired")
        return link


def public_app(answers: Answers) -> FastAPI:
    """The public application."""
    app = web.new_app("notify")
    stylesheet = (Path(__file__).parent / "answer.css").read_bytes()

    @app.get("/answer.css")
    async def style() -> Response:
        return Response(stylesheet, media_type="text/css", headers={"Cache-Control": "public, max-age=3600"})

    @app.get("/answer/{token}")
    async def show_answer(request: Request, token: str) -> Response:
        return await answers.show(request, token)

    @app.post("/answer/{token}")
    async def post_answer(request: Request, token: str) -> Response:
        return await answers.press(request, token)

    return app


def _its_own(link: Link, dispatch: Dispatch | None) -> Dispatch:
    if dispatch is None:
        raise _Refused(404, "unreadable")
    if dispatch.unit != link.unit:
        raise _Refused(410, "moved")
    return dispatch


async def _pressed(request: Request) -> Action:
    """The form's action. Raises _Refused where it is none, or the form is long or slow in coming."""
    form = bytearray()
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for chunk in request.stream():
                form += chunk
                if len(form) > FORM_BYTES:
                    raise _Refused(413, "unclear")
    except TimeoutError:
        raise _Refused(408, "unclear") from None
    pressed = parse_qs(form.decode("latin-1")).get("action", [""])
    if len(pressed) != 1 or pressed[0] not in ACTIONS:
        raise _Refused(422, "unclear")
    return ACTIONS[pressed[0]]


def _html(content: str, status: int, language: str) -> Response:
    headers = {
        "Content-Security-Policy": page.POLICY,
        "Content-Language": language,
        "Vary": "Accept-Language",
    }
    return HTMLResponse(content, status, headers)
