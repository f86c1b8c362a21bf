"""One report from a resident to its unit and into the counts: the trace of the README, on the whole stack."""

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest

from deploy.local.ledger import totals
from deploy.local.stack import ROOT, Stack, local_stack
from deploy.local.tap import read_all
from deploy.local.units import Units
from shared.events import ReportRouted, hour_of
from shared.municipality import Municipality, read

IBUURT = ROOT / "deploy" / "municipalities" / "ibuurt"
SECRET_WORDS = "The blue van behind number 12, every night at marker-0123456789abcdef"


@pytest.fixture(scope="module")
def units() -> Units:
    return Units(read(IBUURT).units)


@pytest.fixture(scope="module")
def stack(units: Units) -> Iterator[Stack]:
    with local_stack(IBUURT, units.ports, tips_wait=False) as made:
        units.secrets = made.webhook_secrets
        yield made


@pytest.fixture(scope="module")
def town() -> Municipality:
    return read(IBUURT)


@pytest.fixture
async def resident(stack: Stack, units: Units) -> AsyncIterator[aiohttp.ClientSession]:
    """A resident's HTTP client, with the units open."""
    await units.open_all()
    async with aiohttp.ClientSession(stack.services["tips"].url) as session:
        yield session
    await units.close_all()


async def _send(session: aiohttp.ClientSession, kind: str, town: Municipality) -> dict[str, Any]:
    category = next(category for category in town.categories.values() if category.kind == kind)
    body = {
        "kind": kind,
        "category": category.id,
        "description": SECRET_WORDS,
        "location": {"area": {town.primary_area_set: "oakwood"}},
        "language": "nl",
    }
    headers = {"Idempotency-Key": secrets.token_urlsafe(24)}
    async with session.post("/v1/reports", json=body, headers=headers) as response:
        assert response.status == 201, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


async def _mine(session: aiohttp.ClientSession, receipt: str) -> dict[str, Any]:
    headers = {"Authorization": f"Receipt {receipt}"}
    async with session.get("/v1/reports/mine", headers=headers) as response:
        assert response.status == 200
        report: dict[str, Any] = (await response.json())["report"]
        return report


async def _until(look: Callable[[], Awaitable[dict[str, Any]]], status: str) -> dict[str, Any]:
    end = time.monotonic() + 30
    while (found := await look())["status"] != status:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.1)
    return found


async def test_an_issue_is_routed_delivered_acknowledged_resolved_and_counted(
    stack: Stack, units: Units, resident: aiohttp.ClientSession, town: Municipality
) -> None:
    """The resident sees every step with unit, reason and due time; the unit gets the words, signed; the
    link in them resolves it; the three services agree."""
    before = totals(stack)["stats"]["counted"]
    sent = await _send(resident, "issue", town)
    report = await _until(lambda: _mine(resident, sent["receipt"]), "acknowledged")
    assert [step["status"] for step in report["timeline"]][:4] == [
        "accepted",
        "routed",
        "delivered",
        "acknowledged",
    ]
    assert report["unit"]["id"] in town.units
    assert report["unit"]["name"] == town.units[report["unit"]["id"]].names["nl"]
    assert report["reason"]["text"] == town.reasons[report["reason"]["code"]]["nl"]
    assert report["acknowledge_by"] < report["resolve_by"]
    arrival = units.arrivals[-1]
    assert arrival.marker in SECRET_WORDS
    assert arrival.unit == report["unit"]["id"]
    await _press(units.last_link[arrival.report_id], "resolve")
    report = await _until(lambda: _mine(resident, sent["receipt"]), "resolved")
    end = time.monotonic() + 20
    while (found := totals(stack))["stats"]["counted"] != before + 1:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.1)


async def test_a_tips_minute_and_words_are_nowhere_in_kafka(
    stack: Stack, resident: aiohttp.ClientSession, town: Municipality
) -> None:
    """Every event of a tip has its time and its record's timestamp cut to the hour, and no words."""
    sent = await _send(resident, "tip", town)
    report = await _until(lambda: _mine(resident, sent["receipt"]), "acknowledged")
    assert re.search(r"T\d\d:00:00", report["accepted_at"])
    records = [seen for seen in await read_all(stack.infrastructure.bootstrap) if seen.envelope.event.coarse]
    kinds = {type(seen.envelope.event).__name__ for seen in records}
    assert kinds == {"ReportAccepted", "ReportRouted", "ReportDelivered", "ReportAcknowledged"}
    for seen in records:
        assert seen.envelope.time == hour_of(seen.envelope.time)
        assert seen.timestamp % 3_600_000 == 0
        assert b"van" not in seen.envelope.event.model_dump_json().encode()
        if isinstance(seen.envelope.event, ReportRouted):
            assert seen.envelope.event.acknowledge_by.minute == 0


async def test_no_log_holds_words_a_receipt_or_a_key(
    stack: Stack, resident: aiohttp.ClientSession, town: Municipality
) -> None:
    """What services write to their logs is JSON, and tells nothing of what was sent."""
    sent = await _send(resident, "tip", town)
    await _until(lambda: _mine(resident, sent["receipt"]), "acknowledged")
    for service in stack.services.values():
        text = service.child.log.read_text("utf-8")
        assert "blue van" not in text
        assert sent["receipt"] not in text
        assert all(json.loads(line) for line in text.splitlines())


async def _press(url: str, action: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as page:
            assert page.status == 200
            assert "blue van" not in await page.text()
        async with session.post(url, data={"action": action}) as pressed:
            assert pressed.status == 200
