"""What is erased is gone, and the certificate says what, when, and who had been sent it."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from services.tips import month_keys, recovery
from services.tips.app import forget_receipts
from services.tips.core import keeping
from services.tips.core.certificate import CERTIFICATE_KEPT
from services.tips.core.conversation import MESSAGES_PER_SENDER
from services.tips.queries import reports
from services.tips.schemas import CertificateAnswer, ConfirmationView, ReportAnswer, SpamMark
from shared import events
from shared.mending.recover import History
from tests.integration.followed import ANSWER, QUESTION, Followed, followed
from tests.integration.test_tips_privacy import all_times, everything, forms
from tests.integration.test_tips_retention import place, run
from tests.integration.tips_server import SECRET_ADDRESS, SECRET_WORDS, Tips, issue, new_key, tip

WEBHOOK = "unit:public_space via webhook"
OTHER = "unit:parking via e-mail"
HELD = {
    "nl": "De wet vraagt ons om die te bewaren tot en met 24 december 2026.",
    "en": "The law asks us to keep it until the end of 24 December 2026.",
}
# Whatever says something about one report, but for the report itself, its steps and its log.
WRITTEN = ("message", "rating")


async def lived(tips: Tips, body: dict[str, Any]) -> Followed:
    """A report with a conversation, two readers who were sent its words, one who read them here, a rating."""
    mine = await followed(tips, body)
    await tips.words(mine.report_id, reader=WEBHOOK)
    await tips.words(mine.report_id, reader=OTHER)
    await tips.words(mine.report_id, purpose="follow_up", reader="officer:k.jansen")
    await mine.ask()
    await mine.write(ANSWER)
    await mine.dispatch(events.ReportRouted, events.ReportResolved)
    await mine.mine("PUT", "/rating", {"satisfied": True, "stars": 4})
    return mine


async def sealed_bytes(tips: Tips) -> list[str]:
    """What is stored sealed now, keys and words, as hexadecimal."""
    rows = await tips.rows("SELECT wrapped_key AS part FROM report UNION ALL SELECT sealed FROM report")
    rows += await tips.rows("SELECT sealed AS part FROM message")
    return [row["part"].hex() for row in rows]


@pytest.mark.parametrize("body", [issue, tip])
async def test_an_erased_report_is_nowhere(body: Callable[[], dict[str, Any]], tips: Tips) -> None:
    """Not in clear and not sealed; one event says so and one line of the log; the status says it to the
    resident, and nothing but the certificate is possible."""
    mine = await lived(tips, body())
    sealed = await sealed_bytes(tips)
    assert len(sealed) == 4
    answer = await mine.mine("DELETE")
    assert answer.status == 200
    dump = await everything(tips)
    for secret in (SECRET_WORDS, SECRET_ADDRESS, QUESTION, ANSWER):
        for form in forms(secret):
            assert [table for table, text in dump.items() if form in text] == []
    assert [part for part in sealed for text in dump.values() if part in text] == []
    assert [dump[table] for table in WRITTEN] == ["", ""]
    assert await mine.events() == ["ReportAccepted", "ReportAnswered", "ReportErased"]
    assert (await mine.log())[-1] == ("erasure", "resident", "tips", "resident")
    view = await mine.view()
    assert (view["status"], view["possible"], view["kept_until"]) == ("erased", [], None)
    assert view["text"] == (
        "U hebt uw melding gewist. In een reservekopie staat het misschien nog."
        " Na 1 februari 2028 kan niemand die kopie meer lezen."
    )
    assert (await tips.words(mine.report_id)).status == 410
    for method, path in (("GET", "/messages"), ("POST", "/withdrawal")):
        assert (await mine.mine(method, path)).code == "report-erased"
    for method, path, sent in (("PUT", "/rating", {"satisfied": True}), ("POST", "/reopening", {})):
        assert (await mine.mine(method, path, sent)).code == "report-erased"
    await mine.dispatch(events.ReportAcknowledged, events.ReportResolved)
    later = await mine.view()
    assert (later["status"], later["text"]) == ("erased", view["text"])
    if mine.kind == "tip":
        assert {(at.minute, at.second) for at in await all_times(tips) if at} == {(0, 0)}


async def test_the_certificate_says_what_when_and_who_had_been_sent_it(tips: Tips) -> None:
    """By codes; whoever said that its copy is gone, or cannot be erased, stands there with the hour."""
    mine = await lived(tips, tip())
    assert (await mine.mine("GET", "/certificate")).code == "not-erased"
    tips.clock.now += timedelta(days=2)
    erased = (await mine.mine("DELETE")).body
    CertificateAnswer.model_validate(erased)
    sent = {"sent_at": "2026-11-12T13:00:00Z", "state": "waiting", "answered_at": None}
    assert erased["certificate"] == {
        "erased_at": "2026-11-14T13:00:00Z",
        "reason": "resident",
        "destroyed": {
            "words": 1,
            "messages": 2,
            "photos": 0,
            "ratings": 1,
            "email_addresses": 0,
            "public_texts": 0,
        },
        "backups_until": "2028-02-01T00:00:00Z",
        "sent_to": [{"reader": WEBHOOK} | sent, {"reader": OTHER} | sent],
        "read_by": [{"reader": "officer", "purpose": "follow_up", "at": "2026-11-12T13:00:00Z"}],
        "made_public": [],
        "certificate_until": "2027-11-14T13:00:00Z",
    }
    assert (await mine.mine("DELETE")).body == erased
    assert (await mine.events()).count("ReportErased") == 1
    answers = [
        await confirm(mine, WEBHOOK, "cannot", "2026-11-14T15:20:01Z"),
        await confirm(mine, WEBHOOK, "confirmed", "2026-11-14T16:20:01+01:00"),
        await confirm(mine, WEBHOOK, "cannot", "2026-11-14T17:20:01Z"),
        await confirm(mine, OTHER, "cannot", "2026-11-14T18:20:01Z"),
    ]
    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.body["state"] for answer in answers] == ["cannot", "confirmed", "confirmed", "cannot"]
    ConfirmationView.model_validate(answers[0].body)
    told = (await mine.mine("GET", "/certificate")).body["certificate"]["sent_to"]
    assert [(one["state"], one["answered_at"]) for one in told] == [
        ("confirmed", "2026-11-14T15:00:00Z"),
        ("cannot", "2026-11-14T18:00:00Z"),
    ]
    assert {(at.minute, at.second) for at in await all_times(tips) if at} == {(0, 0)}


async def confirm(mine: Followed, destination: str, state: str, at: str, token: str | None = None) -> Any:
    path = f"/erasure-confirmations/{quote(destination)}"
    given = {"token": token} if token else {}
    return await mine.inside("PUT", path, {"state": state, "at": at}, **given)


async def test_only_those_who_were_sent_words_confirm_and_only_an_erasure(tips: Tips) -> None:
    """Each refusal says what to do instead."""
    mine = await lived(tips, issue())
    at = "2026-11-14T15:20:01Z"
    assert (await confirm(mine, WEBHOOK, "confirmed", at)).code == "not-erased"
    await mine.mine("DELETE")
    assert (await confirm(mine, "officer:k.jansen", "confirmed", at)).code == "destination-unknown"
    assert (await confirm(mine, "nobody", "confirmed", at)).status == 422
    assert (await confirm(mine, WEBHOOK, "perhaps", at)).code == "invalid-request"
    assert (await confirm(mine, WEBHOOK, "confirmed", "2026-11-14T15:20:01")).code == "invalid-request"
    assert (await confirm(mine, WEBHOOK, "confirmed", at, "x" * 40)).status == 401
    assert not await tips.rows("SELECT FROM erasure_confirmation")
    mine.report_id = uuid.uuid4()
    assert (await confirm(mine, WEBHOOK, "confirmed", at)).code == "report-unknown"


async def test_who_confirms_the_erasure_of_what_was_lost_need_not_ask_again(tips: Tips) -> None:
    """A report that is known by its events alone, since its database was restored, has no certificate."""
    mine = await lived(tips, issue())
    await mine.mine("DELETE")
    await tips.rows("DELETE FROM erasure")
    answer = await confirm(mine, WEBHOOK, "confirmed", "2026-11-14T15:20:01Z")
    assert (answer.status, answer.code) == (410, "report-erased")


def decision() -> dict[str, str]:
    """A new one of an officer: it is spam."""
    return {"by": "officer:k.jansen", "decision_id": str(uuid.uuid4())}


async def test_spam_is_erased_after_days_in_which_its_sender_can_say_that_it_is_none(tips: Tips) -> None:
    """Who marked it is logged, once; until the last day the sender reads when it goes, and can write."""
    mine = await lived(tips, issue(language="en"))
    assert (await mine.inside("POST", "/spam", decision(), token="x" * 40)).status == 401
    assert (await mine.inside("POST", "/spam", decision() | {"by": "K. Jansen"})).code == "invalid-request"
    marked = {"status": "marked", "until": "2026-11-19"}
    for _ in range(2):
        answer = await mine.inside("POST", "/spam", decision())
        assert (answer.status, answer.body) == (200, marked)
        SpamMark.model_validate(answer.body)
        tips.clock.now += timedelta(days=1)
    view = await mine.view()
    ReportAnswer.model_validate({"report": view})
    assert view["text"].startswith(
        "We took this report for spam or abuse. After 19 November 2026 we erase it."
    )
    assert view["erasure_waits"] == {"reason": "spam", "until": "2026-11-19"}
    assert {"message", "erase"} <= set(view["possible"])
    # Also where that day ends late.
    await run(tips, datetime(2026, 11, 20, 23, 59, tzinfo=UTC))
    assert (await mine.view())["status"] == "resolved"
    for _ in range(2):
        await run(tips, datetime(2026, 11, 21, tzinfo=UTC))
    answer = await mine.inside("POST", "/spam", decision())
    assert answer.body == {"status": "erased", "until": None}
    assert (await mine.inside("DELETE", "/spam?by=officer:k.jansen")).status == 410
    view = await mine.view()
    assert view["text"].startswith("We took this report for spam or abuse.")
    assert view["text"].startswith(view["timeline"][-1]["text"])
    assert (await mine.mine("GET", "/certificate")).body["certificate"]["reason"] == "spam"
    assert (await mine.events())[-1] == "ReportErased"
    assert [line for line in await mine.log() if line[3].startswith("spam")] == [
        ("alteration", "officer:k.jansen", "notify", "spam_marked"),
        ("erasure", "retention", "tips", "spam"),
    ]
    assert (await mine.mine("DELETE")).status == 200
    mine.report_id = uuid.uuid4()
    assert (await mine.inside("POST", "/spam", decision())).status == 404


async def test_who_says_that_it_is_no_spam_is_read_by_somebody_first(tips: Tips) -> None:
    """A message takes the mark back, which is logged; the same decision again does not mark it anew, another
    does."""
    mine = await lived(tips, tip(language="en"))
    before, first = await mine.view(), decision()
    await mine.inside("POST", "/spam", first)
    assert (await mine.view())["erasure_waits"]
    assert (await mine.write("It is no spam.")).status == 201
    after = await mine.view()
    assert (after["erasure_waits"], after["text"]) == (None, before["text"])
    answer = await mine.inside("POST", "/spam", first)
    assert answer.body == {"status": "unmarked", "until": None}
    SpamMark.model_validate(answer.body)
    await run(tips, datetime(2026, 11, 30, tzinfo=UTC))
    assert (await mine.view())["status"] == "resolved"
    tips.clock.now = datetime(2026, 11, 30, tzinfo=UTC)
    assert (await mine.inside("POST", "/spam", decision())).body["until"] == "2026-12-07"
    assert [line for line in await mine.log() if line[3].startswith("spam")] == [
        ("alteration", "officer:k.jansen", "notify", "spam_marked"),
        ("alteration", "resident", "tips", "spam_unmarked"),
        ("alteration", "officer:k.jansen", "notify", "spam_marked"),
    ]


async def test_a_decision_that_is_told_again_late_marks_nothing(tips: Tips) -> None:
    """Also one that came while it was marked; what was withdrawn is not marked at all."""
    mine, first, second = await lived(tips, tip()), decision(), decision()
    for one in (first, second):
        assert (await mine.inside("POST", "/spam", one)).body["status"] == "marked"
    assert (await mine.write("It is no spam.")).status == 201
    for one in (second, first):
        assert (await mine.inside("POST", "/spam", one)).body == {"status": "unmarked", "until": None}
    withdrawn = await followed(tips, issue())
    assert (await withdrawn.mine("POST", "/withdrawal")).status == 200
    assert (await withdrawn.inside("POST", "/spam", decision())).body["status"] == "unmarked"


async def test_who_has_written_all_that_may_be_can_say_that_it_is_no_spam(tips: Tips) -> None:
    """Above the limit of messages, this one is taken."""
    mine = await lived(tips, tip())
    for number in range(MESSAGES_PER_SENDER - 1):
        assert (await mine.write(f"{number}")).status == 201
    assert (await mine.write("one more")).code == "too-many-messages"
    await mine.inside("POST", "/spam", decision())
    assert (await mine.write("It is no spam.")).status == 201
    assert (await mine.view())["erasure_waits"] is None


async def test_a_restored_database_takes_nothing_for_spam(tips: Tips) -> None:
    """Who objected after the backup is known nowhere; it is logged."""
    mine = await lived(tips, issue())
    await mine.inside("POST", "/spam", decision())
    async with tips.pool.acquire() as connection, connection.transaction():
        told = await recovery.take_back(connection, History([], [], deliver_again=False), tips.clock.now)
    assert any(line.startswith("1 reports are taken for spam no more") for line in told.lines)
    assert (await mine.view())["erasure_waits"] is None
    assert (await mine.log())[-1] == ("alteration", "operator", "tips", "spam_before_restore")


async def test_what_is_taken_for_spam_is_read_again_and_stays(tips: Tips) -> None:
    """Whoever takes the mark back is logged, once; the report is as it was before. One that is held is
    read by whoever it is held for, and goes when the hold ends."""
    mine, held = await lived(tips, tip()), await lived(tips, issue())
    before = await mine.view()
    await place(tips, held.report_id, date(2026, 12, 24))
    for one in (mine, held):
        await one.inside("POST", "/spam", decision())
    assert (await tips.words(mine.report_id)).status == 200
    assert (await mine.inside("DELETE", "/spam?by=K. Jansen")).status == 422
    for _ in range(2):
        answer = await mine.inside("DELETE", "/spam?by=officer:b.devries")
        assert (answer.status, answer.body) == (200, {"status": "unmarked", "until": None})
    assert await mine.view() == before
    assert [line for line in await mine.log() if line[3].startswith("spam")] == [
        ("alteration", "officer:k.jansen", "notify", "spam_marked"),
        ("alteration", "officer:b.devries", "notify", "spam_unmarked"),
    ]
    for day in (1, 2, 25):
        await run(tips, datetime(2026, 12, day, tzinfo=UTC))
        assert (await mine.view())["status"] == "resolved"
        view = await held.view()
        waits = None if day == 25 else {"reason": "spam", "until": "2026-12-24"}
        assert (view["status"] == "erased", view["erasure_waits"]) == (day == 25, waits)
        assert (await tips.words(held.report_id)).status == (410 if day == 25 else 200)
    assert [line[3] for line in await held.log() if line[0] == "erasure"] == ["spam"]


async def test_that_nobody_can_get_it_back_is_said_once_it_is_so(tips: Tips) -> None:
    """Not while a dump of before can be opened: until no copy is kept of the key that the words were under,
    62 days after it was destroyed, that of their month in its time, that of a hold with the next run."""
    month, held = await followed(tips, tip(language="en")), await followed(tips, issue(language="en"))
    async with tips.pool.acquire() as connection:
        name = keeping.hold_key_name(held.report_id)
        async with connection.transaction():
            report, sealed = await reports.lock(connection, held.report_id) or pytest.fail("it is there")
            assert sealed
            await month_keys.move(connection, tips.desk.keys, report, sealed, name)
    for mine, until, day in (
        (month, "2028-02-01T00:00:00Z", "1 February 2028"),
        (held, "2027-01-13T15:37:11.123456Z", "13 January 2027"),
    ):
        assert (await mine.mine("DELETE")).body["certificate"]["backups_until"] == until
        assert f"After {day} nobody can read that backup any more." in (await mine.view())["text"]
    for key in (name, "2026-11-led-365"):
        tips.desk.keys.destroy(key)
    destroyed = datetime.now(UTC)
    for mine in (month, held):
        said = (await mine.mine("GET", "/certificate")).body["certificate"]["backups_until"]
        assert timedelta(days=62) <= datetime.fromisoformat(said) - destroyed <= timedelta(days=62, hours=1)
    tips.clock.now = destroyed + timedelta(days=63)
    for mine in (month, held):
        assert (await mine.mine("GET", "/certificate")).body["certificate"]["backups_until"] is None
        assert (await mine.view())["text"] == "You erased your report. Nobody can get it back."


@pytest.mark.parametrize(("language", "said"), list(HELD.items()))
async def test_who_erases_what_is_held_is_told_that_it_waits(language: str, said: str, tips: Tips) -> None:
    """Until when, in the report's language; nothing can be done meanwhile. Asking again is the same answer,
    and nothing more is logged; when the hold ends it is erased."""
    mine = await lived(tips, tip(language=language))
    await place(tips, mine.report_id, date(2026, 12, 24))
    answers = [await mine.mine("DELETE") for _ in range(2)]
    answers += await asyncio.gather(*(mine.mine("DELETE") for _ in range(4)))
    assert {(answer.status, answer.code) for answer in answers} == {(409, "on-hold")}
    ((until, detail),) = {(answer.body["until"], answer.body["detail"]) for answer in answers}
    assert until == "2026-12-24"
    assert said in detail
    assert [line for line in await mine.log() if line[3] == "restricted:resident"] == [
        ("alteration", "resident", "tips", "restricted:resident")
    ]
    view = await mine.view()
    ReportAnswer.model_validate({"report": view})
    assert view["text"] == detail
    assert view["erasure_waits"] == {"reason": "resident", "until": "2026-12-24"}
    assert (view["possible"], view["explained"], view["question_open"]) == ([], None, False)
    for method, path, sent in (
        ("PUT", "/rating", {"satisfied": False}),
        ("POST", "/reopening", {}),
        ("POST", "/withdrawal", None),
    ):
        assert (await mine.mine(method, path, sent)).code == "report-restricted"
    await run(tips, datetime(2026, 12, 25, tzinfo=UTC))
    view = await mine.view()
    assert (view["status"], view["erasure_waits"]) == ("erased", None)


async def test_after_a_restore_an_operator_says_again_what_its_resident_asked(tips: Tips) -> None:
    """A backup of before does not know the wish: placed again with it, the hold keeps the words from
    everybody, and then they go."""
    mine = await lived(tips, issue())
    for _ in range(2):
        await place(tips, mine.report_id, date(2026, 12, 24), erase_after=True)
    assert [line for line in await mine.log() if line[3] == "restricted:resident"] == [
        ("alteration", "operator:jansen", "tips", "restricted:resident")
    ]
    assert (await tips.words(mine.report_id)).code == "report-restricted"
    assert (await mine.view())["erasure_waits"]["reason"] == "resident"


async def test_a_report_that_comes_again_after_it_was_erased_is_said_to_be(tips: Tips) -> None:
    """It is not stored anew, and its receipt leads to the certificate; who sends something else under its key
    gets neither."""
    key, body = new_key(), tip()
    receipt = (await tips.post(body, key)).body["receipt"]
    mine = Followed(tips, receipt, await tips.report_id(), "tip")
    await mine.mine("DELETE")
    stored, events = await tips.stored(), await mine.events()
    answer = await tips.post(body, key)
    assert (answer.status, answer.code) == (410, "report-sent-and-erased")
    assert answer.body["receipt"] == receipt
    assert (await Followed(tips, receipt, mine.report_id, "tip").mine("GET", "/certificate")).status == 200
    assert (await tips.stored(), await mine.events()) == (stored, events)
    other = await tips.post(body | {"description": "Another one"}, key)
    assert (other.status, other.code, "receipt" in other.body) == (409, "idempotency-key-reused", False)


async def test_erasing_in_the_middle_of_a_conversation(tips: Tips) -> None:
    """Messages of both sides and an erasure at the same time, again and again: each message is in and erased
    with the rest, or refused with 410; nothing is left, and it is erased once."""
    refused = 0
    for round_number in range(8):
        mine = await followed(tips, tip() if round_number % 2 else issue())
        work = [mine.write(f"{ANSWER} {n}") for n in range(4)] + [mine.ask() for _ in range(4)]
        work[round_number:round_number] = [mine.mine("DELETE"), mine.mine("DELETE")]
        answers = await asyncio.gather(*work)
        statuses = [answer.status for answer in answers]
        assert set(statuses) <= {200, 201, 410}
        refused += statuses.count(410)
        (row,) = await tips.rows(
            "SELECT destroyed::text AS said FROM erasure WHERE report_id = $1", mine.report_id
        )
        assert f'"messages": {statuses.count(201)}' in row["said"]
        assert (await mine.events()).count("ReportErased") == 1
    assert refused
    assert not await tips.rows("SELECT FROM message")
    assert not await tips.rows("SELECT FROM report WHERE sealed IS NOT NULL OR wrapped_key IS NOT NULL")


async def test_after_its_time_the_receipt_leads_to_the_certificate_no_more(tips: Tips) -> None:
    """Until then it does; the report is counted on, and what was not erased keeps its receipt."""
    mine, other = await lived(tips, tip()), await followed(tips)
    await mine.mine("DELETE")
    await confirm(mine, WEBHOOK, "confirmed", "2026-11-14T15:20:01Z")
    tips.clock.now += CERTIFICATE_KEPT - timedelta(hours=1)
    await forgotten(tips)
    assert (await mine.mine("GET", "/certificate")).status == 200
    tips.clock.now += timedelta(hours=2)
    await forgotten(tips)
    unknown = await mine.mine("GET", "/certificate")
    assert (unknown.status, unknown.code) == (404, "receipt-unknown")
    assert not await tips.rows("SELECT FROM erasure_confirmation")
    assert (await other.mine("GET")).status == 200
    assert len(await tips.rows("SELECT FROM report")) == 2


async def forgotten(tips: Tips) -> None:
    """The part that forgets, once."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(forget_receipts(tips.pool, tips.clock), 1)
