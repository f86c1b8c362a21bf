"""A unit decides which text of an issue is public, over real HTTP and a real PostgreSQL."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.tips import erasing, publishing
from services.tips.core.certificate import reader_shown
from services.tips.core.moderation import digest_of
from services.tips.core.view import utc
from services.tips.queries import holds, reports
from services.tips.schemas import CertificateAnswer, ReportAnswer
from tests.conftest import MakeDatabase
from tests.integration.followed import followed
from tests.integration.test_tips_issues import listed, sent
from tests.integration.test_tips_privacy import everything, forms
from tests.integration.tips_server import (
    LATITUDE,
    LONGITUDE,
    PUBLIC_URL,
    SECRET_WORDS,
    Tips,
    issue,
    running_tips,
    tip,
    town_with,
)

SUMMARY = "De lamp bij de bushalte is kapot"
DIGEST = digest_of(SECRET_WORDS)
APPROVAL: dict[str, Any] = {"approve": True, "digest": DIGEST}


@pytest_asyncio.fixture
async def moderated(database: MakeDatabase, tmp_path: Path) -> AsyncIterator[Tips]:
    """Tips of a town where graffiti has summaries, street lights have the residents' words, others none."""
    town = town_with(graffiti={"public_text": "summary"}, street_light={"public_text": "words"})
    async with running_tips(await database("tips"), tmp_path, town) as running:
        yield running


async def log_of(tips: Tips) -> list[tuple[str, str, str, str]]:
    rows = await tips.rows(
        "SELECT act, actor, service, purpose FROM disclosure WHERE purpose <> 'report' ORDER BY number"
    )
    return [tuple(row) for row in rows]


async def said(tips: Tips) -> int:
    return len(await tips.rows("SELECT FROM outbox WHERE topic = 'ibuurt.issues.v1'"))


async def test_a_units_summary_is_public_until_it_is_taken_back(moderated: Tips) -> None:
    """Found and shown everywhere but on the topic; each change is logged once, however often it is said."""
    row = await sent(moderated, issue(category="graffiti"))
    events = await said(moderated)
    for _ in range(3):
        answer = await moderated.public_text(row["report_id"], text=f" {SUMMARY}\n")
        assert (answer.status, answer.body["public_text"]) == (200, SUMMARY)
    (found,) = await listed(moderated, text="bushalte")
    assert (found["text"], found["text_by"], found["version"]) == (SUMMARY, "unit", 1)
    by = "unit:public_space via desk"
    assert await log_of(moderated) == [("disclosure", by, "notify", "public_text")]
    for _ in range(2):
        answer = await moderated.public_text(row["report_id"], text=None)
        assert (answer.status, answer.body["public_text"]) == (200, None)
    assert await listed(moderated, text="bushalte") == []
    assert (await listed(moderated))[0]["text"] is None
    assert (await log_of(moderated))[1:] == [("alteration", by, "notify", "public_text")]
    assert await said(moderated) == events


async def test_nearby_says_no_more_than_the_list_does(moderated: Tips) -> None:
    """Before a text is public, while it is, and after it was taken back: the same, but for the distance."""
    row = await sent(moderated, issue(category="graffiti"))
    for text in (None, SUMMARY, None):
        await moderated.public_text(row["report_id"], text=text)
        path = f"/v1/issues/near?latitude={LATITUDE}&longitude={LONGITUDE}&category=graffiti"
        answer = await moderated.get(path)
        (near,) = answer.body["issues"]
        assert {name: near[name] for name in near if not name.endswith("_metres")} == (
            await listed(moderated)
        )[0]
        assert near["text"] == text
        assert SECRET_WORDS.encode() not in answer.content


async def test_the_words_that_were_read_become_public_once_they_are_approved(moderated: Tips) -> None:
    """Not in clear anywhere before; exactly as they were sent after it."""
    words = f"{SECRET_WORDS} — nº 14 ✔"
    row = await sent(moderated, issue(description=words))
    for table, text in (await everything(moderated)).items():
        assert not [form for form in forms(words) if form in text], table
    read_words = (await moderated.words(row["report_id"])).body["description"]
    digest = hashlib.sha256(read_words.encode()).hexdigest()
    assert (await moderated.public_text(row["report_id"], approve=True, digest=digest)).status == 200
    (found,) = await listed(moderated, text="hides")
    assert (found["text"], found["text_by"]) == (words, "resident")
    assert words in (await moderated.get("/v1/issues.atom")).content.decode()
    dump = await everything(moderated)
    assert {table for table, text in dump.items() if words.lower() in text} == {"issue"}
    assert (await moderated.public_text(row["report_id"], approve=False)).status == 200
    dump = await everything(moderated)
    assert {table for table, text in dump.items() if words.lower() in text} == set()


async def test_the_certificate_counts_what_was_public_and_the_address(moderated: Tips) -> None:
    """And says who made it public, when: what everybody could read may be anywhere."""
    mine = await followed(moderated, issue())
    assert (await mine.mine("PUT", "/email", {"address": "someone@example.org"})).status == 202
    assert (await moderated.public_text(mine.report_id, approve=True, digest=DIGEST)).status == 200
    certificate = (await mine.mine("DELETE")).body["certificate"]
    CertificateAnswer.model_validate({"certificate": certificate})
    assert certificate["destroyed"] == {
        "words": 1,
        "messages": 0,
        "photos": 0,
        "ratings": 0,
        "email_addresses": 1,
        "public_texts": 1,
    }
    (made,) = certificate["made_public"]
    (line,) = await moderated.rows("SELECT at, actor FROM disclosure WHERE purpose = 'public_text'")
    assert made == {"by": reader_shown(line["actor"]), "at": utc(line["at"])}
    assert certificate["sent_to"] == []


async def test_what_a_hold_locks_away_is_public_no_more(moderated: Tips) -> None:
    """Its sender erased it: the issue and its text go at once with a tombstone, and nobody approves words
    again."""
    row = await sent(moderated, issue())
    assert (await moderated.public_text(row["report_id"], approve=True, digest=DIGEST)).status == 200
    events = await said(moderated)
    async with moderated.pool.acquire() as connection, connection.transaction():
        found = await reports.lock(connection, row["report_id"])
        assert found is not None
        now = moderated.clock.now
        await holds.place(connection, row["report_id"], "court_order", "jansen", now.date(), now.date())
        await erasing.erase(connection, found[0], "resident", now, moderated.desk.source)
    assert await listed(moderated) == []
    assert await said(moderated) == events + 1
    assert await moderated.rows("SELECT FROM issue_gone")
    assert (await moderated.public_text(row["report_id"], approve=True, digest=DIGEST)).status == 409


async def test_other_words_than_those_that_were_read_are_not_approved(moderated: Tips) -> None:
    """409, and nothing is public or logged."""
    row = await sent(moderated)
    answer = await moderated.public_text(row["report_id"], approve=True, digest=digest_of(f"{SECRET_WORDS} "))
    assert (answer.status, answer.code) == (409, "other-words")
    assert (await listed(moderated))[0]["text"] is None
    assert await log_of(moderated) == []


@pytest.mark.parametrize(
    ("body", "changes", "code"),
    [
        (tip(), {"text": SUMMARY}, "no-public-text"),
        (tip(), APPROVAL, "no-public-text"),
        (tip(), {"text": None}, "no-public-text"),
        (issue(category="wrong_parking"), {"text": SUMMARY}, "no-public-text"),
        (issue(category="noise"), {"text": SUMMARY}, "no-public-text"),
        (
            issue(category="graffiti"),
            {"approve": True, "digest": digest_of(SECRET_WORDS)},
            "other-public-text",
        ),
        (issue(), {"text": SUMMARY}, "other-public-text"),
    ],
)
async def test_what_may_have_no_such_text_is_refused(
    body: dict[str, Any], changes: dict[str, Any], code: str, moderated: Tips
) -> None:
    """A tip, a category without public texts, one with the other sort: 409 with what to do instead."""
    row = await sent(moderated, body)
    answer = await moderated.public_text(row["report_id"], **changes)
    assert (answer.status, answer.code) == (409, code)
    assert SUMMARY not in answer.content.decode()
    assert await log_of(moderated) == []
    for text in (await everything(moderated)).values():
        assert SUMMARY.lower() not in text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "x", "approve": True, "digest": "0" * 64},
        {"approve": True},
        {"approve": True, "digest": "short"},
        {"approve": False, "digest": "0" * 64},
        {"text": ""},
        {"text": " "},
        {"text": "x" * 1001},
        {"text": "a\0b"},
        {"text": "x", "by": "somebody"},
        {"text": "x", "note": "y"},
    ],
)
async def test_a_decision_that_is_not_clear_is_refused(body: dict[str, Any], moderated: Tips) -> None:
    """Exactly one of the two, with the digest of what is approved, by a code, within the limit."""
    row = await sent(moderated, issue(category="graffiti"))
    answer = await moderated.public_text(row["report_id"], **body)
    assert (answer.status, answer.code) == (422, "invalid-request")


async def test_only_notify_decides(moderated: Tips) -> None:
    """And an unknown report is none."""
    row = await sent(moderated, issue(category="graffiti"))
    assert (await moderated.public_text(row["report_id"], token="x" * 40, text="x")).status == 401
    unknown = await moderated.public_text(uuid.uuid4(), text="x")
    assert (unknown.status, unknown.code) == (404, "report-unknown")


async def test_an_erased_issue_has_no_public_text_any_more(moderated: Tips) -> None:
    """It is gone with the words, and cannot be given again."""
    row = await sent(moderated, issue(category="graffiti"))
    await moderated.public_text(row["report_id"], text=SUMMARY)
    async with moderated.pool.acquire() as connection, connection.transaction():
        locked = await reports.lock(connection, row["report_id"])
        assert locked
        await erasing.erase(connection, locked[0], "resident", moderated.clock.now, "/ibuurt/tips")
    for table, text in (await everything(moderated)).items():
        assert SUMMARY.lower() not in text, table
    answer = await moderated.public_text(row["report_id"], text=SUMMARY)
    assert (answer.status, answer.code) == (410, "report-erased")


async def test_racing_decisions_leave_one_text_and_a_line_for_each_change(moderated: Tips) -> None:
    """The last one stands; what was said twice at once is logged once."""
    row = await sent(moderated, issue(category="graffiti"))
    answers = await asyncio.gather(*(moderated.public_text(row["report_id"], text="one") for _ in range(8)))
    assert {answer.status for answer in answers} == {200}
    assert len(await log_of(moderated)) == 1


async def test_what_is_taken_back_has_no_public_text_any_more(moderated: Tips) -> None:
    """Its sender saw the text and where it is; it goes, logged, and no other comes."""
    mine = await followed(moderated, issue())
    page = (await listed(moderated))[0]["page"]
    assert (await mine.view())["public"] == {"page": page, "text": None, "text_by": None}
    await moderated.public_text(mine.report_id, **APPROVAL)
    view = await mine.view()
    ReportAnswer.model_validate({"report": view})
    assert (view["public"]["text"], view["public"]["text_by"]) == (SECRET_WORDS, "resident")
    for _ in range(2):
        withdrawn = (await mine.mine("POST", "/withdrawal")).body["report"]
        assert withdrawn["public"]["text"] is None
    ((found,), changes) = await listed(moderated), await log_of(moderated)
    assert (found["status"], found["text"]) == ("withdrawn", None)
    assert changes[1:] == [("alteration", "resident", "tips", "public_text")]
    assert (await moderated.public_text(mine.report_id, **APPROVAL)).code == "report-withdrawn"
    assert (await moderated.public_text(mine.report_id, approve=False)).status == 200


async def test_texts_that_the_folder_allows_no_more_go_at_start(
    database: MakeDatabase, tmp_path: Path
) -> None:
    """Those of a category that has none by whom they are, and those of what was taken back, as after a
    restore; logged. What fits stays, and another start changes nothing."""
    dsn = await database()
    words = {"public_text": "words"}
    town = town_with(street_light=words, graffiti=words, bulky_waste=words)
    async with running_tips(dsn, tmp_path, town) as tips:
        rows = {
            category: await sent(tips, issue(category=category))
            for category in ("street_light", "graffiti", "bulky_waste")
        }
        for row in rows.values():
            assert (await tips.public_text(row["report_id"], **APPROVAL)).status == 200
        withdrawn = await sent(tips, issue())
        assert (await tips.public_text(withdrawn["report_id"], **APPROVAL)).status == 200
        await tips.rows("UPDATE report SET status = 'withdrawn' WHERE report_id = $1", withdrawn["report_id"])
        logged = len(await log_of(tips))
    town = town_with(
        street_light=words, graffiti={"public_text": "none"}, bulky_waste={"public_text": "summary"}
    )
    async with running_tips(dsn, tmp_path, town) as tips, tips.pool.acquire() as connection:
        for _ in range(2):
            async with connection.transaction():
                assert not await publishing.settle(connection, town, PUBLIC_URL, tips.clock.now)
        (kept,) = [one for one in await listed(tips) if one["text"]]
        assert kept["id"] == str(rows["street_light"]["issue_id"])
        assert (await log_of(tips))[logged:] == [("alteration", "operator", "tips", "public_text")] * 3
