"""The digest: what is open in each area, what is late, and where several public issues lie."""

import re
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from services.notify import public_issues
from services.notify.core.acts import Act
from services.notify.core.links import DigestLink, Link, write_digest_token, write_token
from shared.cloudevents import Envelope
from shared.events import Event, IssueChanged, IssueGone
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import LINK_SECRET, Notify, accepted, running_notify
from tests.integration.test_notify_answers import Page
from tests.integration.tips_server import ibuurt

UNIT = "public_space"
MONDAY = datetime(2026, 11, 9, 8, tzinfo=UTC)


@pytest_asyncio.fixture
async def notify(database: MakeDatabase) -> AsyncIterator[Notify]:
    async with running_notify(await database("notify"), "http://127.0.0.1:9") as running:
        running.clock.at = MONDAY
        yield running


async def public(notify: Notify, *events: IssueChanged | IssueGone) -> None:
    envelopes: list[Envelope[Event]] = [
        Envelope.of(one, id=uuid.uuid4(), source="/ibuurt/tips", now=MONDAY) for one in events
    ]
    async with notify.pool.acquire() as connection, connection.transaction():
        await public_issues.apply(connection, envelopes)


def issue(place: tuple[float, float] = (52.05, 5.6), **changes: Any) -> IssueChanged:
    about: dict[str, Any] = {
        "issue_id": uuid.uuid4(),
        "version": 1,
        "category": "street_light",
        "areas": {"district": "oakwood"},
        "latitude": place[0],
        "longitude": place[1],
        "status": "routed",
        "page": f"https://reports.example/issues/{uuid.uuid4()}",
    }
    return IssueChanged(**about | changes)


async def read(notify: Notify, more: str = "") -> dict[str, Any]:
    status, answer = await notify.ask("GET", f"/internal/v1/units/{UNIT}/digest{more}")
    assert status == 200, answer
    return {one["area"]: one for one in answer["areas"]}


def districts() -> list[str]:
    town = ibuurt()
    return list(town.area_sets[town.primary_area_set].areas)


async def act(notify: Notify, report: uuid.UUID, done: Act) -> None:
    async with notify.pool.acquire() as connection, connection.transaction():
        await notify.acting.act(connection, report, UNIT, done, uuid.uuid4(), "officer:test")


async def take(notify: Notify, category: str = "street_light", **changes: Any) -> uuid.UUID:
    envelope = accepted(category, now=notify.clock(), **changes)
    await notify.apply(envelope)
    return envelope.event.report_id


async def test_what_is_open_late_and_planned_is_listed_by_area(notify: Notify) -> None:
    """Public categories alone; what is done is not open, what another unit has is not this one's."""
    late, planned, done = [await take(notify) for _ in range(3)]
    elsewhere = await take(notify, areas={"district": "harbour"})
    await take(notify, areas={})
    await take(notify, "wrong_parking")
    await take(notify, "youth_nuisance")
    await take(notify, "weapons")
    tuesday = MONDAY + timedelta(days=8)
    await act(notify, planned, Act("plan", "desk", day=tuesday.date()))
    await act(notify, done, Act("resolve", "desk", outcome="done"))
    notify.clock.at = tuesday
    await notify.sweeper.sweep()
    areas = await read(notify)
    # In the folder's order; what lies in no area comes last.
    assert list(areas) == [*(one for one in districts() if one in {"oakwood", "harbour"}), None]
    oakwood = areas["oakwood"]
    assert (oakwood["open"], oakwood["by_category"]) == (2, {"street_light": 2})
    assert [(one["report_id"], one["needs"]) for one in oakwood["late"]] == [
        (str(late), "acknowledge_overdue")
    ]
    assert [one["report_id"] for one in oakwood["planned_today"]] == [str(planned)]
    assert [one["report_id"] for one in areas["harbour"]["late"]] == [str(elsewhere)]
    assert list(await read(notify, "?area=harbour")) == ["harbour"]
    for wrong in ("/internal/v1/units/nobody/digest", f"/internal/v1/units/{UNIT}/digest?area=nowhere"):
        status, answer = await notify.ask("GET", wrong)
        assert (status, bool(answer["allowed"])) == (422, True)


async def test_what_is_private_is_not_in_the_digest_of_a_unit_that_was_given_it(notify: Notify) -> None:
    """An issue of a category that is not public, late and planned for today: not even counted."""
    private = [await take(notify, "noise", areas={"district": "centre"}) for _ in range(2)]
    await take(notify, areas={"district": "centre"})
    for report in private:
        given = {"reason": "not_our_task", "to_unit": UNIT}
        assert (await notify.act(report, "hand_over", "inspection", **given))[0] == 200
    await act(notify, private[0], Act("plan", "desk", day=MONDAY.date() + timedelta(days=8)))
    notify.clock.at = MONDAY + timedelta(days=8)
    centre = (await read(notify))["centre"]
    assert centre["by_category"] == {"street_light": 1}
    assert centre["totals"] == {"late": 1, "planned_today": 0, "places": 0}


async def test_places_with_several_issues_are_those_of_the_topic(notify: Notify) -> None:
    """Two and more at one rounded place, of the categories and areas that the rules give this unit; what is
    solved or gone counts no more, and an older state changes nothing."""
    here, other = (52.0512, 5.6012), (52.06, 5.61)
    kept = [issue(here), issue(here, category="road_damage"), issue(here)]
    alone = issue(other)
    not_ours = [issue((52.04, 5.58), category="wrong_parking") for _ in range(2)]
    nowhere = [issue(latitude=None, longitude=None) for _ in range(2)]
    await public(notify, *kept, alone, *not_ours, *nowhere)
    (place,) = (await read(notify))["oakwood"]["places"]
    assert (place["latitude"], place["longitude"], place["reports"]) == (*here, 3)
    assert place["by_category"] == {"street_light": 2, "road_damage": 1}
    assert sorted(place["pages"]) == sorted(one.page for one in kept)
    await public(notify, kept[0].model_copy(update={"version": 3, "status": "resolved"}))
    await public(notify, kept[0].model_copy(update={"version": 2}))
    (place,) = (await read(notify))["oakwood"]["places"]
    assert place["reports"] == 2
    await public(notify, IssueGone(issue_id=kept[1].issue_id))
    assert "oakwood" not in await read(notify)


async def test_what_is_not_listed_is_counted(notify: Notify) -> None:
    """A hundred of each sort are listed, and said how many more there are."""
    await notify.apply(*(accepted(now=MONDAY) for _ in range(130)))
    places = [(52 + number / 10_000, 5.6) for number in range(103)]
    await public(notify, *(issue(place) for place in places for _ in range(2)))
    await notify.rows("UPDATE dispatch SET day = $1", MONDAY.date() + timedelta(days=8))
    notify.clock.at = MONDAY + timedelta(days=8)
    oakwood = (await read(notify))["oakwood"]
    assert oakwood["totals"] == {"late": 130, "planned_today": 130, "places": 103}
    assert [len(oakwood[sort]) for sort in oakwood["totals"]] == [100, 100, 100]
    token = write_digest_token(DigestLink(UNIT, notify.clock() + timedelta(days=2)), LINK_SECRET)
    async with notify.session.get(f"{notify.url}/digest/{token}?language=en") as answer:
        page = Page(await answer.text())
    assert page.text.count("And 30 more: see the list of your team.") == 2
    assert "And 3 more places." in page.text


async def test_the_page_is_behind_a_signed_link_and_can_be_printed(notify: Notify) -> None:
    """In Dutch or English, without scripts; on paper, and where a narrow screen stacks the cells, it has the
    number that the desk takes, the issues' addresses and what each cell is. A link to a report opens no
    digest and the reverse."""
    report_id = await take(notify)
    issues = [issue(), issue()]
    await public(notify, *issues)
    notify.clock.at = MONDAY + timedelta(days=8)
    await notify.sweeper.sweep()

    async def open_page(path: str, language: str = "nl") -> tuple[int, Page]:
        headers = {"Accept-Language": language}
        async with notify.session.get(notify.url + path, headers=headers) as answer:
            return answer.status, Page(await answer.text())

    expires = notify.clock() + timedelta(days=2)
    token = write_digest_token(DigestLink(UNIT, expires), LINK_SECRET)
    status, page = await open_page(f"/digest/{token}")
    assert status == 200
    for said in (
        "Vandaag in uw wijk",
        "Straatverlichting kapot",
        "nog niemand heeft het gezien",
        "17 november",
        f"\n{report_id}\n",
        *(f"\n{one.page}\n" for one in issues),
    ):
        assert said in page.text
    labels = [one["data-label"] for one in page.all("td")]
    assert labels == ["Onderwerp", "Oplossen voor", "Waarom het hier staat", "Nummer"]
    async with notify.session.get(f"{notify.url}/answer.css") as answer:
        assert "attr(data-label)" in await answer.text()
    assert page.all("script") == []
    assert {one["scope"] for one in page.all("th")} == {"col"}
    assert "Broken street light" in (await open_page(f"/digest/{token}", "en"))[1].text
    report = write_token(Link(uuid.uuid4(), UNIT, expires), LINK_SECRET)
    for path, wanted in (
        (f"/digest/{report}", 404),
        (f"/answer/{token}", 404),
        (f"/digest/{token[:-3]}AAA", 404),
        (f"/digest/{write_digest_token(DigestLink('nobody', expires), LINK_SECRET)}", 404),
        (f"/digest/{write_digest_token(DigestLink(UNIT, notify.clock()), LINK_SECRET)}", 410),
    ):
        status, page = await open_page(path)
        assert status == wanted
        assert wanted == 404 or "twee dagen" in page.text


async def test_a_foot_patrol_prints_one_area(notify: Notify) -> None:
    """The whole page leads to each area, whose page has nothing of the others; a wrong area is refused with
    those that there are."""
    await take(notify)
    await take(notify, "road_damage", areas={"district": "harbour"})
    await take(notify, areas={})
    token = write_digest_token(DigestLink(UNIT, MONDAY + timedelta(days=2)), LINK_SECRET)

    async def open_page(query: str) -> Page:
        address = f"{notify.url}/digest/{token}{query}"
        async with notify.session.get(address, headers={"Accept-Language": "nl"}) as answer:
            assert answer.status == 200
            return Page(await answer.text())

    whole = await open_page("?language=en")
    links = [str(one["href"]) for one in whole.all("a")]
    assert len(links) == 2  # what lies in no area has no page of its own
    harbour = await open_page(next(one for one in links if "harbour" in one))
    names = ibuurt().area_sets["district"].areas
    assert names["harbour"].names["en"] in harbour.text
    assert "Broken street light" not in harbour.text
    assert names["oakwood"].names["en"] not in harbour.text
    assert len(harbour.all("section")) == 1
    (back,) = harbour.all("a")
    assert len((await open_page(str(back["href"]))).all("section")) == 3
    assert "niets open" in (await open_page("?area=meadow")).text
    async with notify.session.get(f"{notify.url}/digest/{token}?area=nowhere") as answer:
        problem = await answer.json(content_type="application/problem+json")
    assert (answer.status, problem["allowed"]) == (422, districts())
    assert problem["errors"][0]["pointer"] == "/area"


@pytest.mark.parametrize("kind", ["json", "page"])
async def test_nothing_open_is_said(notify: Notify, kind: str) -> None:
    """An empty digest is no fault."""
    if kind == "json":
        assert await read(notify) == {}
        return
    token = write_digest_token(DigestLink(UNIT, MONDAY + timedelta(days=2)), LINK_SECRET)
    async with notify.session.get(f"{notify.url}/digest/{token}") as answer:
        assert re.search("niets open|nothing open", await answer.text())
