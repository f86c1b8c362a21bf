"""Limits by network over real HTTP: clients bind to addresses of their own in 127.0.0.0/8."""

import asyncio
import json
import secrets
import uuid
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from services.tips import receipts
from services.tips.http.desk import TURNS
from services.tips.limits import ALLOWANCES, OPEN_UPLOADS, SHARED_TIMES, Allowance
from services.tips.photos.decoders import PLACES
from tests.conftest import MakeDatabase
from tests.integration.tips_server import Tips, issue, new_key, running_tips
from tests.photos import encoded, picture

MOST = ALLOWANCES["reports"].at_once
# Such as an office's.
SHARED = "127.0.0.9"
PHOTO = encoded(picture())


@pytest_asyncio.fixture
async def limited(database: MakeDatabase, tmp_path: Path) -> AsyncIterator[Tips]:
    """The real tips, on which nobody may do as much as he likes."""
    async with running_tips(
        await database("tips"), tmp_path, unlimited=(), shared=(ip_network(SHARED),)
    ) as running:
        yield running


def client(tips: Tips, host: str) -> aiohttp.ClientSession:
    """One at that address."""
    return aiohttp.ClientSession(tips.url, connector=aiohttp.TCPConnector(local_addr=(host, 0)))


async def send(tips: Tips, host: str, count: int, body: bytes | None = None) -> list[int]:
    """Send so many reports from that address, sound ones where no body is given; the statuses."""
    given = json.dumps(issue()).encode() if body is None else body
    statuses = []
    async with client(tips, host) as session:
        for _ in range(count):
            headers = {"Idempotency-Key": new_key(), "Content-Type": "application/json"}
            async with session.post("/v1/reports", data=given, headers=headers) as answer:
                statuses.append(answer.status)
    return statuses


async def test_one_network_cannot_flood_and_others_do_not_notice(limited: Tips) -> None:
    """What is refused is not stored, and the answer says when to come back."""
    assert await send(limited, "127.0.0.2", MOST + 5) == [201] * MOST + [429] * 5
    assert await send(limited, "127.0.0.3", 1) == [201]
    assert len(await limited.rows("SELECT FROM report")) == MOST + 1
    async with (
        client(limited, "127.0.0.2") as session,
        session.post("/v1/reports", json=issue(), headers={"Idempotency-Key": new_key()}) as answer,
    ):
        assert int(answer.headers["Retry-After"]) > 0
        assert (await answer.json(content_type=None))["type"] == "urn:ibuurt:problem:too-many"


async def test_one_network_says_of_an_issue_a_few_times_that_it_is_theirs_too(limited: Tips) -> None:
    """Of another issue too; a repeat after a lost answer takes nothing, and a neighbour says it all the same.
    What is more is answered and not counted."""
    await send(limited, "127.0.0.2", 2)
    first, second = (row["issue_id"] for row in await limited.rows("SELECT issue_id FROM issue"))
    most = ALLOWANCES["supports_of_one"].at_once
    key = new_key()
    keys = [key, key, *(new_key() for _ in range(most))]
    assert await support(limited, "127.0.0.4", first, keys) == [200] * (most + 2)
    assert await support(limited, "127.0.0.4", second, [new_key()]) == [200]
    assert await support(limited, "127.0.0.5", first, [new_key()]) == [200]
    rows = await limited.rows("SELECT issue_id, supporters FROM issue")
    assert {row["issue_id"]: row["supporters"] for row in rows} == {first: most + 1, second: 1}


async def test_where_many_share_an_address_wrong_receipts_keep_nobody_from_theirs(limited: Tips) -> None:
    """A right one works when the wrong ones are used up; on an address of one network it has to wait."""
    receipt = (await limited.post(issue())).body["receipt"]
    wrong = "7777-7777-7777-7777-77777"
    for host, times, right in (("127.0.0.2", 1, 429), (SHARED, SHARED_TIMES, 200)):
        async with client(limited, host) as session:

            async def asks(code: str, session: aiohttp.ClientSession = session) -> int:
                headers = {"Authorization": f"Receipt {code}"}
                async with session.get("/v1/reports/mine", headers=headers) as answer:
                    return answer.status

            most = ALLOWANCES["receipts"].at_once * times
            assert {await asks(wrong) for _ in range(most)} == {404}
            # Some are given back meanwhile.
            async with asyncio.timeout(30):
                while await asks(wrong) != 429:
                    pass
            assert await asks(receipt) == right


async def support(tips: Tips, host: str, issue_id: uuid.UUID, keys: list[str]) -> list[int]:
    """Say from that address that an issue is theirs too, with each of these keys; the statuses."""
    statuses = []
    async with client(tips, host) as session:
        for key in keys:
            url = f"/v1/issues/{issue_id}/supporters"
            async with session.post(url, headers={"Idempotency-Key": key}) as answer:
                statuses.append(answer.status)
    return statuses


async def test_nobody_is_flooded_with_e_mails_that_others_ask_for(limited: Tips) -> None:
    """However many networks ask for one address, by however many reports, and however it is written; another
    address is none of that."""
    codes = [(await limited.post(issue())).body["receipt"] for _ in range(2)]

    async def asks(host: str, receipt: str, address: str) -> int:
        headers = {"Authorization": f"Receipt {receipt}"}
        async with (
            client(limited, host) as session,
            session.put("/v1/reports/mine/email", json={"address": address}, headers=headers) as answer,
        ):
            return answer.status

    most = ALLOWANCES["emails_to_one"].at_once
    hosts = [SHARED, SHARED, *(f"127.0.0.{20 + number}" for number in range(most))]
    asked = [
        await asks(
            host, codes[number % 2], "stranger@town.example" if number % 3 else "Stranger@Town.example"
        )
        for number, host in enumerate(hosts)
    ]
    assert asked == [202] * most + [429] * (len(hosts) - most)
    assert await asks("127.0.0.40", codes[0], "another@town.example") == 202


async def test_what_is_refused_counts_as_well(limited: Tips) -> None:
    """Whoever sends what cannot be read, or is no report, is refused unread after as many; a resident of
    another network is served meanwhile."""
    for host, body, status in (
        ("127.0.0.4", b'{"kind": "issue", "descr', 400),
        ("127.0.0.5", b"[" * 60_000, 400),
        ("127.0.0.6", json.dumps({f"field_{n}": n for n in range(3_000)}).encode(), 422),
        ("127.0.0.7", b" " * 65_537, 413),
    ):
        assert await send(limited, host, MOST + 2, body) == [status] * MOST + [429] * 2
        assert await send(limited, "127.0.0.3", 1) == [201]


async def test_slow_photos_of_one_network_leave_places_for_others(limited: Tips) -> None:
    """A few at a time are let in, the others are told when to come again."""
    over = asyncio.Event()

    async def trickle() -> AsyncIterator[bytes]:
        yield PHOTO[:100]
        await over.wait()

    async def upload(session: aiohttp.ClientSession, body: bytes | AsyncIterator[bytes]) -> tuple[int, bool]:
        headers = {"Content-Type": "image/jpeg"}
        async with session.post("/v1/photos", data=body, headers=headers) as answer:
            return answer.status, "Retry-After" in answer.headers

    async with client(limited, "127.0.0.2") as hostile, client(limited, "127.0.0.3") as resident:
        slow = [asyncio.create_task(upload(hostile, trickle())) for _ in range(PLACES + 4)]
        refused = PLACES + 4 - OPEN_UPLOADS
        async with asyncio.timeout(60):
            while sum(task.done() for task in slow) < refused:  # noqa: ASYNC110 - of many tasks
                await asyncio.sleep(0.05)
        assert await upload(resident, PHOTO) == (201, False)
        over.set()
        found = sorted(await asyncio.gather(*slow))
    assert found == [(422, False)] * OPEN_UPLOADS + [(429, True)] * refused


async def test_receipts_cannot_be_tried_without_end(limited: Tips) -> None:
    """Wrong ones are counted, unknown and misspelt alike; right ones are not."""
    mine = (await limited.post(issue())).body["receipt"]
    for _ in range(3 * ALLOWANCES["receipts"].at_once):
        assert (await limited.mine(mine)).status == 200
    statuses = []
    for number in range(ALLOWANCES["receipts"].at_once + 2):
        unknown = receipts.shown(receipts.from_key(secrets.token_hex(16), b"another pepper"))
        statuses.append((await limited.mine(unknown if number % 2 else "not a receipt")).status)
    assert statuses == [404] * ALLOWANCES["receipts"].at_once + [429] * 2


async def behind_a_receipt(tips: Tips, receipt: str) -> dict[str, str]:
    """The code of the answer of each route that wants a receipt."""
    document = (await tips.get("/v1/openapi.json")).body
    routes = [
        (method, path.replace("{photo_id}", str(uuid.uuid4())))
        for path, methods in document["paths"].items()
        for method, said in methods.items()
        if {"Receipt": []} in said.get("security", [])
    ]
    head = {"Authorization": f"Receipt {receipt}"}
    async with asyncio.timeout(60):
        answers = await asyncio.gather(*(tips.request(*route, None, head) for route in routes))
    return {" ".join(route): answer.code for route, answer in zip(routes, answers, strict=True)}


@pytest.mark.parametrize("what", ["receipts", "reading"])
async def test_who_asked_too_often_is_refused_before_the_database(
    what: str, limited: Tips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every route behind a receipt, though all connections are in use: nobody else waits for a flood."""
    mine = (await limited.post(issue())).body["receipt"]
    monkeypatch.setitem(ALLOWANCES, what, Allowance(at_once=2, an_hour=1))
    wrong = receipts.shown(receipts.from_key(secrets.token_hex(16), b"another pepper"))
    for _ in range(2):
        await limited.mine(wrong if what == "receipts" else mine)
    for _ in range(TURNS):
        await limited.desk.turns.acquire()
    codes = await behind_a_receipt(limited, mine)
    assert len(codes) > 8
    assert set(codes.values()) == {"too-many"}, codes
