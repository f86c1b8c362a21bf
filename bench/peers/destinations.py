"""`python -m bench.peers.destinations PORT`: where the bench of deliveries sends, and where its words are.

Answers `POST /internal/v1/reports/{id}/words` as tips does, and `POST /units/{unit}`: one in twenty with a
503, and never where the unit's name begins with `hangs`. `GET /taken?count=N` answers once N deliveries were
taken, with their ids in the order in which they came, and when (seconds since 1970); `POST /reset` forgets
them.
"""

import asyncio
import itertools
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from aiohttp import web

ONE_IN = 20
WORDS: dict[str, Any] = {
    "kind": "issue",
    "category": "street_light",
    "language": "en",
    "areas": {"district": "oakwood"},
    "description": "It has been like this for a week, and every evening it is worse. " * 3,
    "location": {"point": {"latitude": 52.05, "longitude": 5.6}},
    "answers": {},
    "contact": None,
    "photos": [],
    "not_an_emergency": False,
    "accepted_at": "2026-11-12T13:00:00Z",
}


class Destinations:
    """What was taken."""

    def __init__(self) -> None:
        self._taken: list[tuple[str, float]] = []
        self._calls = itertools.count(1)
        self._came = asyncio.Event()

    async def words(self, request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"report_id": request.match_info["report_id"], **WORDS})

    async def take(self, request: web.Request) -> web.Response:
        await request.read()
        if request.match_info["unit"].startswith("hangs"):
            await asyncio.sleep(3_600)
        if next(self._calls) % ONE_IN == 0:
            return web.Response(status=503)
        self._taken.append((request.headers["webhook-id"], time.time()))
        self._came.set()
        return web.json_response({})

    async def taken(self, request: web.Request) -> web.Response:
        count = int(request.query["count"])
        while len(self._taken) < count:
            self._came.clear()
            await self._came.wait()
        return web.json_response({"taken": self._taken})

    async def reset(self, _request: web.Request) -> web.Response:
        self._taken.clear()
        return web.json_response({})


async def serve(port: int) -> None:
    """Answer until killed."""
    destinations = Destinations()
    app = web.Application(client_max_size=2**20)
    routes: list[tuple[str, str, Callable[[web.Request], Awaitable[Any]]]] = [
        ("POST", "/internal/v1/reports/{report_id}/words", destinations.words),
        ("POST", "/units/{unit}", destinations.take),
        ("GET", "/taken", destinations.taken),
        ("POST", "/reset", destinations.reset),
    ]
    for method, path, handler in routes:
        app.router.add_route(method, path, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
