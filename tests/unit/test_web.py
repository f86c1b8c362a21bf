"""HTTP as every service speaks it: real requests to a real server, with routes made for the tests."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import aiohttp
import pytest
import pytest_asyncio
import structlog
from fastapi import Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from deploy.local.processes import free_port
from shared import web

LIMIT = 200
WORDS = "he-hides-it-in-the-shed"
TOKENS = {"operator": "o" * 32, "notify": "n" * 32, "nobody": ""}
SECURITY = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")

    latitude: float = Field(le=90)


class Tip(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["tip", "issue"]
    description: str = Field(max_length=10)
    places: list[Place] = []


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> dict[str, Any]:
        """The problem, whose shape is checked by the way."""
        found: dict[str, Any] = json.loads(self.text)
        assert self.headers["content-type"] == "application/problem+json"
        assert found["status"] == self.status
        assert found["type"].startswith("urn:ibuurt:problem:")
        assert found["title"]
        assert found["detail"]
        return found

    @property
    def code(self) -> str:
        return str(self.body["type"]).removeprefix("urn:ibuurt:problem:")


@dataclass
class Site:
    """A running server."""

    port: int
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, data=body, headers=named) as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    async def post(self, body: Any, content_type: str = "application/json") -> Answer:
        return await self.ask("POST", "/tips", body, Content_Type=content_type)


def _app() -> Any:
    app = web.new_app("test")

    @app.get("/sound")
    async def sound() -> dict[str, str]:
        return {"state": "sound"}

    @app.get("/own")
    async def own() -> Response:
        return Response("", headers={"cache-control": "max-age=60"})

    @app.get("/broken")
    async def broken() -> Response:
        raise RuntimeError(WORDS)

    @app.get("/refused")
    async def refused() -> Response:
        raise web.Problem(
            429,
            "too-many",
            "Too many",
            "Come back in a minute.",
            errors=[("/kind", "not today")],
            headers={"Retry-After": "60"},
            limit_per_minute=5,
        )

    @app.get("/number")
    async def number(value: Annotated[int, Query(le=9)]) -> int:
        return value

    @app.post("/tips")
    async def tips(request: Request) -> Response:
        tip = await web.read_json(request, Tip, limit=LIMIT)
        return JSONResponse({"letters": len(tip.description)})

    @app.put("/tips")
    async def replace() -> Response:
        return Response()

    @app.get("/me")
    async def me(request: Request) -> Response:
        return JSONResponse({"name": web.caller(request, TOKENS)})

    return app


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    port = free_port()
    server = web.HttpServer(_app(), "127.0.0.1", port)
    serving = asyncio.create_task(server.run())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.01)
    async with aiohttp.ClientSession() as session:
        yield Site(port, session)
    server.stop()
    await serving


# Problems.


async def test_a_problem_has_the_standards_shape(site: Site) -> None:
    """RFC 9457, with the faults as JSON pointers and what else the route says."""
    answer = await site.ask("GET", "/refused")
    assert answer.status == 429
    assert answer.headers["Retry-After"] == "60"
    assert answer.body == {
        "type": "urn:ibuurt:problem:too-many",
        "title": "Too many",
        "status": 429,
        "detail": "Come back in a minute.",
        "limit_per_minute": 5,
        "errors": [{"pointer": "/kind", "detail": "not today"}],
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not-found"), ("DELETE", "/sound", 405, "method-not-allowed")],
)
async def test_the_frameworks_refusals_are_problems_too(
    site: Site, method: str, path: str, status: int, code: str
) -> None:
    """With the headers that the status asks for."""
    answer = await site.ask(method, path)
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers.get("Allow") == ("GET" if status == 405 else None)


async def test_the_methods_of_all_routes_on_a_path_are_named(site: Site) -> None:
    """Not only those of the first."""
    assert (await site.ask("DELETE", "/tips")).headers["Allow"] == "POST, PUT"


async def test_a_wrong_parameter_is_a_problem_without_its_value(site: Site) -> None:
    """The pointer names it."""
    answer = await site.ask("GET", f"/number?value={WORDS}")
    assert (answer.status, answer.code) == (422, "invalid-request")
    assert [error["pointer"] for error in answer.body["errors"]] == ["/query/value"]
    assert WORDS not in answer.text


async def test_a_failure_repeats_nothing_of_itself(site: Site) -> None:
    """Neither the exception's words nor its class nor where it was."""
    answer = await site.ask("GET", "/broken")
    assert (answer.status, answer.code) == (500, "internal-error")
    for part in (WORDS, "RuntimeError", "Traceback", __file__, "errors"):
        assert part not in f"{answer.text} {answer.headers}"


@pytest.mark.parametrize("path", ["/sound", "/nowhere", "/refused", "/number", "/me", "/broken"])
async def test_every_answer_has_the_security_headers(site: Site, path: str) -> None:
    """Also each refusal, and the failure that no route has foreseen."""
    answer = await site.ask("GET", path)
    assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
    assert "server" not in answer.headers


async def test_a_header_that_a_route_sets_is_kept(site: Site) -> None:
    """Once, and the others are there all the same."""
    answer = await site.ask("GET", "/own")
    assert answer.headers["cache-control"] == "max-age=60"
    assert answer.headers["referrer-policy"] == "no-referrer"


# Bodies.

SOUND = b'{"kind": "tip", "description": "ten signs!"}'


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
async def test_a_sound_body_is_read(site: Site, content_type: str) -> None:
    """As far as its limit."""
    assert (await site.post(SOUND, content_type)).text == '{"letters":10}'
    assert (await site.post(SOUND.ljust(LIMIT), content_type)).status == 200


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("text/plain", SOUND, 415, "wrong-content-type"),
        ("application/json-seq", SOUND, 415, "wrong-content-type"),
        ("application/x-www-form-urlencoded", b"kind=tip", 415, "wrong-content-type"),
        ("application/json", '{"kind": "tip", "description": "caf\xe9"}'.encode("latin-1"), 400, "not-utf-8"),
        ("application/json", SOUND.decode().encode("utf-16"), 400, "not-utf-8"),
        ("application/json", b"", 400, "malformed-json"),
        ("application/json", SOUND[:-1], 400, "malformed-json"),
        ("application/json", SOUND + SOUND, 400, "malformed-json"),
        ("application/json", b'{"kind": "tip", "description": NaN}', 422, "invalid-request"),
        ("application/json", b"[]", 422, "invalid-request"),
        ("application/json", b'{"kind": "tip", "kind": "issue", "description": "a"}', 400, "key-twice"),
        (
            "application/json",
            b'{"kind": "tip", "description": "a", "places": [{"latitude": 1, "latitude": 2}]}',
            400,
            "key-twice",
        ),
        ("application/json", SOUND.ljust(LIMIT + 1), 413, "body-too-large"),
    ],
)
async def test_each_bad_body_has_its_own_refusal(
    site: Site, content_type: str, body: bytes, status: int, code: str
) -> None:
    """By what is wrong with it first: the kind of content, its size, its encoding, its form."""
    answer = await site.post(body, content_type)
    assert (answer.status, answer.code) == (status, code)


async def test_a_length_above_the_limit_is_refused_before_the_body_comes(site: Site) -> None:
    """Nobody waits for what will not be read, and the limit is said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    lines = [
        "POST /tips HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {LIMIT + 1}",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 413 ")
    writer.close()
    await writer.wait_closed()
    refused = await site.post(b" " * (LIMIT + 1))
    assert refused.body["limit_bytes"] == LIMIT
    assert str(LIMIT) in refused.body["detail"]


async def test_a_stream_above_the_limit_is_refused_as_it_comes(site: Site) -> None:
    """A body that does not say its length is read to the limit and no further, however long it is."""
    begun = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal begun
        while begun < 10_000:
            begun += 1
            yield b" " * 50
            await asyncio.sleep(0.01)

    async with asyncio.timeout(20):
        answer = await site.post(endless())
    assert (answer.status, answer.code) == (413, "body-too-large")
    assert begun < 1_000


async def test_a_body_that_does_not_come_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time that the answer names."""
    monkeypatch.setattr(web, "BODY_SECONDS", 0.2)

    async def slow() -> AsyncIterator[bytes]:
        yield SOUND[:5]
        await asyncio.sleep(3)

    answer = await site.post(slow())
    assert (answer.status, answer.code) == (408, "too-slow")
    assert "0.2 seconds" in answer.body["detail"]


async def test_a_body_that_is_cut_off_is_no_fault_of_ours(site: Site) -> None:
    """A phone that loses its network in the middle: nothing is logged as failed."""
    with structlog.testing.capture_logs() as lines:
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(b"POST /tips HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: 100\r\n\r\n" + SOUND[:5])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await site.post(SOUND)).status == 200
        await asyncio.sleep(0.05)
    assert not lines


async def test_each_wrong_field_is_pointed_at_without_what_was_sent(site: Site) -> None:
    """What somebody wrote is in no refusal, be it a value, a field's name or too long a text."""
    sent = {
        "kind": WORDS,
        "description": WORDS,
        "places": [{"latitude": 10}, {"latitude": 91}, {"latitude": WORDS}],
        "my own words": 1,
    }
    answer = await site.post(json.dumps(sent).encode())
    assert (answer.status, answer.code) == (422, "invalid-request")
    faults = {error["pointer"]: error["detail"] for error in answer.body["errors"]}
    assert faults.keys() == {
        "/kind",
        "/description",
        "/places/1/latitude",
        "/places/2/latitude",
        "/(a field of another name)",
    }
    assert "at most 10" in faults["/description"]
    assert "'tip' or 'issue'" in faults["/kind"]
    assert WORDS not in answer.text
    assert "my own words" not in answer.text


def test_a_refusal_lists_no_more_faults_than_somebody_reads() -> None:
    """However many there are."""
    problem = web.invalid_request([{"loc": ("places", n), "msg": "wrong"} for n in range(1_000)])
    assert len(problem.body["errors"]) == web.MAX_FAULTS == 20
    assert problem.body["errors"][19] == {"pointer": "/places/19", "detail": "wrong"}


# Tokens.


@pytest.mark.parametrize(("scheme", "name"), [("Bearer", "operator"), ("bearer", "notify")])
async def test_a_token_says_who_calls(site: Site, scheme: str, name: str) -> None:
    """By the name that the token is kept under."""
    answer = await site.ask("GET", "/me", Authorization=f"{scheme} {TOKENS[name]}")
    assert (answer.status, answer.text) == (200, json.dumps({"name": name}, separators=(",", ":")))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {'x' * 32}",
        f"Bearer {'o' * 31}",
        f"Bearer {'o' * 33}",
        f"Bearer  {'o' * 32}",
        f"Basic {'o' * 32}",
        "o" * 32,
        "Bearer \xe9\xff",
    ],
)
async def test_any_other_token_is_nobodys(site: Site, header: str | None) -> None:
    """An empty one too, though a token that was not set is empty; all with the same answer."""
    answer = await site.ask("GET", "/me", **({} if header is None else {"Authorization": header}))
    assert (answer.status, answer.code) == (401, "not-authenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.text == (await site.ask("GET", "/me")).text
