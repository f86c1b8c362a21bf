"""Residents, played for a trial: real 311 requests sent over HTTP at a steady rate."""

import asyncio
import csv
import gzip
import secrets
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from shared.municipality import Municipality, read

TRY_SECONDS = 90.0
# Where the answer does not say how long.
RETRY_SECONDS = 0.5
MOST_AT_ONCE = 200
LATE = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class Request:
    """What a resident wants to send; `bodies` differ in the place, and are tried in order."""

    marker: str
    key: str
    bodies: tuple[Mapping[str, Any], ...]


@dataclass(slots=True)
class Outcome:
    """What became of it; times in seconds of the monotonic clock."""

    request: Request
    sent_at: float
    answered_at: float = 0.0
    status: int = 0
    receipt: str = ""
    place_refused: int = 0
    # The status of each answer; 0 where there was none.
    answers: list[int] = field(default_factory=list)

    @property
    def tries(self) -> int:
        return len(self.answers)

    @property
    def accepted(self) -> bool:
        return self.status == 201


def read_requests(file: Path, municipality: Path, rows: int) -> Iterator[Request]:
    """Up to `rows` requests of a 311 export (CSV, may be gzipped) as that municipality's reports.

    The export's columns: type, reason, police_district, latitude, longitude. Its types become categories by
    the folder's types.toml. No description was ever given, so one is made, with a marker to search for.
    """
    town = read(municipality)
    types = tomllib.loads((municipality / "types.toml").read_text("utf-8"))["types"]
    unpack = gzip.open if file.suffix == ".gz" else open
    with unpack(file, "rt", encoding="utf-8") as lines:
        for number, row in enumerate(csv.DictReader(lines)):
            if number == rows:
                return
            yield request_of(row, town, types)


def request_of(row: Mapping[str, str], town: Municipality, types: Mapping[str, str]) -> Request:
    """A row of the export as that municipality's report. Raises KeyError for a type not in `types`."""
    category = town.categories[types[row["type"]]]
    marker = f"marker-{secrets.token_hex(8)}"
    common = {
        "kind": category.kind,
        "category": category.id,
        "description": f"{row['type']} ({row['reason']}). {marker}",
        "language": town.languages[0],
    }
    areas = town.area_sets[town.primary_area_set]
    places: list[dict[str, Any]] = []
    if row["latitude"] and row["longitude"]:
        point = {"latitude": float(row["latitude"]), "longitude": float(row["longitude"])}
        places.append({"point": point})
    if row["police_district"] in areas.areas:
        places.append({"area": {areas.id: row["police_district"]}})
    places.append({"address": row.get("location") or row.get("neighborhood") or "somewhere in the city"})
    bodies = tuple({**common, "location": place} for place in places)
    return Request(marker, secrets.token_urlsafe(24), bodies)


async def send_all(
    url: str,
    requests: Iterator[Request],
    rate: float,
    progress: Callable[[list[Outcome]], None],
    patience: float = TRY_SECONDS,
) -> list[Outcome]:
    """Send every request, `rate` a second, and return what became of each, in the order of sending.

    A resident gives up `patience` seconds after the first try.
    """
    outcomes: list[Outcome] = []
    slots = asyncio.Semaphore(MOST_AT_ONCE)
    started = time.monotonic()
    connector = aiohttp.TCPConnector(limit=MOST_AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session,
        asyncio.TaskGroup() as group,
    ):
        for number, request in enumerate(requests):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            await slots.acquire()
            outcome = Outcome(request, time.monotonic())
            outcomes.append(outcome)
            task = group.create_task(_send(session, outcome, patience))
            task.add_done_callback(lambda _: slots.release())
            progress(outcomes)
    return outcomes


async def _send(session: aiohttp.ClientSession, outcome: Outcome, patience: float) -> None:
    """Send one, as a form does: a refused place is given otherwise, a lost answer is asked for again."""
    request = outcome.request
    for body in request.bodies:
        key = f"{request.key}{outcome.place_refused}"
        await _post(session, outcome, key, body, patience)
        if outcome.status != 422:
            return
        outcome.place_refused += 1


async def _post(
    session: aiohttp.ClientSession, outcome: Outcome, key: str, body: Mapping[str, Any], patience: float
) -> None:
    while True:
        pause = RETRY_SECONDS
        try:
            async with session.post("/v1/reports", json=body, headers={"Idempotency-Key": key}) as response:
                pause = float(response.headers.get("Retry-After", pause))
                answer = await response.json(content_type=None)
                outcome.status = response.status
                outcome.answered_at = time.monotonic()
                outcome.receipt = answer.get("receipt", "") if isinstance(answer, dict) else ""
        except LATE:
            outcome.status = 0
        outcome.answers.append(outcome.status)
        if 0 < outcome.status < 500 or time.monotonic() - outcome.sent_at > patience:
            return
        await asyncio.sleep(pause)
