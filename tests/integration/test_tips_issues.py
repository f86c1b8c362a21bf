"""What everybody can read of issues, over real HTTP and a real PostgreSQL."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

import pytest
import pytest_asyncio

from services.tips import app, erasing
from services.tips.core.grid import Place
from services.tips.core.public import Issue
from services.tips.queries import issues, reports
from shared import events, postgres
from tests.conftest import MakeDatabase
from tests.integration.test_tips_consumer import LIFE, apply, envelope
from tests.integration.tips_server import (
    LATITUDE,
    LONGITUDE,
    PUBLIC_URL,
    SECRET_ADDRESS,
    SECRET_WORDS,
    Tips,
    issue,
    new_key,
    running_tips,
    tip,
    town_with,
)

ATOM = "{http://www.w3.org/2005/Atom}"
START = datetime(2026, 11, 1, tzinfo=UTC)


def at(latitude: float, longitude: float, **changes: Any) -> dict[str, Any]:
    return issue(location={"point": {"latitude": latitude, "longitude": longitude}}, **changes)


async def sent(tips: Tips, body: dict[str, Any] | None = None) -> Any:
    """An issue that was sent: its row and its report's."""
    before = {row["report_id"] for row in await tips.rows("SELECT report_id FROM report")}
    assert (await tips.post(body or issue())).status == 201
    rows = await tips.rows("SELECT * FROM report LEFT JOIN issue USING (report_id)")
    (new,) = [row for row in rows if row["report_id"] not in before]
    return new


async def listed(tips: Tips, **asked: Any) -> list[dict[str, Any]]:
    """Every issue that a search finds, over all its pages."""
    found: list[dict[str, Any]] = []
    path: str | None = f"/v1/issues?{urlencode(asked, doseq=True)}"
    while path:
        answer = await tips.get(path)
        assert answer.status == 200, answer.body
        found += answer.body["issues"]
        path = answer.body["next"] and answer.body["next"].removeprefix(PUBLIC_URL)
    return found


async def test_an_issue_of_a_public_category_is_listed(tips: Tips) -> None:
    """With its facts, a rounded place and an id of its own; any page of the web may read it."""
    await tips.post(at(52.0512345, 5.6012345))
    answer = await tips.get("/v1/issues")
    (found,) = answer.body["issues"]
    assert found == {
        "id": found["id"],
        "category": "street_light",
        "areas": {"district": "oakwood"},
        "place": {"latitude": 52.051, "longitude": 5.601},
        "status": "accepted",
        "version": 1,
        "page": f"{PUBLIC_URL}/issues/{found['id']}",
        "accepted_at": "2026-11-12T13:37:11.123456Z",
        "changed_at": "2026-11-12T13:37:11.123456Z",
        "text": None,
        "text_by": None,
        "supporters": 0,
    }
    assert found["id"] != str(await tips.report_id())
    assert answer.body["next"] is None
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("location", [{"address": SECRET_ADDRESS}, {"area": {"district": "centre"}}])
async def test_only_a_point_has_a_public_place(location: dict[str, Any], tips: Tips) -> None:
    """An address and an area have none."""
    await tips.post(issue(location=location))
    (found,) = await listed(tips)
    assert found["place"] is None
    (feature,) = (await tips.get("/v1/issues.geojson")).body["features"]
    assert feature["geometry"] is None


async def test_the_same_submission_again_is_one_issue(tips: Tips) -> None:
    """At once and one after the other."""
    key = new_key()
    await asyncio.gather(*(tips.post(issue(), key) for _ in range(10)))
    assert len(await listed(tips)) == 1
    assert len(await tips.rows("SELECT FROM outbox")) == 2


async def test_nothing_private_is_in_any_answer_or_event(tips: Tips) -> None:
    """No tip, no issue of a category that is not public, no word before it is approved, no exact place: in
    every list, format and feed, and in every event on the topic."""
    exact, bodies = (52.0512345, 5.6012345), []
    for category in tips.desk.municipality.categories.values():
        location = {"point": {"latitude": exact[0], "longitude": exact[1]}}
        asked = {one.id: one.options[0].id for one in category.questions if one.required}
        bodies.append(
            issue(
                kind=category.kind,
                category=category.id,
                location=location,
                answers=asked,
                not_an_emergency=True,
            )
        )
    bodies += [tip(), issue(location={"address": SECRET_ADDRESS})]
    random.Random(5).shuffle(bodies)
    for body in bodies:
        assert (await tips.post(body)).status == 201
    rows = await tips.rows("SELECT * FROM report")
    await apply(
        tips, [envelope(row, one, n, tips.clock.now) for row in rows for n, one in enumerate(LIFE, 1)]
    )
    public = {one.id for one in tips.desk.municipality.categories.values() if one.public}
    hidden = [str(row["report_id"]) for row in rows] + [SECRET_WORDS, SECRET_WORDS[9:21], SECRET_ADDRESS]
    hidden += ["52.0512", "5.6012"]
    hidden += [one.id for one in tips.desk.municipality.categories.values() if not one.public]
    found = await listed(tips)
    assert len(found) == len(public) + 1
    assert {one["category"] for one in found} == public
    paths = ["/v1/issues", "/v1/issues.geojson", "/v1/issues.atom", "/v1/issues?text=hides"]
    paths += [f"/v1/issues/near?latitude={exact[0]}&longitude={exact[1]}&category=street_light"]
    paths += [f"/v1/issues/{one['id']}{ending}" for one in found for ending in ("", ".atom")]
    texts = [(await tips.get(path)).content.decode() for path in paths]
    said = await tips.rows("SELECT * FROM outbox WHERE topic = 'ibuurt.issues.v1'")
    assert len(said) == len(found) * 2
    texts += [f"{bytes(row['key'])!r} {row['value']!r}" for row in said]
    for text in texts:
        assert [secret for secret in hidden if secret in text] == []
    assert {json.loads(row["value"])["category"] for row in said} == public
    assert (await tips.get("/v1/issues?text=hides")).body["issues"] == []


async def test_a_tip_leaves_no_trace_in_the_public_tables(tips: Tips) -> None:
    """Neither a row, nor a number that an issue after it would show, nor another answer."""
    before = (await tips.get("/v1/issues")).headers["Etag"]
    await tips.post(tip())
    assert (await tips.get("/v1/issues")).headers["Etag"] == before
    for table in ("issue", "issue_gone", "support"):
        assert not await tips.rows(f"SELECT FROM {table}")
    columns = "SELECT FROM information_schema.columns WHERE table_name LIKE 'issue%' AND is_identity = 'YES'"
    assert not await tips.rows(columns)


# Filters.


@pytest_asyncio.fixture
async def many(tips: Tips) -> AsyncIterator[list[Issue]]:
    """Hundreds of issues of every category, status and area, some at one moment, some without a place."""
    yield await filled(tips, 300, random.Random(7))


async def filled(tips: Tips, count: int, chance: random.Random) -> list[Issue]:
    """So many more issues, straight into the tables."""
    categories = [one.id for one in tips.desk.municipality.categories.values() if one.public]
    found = []
    for _ in range(count):
        accepted = START + timedelta(minutes=chance.randrange(500))
        place = Place(52 + chance.randrange(100) / 1000, 5.6 + chance.randrange(100) / 1000)
        one = Issue(
            issue_id=uuid.UUID(int=chance.getrandbits(128), version=4),
            report_id=uuid.uuid4(),
            category=chance.choice(categories),
            areas={"district": chance.choice(["oakwood", "centre"])},
            place=place if chance.random() < 0.9 else None,
            status=chance.choice(["accepted", "routed", "acknowledged", "resolved"]),
            version=1,
            page="",
            accepted_at=accepted,
            changed_at=accepted + timedelta(hours=chance.randrange(48)),
        )
        found.append(one)
    async with tips.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            """INSERT INTO report (report_id, kind, category, areas, language, accepted_at, status, version,
                                   lookup_id)
               SELECT r, 'issue', 'c', '{}', 'nl', now(), 'accepted', 1,
               sha256(r::text::bytea) FROM unnest($1::uuid[]) AS r""",
            [one.report_id for one in found],
        )
        await connection.execute(
            f"INSERT INTO issue ({issues.COLUMNS}) SELECT * FROM unnest({postgres.arrays(issues.TYPES)})",
            *zip(*map(issues.values, found), strict=True),
        )
    return found


def ids(found: list[Issue]) -> list[str]:
    """In the order in which they are listed."""
    ordered = sorted(found, key=lambda one: (one.accepted_at, one.issue_id.bytes), reverse=True)
    return [str(one.issue_id) for one in ordered]


async def test_a_box_holds_exactly_what_lies_in_it(tips: Tips, many: list[Issue]) -> None:
    """Borders included, whatever the box; what has no place is in none."""
    chance = random.Random(3)
    for _ in range(25):
        south, north = sorted(52 + chance.randrange(-5, 105) / 1000 for _ in range(2))
        west, east = sorted(5.6 + chance.randrange(-5, 105) / 1000 for _ in range(2))
        inside = [
            one
            for one in many
            if one.place and south <= one.place.latitude <= north and west <= one.place.longitude <= east
        ]
        box = f"{west!r},{south!r},{east!r},{north!r}"
        assert [one["id"] for one in await listed(tips, box=box, limit=37)] == ids(inside)


async def test_filters_hold_together(tips: Tips, many: list[Issue]) -> None:
    """All that are given; of those that may be repeated, any value."""
    since = START + timedelta(hours=20)
    wanted: list[tuple[dict[str, Any], Any]] = [
        ({}, lambda _: True),
        ({"category": "graffiti"}, lambda one: one.category == "graffiti"),
        ({"category": ["graffiti", "road_damage"]}, lambda one: one.category in ("graffiti", "road_damage")),
        ({"status": ["accepted", "routed"]}, lambda one: one.status in ("accepted", "routed")),
        ({"area": "district:centre"}, lambda one: one.areas["district"] == "centre"),
        ({"since": since.isoformat()}, lambda one: one.changed_at >= since),
        (
            {"status": "resolved", "area": "district:oakwood", "since": since.isoformat(), "text": "graff"},
            lambda one: (
                (one.status, one.areas["district"], one.category) == ("resolved", "oakwood", "graffiti")
                and one.changed_at >= since
            ),
        ),
        ({"category": "none_such"}, lambda _: False),
        ({"area": "none:such"}, lambda _: False),
    ]
    for asked, holds in wanted:
        found = [one["id"] for one in await listed(tips, **asked, limit=53)]
        assert found == ids([one for one in many if holds(one)]), asked


async def test_pages_lose_and_double_nothing_while_issues_are_added_and_change(
    tips: Tips, many: list[Issue]
) -> None:
    """Whatever comes between two pages: what was there at the first is found exactly once."""
    for seed in range(4):
        chance = random.Random(seed)
        there = await tips.rows("SELECT issue_id FROM issue")
        found: list[str] = []
        path = f"/v1/issues?limit={chance.choice((1, 7, 40)) + seed * 20}"
        while path:
            answer = await tips.get(path)
            found += [one["id"] for one in answer.body["issues"]]
            await filled(tips, 3, chance)
            await tips.rows("UPDATE issue SET status = 'planned' WHERE random() < 0.2")
            path = (answer.body["next"] or "").removeprefix(PUBLIC_URL)
        assert len(set(found)) == len(found)
        assert {str(row["issue_id"]) for row in there} <= set(found)


async def test_text_is_found_by_the_beginnings_of_words(tips: Tips) -> None:
    """In public texts and category names of any language, and every word must be there."""
    first, second = await sent(tips), await sent(tips, issue(category="graffiti"))
    await tips.rows(
        "UPDATE issue SET public_text = $2, text_by = 'unit' WHERE issue_id = $1",
        first["issue_id"],
        "De lamp bij de Café-hoek flikkert",
    )
    for text, wanted in (
        ("lamp", {first}),
        ("LAM flik", {first}),
        ("café", {first}),
        ("lamp vandalisme", set()),
        ("street lamp", {first}),
        ("straatverlichting", {first}),
        ("vandal", {second}),
        ("ampel", set()),
    ):
        found = {one["id"] for one in await listed(tips, text=text)}
        assert found == {str(row["issue_id"]) for row in wanted}, text


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ("box=1,2,3", "/query/box"),
        ("box=6,52,5,53", "/query/box"),
        ("box=5,52,6,91", "/query/box"),
        ("box=nan,52,6,53", "/query/box"),
        ("area=oakwood", "/query/area"),
        ("status=open", "/query/status/0"),
        ("category=%3Cscript%3E", "/query/category/0"),
        ("since=2026-11-01", "/query/since"),
        ("since=0001-01-01T00:00:00%2B23:00", "/query/since"),
        ("cursor=AAAA", "/query/cursor"),
        (f"cursor={'_' * 32}", "/query/cursor"),
        ("limit=201", "/query/limit"),
        ("limit=0", "/query/limit"),
        ("text=%3A%2A", "/query/text"),
        ("text=x", "/query/text"),
        ("unknown=1", "/query/unknown"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(asked: str, pointer: str, tips: Tips) -> None:
    """In every format; the refusal repeats nothing and can be read by any page too."""
    for ending in ("", ".geojson", ".atom"):
        answer = await tips.get(f"/v1/issues{ending}?{asked}")
        assert (answer.status, answer.code) == (422, "invalid-request")
        assert answer.body["errors"][0]["pointer"] == pointer
        assert "script" not in answer.content.decode()


async def test_whatever_is_searched_for_is_answered(tips: Tips, many: list[Issue]) -> None:
    """Signs of SQL, of queries, of other scripts: found or not, never a fault."""
    texts = [
        "' OR 1=1 --",
        "a:*",
        "!!",
        "<->",
        "((",
        "ж&й",
        "١٢٣",
        "日本",
        "ß İ",
        "\u200f\u200b ab",
        "_" * 50,
    ]
    for text in [*texts, "x" * 100, "\\'x", "%", "{{7*7}}"]:
        assert (await tips.get(f"/v1/issues?text={quote(text)}")).status in (200, 422), text


# Formats.


async def test_geojson_has_a_feature_for_each_issue(tips: Tips, many: list[Issue]) -> None:
    """Longitude first, as RFC 7946 says; the next page is the same search."""
    answer = await tips.get("/v1/issues.geojson?limit=200&status=accepted&status=routed")
    assert answer.headers["Content-Type"] == "application/geo+json"
    collection = json.loads(answer.content)
    assert collection["type"] == "FeatureCollection"
    by_id = {str(one.issue_id): one for one in many}
    assert collection["features"]
    for feature in collection["features"]:
        place = by_id[feature["id"]].place
        assert feature["type"] == "Feature"
        wanted = place and {"type": "Point", "coordinates": [place.longitude, place.latitude]}
        assert feature["geometry"] == wanted
        assert feature["properties"]["status"] in ("accepted", "routed")


async def test_the_atom_feed_is_sound_and_has_an_entry_for_each_issue(tips: Tips) -> None:
    """What RFC 4287 asks for, in the language that is asked for, whatever stands in a public text."""
    one = await sent(tips)
    text = "<b>&amp; \x0b\x1f\ufffe 😀 ]]>"
    await tips.rows("UPDATE issue SET public_text = $1, text_by = 'unit'", text)
    answer = await tips.get("/v1/issues.atom?language=en&category=street_light")
    assert answer.headers["Content-Type"].startswith("application/atom+xml")
    feed = ET.fromstring(answer.content)
    sound(feed)
    (entry,) = feed.findall(f"{ATOM}entry")
    assert entry.findtext(f"{ATOM}id") == f"urn:uuid:{one['issue_id']}"
    assert entry.findtext(f"{ATOM}title") == "Broken street light: received"
    assert entry.findtext(f"{ATOM}summary") == "<b>&amp;  😀 ]]>"
    assert entry.findtext("{http://www.georss.org/georss}point") == f"{LATITUDE} {LONGITUDE}"
    assert "category=street_light" in (feed.findtext(f"{ATOM}id") or "")
    sound(ET.fromstring((await tips.get("/v1/issues.atom?category=graffiti")).content))


def sound(feed: ET.Element) -> None:
    """The elements that a feed and an entry must have, once, and times with a zone."""
    assert feed.tag == f"{ATOM}feed"
    for name in ("id", "title", "updated", "author"):
        assert len(feed.findall(f"{ATOM}{name}")) == 1
    assert [link.get("rel") for link in feed.findall(f"{ATOM}link")].count("self") == 1
    for entry in feed.findall(f"{ATOM}entry"):
        for name in ("id", "title", "updated"):
            assert len(entry.findall(f"{ATOM}{name}")) == 1
        assert [link.get("rel") for link in entry.findall(f"{ATOM}link")] == ["alternate"]
    entry_ids = [entry.findtext(f"{ATOM}id") for entry in feed.findall(f"{ATOM}entry")]
    assert len(set(entry_ids)) == len(entry_ids)
    for updated in feed.iter(f"{ATOM}updated"):
        assert datetime.fromisoformat(updated.text or "").tzinfo


async def test_one_issue_has_its_public_timeline(tips: Tips) -> None:
    """Who, when and why, in the language that is asked for; not what is between unit and resident."""
    row = await sent(tips)
    happened: list[tuple[Any, dict[str, Any]]] = [
        (events.ReportRouted, {}),
        (events.ReportDelivered, {}),
        (events.DeliveryFailed, {"reason": "http_500"}),
        (events.ReportEscalated, {"reason": "overdue"}),
        (events.ReportAcknowledged, {}),
        (events.ReportAnswerAsked, {}),
        (events.ReportPlanned, {}),
    ]
    await apply(
        tips, [envelope(row, one, n, tips.clock.now, **more) for n, (one, more) in enumerate(happened, 1)]
    )
    path = f"/v1/issues/{row['issue_id']}"
    answer = await tips.get(f"{path}?language=en")
    assert answer.body["issue"]["status"] == "planned"
    timeline = answer.body["timeline"]
    assert [step["status"] for step in timeline] == ["accepted", "routed", "acknowledged", "planned"]
    assert timeline[1]["unit"]["name"] == "Public space team"
    assert timeline[1]["reason"]["text"].startswith("The public space team")
    assert timeline[3]["day"] == "2026-11-20"
    dutch = (await tips.get(path)).body["timeline"]
    assert dutch[1]["unit"]["name"] == "Team Openbare Ruimte"
    assert answer.body["feed"] == f"{PUBLIC_URL}{path}.atom"
    feed = ET.fromstring((await tips.get(f"{path}.atom?language=en")).content)
    sound(feed)
    titles = [entry.findtext(f"{ATOM}title") for entry in feed.findall(f"{ATOM}entry")]
    assert titles[0] == "planned – Public space team"
    assert len(titles) == 4
    wrong = await tips.get(f"{path}?language=fr")
    assert (wrong.status, wrong.code, wrong.body["allowed"]) == (422, "unknown-language", ["nl", "en"])


async def test_what_is_unchanged_is_not_sent_again(tips: Tips) -> None:
    """304 for the ETag that one has; another one once anything changed."""
    row = await sent(tips)
    for path in ("/v1/issues", "/v1/issues.atom", "/v1/issues.geojson", f"/v1/issues/{row['issue_id']}"):
        first = await tips.get(path)
        etag = first.headers["Etag"]
        again = await tips.get(path, **{"If-None-Match": f'"other", W/{etag}'})
        assert (again.status, again.content, again.headers["Etag"]) == (304, b"", etag)
        assert first.headers["Cache-Control"] == "no-cache"
        await tips.rows("UPDATE issue SET supporters = supporters + 1, changed_at = changed_at + '1 s'")
        assert (await tips.get(path, **{"If-None-Match": etag})).status == 200


async def test_only_what_everybody_may_read_is_open_to_other_sites(tips: Tips) -> None:
    """Refusals of it too; nothing else says so."""
    row = await sent(tips)
    for path in (f"/v1/issues/{uuid.uuid4()}", f"/v1/issues/{row['issue_id']}?language=fr"):
        assert (await tips.get(path)).headers["Access-Control-Allow-Origin"] == "*"
    answers = [await tips.post(issue()), await tips.mine("0" * 21)]
    answers.append(await support(tips, row["issue_id"]))
    assert not [one for one in answers if "Access-Control-Allow-Origin" in one.headers]


async def test_after_it_is_gone_an_issue_is_410(tips: Tips) -> None:
    """And in no list; an id that never was is 404."""
    row = await sent(tips)
    async with tips.pool.acquire() as connection, connection.transaction():
        locked = await reports.lock(connection, row["report_id"])
        assert locked
        await erasing.erase(connection, locked[0], "resident", tips.clock.now, "/ibuurt/tips")
    assert await listed(tips) == []
    for ending in ("", ".atom"):
        gone = await tips.get(f"/v1/issues/{row['issue_id']}{ending}")
        assert (gone.status, gone.code) == (410, "issue-gone")
        never = await tips.get(f"/v1/issues/{uuid.uuid4()}{ending}")
        assert (never.status, never.code) == (404, "issue-unknown")
    assert (await support(tips, row["issue_id"])).status == 410


# Duplicates.


async def support(tips: Tips, issue_id: object, key: str | None = None) -> Any:
    headers = {"Idempotency-Key": key or new_key()}
    return await tips.request("POST", f"/v1/issues/{issue_id}/supporters", None, headers)


async def test_open_issues_nearby_are_possible_duplicates(tips: Tips) -> None:
    """Of this category, and open; the exact point and the rounded one give the same answer."""
    near = await sent(tips, at(52.0504, 5.6003))
    await sent(tips, at(52.0504, 5.6003, category="graffiti"))
    await sent(tips, at(52.054, 5.6003))
    await sent(tips, issue(location={"address": SECRET_ADDRESS}))
    done = await sent(tips, at(52.0504, 5.6003))
    await apply(tips, [envelope(done, events.ReportResolved, 1, tips.clock.now)])
    answers = []
    for latitude, longitude in ((52.05049, 5.60049), (52.050, 5.600)):
        path = f"/v1/issues/near?latitude={latitude}&longitude={longitude}&category=street_light"
        answer = await tips.get(path)
        assert [one["id"] for one in answer.body["issues"]] == [str(near["issue_id"])]
        answers.append(answer.content)
    assert answers[0] == answers[1]
    (found,) = answer.body["issues"]
    assert (found["least_metres"], 100 < found["most_metres"] < 140) == (0, True)
    refused = await tips.get("/v1/issues/near?latitude=52.05&longitude=5.6&category=noise")
    assert (refused.status, refused.code) == (422, "unknown-category")
    assert "noise" not in refused.body["allowed"]
    assert (await tips.get("/v1/issues/near?latitude=nan&longitude=5.6&category=x")).status == 422


async def test_a_category_may_do_without_duplicates(database: MakeDatabase, tmp_path: Path) -> None:
    """Its distance is 0."""
    town = town_with(street_light={"duplicates_metres": 0})
    async with running_tips(await database("tips"), tmp_path, town) as tips:
        await sent(tips)
        path = f"/v1/issues/near?latitude={LATITUDE}&longitude={LONGITUDE}&category=street_light"
        assert (await tips.get(path)).body == {"issues": []}


async def test_this_is_mine_too_counts_once(tips: Tips) -> None:
    """Per key, also when many come at once; it says where to follow the issue, and keeps nothing of who."""
    row, key = await sent(tips), new_key()
    answers = await asyncio.gather(*(support(tips, row["issue_id"], key) for _ in range(10)))
    assert {answer.status for answer in answers} == {200}
    assert {answer.body["supporters"] for answer in answers} <= {0, 1}
    other = await support(tips, row["issue_id"])
    path = f"/v1/issues/{row['issue_id']}"
    assert other.body == {
        "id": str(row["issue_id"]),
        "supporters": 2,
        "page": row["page"],
        "feed": f"{PUBLIC_URL}{path}.atom",
    }
    assert (await tips.get(path)).body["issue"]["supporters"] == 2
    assert (await tips.get(path)).body["issue"]["version"] == 1
    kept = await tips.rows("SELECT * FROM support")
    assert len(kept) == 2
    assert {len(row["key_mac"]) for row in kept} == {32}
    tips.clock.now += timedelta(hours=24)
    async with tips.pool.acquire() as connection:
        await issues.drop_support(connection, tips.clock.now)
        assert (await support(tips, row["issue_id"], key)).body["supporters"] == 2
        await issues.drop_support(connection, tips.clock.now + timedelta(hours=1))
    assert not await tips.rows("SELECT FROM support")


async def test_the_service_forgets_who_supported_by_itself(tips: Tips) -> None:
    """After a day; the count stays."""
    row = await sent(tips)
    await support(tips, row["issue_id"])
    tips.clock.now += timedelta(hours=26)
    forgetting = asyncio.create_task(app.forget_submissions(tips.pool, tips.clock, every_seconds=0.01))
    async with asyncio.timeout(10):
        while await tips.rows("SELECT FROM support"):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)
    forgetting.cancel()
    assert (await tips.get(f"/v1/issues/{row['issue_id']}")).body["issue"]["supporters"] == 1


async def test_supporters_are_refused_where_there_is_nothing_to_support(tips: Tips) -> None:
    """Without a strong key, for an unknown issue, and when nothing is being done any more."""
    row = await sent(tips)
    unknown = await support(tips, uuid.uuid4())
    assert (unknown.status, unknown.code) == (404, "issue-unknown")
    weak = await support(tips, row["issue_id"], "weak")
    assert (weak.status, weak.code) == (400, "idempotency-key-weak")
    await apply(tips, [envelope(row, events.ReportResolved, 1, tips.clock.now)])
    closed = await support(tips, row["issue_id"])
    assert (closed.status, closed.code) == (409, "issue-closed")
    assert not await tips.rows("SELECT FROM support")
