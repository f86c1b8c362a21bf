"""Bad input: each kind has its named answer, none is a fault, nothing is stored, nothing is repeated."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.local.postgres import Postgres
from services.tips import receipts
from services.tips.body import NewReport
from tests.conftest import Infrastructure
from tests.integration.tips_server import LATITUDE, LONGITUDE, Tips, issue, new_key, tip

# In what is sent, so that an answer that repeats it is noticed.
MARK = "Zwanenburgwal"


def point(latitude: Any, longitude: Any) -> dict[str, Any]:
    return issue(description=MARK, location={"point": {"latitude": latitude, "longitude": longitude}})


def raw(body: dict[str, Any], old: str, new: str) -> bytes:
    """The body as JSON with one part written as no JSON library would."""
    text = json.dumps(body)
    assert old in text
    return text.replace(old, new).encode()


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in issue(description=MARK).items() if name != field}


BODIES: dict[str, tuple[Any, int, str]] = {
    "nothing": (b"", 400, "malformed-json"),
    "half a body": (b'{"kind": "issue", "descr', 400, "malformed-json"),
    "no JSON": (MARK.encode(), 400, "malformed-json"),
    "two objects": (b"{}{}", 400, "malformed-json"),
    "byte order mark": (b"\xef\xbb\xbf{}", 400, "malformed-json"),
    "single quotes": (b"{'kind': 'issue'}", 400, "malformed-json"),
    "not UTF-8": (b'{"description": "caf\xe9"}', 400, "not-utf-8"),
    "UTF-16": (json.dumps(issue()).encode("utf-16"), 400, "not-utf-8"),
    "overlong UTF-8": (b'{"description": "\xc0\xaf"}', 400, "not-utf-8"),
    "UTF-8 surrogate": (b'{"description": "\xed\xa0\x80"}', 400, "not-utf-8"),
    "lone surrogate": (raw(issue(description=MARK), MARK, "\\ud800"), 400, "malformed-json"),
    "swapped surrogates": (raw(issue(description=MARK), MARK, "\\udc00\\ud800"), 400, "malformed-json"),
    "deep lists": (b"[" * 30_000, 400, "malformed-json"),
    "deep objects": (b'{"location":' * 5_000, 400, "malformed-json"),
    "deep description": (issue(description=[[[[[[[[MARK]]]]]]]]), 422, "invalid-request"),
    "a list": ([issue(description=MARK)], 422, "invalid-request"),
    "a text": (json.dumps(MARK).encode(), 422, "invalid-request"),
    "null": (b"null", 422, "invalid-request"),
    "empty object": ({}, 422, "invalid-request"),
    "no kind": (without("kind"), 422, "invalid-request"),
    "no category": (without("category"), 422, "invalid-request"),
    "no description": (without("description"), 422, "invalid-request"),
    "null description": (issue(description=None), 422, "invalid-request"),
    "number as description": (issue(description=42), 422, "invalid-request"),
    "empty description": (issue(description=""), 422, "invalid-request"),
    "blank description": (issue(description=" \n\t\u2003 "), 422, "invalid-request"),
    "long description": (issue(description=MARK * 800), 422, "invalid-request"),
    "NUL in description": (issue(description=f"{MARK}\0"), 422, "invalid-request"),
    "unknown kind": (issue(kind=MARK), 422, "invalid-request"),
    "kind in capitals": (issue(kind="ISSUE"), 422, "invalid-request"),
    "boolean kind": (issue(kind=True), 422, "invalid-request"),
    "unknown field": (issue(urgent=MARK), 422, "invalid-request"),
    "unknown field in location": (issue(location={"address": MARK, "floor": 3}), 422, "invalid-request"),
    "words as a field": (issue(**{f"the man of {MARK}": 1}), 422, "invalid-request"),
    "2000 unknown fields": ({f"f{number}": MARK for number in range(2000)}, 422, "invalid-request"),
    "unknown category": (issue(category=MARK), 422, "unknown-category"),
    "category with NUL": (issue(category="street_light\0"), 422, "unknown-category"),
    "category of a tip": (issue(category="weapons", description=MARK), 422, "unknown-category"),
    "category of an issue": (tip(category="noise", description=MARK), 422, "unknown-category"),
    "empty category": (issue(category=""), 422, "invalid-request"),
    "unknown language": (issue(language="xx"), 422, "unknown-language"),
    "language as list": (issue(language=["nl"]), 422, "invalid-request"),
    "empty location": (issue(location={}), 422, "invalid-request"),
    "text as location": (issue(location=MARK), 422, "invalid-request"),
    "two places": (
        issue(location={"address": MARK, "area": {"district": "oakwood"}}),
        422,
        "invalid-request",
    ),
    "blank address": (issue(location={"address": "  "}), 422, "invalid-request"),
    "long address": (issue(location={"address": MARK * 30}), 422, "invalid-request"),
    "NUL in address": (issue(location={"address": f"{MARK}\0"}), 422, "invalid-request"),
    "no area": (issue(location={"area": {}}), 422, "invalid-request"),
    "unknown area set": (issue(location={"area": {MARK: "oakwood"}}), 422, "unknown-area-set"),
    "unknown area": (issue(location={"area": {"district": MARK}}), 422, "unknown-area"),
    "area as a list": (issue(location={"area": {"district": ["oakwood"]}}), 422, "invalid-request"),
    "half a point": (issue(location={"point": {"latitude": 52}}), 422, "invalid-request"),
    "text in a point": (point("52.05", "5.6"), 422, "invalid-request"),
    "boolean in a point": (point(True, False), 422, "invalid-request"),
    "null in a point": (point(None, None), 422, "invalid-request"),
    "NaN": (raw(point(42.5, LONGITUDE), "42.5", "NaN"), 422, "invalid-request"),
    "Infinity": (raw(point(42.5, LONGITUDE), "42.5", "-Infinity"), 422, "invalid-request"),
    "1e999": (raw(point(42.5, LONGITUDE), "42.5", "1e999"), 422, "invalid-request"),
    "400 digits": (raw(point(42.5, LONGITUDE), "42.5", "9" * 400), 422, "invalid-request"),
    "9000 digits": (raw(point(42.5, LONGITUDE), "42.5", "9" * 9000), 400, "malformed-json"),
    "beyond the Earth": (point(1e6, LONGITUDE), 422, "invalid-request"),
    "another town": (point(52.37, 4.9), 422, "outside-municipality"),
    "null island": (point(0, 0), 422, "outside-municipality"),
    "beyond the pole": (point(95, 5.6), 422, "outside-municipality"),
    "swapped": (point(LONGITUDE, LATITUDE), 422, "coordinates-swapped"),
}


@pytest.mark.parametrize("group", range(4))
async def test_each_bad_body_has_its_named_answer(group: int, tips: Tips) -> None:
    """A problem with a title and what to do instead; nothing is stored, nothing of it is repeated."""
    wrong = {}
    for name, (body, status, code) in list(BODIES.items())[group::4]:
        answer = await tips.post(body)
        sound = (
            (answer.status, answer.code) == (status, code)
            and answer.headers["Content-Type"] == "application/problem+json"
            and answer.body["title"]
            and len(answer.body["detail"]) > 10
            and MARK not in answer.content.decode()
            and len(answer.content) < 4000
        )
        if not sound:
            wrong[name] = (answer.status, answer.content[:300])
    assert wrong == {}
    assert await tips.stored() == 0
    assert tips.registry.get_sample_value("report_accepted_total") == 0


async def test_refusals_name_what_is_possible(tips: Tips) -> None:
    """The field, the limit, the allowed values, the municipality."""
    long = await tips.post(issue(description="x" * 10_001))
    assert long.body["errors"] == [
        {"pointer": "/description", "detail": "String should have at most 10000 characters"}
    ]
    unknown = await tips.post(issue(urgent=True))
    assert [error["pointer"] for error in unknown.body["errors"]] == ["/urgent"]
    category = await tips.post(tip(category="noise"))
    assert {"weapons", "fraud"} < set(category.body["allowed"])
    assert "noise" not in category.body["allowed"]
    assert (await tips.post(issue(language="xx"))).body["allowed"] == ["nl", "en"]
    area = await tips.post(issue(location={"area": {"district": "x"}}))
    assert "oakwood" in area.body["allowed"]
    assert (await tips.post(issue(location={"area": {"x": "x"}}))).body["allowed"] == ["district"]
    outside = await tips.post(point(52.37, 4.9))
    assert "outside iBuurt" in outside.body["detail"]
    assert "an address or an area" in outside.body["detail"]
    two = await tips.post(issue(location={"address": "x", "area": {"district": "centre"}}))
    assert two.body["errors"] == [
        {"pointer": "/location", "detail": "Give exactly one of point, area and address"}
    ]


async def test_a_body_above_the_limit_is_refused_with_the_limit(tips: Tips) -> None:
    """Announced, or only noticed while it comes; 64 KiB themselves are read."""
    large = json.dumps(issue(description="x" * 70_000)).encode()
    answer = await tips.post(large)
    assert (answer.status, answer.code, answer.body["limit_bytes"]) == (413, "body-too-large", 65_536)

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 1000):
            yield large[start : start + 1000]

    headers = {"Content-Type": "application/json", "Idempotency-Key": new_key()}
    async with tips.session.post(f"{tips.url}/v1/reports", data=in_pieces(), headers=headers) as piecemeal:
        assert piecemeal.status == 413
    exact = json.dumps(issue()).encode().ljust(65_536)
    assert (await tips.post(exact)).status == 201
    assert (await tips.post(exact + b" ")).status == 413


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "json",
    ],
)
async def test_another_content_type_is_refused(content_type: str, tips: Tips) -> None:
    """Whatever the body is."""
    answer = await tips.post(json.dumps(issue()).encode(), **{"Content-Type": content_type})
    assert (answer.status, answer.code) == (415, "wrong-content-type")
    assert await tips.stored() == 0


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("", "idempotency-key-missing"),
        ("short", "idempotency-key-weak"),
        ("a" * 40, "idempotency-key-weak"),
        ("abcdefghij" * 20, "idempotency-key-weak"),
        ('"abcdefghijklmnopqrstuvwx"', "idempotency-key-weak"),
        ("abcdefghij klmnopqrstuvwx", "idempotency-key-weak"),
        ("00000000-0000-0000-0000-000000000000", "idempotency-key-weak"),
    ],
)
async def test_a_key_that_somebody_could_guess_is_refused(key: str, code: str, tips: Tips) -> None:
    """Whoever knows the key could ask for the receipt: the answer says how to make one."""
    answer = await tips.post(issue(), key)
    assert (answer.status, answer.code) == (400, code)
    assert "128 random bits" in answer.body["detail"]
    assert not key or key not in answer.content.decode()
    assert await tips.stored() == 0


async def test_without_a_receipt_the_answer_tells_how_to_send_it(tips: Tips) -> None:
    """No header, another scheme, or nothing in it."""
    for value in (
        None,
        "Bearer 0000-0000-0000-0000-00000",
        "Receipt",
        "Receipt  ",
        "0000-0000-0000-0000-00000",
    ):
        headers: dict[str, str] = {} if value is None else {"Authorization": value}
        answer = await tips.request("GET", "/v1/reports/mine", None, headers)
        assert (answer.status, answer.code) == (401, "receipt-missing")
        assert answer.headers["WWW-Authenticate"] == "Receipt"
        assert "Authorization: Receipt" in answer.body["detail"]


def bad_receipts(real: str) -> list[str]:
    """Malformed, mistyped, and well-formed ones of nobody."""
    unknown = [receipts.shown(receipts.from_key(new_key(), b"x" * 32)) for _ in range(3)]
    mistyped = real[:-1] + ("0" if real[-1] != "0" else "1")
    malformed = [
        "x",
        "!" * 21,
        "\u00e9" * 21,
        real[:-1],
        real + "0",
        "0" * 5000,
        "';--",
        "%00",
        receipts.NO_RECEIPT,
    ]
    return [*unknown, mistyped, *malformed, receipts.shown(receipts.NO_RECEIPT)]


async def test_all_bad_receipts_get_the_same_bytes(tips: Tips) -> None:
    """Nobody learns whether a code was well-formed: only whether it is right."""
    real = (await tips.post(tip())).body["receipt"]
    answers = [await tips.mine(bad) for bad in bad_receipts(real)]
    assert {(answer.status, answer.code) for answer in answers} == {(404, "receipt-unknown")}
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(sorted(without_date(answer.headers).items())) for answer in answers}) == 1


async def test_all_bad_receipts_take_the_same_way_through_the_database(
    tips: Tips, infrastructure: Infrastructure
) -> None:
    """PostgreSQL's own log of statements: a lookup for each, whatever is wrong with it."""
    if not isinstance(infrastructure.postgres, Postgres):
        pytest.skip("reads PostgreSQL's log file, and this session's is in a container or not ours")
    real = (await tips.post(tip())).body["receipt"]
    (row,) = await tips.rows("SELECT current_database() AS name")
    await tips.rows(f"ALTER DATABASE \"{row['name']}\" SET log_statement = 'all'")
    await tips.pool.expire_connections()
    ways = []
    for bad in bad_receipts(real):
        before = infrastructure.postgres.log.stat().st_size
        assert (await tips.mine(bad)).status == 404
        with infrastructure.postgres.log.open("rb") as file:
            file.seek(before)
            lines = file.read().decode()
        ways.append(len(re.findall(r"SELECT report_id.* FROM report WHERE lookup_id = \$1", lines)))
    assert ways == [1] * len(ways)


async def test_a_receipt_of_nobody_stays_nobodys(tips: Tips) -> None:
    """What malformed codes are looked up as leads nowhere, even if a report had that very receipt."""
    await tips.post(tip())
    nobody = receipts.lookup_id(receipts.NO_RECEIPT, tips.desk.peppers.lookup)
    await tips.rows("UPDATE report SET lookup_id = $1", nobody)
    assert (await tips.mine("not a receipt")).status == 404


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed-json"),
        ({"purpose": "delivery"}, 422, "invalid-request"),
        ({"purpose": "Because he asked", "reader": "unit:x"}, 422, "invalid-request"),
        ({"purpose": "delivery", "reader": f"{MARK} 14"}, 422, "invalid-request"),
        ({"purpose": "delivery", "reader": "unit:x", "more": MARK}, 422, "invalid-request"),
        ({"purpose": "delivery\n", "reader": "unit:x"}, 422, "invalid-request"),
        ({"purpose": ["delivery"], "reader": "unit:x"}, 422, "invalid-request"),
    ],
)
async def test_a_reading_that_does_not_say_who_and_why_is_refused(
    body: Any, status: int, code: str, tips: Tips
) -> None:
    """As codes: the log of readings holds nobody's sentences. Nothing is logged, no word is given."""
    await tips.post(issue())
    url = f"{tips.internal_url}/internal/v1/reports/{await tips.report_id()}/words"
    answer = await tips.request("POST", url, body, {"Authorization": f"Bearer {'notify-token-' + 'n' * 32}"})
    assert (answer.status, answer.code) == (status, code)
    assert MARK not in answer.content.decode()
    assert not await tips.rows("SELECT FROM disclosure WHERE act <> 'collection'")


async def test_words_are_for_notify_only(tips: Tips) -> None:
    """Another token, none, and the public port have none; an unknown id is said to be unknown."""
    await tips.post(issue())
    report_id = await tips.report_id()
    for token in ("", "x" * 40, "operator"):
        assert (await tips.words(report_id, token)).status == 401
    public = await tips.request("POST", f"/internal/v1/reports/{report_id}/words", {}, {})
    assert public.status == 404
    unknown = await tips.words("00000000-0000-4000-8000-000000000000")
    assert (unknown.status, unknown.code) == (404, "report-unknown")
    assert (await tips.words("not-an-id")).code == "invalid-request"
    assert not await tips.rows("SELECT FROM disclosure WHERE act <> 'collection'")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/reports", 405),
        ("PATCH", "/v1/reports/mine", 405),
        ("POST", "/v1/reports/mine", 405),
        ("GET", "/v1/reports/../../etc/passwd", 404),
        ("GET", "/v1/reports/%00", 404),
        ("GET", "/metrics", 404),
        ("GET", "/totals", 404),
    ],
)
async def test_other_paths_and_methods_are_problems_too(
    method: str, path: str, status: int, tips: Tips
) -> None:
    """And the public port has nothing of the internal one."""
    answer = await tips.request(method, path, None, {})
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_the_published_description_has_the_body(tips: Tips) -> None:
    """OpenAPI, made from the model that the handler reads."""
    answer = await tips.request("GET", "/v1/openapi.json", None, {})
    post = answer.body["paths"]["/v1/reports"]["post"]
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == set(NewReport.model_fields)
    assert post["parameters"][0]["name"] == "Idempotency-Key"


def without_date(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "date"}
