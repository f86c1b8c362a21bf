"""HTTP: the page behind a signed link, where a unit says what it does with a report.

Opening it changes nothing: mail scanners and previews open links.
"""

import asyncio
import json
import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from services.notify import queries
from services.notify.acting import Acting, Done, MovedOn, NotHere, Unsuitable, UsedUp
from services.notify.core import links
from services.notify.core.acts import LINK, Act, Action, Impossible, is_day_of_work
from services.notify.core.deliveries import party
from services.notify.core.links import Link
from services.notify.core.steps import Dispatch
from services.notify.http import page
from services.notify.metrics import DeliveryMetrics
from shared import postgres, web
from shared.municipality import Municipality

FORM_BYTES = 2_048
FORM_SECONDS = 10
ACTIONS: Mapping[str, Action] = {action: action for action in ("acknowledge", "plan", "resolve", "refuse")}
_OVER = ("withdrawn", "erased")
# What a report of that status has behind it.
_IMPLIED: Mapping[str, Sequence[Action]] = {"resolved": ("acknowledge", "resolve")}


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
        acting: Acting,
        link_secret: str,
        *,
        metrics: DeliveryMetrics,
        clock: Callable[[], datetime],
        appended: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._municipality = municipality
        self._acting = acting
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
        """Do what was pressed; pressing again, or what follows from before, changes nothing. The same form of
        the same opened page is the same press, however late it comes again: a double click, a reload."""

        async def work(link: Link) -> tuple[Dispatch, str | None]:
            given = await self._form(request)
            act = self._pressed(given)
            act_id = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([token, sorted(given.items())]))
            before, after = await self._do(link, act, act_id)
            self._metrics.answers.labels("already" if after == before else "done").inc()
            if after == before:
                return after, None if after.status in _OVER else "already"
            self._appended()
            return after, f"did_{act.action}"

        return await self._answer(request, token, work)

    async def _do(self, link: Link, act: Act, act_id: uuid.UUID) -> Done:
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                actor = party(link.unit, "link")
                return await self._acting.act(connection, link.report_id, link.unit, act, act_id, actor)
        except NotHere:
            raise _Refused(404, "unreadable") from None
        except MovedOn:
            raise _Refused(410, "moved") from None
        except UsedUp:
            raise _Refused(429, "used_up") from None
        except Unsuitable:
            raise _Refused(422, "unclear") from None
        except Impossible as impossible:
            if impossible.status not in _OVER and act.action not in _IMPLIED.get(impossible.status, ()):
                raise _Refused(409, "impossible") from None
            # Withdrawn or erased meanwhile: the page says which. Or what it says follows from what was done.
            async with self._pool.acquire() as connection:
                found = _its_own(link, await queries.dispatch_of(connection, link.report_id))
            return Done(found, found)

    async def _form(self, request: Request) -> dict[str, str]:
        """The form's fields. Raises _Refused where one comes twice, or they are long, slow in coming,
        or cut off."""
        form = bytearray()
        try:
            async with asyncio.timeout(FORM_SECONDS):
                async for chunk in request.stream():
                    form += chunk
                    if len(form) > FORM_BYTES:
                        raise _Refused(413, "unclear")
        except ClientDisconnect:
            # Nobody sees it; but a fault here it is not.
            raise _Refused(400, "unclear") from None
        except TimeoutError:
            raise _Refused(408, "unclear") from None
        fields = parse_qs(form.decode("latin-1"))
        if any(len(values) != 1 for values in fields.values()):
            raise _Refused(422, "unclear")
        return {name: value for name, (value,) in fields.items()}

    def _pressed(self, given: Mapping[str, str]) -> Act:
        """What the form says. Raises _Refused where that is nothing."""
        action = ACTIONS.get(given.get("action", ""))
        if action is None:
            raise _Refused(422, "unclear")
        if action == "plan":
            return Act(action, LINK, day=self._day(given.get("day", "")))
        if action == "resolve":
            return Act(action, LINK, outcome=given.get("outcome", ""))
        if action == "refuse":
            return Act(action, LINK, given.get("reason", ""), given.get("to_unit") or None)
        return Act(action, LINK)

    def _day(self, text: str) -> date:
        """The day of the work. Raises _Refused for one that is past, or too far ahead."""
        today = self._clock().astimezone(self._municipality.tz).date()
        try:
            day = date.fromisoformat(text)
        except ValueError:
            raise _Refused(422, "unclear_day") from None
        if not is_day_of_work(day, today):
            raise _Refused(422, "unclear_day")
        return day

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
        today = self._clock().astimezone(self._municipality.tz).date()
        pages = page.Page(self._municipality, language, self._languages)
        try:
            link = await self._link(token)
            dispatch, message = await work(link)
            if dispatch.unit != link.unit:
                return page.html(pages.gone(message), 200, language)
            opened = secrets.token_urlsafe(16)
            return page.html(pages.report(dispatch, today, opened, message), 200, language)
        except _Refused as refused:
            self._metrics.answers.labels("refused").inc()
            return page.html(pages.refusal(refused.code), refused.status, language)
        except Exception as error:
            if not postgres.is_transient(error):
                raise
            return page.html(pages.refusal("later"), 503, language)

    async def _link(self, token: str) -> Link:
        """The link of a token. Raises _Refused where it opens nothing."""
        link = links.read_token(token, self._secret)
        if link is None:
            raise _Refused(404, "unreadable")
        now = self._clock()
        if link.expires <= now:
            async with self._pool.acquire() as connection:
                found = await queries.dispatch_of(connection, link.report_id)
            if found is None or links.works_until(link, found.resolve_by) <= now:
                raise _Refused(410, "expired")
        return link


def add_answering(app: FastAPI, answers: Answers) -> None:
    """Add the page behind a signed link."""
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


def _its_own(link: Link, dispatch: Dispatch | None) -> Dispatch:
    if dispatch is None:
        raise _Refused(404, "unreadable")
    if dispatch.unit != link.unit:
        raise _Refused(410, "moved")
    return dispatch
