"""What a receipt shows, to whom, and in which words."""

import json
import uuid
from collections.abc import Callable
from datetime import date
from typing import Any

import asyncpg
import pytest

from services.tips import receipts
from services.tips.core import texts
from services.tips.core.lifecycle import OWN_STEPS, STEPS, TRANSITIONS
from services.tips.core.moderation import digest_of
from services.tips.schemas import ExportAnswer, ReportAnswer
from shared import events
from tests.integration.followed import ANSWER, QUESTION, Followed, followed
from tests.integration.test_tips_retention import place
from tests.integration.tips_server import SECRET_ADDRESS, SECRET_WORDS, Tips, issue, new_key, tip

# Every route of a resident behind a receipt, with a body that is in order.
ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("DELETE", "", None),
    ("GET", "/messages", None),
    ("POST", "/messages", {"text": "x"}),
    ("PUT", "/rating", {"satisfied": True}),
    ("POST", "/reopening", {}),
    ("POST", "/withdrawal", None),
    ("GET", "/certificate", None),
    ("GET", "/export", None),
]


def who_holds(receipt: str, tips: Tips) -> Followed:
    """Who has a receipt, sent as bytes of UTF-8, and does not know of which report."""
    return Followed(tips, receipt.encode().decode("latin-1"), uuid.UUID(int=0), "issue")


async def test_a_receipt_that_leads_nowhere_gets_the_same_answer_everywhere(tips: Tips) -> None:
    """Mistyped, made up, or no code at all: the same bytes from every route, and nothing changes."""
    await followed(tips)
    answers = set()
    for receipt in ("0000-0000-0000-0000-00000", "7777-7777-7777-7777-77777", "words", "é" * 300):
        for method, path, body in ROUTES:
            mine = who_holds(receipt, tips)
            answer = await mine.mine(method, path, body, **{"Idempotency-Key": new_key()})
            answers.add((answer.status, answer.content))
    ((status, content),) = answers
    assert (status, json.loads(content)["type"]) == (404, "urn:ibuurt:problem:receipt-unknown")
    assert (await tips.rows("SELECT status FROM report"))[0]["status"] == "accepted"


async def test_a_receipt_that_leads_nowhere_takes_the_same_work(
    tips: Tips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mistyped or made up: the same statements and keyed hashes, so that the time tells nothing either."""
    await followed(tips)
    work: list[str] = []
    for name in ("execute", "fetch", "fetchrow", "fetchval"):
        asked = getattr(asyncpg.Connection, name)
        monkeypatch.setattr(asyncpg.Connection, name, noting(work, asked, lambda given: given[1]))
    monkeypatch.setattr(receipts, "lookup_id", noting(work, receipts.lookup_id, lambda _: "lookup_id"))
    done = []
    for receipt in (receipts.shown(receipts.NO_RECEIPT), "7777-7777-7777-7777-77777", "words", "é" * 300):
        work.clear()
        for method, path, body in ROUTES:
            mine = who_holds(receipt, tips)
            await mine.mine(method, path, body, **{"Idempotency-Key": new_key()})
        done.append(list(work))
    assert len(done[0]) >= 2 * len(ROUTES)
    assert all(one == done[0] for one in done)


def noting(work: list[str], function: Any, said: Callable[[Any], str]) -> Any:
    """The function, which notes from now on what `said` makes of its arguments."""

    def noted(*arguments: Any, **keywords: Any) -> Any:
        work.append(said(arguments))
        return function(*arguments, **keywords)

    return noted


async def test_without_a_receipt_every_route_asks_for_one(tips: Tips) -> None:
    """Before it reads anything else."""
    for method, path, _ in ROUTES:
        answer = await tips.request(method, f"/v1/reports/mine{path}", None, {})
        assert (answer.status, answer.code) == (401, "receipt-missing"), path
        assert answer.headers["WWW-Authenticate"] == "Receipt"


def all_routes(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


async def test_the_openapi_document_has_every_route_with_its_answers(tips: Tips) -> None:
    """What it reads, what it answers and how it refuses."""
    document = (await tips.request("GET", "/v1/openapi.json", None, {})).body
    for method, path, body in ROUTES:
        described = document["paths"][f"/v1/reports/mine{path}"][method.lower()]
        assert {"401", "404", "503"} <= set(described["responses"]), path
        assert described["security"] == [{"Receipt": []}]
        assert ("requestBody" in described) == (body is not None), path
        success = described["responses"]["201" if path == "/messages" and body else "200"]
        assert "$ref" in success["content"]["application/json"]["schema"]
    assert {path for _, path in all_routes(document)} >= {f"/v1/reports/mine{path}" for _, path, _ in ROUTES}


@pytest.mark.parametrize("language", ["nl", "en"])
async def test_status_and_steps_are_in_plain_words(tips: Tips, language: str) -> None:
    """Who is responsible, by when and why, in the report's language, with days as people write them."""
    mine = await followed(tips, issue(language=language))
    ReportAnswer.model_validate({"report": await mine.view()})
    await mine.dispatch(events.ReportRouted, events.ReportDelivered)
    view = await mine.view()
    ReportAnswer.model_validate({"report": view})
    assert view["kept_until"] == "2027-12-01"
    if language == "nl":
        assert view["text"] == "Team Openbare Ruimte heeft uw melding ontvangen."
        assert view["explained"] == {
            "who": "Team Openbare Ruimte is verantwoordelijk voor uw melding.",
            "by_when": "Uiterlijk op 13 november 2026 leest Team Openbare Ruimte uw melding."
            " Uiterlijk op 15 november 2026 wil Team Openbare Ruimte klaar zijn.",
            "why": "Team Openbare Ruimte onderhoudt straten, lampen en groen.",
            "before": None,
        }
        assert view["timeline"][1]["text"] == "Uw melding ging naar Team Openbare Ruimte."
    else:
        assert view["text"] == "Public space team has received your report."
        assert view["explained"]["by_when"] == (
            "Public space team will read your report by 13 November 2026."
            " Public space team wants to be done by 15 November 2026."
        )
    await mine.dispatch(events.ReportAcknowledged, events.ReportPlanned)
    view = await mine.view()
    assert "20 november 2026" in view["text"].lower()
    assert "13 november" not in view["explained"]["by_when"].lower()
    await mine.dispatch(events.DeliveryFailed, events.ReportEscalated, events.ReportAnswerAsked)
    assert all(step["text"] for step in (await mine.view())["timeline"])


@pytest.mark.parametrize("body", [issue(), issue(language="en"), tip()], ids=["nl", "en", "tip"])
async def test_by_when_an_answer_is_due_is_told_until_there_is_one(tips: Tips, body: dict[str, Any]) -> None:
    """As a day of the municipality's: 23:37 UTC is the next one there. Of a tip the hour is kept, as of its
    other times; what another unit has begins anew, and more time to solve it is no new promise."""
    mine = await followed(tips, body)
    due = tips.clock.now.replace(hour=23)
    promise = {
        "nl": "Uiterlijk op 13 november 2026 krijgt u antwoord van {unit}.",
        "en": "You will have an answer from {unit} by 13 November 2026.",
    }[body["language"]]

    async def told(*happened: type[events.ReportEvent], **changes: Any) -> tuple[str | None, bool]:
        await mine.dispatch(*happened, **changes)
        view = await mine.view()
        said = promise.format(unit=view["unit"]["name"])
        assert ("antwoord" in view["explained"]["by_when"] or "answer" in view["explained"]["by_when"]) == (
            said in view["explained"]["by_when"]
        )
        return view["answer_by"], said in view["explained"]["by_when"]

    written = due.replace(minute=0, second=0, microsecond=0) if body["kind"] == "tip" else due
    at = written.isoformat().replace("+00:00", "Z")
    assert await told(events.ReportRouted) == (None, False)
    assert await told(events.ReportHandedOver) == (None, False)
    assert await told(events.ReportRouted, unit="parking", answer_by=due) == (at, True)
    assert await told(events.ReportAcknowledged, unit="parking") == (at, True)
    assert await told(events.ReportAnswerAsked, unit="parking") == (at, False)
    assert await told(events.ReportRouted, unit="parking", answer_by=due) == (at, False)
    await mine.dispatch(events.ReportHandedOver, to_unit="public_space")
    assert await told(events.ReportRouted, answer_by=due) == (at, True)


def test_every_status_step_and_end_has_a_text_in_both_languages() -> None:
    """A new one must not be forgotten."""
    statuses = {"accepted"} | {one.after for one in TRANSITIONS}
    assert statuses <= set(texts.STATUSES)
    steps = {*STEPS.values(), *OWN_STEPS.values()}
    assert steps <= set(texts.STEPS) | set(texts.STATUSES)
    assert set(texts.ERASED) == {"resident", "retention", "spam", "lost"}
    every = [*texts.STATUSES.values(), *texts.STEPS.values(), *texts.ERASED.values()]
    every += [texts.NOWHERE, texts.IN_BACKUPS, texts.SPAM, texts.HELD_TITLE, *texts.HELD.values()]
    every += [texts.QUESTION, texts.WHO, texts.NOBODY_YET, texts.ACKNOWLEDGE_BY, texts.RESOLVE_BY]
    assert all(set(one) == {"nl", "en"} for one in [*every, texts.NO_DAY, texts.NO_UNIT])


async def test_another_language_is_answered_in_the_municipalitys_first(tips: Tips) -> None:
    """Not in none at all."""
    mine = await followed(tips)
    await tips.rows("UPDATE report SET language = 'tr'")
    await mine.dispatch(events.ReportRouted)
    assert (await mine.view())["text"] == "Uw melding gaat naar Team Openbare Ruimte."


async def test_the_export_has_what_is_public_email_and_a_hold_and_names_no_person(tips: Tips) -> None:
    """The text that everybody reads, whether and where to e-mail goes, until when the law keeps the words;
    neither who read them or has them kept, nor why they are kept."""
    mine, bare = await followed(tips, issue()), await followed(tips, tip())
    await tips.public_text(mine.report_id, approve=True, digest=digest_of(SECRET_WORDS))
    await tips.words(mine.report_id, purpose="follow_up", reader="officer:k.jansen")
    await mine.inside("GET", "/messages?purpose=follow_up&reader=officer:k.jansen")
    await mine.mine("PUT", "/email", {"address": "r@resident.example"})
    await place(tips, mine.report_id, date(2026, 12, 24))
    answer = await mine.mine("GET", "/export")
    ExportAnswer.model_validate(answer.body)
    export = answer.body["export"]
    (listed,) = (await tips.get("/v1/issues")).body["issues"]
    assert (export["public"], listed["text"]) == (listed, SECRET_WORDS)
    assert (export["email"], export["hold"]) == ("unconfirmed", {"until": "2026-12-24"})
    assert [(line["reader"], line["purpose"]) for line in export["log"][1:]] == [
        ("unit:public_space via desk", "public_text"),
        ("officer", "follow_up"),
        ("officer", "follow_up"),
        ("operator", "hold_placed"),
    ]
    assert export["email_address"] == "r@resident.example"
    assert not [word for word in ("jansen", "court") if word in answer.content.decode()]
    export = (await bare.mine("GET", "/export")).body["export"]
    assert (export["public"], export["email"], export["hold"]) == (None, "none", None)
    assert export["email_address"] is None


async def test_the_export_has_all_that_is_held_and_no_way_to_anybody(tips: Tips) -> None:
    """Words, messages, steps, log, rating and the day of the end; no receipt, no id, nothing of others."""
    other = await followed(tips, issue(description="Somebody else's words"))
    mine = await followed(tips, tip())
    await tips.words(mine.report_id)
    await mine.ask()
    await mine.write(ANSWER)
    await mine.dispatch(events.ReportRouted, events.ReportResolved)
    await mine.mine("PUT", "/rating", {"satisfied": False, "stars": 1})
    answer = await mine.mine("GET", "/export")
    assert answer.status == 200
    ExportAnswer.model_validate(answer.body)
    export = answer.body["export"]
    assert export["words"] == {
        "description": SECRET_WORDS,
        "location": {"address": SECRET_ADDRESS},
        "answers": {},
        "photos": [],
        "not_an_emergency": False,
    }
    assert [one["text"] for one in export["messages"]] == [QUESTION, ANSWER]
    assert [step["status"] for step in export["report"]["timeline"]] == [
        "accepted", "answered", "routed", "resolved",
    ]  # fmt: skip
    assert [(line["act"], line["reader"]) for line in export["log"]] == [
        ("collection", "resident"),
        ("disclosure", "unit:public_space via webhook"),
        ("alteration", "unit:public_space"),
        ("collection", "resident"),
    ]
    assert export["rating"] == {"satisfied": False, "stars": 1}
    assert (export["report"]["kept_until"], export["certificate"]) == ("2027-12-01", None)
    held = answer.content.decode()
    for hidden in (mine.receipt, mine.receipt.replace("-", ""), str(mine.report_id), str(other.report_id)):
        assert hidden not in held
    assert "Somebody" not in held
    assert held.count("2026-11-12T13:00:00Z") >= 6
    assert ":37:" not in held
    await mine.mine("DELETE")
    export = (await mine.mine("GET", "/export")).body["export"]
    ExportAnswer.model_validate({"export": export})
    assert (export["words"], export["messages"], export["rating"]) == (None, [], None)
    assert export["certificate"]["destroyed"]["messages"] == 2
