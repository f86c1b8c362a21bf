"""A webhook subscriber's system: it verifies and keeps what it is called with, and may be busy."""

import json
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from deploy.local.processes import free_port


class Call(NamedTuple):
    """What came: the id of the webhook, the type of the event, and its facts."""

    webhook_id: str
    type: str
    data: dict[str, Any]


@dataclass
class Subscriber:
    """It listens at `url` and takes only what is signed by `secret`; a share of the calls it answers with
    503."""

    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"
    busy_share: float = 0.0
    secret: str = ""
    calls: list[Call] = field(default_factory=list)
    forged: int = 0
    _chance: random.Random = field(default_factory=lambda: random.Random(1))

    @property
    def url(self) -> str:
        """For who is on this machine."""
        return f"http://127.0.0.1:{self.port}/hooks/ibuurt"

    async def take(self, request: web.Request) -> web.Response:
        """A call."""
        body = await request.text()
        try:
            Webhook(self.secret).verify(body, dict(request.headers))
        except WebhookVerificationError:
            self.forged += 1
            return web.Response(status=400)
        told = json.loads(body)
        self.calls.append(Call(request.headers["webhook-id"], told["type"], told["data"]))
        return web.Response(status=503 if self._chance.random() < self.busy_share else 200)

    def until(self, holds: Callable[[Sequence[Call]], bool], seconds: float) -> None:
        """Return when it holds for what came; AssertionError after so many seconds."""
        end = time.monotonic() + seconds
        while not (self.calls and holds(self.calls)):
            assert time.monotonic() < end, self.calls
            time.sleep(0.2)

    async def open(self) -> web.AppRunner:
        """Listen, until the runner is cleaned up."""
        app = web.Application()
        app.router.add_post("/hooks/ibuurt", self.take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, self.host, self.port).start()
        return runner


@asynccontextmanager
async def listening(subscriber: Subscriber) -> AsyncIterator[None]:
    """It listens."""
    runner = await subscriber.open()
    try:
        yield
    finally:
        await runner.cleanup()


def secret_in(said: str) -> str:
    """The secret that a command of subscriptions printed."""
    found = re.search(r"^secret +(whsec_\S+)$", said, re.MULTILINE)
    assert found, said
    return found[1]
