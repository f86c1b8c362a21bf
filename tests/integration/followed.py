"""A report as its sender and its unit handle it: the routes behind a receipt, and those of `notify`."""

import uuid
from dataclasses import dataclass
from typing import Any

from shared import events
from tests.integration.test_tips_consumer import apply, envelope
from tests.integration.tips_server import NOTIFY_TOKEN, Answer, Tips, issue, new_key

QUESTION = "Do you still have the licence plate of the van?"
ANSWER = "It began with XK, it was grey and came at night"


@dataclass
class Followed:
    """A report that was sent."""

    tips: Tips
    receipt: str
    report_id: uuid.UUID
    kind: str
    dispatches: int = 0

    async def mine(self, method: str, path: str = "", body: Any = None, **headers: str) -> Answer:
        """A request behind the receipt, such as ("PUT", "/rating", {...})."""
        sent = {"Authorization": f"Receipt {self.receipt}"} | headers
        return await self.tips.request(method, f"/v1/reports/mine{path}", body, sent)

    async def view(self) -> dict[str, Any]:
        answer = await self.mine("GET")
        assert answer.status == 200
        report: dict[str, Any] = answer.body["report"]
        return report

    async def write(self, text: str, key: str | None = None) -> Answer:
        """A message of the resident."""
        return await self.mine("POST", "/messages", {"text": text}, **{"Idempotency-Key": key or new_key()})

    async def inside(self, method: str, path: str, body: Any = None, token: str = NOTIFY_TOKEN) -> Answer:
        """A request of `notify` about this report, such as ("POST", "/spam", {...})."""
        url = f"{self.tips.internal_url}/internal/v1/reports/{self.report_id}{path}"
        return await self.tips.request(method, url, body, {"Authorization": f"Bearer {token}"})

    async def ask(self, text: str = QUESTION, *, asks: bool = True, **changes: Any) -> Answer:
        """A message of the unit."""
        body = {"message_id": str(uuid.uuid4()), "unit": "public_space", "text": text, "asks": asks}
        return await self.inside("POST", "/messages", body | changes)

    async def dispatch(self, *happened: type[events.ReportEvent], **changes: Any) -> None:
        """What `notify` says of it, one after another."""
        row = {"report_id": self.report_id, "kind": self.kind}
        for one in happened:
            self.dispatches += 1
            await apply(self.tips, [envelope(row, one, self.dispatches, self.tips.clock.now, **changes)])

    async def events(self) -> list[str]:
        """The types of the events that were appended about it, in order."""
        rows = await self.tips.rows(
            "SELECT type FROM outbox WHERE key = $1 ORDER BY position", str(self.report_id).encode()
        )
        return [row["type"].split(".")[1] for row in rows]

    async def log(self) -> list[tuple[str, str, str, str]]:
        """The log about it since it came: act, reader, service and purpose."""
        rows = await self.tips.rows(
            "SELECT act, actor, service, purpose FROM disclosure"
            " WHERE report_id = $1 AND purpose <> 'report' ORDER BY number",
            self.report_id,
        )
        return [tuple(row) for row in rows]


async def followed(tips: Tips, body: dict[str, Any] | None = None) -> Followed:
    """Send a report and hold its receipt."""
    body = body or issue()
    known = {row["report_id"] for row in await tips.rows("SELECT report_id FROM report")}
    receipt = (await tips.post(body)).body["receipt"]
    (report_id,) = {row["report_id"] for row in await tips.rows("SELECT report_id FROM report")} - known
    return Followed(tips, receipt, report_id, body["kind"])
