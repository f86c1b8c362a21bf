"""The page behind a signed link: what it shows, what it changes and what it refuses."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import structlog

from services.notify.acting import LINK_ACTS_MOST
from services.notify.core.links import Link, write_token
from shared.cloudevents import Envelope
from shared.events import (
    ReportAcknowledged,
    ReportErased,
    ReportPlanned,
    ReportResolved,
    ReportWithdrawn,
    hour_of,
)
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import LINK_SECRET, Notify, accepted, kinds, running_notify
from tests.spine import until

NOWHERE = "http://127.0.0.1:9"
NOW = datetime(2026, 11, 12, 13, 37, 11, 123456, tzinfo=UTC)
DAY = "2026-11-20"
# What the page has chosen beforehand, or whoever presses chooses.
CHOSEN = {"resolve": {"outcome": "done"}, "plan": {"day": DAY}, "refuse": {"reason": "not_our_task"}}
VOID = {"meta", "link", "br", "input"}


class Page(HTMLParser):
    """What a page holds; refuses tags that are not closed in order."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(content)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def opened(self) -> str:
        """What its forms carry of this opening of the page."""
        (opened,) = {one["value"] for one in self.all("input") if one["name"] == "opened"}
        assert opened
        return opened

    @property
    def actions(self) -> list[str | None]:
        return [button["value"] for button in self.all("button")]


@dataclass
class Browser:
    """One unit's officer, without JavaScript."""

    notify: Notify
    session: aiohttp.ClientSession

    async def open(self, path: str, method: str = "GET", **given: Any) -> tuple[int, Page, Any]:
        async with self.session.request(method, self.notify.url + path, **given) as answer:
            return answer.status, Page(await answer.text()), answer.headers

    async def press(self, path: str, action: str, **chosen: str) -> tuple[int, Page, Any]:
        return await self.open(path, "POST", data=CHOSEN.get(action, {}) | chosen | {"action": action})


@pytest_asyncio.fixture
async def browser(database: MakeDatabase) -> AsyncIterator[Browser]:
    """At a notify that has one issue of the public space team, accepted at NOW, two hours ago."""
    async with (
        running_notify(await database("notify"), NOWHERE) as notify,
        aiohttp.ClientSession() as session,
    ):
        notify.clock.at = NOW + timedelta(hours=2)
        await notify.apply(accepted(now=NOW, report_id=uuid.UUID(int=1)))
        yield Browser(notify, session)


def path(report_id: int = 1, unit: str = "public_space", days: float = 30, secret: str = LINK_SECRET) -> str:
    expires = (NOW + timedelta(days=days)).replace(microsecond=0)
    return f"/answer/{write_token(Link(uuid.UUID(int=report_id), unit, expires), secret)}"


async def everything(notify: Notify) -> list[Any]:
    return [
        tuple(row)
        for table in ("dispatch", "delivery", "outbox", "act")
        for row in await notify.rows(f"SELECT * FROM {table} ORDER BY 1")
    ]


async def test_opening_the_page_changes_nothing(browser: Browser) -> None:
    """However often, with GET or by a scanner with HEAD: every row stays as it was."""
    before = await everything(browser.notify)
    for _ in range(3):
        status, page, _ = await browser.open(path())
        assert status == 200
        assert page.actions == ["acknowledge", "plan", "resolve", "refuse"]
    async with browser.session.head(browser.notify.url + path()) as looked:
        assert looked.status == 200
    assert await everything(browser.notify) == before


async def test_pressing_seen_says_so_once(browser: Browser) -> None:
    """The second press, and one from another window, only show that it was done."""
    status, page, _ = await browser.press(path(), "acknowledge")
    assert status == 200
    assert "team de melding heeft gezien" in page.text
    assert page.actions == ["plan", "resolve", "refuse"]
    status, page, _ = await browser.press(path(), "acknowledge", opened="another window")
    assert (status, "al gedaan" in page.text) == (200, True)
    before = await everything(browser.notify)
    status, page, _ = await browser.press(path(), "acknowledge")
    assert status == 200
    assert "al gedaan" in page.text
    assert await everything(browser.notify) == before
    (seen,) = await browser.notify.said(ReportAcknowledged)
    assert isinstance(seen, ReportAcknowledged)
    assert (seen.by, seen.took, seen.version) == ("link", "4h", 2)
    assert (await browser.notify.totals())["acknowledged"] == 1


async def test_pressing_solved_first_says_both(browser: Browser) -> None:
    """Acknowledged, then resolved, in time; nothing is left to press, and pressing it anyway is harmless."""
    _, page, _ = await browser.press(path(), "resolve")
    assert page.actions == []
    for action in ("resolve", "acknowledge"):
        status, page, _ = await browser.press(path(), action)
        assert status == 200
        assert "al gedaan" in page.text
    for action in ("refuse", "plan"):
        # On a page that was opened before.
        status, page, _ = await browser.press(path(), action)
        assert status == 409
        assert "Dat kan niet meer" in page.text
        assert "Er is niets veranderd" in page.text
    assert kinds(await browser.notify.said()) == ["ReportRouted", "ReportAcknowledged", "ReportResolved"]
    (solved,) = await browser.notify.said(ReportResolved)
    assert isinstance(solved, ReportResolved)
    assert (solved.outcome, solved.in_time, solved.version) == ("done", True, 3)


async def test_solved_after_the_target_is_said_as_late(browser: Browser) -> None:
    """The clock of a broken street light is 120 hours, of which the unit works nine a day."""
    browser.notify.clock.at = NOW + timedelta(days=20)
    await browser.press(path(), "resolve")
    (solved,) = await browser.notify.said(ReportResolved)
    assert isinstance(solved, ReportResolved)
    assert solved.in_time is False


async def test_twenty_presses_at_once_say_it_once(browser: Browser) -> None:
    """A row lock decides who is first."""
    answers = await asyncio.gather(*(browser.press(path(), "resolve", opened=str(n)) for n in range(20)))
    assert {status for status, _, _ in answers} == {200}
    assert kinds(await browser.notify.said()) == ["ReportRouted", "ReportAcknowledged", "ReportResolved"]


async def test_a_day_for_the_work_is_told_and_can_be_moved(browser: Browser) -> None:
    """The day is on the page; the same day again says nothing, a past one or none is refused."""
    _, page, _ = await browser.press(path(), "plan")
    assert "20 november 2026" in page.text
    assert page.actions == ["plan", "resolve", "refuse"]
    _, page, _ = await browser.press(path(), "plan")
    assert "al gedaan" in page.text
    await browser.press(path(), "plan", day="2026-11-24")
    planned = await browser.notify.said(ReportPlanned)
    assert [str(one.day) for one in planned if isinstance(one, ReportPlanned)] == [DAY, "2026-11-24"]
    before = await everything(browser.notify)
    for day in ("2026-11-11", "2030-01-01", "soon", ""):
        status, page, _ = await browser.press(path(), "plan", day=day)
        assert (status, "kies een dag vanaf vandaag" in page.text) == (422, True)
    assert await everything(browser.notify) == before


async def test_a_form_that_comes_again_is_the_press_that_it_was(browser: Browser) -> None:
    """A double click, and a reload long after: another day that was set since stays, and nothing is stored.
    The same day from a page that was opened anew is another press."""
    _, page, _ = await browser.open(path())
    forms = [{"opened": page.opened, "day": DAY}] * 2
    await asyncio.gather(*(browser.press(path(), "plan", **form) for form in forms))
    _, page, _ = await browser.open(path())
    await browser.press(path(), "plan", day="2026-11-24", opened=page.opened)
    before = await everything(browser.notify)
    status, again, _ = await browser.press(path(), "plan", **forms[0])
    assert (status, "al gedaan" in again.text, "24 november 2026" in again.text) == (200, True, True)
    assert await everything(browser.notify) == before
    assert len(await browser.notify.rows("SELECT FROM act")) == 2
    assert again.opened not in (page.opened, forms[0]["opened"])
    _, page, _ = await browser.press(path(), "plan", day=DAY, opened=again.opened)
    assert "20 november 2026" in page.text


async def test_a_link_can_be_used_only_so_often(browser: Browser) -> None:
    """Whoever holds it fills no table: what was done stays done, the desk goes on, and so does the next unit
    by its own link."""
    for number in range(LINK_ACTS_MOST):
        day = (NOW + timedelta(days=1 + number)).date().isoformat()
        assert (await browser.press(path(), "plan", day=day))[0] == 200
    before = await everything(browser.notify)
    for days in (30, 20):
        status, page, _ = await browser.press(path(days=days), "resolve")
        assert (status, "vraag het de gemeente" in page.text) == (429, True)
    status, page, _ = await browser.press(path(), "plan", day=day)
    assert (status, "al gedaan" in page.text) == (200, True)
    assert await everything(browser.notify) == before
    assert len(await browser.notify.rows("SELECT FROM act")) == LINK_ACTS_MOST
    moved = {"reason": "not_our_task", "to_unit": "inspection"}
    assert (await browser.notify.act(uuid.UUID(int=1), "hand_over", "public_space", **moved))[0] == 200
    assert (await browser.press(path(unit="inspection"), "resolve"))[0] == 200


async def test_what_is_not_for_a_unit_goes_to_another_and_the_link_ends(browser: Browser) -> None:
    """To the one that it names, or the next by the rules; opening the link again says that it moved on."""
    _, page, _ = await browser.open(path())
    labelled = {one["for"] for one in page.all("label")}
    seen = [one for one in page.all("input") if one["type"] != "hidden"]
    assert labelled == {one["id"] for one in (*page.all("select"), *seen)}
    _, page, _ = await browser.press(path(), "refuse", to_unit="inspection")
    assert "Een ander team heeft de melding nu" in page.text
    assert page.actions == []
    (row,) = await browser.notify.rows("SELECT unit, refused_by FROM dispatch")
    assert tuple(row) == ("inspection", ["public_space"])
    for method in ("GET", "POST"):
        status, page, _ = await browser.open(path(), method, data={"action": "acknowledge"})
        assert (status, "niet meer bij uw team" in page.text) == (410, True)
    _, page, _ = await browser.press(path(unit="inspection"), "refuse", to_unit="")
    (row,) = await browser.notify.rows("SELECT unit FROM dispatch")
    assert row["unit"] == "front_desk"
    # The last rule's unit has to name somebody.
    status, page, _ = await browser.press(path(unit="front_desk"), "refuse")
    assert status == 422


async def test_a_tips_answer_is_kept_to_the_hour(browser: Browser) -> None:
    """Its events and its row."""
    await browser.notify.apply(accepted("weapons", now=NOW, report_id=uuid.UUID(int=2)))
    await browser.press(path(2, "neighbourhood_police_north"), "resolve")
    (row,) = await browser.notify.rows("SELECT * FROM dispatch WHERE kind = 'tip'")
    assert row["resolved_at"] == row["acknowledged_at"] == hour_of(NOW) + timedelta(hours=2)
    times = await browser.notify.rows("SELECT DISTINCT time FROM outbox WHERE type LIKE '%Resolved%'")
    assert [one["time"] for one in times] == [hour_of(NOW) + timedelta(hours=2)]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("where", "status", "says"),
    [
        (path(secret="x" * 32), 404, "werkt niet"),
        (path()[:-2] + "AA", 404, "werkt niet"),
        (path()[:-20], 404, "werkt niet"),
        ("/answer/hello", 404, "werkt niet"),
        (path(report_id=9), 404, "werkt niet"),
        (path(unit="parking"), 410, "niet meer bij uw team"),
    ],
    ids=["foreign secret", "altered", "cut off", "nonsense", "unknown report", "another unit"],
)
async def test_a_link_that_does_not_hold_opens_nothing_and_says_what_to_do(
    browser: Browser, method: str, where: str, status: int, says: str
) -> None:
    """A page with the mend, nothing about the report, and no change."""
    before = await everything(browser.notify)
    got, page, _ = await browser.open(
        where, method, **({"data": {"action": "resolve", "outcome": "done"}} if method == "POST" else {})
    )
    assert got == status
    assert says in page.text
    assert "Straatverlichting" not in page.text
    assert await everything(browser.notify) == before


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_link_works_until_thirty_days_after_the_report_was_to_be_solved(
    browser: Browser, method: str
) -> None:
    """And no shorter than it says; after that the page says where the report is, and nothing changes."""
    given = {"data": {"action": "acknowledge"}} if method == "POST" else {}
    (row,) = await browser.notify.rows("SELECT resolve_by FROM dispatch")
    end = row["resolve_by"] + timedelta(days=30)
    assert end > NOW + timedelta(days=31)
    days_to_end = (end - NOW) / timedelta(days=1)
    for at, link_days, wanted in (
        (end - timedelta(seconds=1), 1, 200),
        (end, 1, 410),
        (end, days_to_end + 1, 200),
        (end + timedelta(days=2), days_to_end + 1, 410),
    ):
        browser.notify.clock.at = at
        before = await everything(browser.notify)
        status, page, _ = await browser.open(path(days=link_days), method, **given)
        assert status == wanted
        if wanted == 410:
            assert "aan de balie" in page.text
            assert "Straatverlichting" not in page.text
            assert await everything(browser.notify) == before


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 422),
        (b"action=delete", 422),
        (b"action=hand_over&to_unit=parking&reason=not_our_task", 422),
        (b"action=resolve", 422),
        (b"action=resolve&outcome=magic", 422),
        (b"action=refuse&reason=magic", 422),
        (b"action=refuse&reason=not_our_task&to_unit=magic", 422),
        (b"action=acknowledge&action=resolve", 422),
        (b"\xff\xfe=\x00", 422),
        (b"&".join([b"a=b"] * 50), 422),
        (b"action=" + b"x" * 5_000, 413),
    ],
)
async def test_a_form_that_says_nothing_clear_changes_nothing(
    browser: Browser, data: bytes, status: int
) -> None:
    """Whatever is posted: a page, not a fault."""
    before = await everything(browser.notify)
    got, page, _ = await browser.open(path(), "POST", data=data)
    assert got == status
    assert "druk op de knop eronder" in page.text
    assert await everything(browser.notify) == before


async def test_a_form_that_is_cut_off_is_no_fault_of_ours(browser: Browser) -> None:
    """An officer's phone loses its network: nothing changes, and nothing is logged as failed."""
    before = await everything(browser.notify)
    with structlog.testing.capture_logs() as lines:
        port = int(browser.notify.url.rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST {path()} HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n"
        writer.write(head.encode() + b"action=acknowledge")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        await until(lambda: browser.notify.metric("link_answers_total", result="refused") == 1)
    assert not lines
    assert await everything(browser.notify) == before


@pytest.mark.parametrize("event", [ReportWithdrawn, ReportErased])
async def test_what_is_gone_needs_no_answer(
    browser: Browser, event: type[ReportWithdrawn] | type[ReportErased]
) -> None:
    """The page says so, has no button, and a press changes nothing."""
    about: dict[str, Any] = {"report_id": uuid.UUID(int=1), "kind": "issue", "version": 2}
    gone = ReportErased(**about, reason="resident") if event is ReportErased else ReportWithdrawn(**about)
    await browser.notify.apply(Envelope.of(gone, id=uuid.uuid4(), source="/ibuurt/tips", now=NOW))
    before = await everything(browser.notify)
    for status, page, _ in (await browser.open(path()), await browser.press(path(), "resolve")):
        assert status == 200
        assert page.actions == []
        assert "hoeft niets meer" in page.text
    assert await everything(browser.notify) == before


async def test_the_page_tells_what_unit_category_due_time_and_status(browser: Browser) -> None:
    """In the town's zone: from Thursday 14:37 on, 24 hours of a unit that works from 7:30 to 16:30."""
    _, page, _ = await browser.open(path())
    for expected in (
        "Straatverlichting kapot",
        "Team Openbare Ruimte",
        "17 november 2026, 11:37",
        "Onderweg",
    ):
        assert expected in page.text


@pytest.mark.parametrize(
    ("accept", "query", "language"),
    [
        ("", "", "nl"),
        ("en-GB,en;q=0.9,nl;q=0.5", "", "en"),
        ("fr, en;q=0.1", "", "en"),
        ("fr", "", "nl"),
        ("en;q=0", "", "nl"),
        ("en;q=x", "", "nl"),
        ("nl", "?language=en", "en"),
        ("en", "?language=xx", "en"),
    ],
)
async def test_the_page_speaks_the_municipalitys_languages(
    browser: Browser, accept: str, query: str, language: str
) -> None:
    """What the browser prefers, unless the reader chose; the page names its language and offers the other."""
    _, page, headers = await browser.open(path() + query, headers={"Accept-Language": accept})
    (html,) = page.all("html")
    assert html["lang"] == headers["Content-Language"] == language
    (other,) = page.all("a")
    assert other["hreflang"] != language
    assert ("Team Openbare Ruimte" in page.text) == (language == "nl")
    assert ("Public space team" in page.text) == (language == "en")


async def test_the_page_may_load_only_its_own_style_and_be_kept_by_nobody(browser: Browser) -> None:
    """No script, nothing from elsewhere, no frame, no referrer, no cache; the stylesheet is there."""
    _, page, headers = await browser.open(path())
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; form-action 'self'")
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert page.all("script") == []
    assert not any("style" in attributes for _, attributes in page.tags)
    (sheet,) = page.all("link")
    async with browser.session.get(
        browser.notify.url + path().rsplit("/", 1)[0] + f"/{sheet['href']}"
    ) as css:
        assert (css.status, css.content_type) == (200, "text/css")


async def test_the_page_can_be_used_without_sight_or_mouse(browser: Browser) -> None:
    """Language, one heading, a landmark, a title, buttons with words, news as a status."""
    _, page, _ = await browser.press(path(), "acknowledge")
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("title")) == 1
    assert {"role": "status"} in page.all("p")
    assert all(button["value"] for button in page.all("button"))
    assert page.all("meta")[1]["content"] == "width=device-width, initial-scale=1"


async def test_the_colours_have_enough_contrast(browser: Browser) -> None:
    """WCAG 2.2 AA, light and dark: text 4.5 to 1, what marks a control 3 to 1."""
    async with browser.session.get(f"{browser.notify.url}/answer.css") as css:
        text = await css.text()
    for scheme in re.findall(r":root \{([^}]*)\}", text):
        colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", scheme))
        assert contrast(colour["ink"], colour["paper"]) >= 7
        assert contrast(colour["act"], colour["paper"]) >= 4.5
        assert contrast(colour["on-act"], colour["act"]) >= 4.5
        assert contrast(colour["line"], colour["paper"]) >= 3


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2 of two colours such as #1a1a1a."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


async def test_while_the_database_is_away_the_page_says_to_come_back(browser: Browser) -> None:
    """503 and a sentence, not a fault."""
    await browser.notify.pool.close()
    status, page, _ = await browser.open(path())
    assert status == 503
    assert "Probeer het over een paar minuten opnieuw" in page.text
