"""The town around a deployment: residents that report, units that take it, fail or keep silent, and a webhook
subscriber."""

import asyncio
import json
import secrets
import threading
import urllib.request
from collections.abc import Coroutine, Sequence
from typing import Any

from aiohttp import web

from deploy.local.units import Units
from tests.compose.deployment import Deployment, typed
from tests.subscriber import Subscriber, secret_in

# What the page's commands call the subscriber.
SUBSCRIBER = "parks-gis"


class Town:
    """Residents, and the systems of the units and of a subscriber on a thread of their own."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._others: dict[str, web.AppRunner] = {}
        # The last body that a unit which answers otherwise was sent.
        self.received: dict[str, dict[str, Any]] = {}
        self.host = deployment.gateway()
        self.units = Units(deployment.unit_ports, host=self.host, ports=deployment.unit_ports)
        self.learn_secrets()
        self._do(self.units.open_all())
        self.subscriber = Subscriber(deployment.subscriber_port, self.host)
        self._do(self._open_subscriber())

    def learn_secrets(self) -> None:
        """Each unit's system is told its webhook secret."""
        found = self._deployment.secrets()
        self.units.secrets = {unit: found[f"webhook_{unit}"] for unit in self._deployment.unit_ports}

    def close(self) -> None:
        for unit in list(self._others):
            self.mend(unit)
        self._do(self.units.close_all())
        self._do(self._subscribers.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _open_subscriber(self) -> None:
        self._subscribers = await self.subscriber.open()

    def subscribes(self, category: str, area: str) -> None:
        """The operator types the page's command for the subscriber, and gives it the secret."""
        _, said = typed(
            self._deployment,
            f"docker compose run --rm --no-deps notify subscriptions add --name {SUBSCRIBER} "
            "--contact gis@parks.example --url https://parks.example/hooks/ibuurt --type IssueChanged "
            "--category graffiti --area district=centre --by NAME",
            **{
                "https://parks.example/hooks/ibuurt": self.subscriber.url,
                "graffiti": category,
                "centre": area,
            },
        )
        self.subscriber.secret = secret_in(said)

    def kill(self, unit: str) -> None:
        """The unit's system does not listen."""
        self._do(self.units.close(unit))

    def answers(self, unit: str, status: int) -> None:
        """The unit's system answers everything so, and acknowledges nothing."""
        self.kill(unit)
        self._do(self._answer(unit, status))

    async def _answer(self, unit: str, status: int) -> None:
        async def take(request: web.Request) -> web.Response:
            said = json.loads(await request.read())
            if said["type"] == "ibuurt.report":
                self.received[unit] = said
            return web.Response(status=status)

        app = web.Application()
        app.router.add_post("/reports", take)
        self._others[unit] = runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, self.host, self.units.ports[unit]).start()

    def mend(self, unit: str) -> None:
        """The unit's system works again."""
        if other := self._others.pop(unit, None):
            self._do(other.cleanup())
        self._do(self.units.open(unit))

    def report(self, category: str = "street_light", kind: str = "issue", photos: Sequence[str] = ()) -> str:
        """A resident reports; the receipt."""
        body = {
            "kind": kind,
            "category": category,
            "description": "The lamp at the corner marker-0123456789abcdef",
            "location": {"area": {"district": "oakwood"}},
            "language": "nl",
            "photos": list(photos),
        }
        headers = {"Idempotency-Key": secrets.token_urlsafe(24), "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self._deployment.tips_port}/v1/reports"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            receipt: str = json.load(answer)["receipt"]
            return receipt

    def asks_for_email(self, receipt: str) -> None:
        """A resident wants e-mail about their issue."""
        headers = {"Authorization": f"Receipt {receipt}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self._deployment.tips_port}/v1/reports/mine/email"
        body = json.dumps({"address": "someone@residents.example"}).encode()
        asked = urllib.request.Request(url, body, headers, method="PUT")
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.status == 202

    def status(self, receipt: str) -> str:
        """What a resident is told of the report."""
        found: str = self._mine(receipt)["report"]["status"]
        return found

    def messages(self, receipt: str) -> list[str]:
        """What stands in the conversation."""
        return [one["text"] for one in self._mine(receipt, "/messages")["messages"]]

    def _mine(self, receipt: str, path: str = "") -> Any:
        url = f"http://127.0.0.1:{self._deployment.tips_port}/v1/reports/mine{path}"
        asked = urllib.request.Request(url, headers={"Authorization": f"Receipt {receipt}"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.load(answer)
