"""How it ends: a rating, "this is not solved", and taking it back."""

import asyncio
from datetime import timedelta

import pytest

from services.tips.schemas import RatingAnswer, ReportAnswer
from shared import events
from tests.integration.followed import Followed, followed
from tests.integration.test_tips_privacy import all_times, everything
from tests.integration.tips_server import Tips, issue, tip

NOT_SOLVED = "The lamp is dark again since Sunday"
REOPEN_DAYS = timedelta(days=14)


async def resolved(tips: Tips, kind: str = "issue") -> Followed:
    """A report that the unit has resolved."""
    mine = await followed(tips, issue() if kind == "issue" else tip())
    await mine.dispatch(events.ReportRouted, events.ReportResolved)
    return mine


@pytest.mark.parametrize("kind", ["issue", "tip"])
async def test_what_is_not_solved_is_the_units_again(tips: Tips, kind: str) -> None:
    """Status and text say so, the text becomes a message, and the unit can resolve it anew."""
    mine = await resolved(tips, kind)
    answer = await mine.mine("POST", "/reopening", {"text": NOT_SOLVED})
    assert answer.status == 200
    ReportAnswer.model_validate(answer.body)
    report = answer.body["report"]
    assert report["status"] == "routed"
    assert report["text"] == (
        "U hebt gezegd dat het niet is opgelost. Team Openbare Ruimte kijkt er opnieuw naar."
    )
    assert (report["unit"]["id"], report["resolve_by"]) == ("public_space", None)
    assert report["explained"]["by_when"] == "Wij weten nog niet wanneer dit klaar is."
    assert report["timeline"][-1]["status"] == "reopened"
    assert [one["text"] for one in (await mine.mine("GET", "/messages")).body["messages"]] == [NOT_SOLVED]
    assert await mine.events() == ["ReportAccepted", "ReportReopened"]
    await mine.dispatch(events.ReportAcknowledged, events.ReportResolved)
    view = await mine.view()
    assert (view["status"], "reopen" in view["possible"]) == ("resolved", True)
    if kind == "tip":
        assert {(at.minute, at.second) for at in await all_times(tips) if at} == {(0, 0)}


async def test_reopening_twice_says_it_once(tips: Tips) -> None:
    """Also at the same time. Another text is not lost: it is refused, and may be sent as a message."""
    mine = await resolved(tips)
    answers = await asyncio.gather(*(mine.mine("POST", "/reopening", {"text": NOT_SOLVED}) for _ in range(4)))
    assert [answer.status for answer in answers] == [200] * 4
    assert len({answer.content for answer in answers}) == 1
    assert (await mine.mine("POST", "/reopening", {})).content == answers[0].content
    assert (await mine.mine("POST", "/reopening", {"text": "Other"})).code == "reopened-before"
    assert await mine.events() == ["ReportAccepted", "ReportReopened"]
    assert len((await mine.mine("GET", "/messages")).body["messages"]) == 1


@pytest.mark.parametrize("kind", ["issue", "tip"])
async def test_reopening_ends_with_its_days(tips: Tips, kind: str) -> None:
    """The view names the last moment; at that moment it is possible, after it no more."""
    mine = await resolved(tips, kind)
    until = (await mine.view())["reopen_until"]
    assert until == ("2026-11-26T13:39:11.123456Z" if kind == "issue" else "2026-11-26T13:00:00Z")
    start = tips.clock.now + timedelta(minutes=2)
    if kind == "tip":
        start = start.replace(minute=0, second=0, microsecond=0)
    tips.clock.now = start + REOPEN_DAYS + timedelta(microseconds=1)
    answer = await mine.mine("POST", "/reopening", {"text": NOT_SOLVED})
    assert (answer.status, answer.code) == (409, "not-possible-now")
    assert answer.body["possible"] == ["message", "rate", "erase"]
    tips.clock.now = start + REOPEN_DAYS
    assert (await mine.mine("POST", "/reopening", {"text": NOT_SOLVED})).status == 200


@pytest.mark.parametrize("kind", ["issue", "tip"])
async def test_a_report_is_taken_back_once_and_stays_so(tips: Tips, kind: str) -> None:
    """Whatever the unit says later; saying it again answers the same; its words stay until erased."""
    mine = await followed(tips, issue() if kind == "issue" else tip())
    await mine.dispatch(events.ReportRouted)
    first = await mine.mine("POST", "/withdrawal")
    assert first.status == 200
    ReportAnswer.model_validate(first.body)
    assert (first.body["report"]["status"], first.body["report"]["possible"]) == ("withdrawn", ["erase"])
    assert first.body["report"]["explained"] is None
    assert (await mine.mine("POST", "/withdrawal")).content == first.content
    await mine.dispatch(events.ReportDelivered, events.ReportResolved)
    view = await mine.view()
    assert (view["status"], view["timeline"][-1]["status"]) == ("withdrawn", "resolved")
    assert await mine.events() == ["ReportAccepted", "ReportWithdrawn"]
    assert (await tips.words(mine.report_id)).status == 200


async def test_what_is_done_cannot_be_taken_back_nor_what_is_open_be_reopened(tips: Tips) -> None:
    """409 names the status and what is possible."""
    mine = await followed(tips)
    for method, path, body in (("POST", "/reopening", {}), ("PUT", "/rating", {"satisfied": True})):
        answer = await mine.mine(method, path, body)
        assert (answer.status, answer.code) == (409, "not-possible-now")
        assert answer.body["status_of_report"] == "accepted"
        assert answer.body["possible"] == ["message", "withdraw", "erase"]
    await mine.dispatch(events.ReportRouted, events.ReportRefused)
    answer = await mine.mine("POST", "/withdrawal")
    assert (answer.status, answer.body["status_of_report"]) == (409, "refused")
    assert await mine.events() == ["ReportAccepted"]


async def test_a_rating_is_kept_without_words_and_said_nowhere(tips: Tips) -> None:
    """It may be changed while it could be reopened, not after; the first one may come later."""
    mine, late = await resolved(tips), await resolved(tips)
    answer = await mine.mine("PUT", "/rating", {"satisfied": False, "stars": 2})
    assert answer.status == 200
    RatingAnswer.model_validate(answer.body)
    assert answer.body == {"rating": {"satisfied": False, "stars": 2}}
    assert (await mine.mine("PUT", "/rating", {"satisfied": True})).body["rating"]["stars"] is None
    tips.clock.now += REOPEN_DAYS + timedelta(hours=1)
    assert (await mine.mine("PUT", "/rating", {"satisfied": True})).status == 200
    answer = await mine.mine("PUT", "/rating", {"satisfied": False})
    assert (answer.status, answer.code) == (409, "not-possible-now")
    assert (await late.mine("PUT", "/rating", {"satisfied": True, "stars": 5.0})).status == 200
    rows = {row["report_id"]: dict(row) for row in await tips.rows("SELECT * FROM rating")}
    assert rows[late.report_id] == {"report_id": late.report_id, "satisfied": True, "stars": 5}
    assert rows[mine.report_id]["satisfied"] is True
    assert await mine.events() == ["ReportAccepted"]


@pytest.mark.parametrize("rating", [{}, {"satisfied": True, "stars": 0}, {"satisfied": True, "stars": 6},
                                    {"satisfied": 1}, {"satisfied": True, "words": "fine"}])  # fmt: skip
async def test_a_rating_of_another_form_is_refused(rating: dict[str, object], tips: Tips) -> None:
    """By name, and nothing is stored."""
    mine = await resolved(tips)
    assert (await mine.mine("PUT", "/rating", rating)).code == "invalid-request"
    assert "fine" not in (await everything(tips))["rating"]
    assert not await tips.rows("SELECT FROM rating")
