"""HTTP: problems as RFC 9457, bodies read within limits, security headers, tokens, and the server."""

import asyncio
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import nullcontext
from itertools import islice
from typing import Any, TypeVar

import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import Refusal
from shared.patience import Patient

MAX_BODY_BYTES = 65_536
BODY_SECONDS = 30
GRACE_SECONDS = 5
MAX_FAULTS = 20
HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)

log = structlog.get_logger()
Model = TypeVar("Model", bound=BaseModel)


class Problem(Exception):  # noqa: N818 - the standard's word (RFC 9457)
    """A refusal over HTTP: `code` is stable for programs, `detail` says what to do instead.

    `errors` are (JSON pointer, what is wrong) pairs; no refusal repeats what was sent.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        *,
        errors: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.headers = headers
        self.body: dict[str, Any] = {
            "type": f"urn:ibuurt:problem:{code}",
            "title": title,
            "status": status,
            "detail": detail,
            **extra,
        }
        if listed := [{"pointer": pointer, "detail": fault} for pointer, fault in errors]:
            self.body["errors"] = listed

    def response(self) -> Response:
        return Response(
            json.dumps(self.body, ensure_ascii=False),
            self.status,
            dict(self.headers or {}),
            "application/problem+json",
        )


def not_now() -> Problem:
    """The refusal of what a later try can have."""
    return Problem(503, "not-now", "Not now", "Try again in a few seconds.", headers={"Retry-After": "5"})


# A browser may show such an answer in pages of other sites: it is the same without its cookies, which are not
# sent.
ANYWHERE = {"Access-Control-Allow-Origin": "*"}


def etag_of(*parts: str | bytes) -> str:
    """A strong ETag of what an answer is made of."""
    digest = hashlib.sha256()
    for part in parts:
        told = part if isinstance(part, bytes) else part.encode()
        digest.update(len(told).to_bytes(8, "big") + told)
    return f'"{digest.hexdigest()[:32]}"'


def has(request: Request, etag: str) -> bool:
    """Whether the caller has what this ETag is of (RFC 9110: of If-None-Match a weak tag is as good)."""
    sent = ",".join(request.headers.getlist("if-none-match"))
    tags = [tag.strip().removeprefix("W/") for tag in sent.split(",")]
    return etag in tags or tags == ["*"]


def _as_it_is(_request: Request, problem: Problem) -> Problem:
    return problem


def new_app(
    title: str,
    *,
    openapi: str | None = None,
    head: bool = False,
    said: Callable[[Request, Problem], Problem] = _as_it_is,
) -> FastAPI:
    """A FastAPI application whose every refusal is a problem; `openapi` is the path of its description,
    `head` whether HEAD is answered as GET is, without the body, `said` how a problem is told to whoever sent
    the request."""
    app = FastAPI(title=title, openapi_url=openapi, docs_url=None, redoc_url=None)
    app.router.route_class = _Route
    app.add_middleware(SecurityHeaders)
    if head:
        app.add_middleware(HeadAsGet)

    @app.exception_handler(Problem)
    async def refused(request: Request, problem: Problem) -> Response:
        return said(request, problem).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return said(request, invalid_request(error.errors())).response()

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        details = {
            404: ("not-found", "There is nothing here", "See the OpenAPI document for the paths."),
            405: ("method-not-allowed", "Not with this method", "See the Allow header for the methods."),
        }
        code, title, detail = details.get(error.status_code, ("refused", "Refused", str(error.detail)))
        headers = dict(error.headers or {})
        if error.status_code == 405:
            # Starlette names those of the first route on this path only.
            headers["Allow"] = ", ".join(_methods(app, request, head=head))
        problem = Problem(error.status_code, code, title, detail, headers=headers)
        return said(request, problem).response()

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        log.error("request_failed", exc_info=error)
        problem = Problem(
            500,
            "internal-error",
            "Something went wrong here",
            "Try again later; with the same Idempotency-Key nothing is stored twice.",
            # Starlette answers this one outside every middleware.
            headers={name.decode(): value.decode() for name, value in HEADERS},
        )
        return said(request, problem).response()

    return app


def _methods(app: FastAPI, request: Request, *, head: bool) -> list[str]:
    """What can be done with the request's path, by all routes together."""
    matching = (route for route in app.routes if route.matches(request.scope)[0] is not Match.NONE)
    methods = {method for route in matching for method in getattr(route, "methods", None) or ()}
    return sorted(methods | {"HEAD"} if head and "GET" in methods else methods)


async def read_json(request: Request, model: type[Model], *, limit: int = MAX_BODY_BYTES) -> Model:
    """Read the body as JSON of that model. Raises Problem 400, 408, 413, 415 or 422."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type != "application/json":
        raise Problem(415, "wrong-content-type", "Not JSON", "Send the body as application/json, in UTF-8.")
    return parse_json(await read_body(request, limit, seconds=BODY_SECONDS), model)


def parse_json(body: bytes, model: type[Model]) -> Model:
    """A body as JSON of that model. Raises Problem 400 or 422."""
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(400, "not-utf-8", "Not UTF-8", "Encode the body as UTF-8.") from None
    try:
        read = model.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        if faults[0]["type"] == "json_invalid":
            raise Problem(400, "malformed-json", "Malformed JSON", "Send one complete JSON object.") from None
        raise invalid_request(faults) from None
    # The last of two would win, here; somewhere on the way another reader may take the first.
    json.loads(body, object_pairs_hook=_no_key_twice)
    return read


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise Problem(400, "key-twice", "A key stands twice", "Send each key of the JSON object once.")
    return found


async def read_body(request: Request, limit: int, *, seconds: float, code: str = "body-too-large") -> bytes:
    """Read the body as it is. Raises Problem 400, 408, or 413 with that code."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(code, limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(code, limit)
    except ClientDisconnect:
        # Nobody hears it; but a fault here it is not.
        raise Problem(400, "cut-off", "Cut off", "Send the whole body.") from None
    except TimeoutError:
        raise Problem(
            408, "too-slow", "Too slow", f"Send the whole body within {seconds:g} seconds."
        ) from None
    return bytes(body)


def _too_large(code: str, limit: int) -> Problem:
    return Problem(413, code, "Too large", f"Send at most {limit} bytes.", limit_bytes=limit)


def invalid_request(faults: Iterable[Mapping[str, Any]]) -> Problem:
    """The problem for pydantic's first faults, without the values that were sent."""
    errors = [(_pointer(fault["loc"]), str(fault["msg"])) for fault in islice(faults, MAX_FAULTS)]
    return Problem(
        422, "invalid-request", "Not as described", "Mend the fields named in `errors`.", errors=errors
    )


def _pointer(place: Iterable[int | str]) -> str:
    """A JSON pointer; the name of an unknown field is shown only where it cannot be somebody's words."""
    return "".join(
        f"/{part}" if re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", str(part)) else "/(a field of another name)"
        for part in place
    )


def caller(request: Request, tokens: Mapping[str, str]) -> str:
    """The name of the service whose token the request carries. Raises Problem 401."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    found = None
    for name, secret in tokens.items():
        if secret and hmac.compare_digest(secret.encode(), token.encode()):
            found = name
    if scheme.lower() != "bearer" or found is None:
        raise Problem(
            401,
            "not-authenticated",
            "Who are you?",
            "Send `Authorization: Bearer` with this service's token.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return found


def choose_language(languages: tuple[str, ...], asked: str | None, accepted: str) -> str:
    """The one of `languages` that was asked for, else the best of an Accept-Language header, else the
    first."""
    if asked in languages:
        return asked
    wishes = []
    for place, part in enumerate(accepted[:200].split(",")):
        tag, _, weight = part.partition(";")
        wishes.append((-_quality(weight), place, tag.strip().lower().split("-")[0]))
    return next((tag for quality, _, tag in sorted(wishes) if tag in languages and quality < 0), languages[0])


def _quality(weight: str) -> float:
    try:
        return float(weight.strip().removeprefix("q=") or 1)
    except ValueError:
        return 0.0


class SecurityHeaders:
    """Adds the headers that every answer has; one that the route set itself is kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                added = [(name, value) for name, value in HEADERS if name not in there]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class HeadAsGet:
    """Has HEAD answered by the routes of GET: the server sends of that the headers alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # The server looks at its own, and must see what was asked.
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


class _Route(APIRoute):
    """A route whose handler is called with the request itself, where that is all that it takes: FastAPI then
    has nothing to resolve, and only describes it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        takes = self.dependant
        parameters = (
            takes.path_params,
            takes.query_params,
            takes.header_params,
            takes.cookie_params,
            takes.body_params,
            takes.dependencies,
        )
        if takes.request_param_name is None or any(parameters):
            return super().get_route_handler()
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler


class _Server(uvicorn.Server):
    def capture_signals(self) -> Any:
        # The process decides when it stops (shared/service.py), not the server.
        return nullcontext()


class HttpServer:
    """One application on one port. `run` ends after `stop`, with what was under way answered."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            loop="none",
            http=Patient,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = _Server(config)
        self._where = f"{host}:{port}"

    async def run(self) -> None:
        try:
            await self._server.serve()
        except SystemExit as error:
            raise Refusal(
                f"cannot listen on {self._where}; end what listens there, or name another port"
            ) from error

    def stop(self) -> None:
        self._server.should_exit = True

    @property
    def started(self) -> bool:
        return self._server.started
