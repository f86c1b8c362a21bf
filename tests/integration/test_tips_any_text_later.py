"""Any text in what is sent about a report that is there: refused with a problem that names the field, or read
back as it was sent."""

import uuid
from collections.abc import Awaitable, Callable

import pytest

from shared import events
from tests.integration.followed import Followed, followed
from tests.integration.test_tips_any_text import BLANK_ENDS, NASTY, TEXTS, tried
from tests.integration.tips_server import Answer, Tips, issue

Send = Callable[[Followed, str], Awaitable[Answer]]
Read = Callable[[Followed], Awaitable[object]]


async def last_message(mine: Followed) -> object:
    return (await mine.mine("GET", "/messages")).body["messages"][-1]["text"]


async def reopen(mine: Followed, text: str) -> Answer:
    await mine.dispatch(events.ReportResolved)
    return await mine.mine("POST", "/reopening", {"text": text})


async def set_public_text(mine: Followed, text: str) -> Answer:
    return await mine.tips.public_text(mine.report_id, text=text)


async def public_text(mine: Followed) -> object:
    (row,) = await mine.tips.rows("SELECT issue_id FROM issue")
    return (await mine.tips.get(f"/v1/issues/{row['issue_id']}")).body["issue"]["text"]


async def ask_as(mine: Followed, unit: str) -> Answer:
    return await mine.ask(unit=unit)


async def rate(mine: Followed, text: str) -> Answer:
    return await mine.mine("PUT", "/rating", {"satisfied": text})


async def mark(mine: Followed, by: str) -> Answer:
    return await mine.inside("POST", "/spam", {"by": by, "decision_id": str(uuid.uuid4())})


# How it is sent, the field's pointer, and how it is read back; None where nobody reads it.
FIELDS: dict[str, tuple[Send, str, Read | None]] = {
    "resident's message": (Followed.write, "/text", last_message),
    "unit's message": (Followed.ask, "/text", last_message),
    "reopening": (reopen, "/text", last_message),
    "public text": (set_public_text, "/text", public_text),
    "unit": (ask_as, "/unit", None),
    "rating": (rate, "/satisfied", None),
    "who says spam": (mark, "/by", None),
}


async def outcome(mine: Followed, name: str, text: str) -> None:
    """Fails unless one of the two happened."""
    send, pointer, read = FIELDS[name]
    answer = await send(mine, text)
    if answer.status in (200, 201):
        assert read is None or await read(mine) == BLANK_ENDS.sub("", text)
        await mine.tips.rows("DELETE FROM message")
        return
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.status == 422
    told = {error["pointer"] for error in answer.body.get("errors", [])}
    assert told == {pointer} or answer.code == "emergency"


@pytest.mark.parametrize("name", FIELDS)
async def test_any_text_about_a_report_is_refused_by_name_or_kept_as_it_is(name: str, tips: Tips) -> None:
    """Every nasty text, then many that hypothesis makes of them; never a fault."""
    mine = await followed(tips, issue(category="bulky_waste"))
    for text in NASTY:
        await outcome(mine, name, text)
    await tried(TEXTS, lambda text: outcome(mine, name, text), max_examples=25)
