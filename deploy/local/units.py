"""The units' side, played for a trial: receivers that verify signatures, acknowledge, and misbehave."""

import asyncio
import json
import random
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from deploy.local.processes import free_port

MARKER = re.compile(r"marker-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One report that a unit took; `at` is in seconds of the monotonic clock."""

    marker: str
    report_id: str
    webhook_id: str
    unit: str
    at: float


@dataclass
class Units:
    """One receiver per unit, each on its own port, a free one where none is given; `secrets` may be filled in
    before `open`."""

    names: Iterable[str]
    refused_share: float = 0.0
    # Where they listen: an address that the services reach.
    host: str = "127.0.0.1"
    secrets: Mapping[str, str] = field(default_factory=dict)
    arrivals: list[Arrival] = field(default_factory=list)
    last_link: dict[str, str] = field(default_factory=dict)
    # What else they were told: unit, type, and what it says.
    told: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    died: str = ""
    refused: int = 0
    forged: int = 0
    ports: dict[str, int] = field(default_factory=dict)
    _runners: dict[str, web.AppRunner] = field(init=False, default_factory=dict)
    _chance: random.Random = field(init=False, default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.ports = self.ports or {name: free_port() for name in self.names}

    async def open(self, unit: str) -> None:
        """Make the unit reachable."""
        app = web.Application()
        app.router.add_post("/reports", partial(self._take, unit))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, self.host, self.ports[unit]).start()
        self._runners[unit] = runner

    async def close(self, unit: str) -> None:
        """Make the unit dead: connections are refused."""
        if runner := self._runners.pop(unit, None):
            await runner.cleanup()

    async def open_all(self) -> None:
        await asyncio.gather(*(self.open(unit) for unit in self.ports))

    async def close_all(self) -> None:
        await asyncio.gather(*(self.close(unit) for unit in list(self._runners)))

    def verify(self, signer: Webhook, body: bytes, headers: dict[str, str]) -> None:
        """Raise WebhookVerificationError where a call is not ours, or not of these five minutes."""
        signer.verify(body, headers)

    async def _take(self, unit: str, request: web.Request) -> web.Response:
        now = time.monotonic()
        body = await request.read()
        try:
            self.verify(Webhook(self.secrets[unit]), body, dict(request.headers))
        except WebhookVerificationError:
            self.forged += 1
            return web.json_response({"error": "the signature is wrong"}, status=401)
        said = json.loads(body)
        data = said["data"]
        if said["type"] != "ibuurt.report":
            self.told.append((unit, said["type"], data))
            return web.json_response({"erased": True})
        self.last_link[data["report_id"]] = data["answer_url"]
        found = MARKER.search(data["description"])
        marker = found.group() if found else ""
        if self._chance.random() < self.refused_share:
            self.refused += 1
            return web.json_response({"error": "busy"}, status=503)
        self.arrivals.append(Arrival(marker, data["report_id"], request.headers["webhook-id"], unit, now))
        return web.json_response({"acknowledged": True})
