"""Who is outside our systems and is sent something: the units' systems, and the mail server."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiosmtpd.controller import Controller
from standardwebhooks.webhooks import Webhook

from deploy.local.processes import free_port
from deploy.local.units import Units

PATIENCE = 60


@dataclass
class Listening(Units):
    """Units that keep all that they were sent."""

    taken: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)

    def verify(self, signer: Webhook, body: bytes, headers: dict[str, str]) -> None:
        super().verify(signer, body, headers)
        lines = "\n".join(f"{name}: {value}" for name, value in headers.items()).encode()
        self.taken.append((json.loads(body)["data"], lines + b"\n\n" + body))

    async def report_id(self, words: str) -> str:
        """The id of the report in whose words these stand, once its unit has it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for data, _ in self.taken:
                    if words in data.get("description", ""):
                        return str(data["report_id"])
                await asyncio.sleep(0.05)

    async def press(self, report_id: str, action: str, headers: dict[str, str]) -> None:
        """Press a button behind the link that came with the report."""
        async with aiohttp.ClientSession(headers=headers) as session:
            for method, data in (("GET", None), ("POST", {"action": action, "outcome": "done"})):
                async with session.request(method, self.last_link[report_id], data=data) as answer:
                    assert answer.status == 200, await answer.text()


@dataclass
class Mailbox:
    """A mail server; `letters` holds sender, recipients and content of each e-mail."""

    port: int = field(default_factory=free_port)
    letters: list[bytes] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        addressed = f"{envelope.mail_from} {' '.join(envelope.rcpt_tos)}\n".encode()
        self.letters.append(addressed + envelope.content)
        return "250 OK"

    async def letter_to(self, address: str) -> str:
        """The first e-mail to the address, once it has come."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for letter in self.letters:
                    if address.encode() in letter:
                        return letter.decode()
                await asyncio.sleep(0.05)

    @contextmanager
    def open(self) -> Iterator[None]:
        controller = Controller(self, hostname="127.0.0.1", port=self.port)
        controller.start()
        try:
            yield
        finally:
            controller.stop()
