"""Something of everything in a running `tips`, so that requests made from its documents reach deep."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg

from services.tips.queries import holds
from shared.events import ReportAcknowledged, ReportDelivered, ReportEvent, ReportResolved, ReportRouted
from tests.integration.service_process import OPERATOR_TOKEN, Process
from tests.integration.test_notify_service import announce
from tests.integration.test_tips_consumer import envelope
from tests.integration.tips_server import NOTIFY_TOKEN, issue, new_key, tip
from tests.photos import encoded, noise

READER = "unit:public_space via webhook"
RESOLVED: tuple[type[ReportEvent], ...] = (ReportRouted, ReportDelivered, ReportAcknowledged, ReportResolved)
BODIES = (issue(), issue(category="graffiti"), tip())
OF_EACH = 3


@dataclass
class Known:
    """What the one who asks knows. `photos` are (receipt, report, photo); `ended` are receipts of what is
    erased or must not be, `erased` the reports, which READER can confirm; `spam` are reports to use up;
    `gone` are issues that were public once."""

    url: str
    internal_url: str
    receipts: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    photos: list[tuple[str, str, str]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    spam: list[str] = field(default_factory=list)
    issues: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    tokens: dict[str, str] = field(
        default_factory=lambda: {"/internal/": NOTIFY_TOKEN, "/totals": OPERATOR_TOKEN}
    )


async def seed(process: Process, dsn: str, bootstrap: str) -> Known:
    """Issues and tips, with photos and a conversation, that are new, resolved and erased."""
    known = Known(process.url, process.internal_url)
    connection = await asyncpg.connect(dsn)
    try:
        async with aiohttp.ClientSession() as session:
            await _Seeding(session, connection, known).run(bootstrap)
    finally:
        await connection.close()
    return known


class _Seeding:
    def __init__(self, session: aiohttp.ClientSession, connection: Any, known: Known) -> None:
        self._session = session
        self._connection = connection
        self._known = known

    async def run(self, bootstrap: str) -> None:
        known, resolved = self._known, []
        for body in BODIES * OF_EACH:
            photo = await self._photo()
            receipt, report_id = await self._send(body | {"photos": [photo]})
            known.photos.append((receipt, report_id, photo))
            await self._converse(receipt, report_id)
            resolved.append(await self._send(body))
        steps = [step for _, report_id in resolved for step in await self._steps(report_id)]
        known.receipts = [receipt for receipt, _, _ in known.photos] + [receipt for receipt, _ in resolved]
        known.reports = [report_id for _, report_id, _ in known.photos] + [one for _, one in resolved]
        await announce(bootstrap, steps)
        known.issues = [
            str(row["issue_id"]) for row in await self._connection.fetch("SELECT issue_id FROM issue")
        ]
        for body in BODIES:
            await self._erase(*await self._send(body))
            known.spam += [(await self._send(body))[1] for _ in range(OF_EACH)]
            known.ended.append(await self._held(body))

    async def _send(self, body: dict[str, Any]) -> tuple[str, str]:
        before = {row["report_id"] for row in await self._connection.fetch("SELECT report_id FROM report")}
        answer = await self._ask("POST", "/v1/reports", body, {"Idempotency-Key": new_key()})
        rows = {row["report_id"] for row in await self._connection.fetch("SELECT report_id FROM report")}
        (report_id,) = rows - before
        return answer["receipt"], str(report_id)

    async def _photo(self) -> str:
        headers = {"Content-Type": "image/jpeg"}
        url = self._known.url + "/v1/photos"
        async with self._session.post(url, data=encoded(noise(64, 64)), headers=headers) as answer:
            return str((await answer.json())["photo"])

    async def _converse(self, receipt: str, report_id: str) -> None:
        asked = {"message_id": str(uuid.uuid4()), "unit": "public_space", "text": "Which lamp?", "asks": True}
        await self._inside("POST", f"/{report_id}/messages", asked)
        mine = {"Authorization": f"Receipt {receipt}", "Idempotency-Key": new_key()}
        await self._ask("POST", "/v1/reports/mine/messages", {"text": "The second one"}, mine)
        await self._inside("POST", f"/{report_id}/messages", asked | {"message_id": str(uuid.uuid4())})

    async def _erase(self, receipt: str, report_id: str) -> None:
        await self._inside("POST", f"/{report_id}/words", {"purpose": "delivery", "reader": READER})
        of_report = "SELECT issue_id FROM issue WHERE report_id = $1"
        if issue_id := await self._connection.fetchval(of_report, uuid.UUID(report_id)):
            self._known.gone.append(str(issue_id))
        await self._ask("DELETE", "/v1/reports/mine", None, {"Authorization": f"Receipt {receipt}"})
        self._known.ended.append(receipt)
        self._known.erased.append(report_id)

    async def _held(self, body: dict[str, Any]) -> str:
        """The receipt of a report that the law keeps."""
        receipt, report_id = await self._send(body)
        today = datetime.now(UTC).date()
        until = today + timedelta(days=30)
        await holds.place(self._connection, uuid.UUID(report_id), "investigation", "operator", today, until)
        return receipt

    async def _steps(self, report_id: str) -> list[Any]:
        of_report = "SELECT report_id, kind FROM report WHERE report_id = $1"
        row = await self._connection.fetchrow(of_report, uuid.UUID(report_id))
        now = datetime.now(UTC)
        return [envelope(row, happened, number, now) for number, happened in enumerate(RESOLVED, 1)]

    async def _inside(self, method: str, path: str, body: dict[str, Any]) -> None:
        url = f"{self._known.internal_url}/internal/v1/reports{path}"
        await self._ask(method, url, body, {"Authorization": f"Bearer {NOTIFY_TOKEN}"})

    async def _ask(self, method: str, path: str, body: Any, headers: dict[str, str]) -> dict[str, Any]:
        url = path if path.startswith("http") else self._known.url + path
        async with self._session.request(method, url, json=body, headers=headers) as answer:
            read: dict[str, Any] = await answer.json()
            assert answer.ok, (method, path, read)
            return read
