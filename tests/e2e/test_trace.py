"""One report from a resident to its unit and into the counts: the README's trace, on a deployment."""

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest

from deploy.local.tap import read_all
from deploy.local.units import Units
from shared.events import ReportRouted, hour_of
from shared.municipality import Municipality, read
from tests.e2e.target import SERVICES, Target, target

SECRET_WORDS = "The blue van behind number 12, every night at marker-0123456789abcdef"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Target]:
    with target() as found:
        yield found


@pytest.fixture(scope="module")
def units(deployment: Target) -> Units:
    return deployment.units


@pytest.fixture(scope="module")
def town(deployment: Target) -> Municipality:
    return read(deployment.municipality)


@pytest.fixture
async def resident(deployment: Target, units: Units) -> AsyncIterator[aiohttp.ClientSession]:
    """A resident's HTTP client, with the units open."""
    await units.open_all()
    async with aiohttp.ClientSession(deployment.tips_url) as session:
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
    deployment: Target, units: Units, resident: aiohttp.ClientSession, town: Municipality
) -> None:
    """The resident sees every step with unit, reason and due time; the unit gets the words, signed; the
    link in them resolves it; the three services agree."""
    before = deployment.totals()["stats"]["counted"] if deployment.totals else 0
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
    if deployment.totals is None:
        pytest.skip("counted or not: this deployment's totals are out of reach")
    end = time.monotonic() + 20
    while (found := deployment.totals())["stats"]["counted"] != before + 1:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.1)


async def test_a_tips_minute_and_words_are_nowhere_in_kafka(
    deployment: Target, resident: aiohttp.ClientSession, town: Municipality
) -> None:
    """Every event of a tip has its time and its record's timestamp cut to the hour, and no words."""
    if deployment.kafka is None:
        pytest.skip("this deployment's topics are out of reach")
    sent = await _send(resident, "tip", town)
    report = await _until(lambda: _mine(resident, sent["receipt"]), "acknowledged")
    assert re.search(r"T\d\d:00:00", report["accepted_at"])
    records = [seen for seen in await read_all(deployment.kafka) if seen.envelope.event.coarse]
    kinds = {type(seen.envelope.event).__name__ for seen in records}
    assert kinds == {"ReportAccepted", "ReportRouted", "ReportDelivered", "ReportAcknowledged"}
    for seen in records:
        assert seen.envelope.time == hour_of(seen.envelope.time)
        assert seen.timestamp % 3_600_000 == 0
        assert b"van" not in seen.envelope.event.model_dump_json().encode()
        if isinstance(seen.envelope.event, ReportRouted):
            assert seen.envelope.event.acknowledge_by.minute == 0


async def test_no_log_holds_words_a_receipt_or_a_key(
    deployment: Target, resident: aiohttp.ClientSession, town: Municipality
) -> None:
    """What services write to their logs is JSON, and tells nothing of what was sent."""
    sent = await _send(resident, "tip", town)
    await _until(lambda: _mine(resident, sent["receipt"]), "acknowledged")
    if deployment.log is None:
        pytest.skip("this deployment's logs are out of reach")
    for service in SERVICES:
        text = deployment.log(service)
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
