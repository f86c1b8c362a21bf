"""What a report may hold besides its description: answers, times, contact; and the emergency stop."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from services.tips import sealing
from services.tips.photos import MAX_PHOTO_BYTES
from shared.events import ReportAccepted
from tests.integration.test_tips_privacy import everything, forms
from tests.integration.tips_server import Answer, Tips, issue, new_key, running_tips, tip, town_with

DANGER = "Er wordt nu ingebroken bij de buren"
CONTACT = {"name": "Noor de Wit", "email": "noor@post.example", "phone": "+31 6 5550 1234"}
WASTE_ANSWERS = {"what": ["bags", "chemicals"], "blocks_the_way": "no"}


def waste(**changes: Any) -> dict[str, Any]:
    return issue(category="bulky_waste") | changes


async def words_of_the_only_one(tips: Tips) -> dict[str, Any]:
    answer = await tips.words(await tips.report_id())
    assert answer.status == 200
    return answer.body


async def accepted_event(tips: Tips) -> ReportAccepted:
    (row,) = await tips.rows("SELECT value FROM outbox WHERE topic = 'ibuurt.reports.v1'")
    return ReportAccepted.model_validate_json(row["value"])


def pointers(answer: Answer) -> list[str]:
    return [error["pointer"] for error in answer.body.get("errors", [])]


async def test_all_that_is_sent_is_sealed_and_read_back(tips: Tips) -> None:
    """Through the internal API, as it was sent; in the database it is nowhere."""
    happened = {"from": "2026-11-11T22:00", "to": "2026-11-12T01:30"}
    answers = {"what_is_wrong": "flickers", "how_many": 3, "post_number": "K-1047 é"}
    sent = issue(answers=answers, happened=happened, contact=CONTACT)
    assert (await tips.post(sent)).status == 201
    words = await words_of_the_only_one(tips)
    assert (words["answers"], words["happened"], words["contact"]) == (answers, happened, CONTACT)
    assert words["not_an_emergency"] is False
    dump = await everything(tips)
    for secret in ("flickers", "K-1047", "Noor de Wit", "noor@post", "5550 1234", "2026-11-11T22", "22:00"):
        for form in forms(secret):
            assert [table for table, text in dump.items() if form in text] == [], form


async def test_a_report_may_have_no_place(tips: Tips) -> None:
    """Left out or null: it is in no area, and a unit is told so."""
    without = {name: value for name, value in tip().items() if name != "location"}
    for body in (without, without | {"location": None}):
        answer = await tips.post(body)
        assert (answer.status, answer.body["report"]["areas"]) == (201, {})
    rows = await tips.rows("SELECT report_id FROM report")
    assert [(await tips.words(row["report_id"])).body["location"] for row in rows] == [None, None]


async def test_only_choices_that_a_rule_reads_leave_the_words(tips: Tips) -> None:
    """`what` of bulky waste is read by a rule, `blocks_the_way` by none; nothing else is on the topic."""
    assert (await tips.post(waste(answers=WASTE_ANSWERS, contact=CONTACT))).status == 201
    event = await accepted_event(tips)
    assert event.answers == {"what": ("bags", "chemicals")}
    assert (await words_of_the_only_one(tips))["answers"] == WASTE_ANSWERS


async def test_the_same_question_of_another_category_stays_sealed(tips: Tips) -> None:
    """Fraud asks `what` too, and no rule reads it there."""
    assert (await tips.post(tip(category="fraud", answers={"what": "scam"}))).status == 201
    assert (await accepted_event(tips)).answers == {}


WRONG_ANSWERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown question": ({"colour": "red"}, "/answers", "allowed"),
    "words as a question": ({"the man of Zwanenburgwal": 1}, "/answers", "allowed"),
    "unknown option": ({"what_is_wrong": "Zwanenburgwal"}, "/answers/what_is_wrong", "off, flickers"),
    "number for an option": ({"what_is_wrong": 1}, "/answers/what_is_wrong", "off, flickers"),
    "list for one option": ({"what_is_wrong": ["off"]}, "/answers/what_is_wrong", "off, flickers"),
    "text for a number": ({"how_many": "3"}, "/answers/how_many", "from 1 to 200"),
    "boolean for a number": ({"how_many": True}, "/answers/how_many", "from 1 to 200"),
    "number too small": ({"how_many": 0}, "/answers/how_many", "from 1 to 200"),
    "number too large": ({"how_many": 10**300}, "/answers/how_many", "from 1 to 200"),
    "number for a text": ({"post_number": 7}, "/answers/post_number", "1 to 40 characters"),
    "text too long": ({"post_number": "x" * 41}, "/answers/post_number", "1 to 40 characters"),
    "text of blanks": ({"post_number": " \n"}, "/answers/post_number", "1 to 40 characters"),
    "text with NUL": ({"post_number": "a\0"}, "/answers/post_number", "U+0000"),
    "nested answer": ({"post_number": {"a": {"b": [1]}}}, "/answers/post_number", "1 to 40 characters"),
}


async def test_each_wrong_answer_is_named_with_what_is_possible(tips: Tips) -> None:
    """By its JSON pointer; nothing that was sent is repeated."""
    wrong = {}
    for name, (answers, pointer, possible) in WRONG_ANSWERS.items():
        answer = await tips.post(issue(answers=answers))
        text = answer.content.decode()
        sound = answer.status == 422 and pointers(answer) == [pointer] and possible in text
        if not sound or "Zwanenburgwal" in text:
            wrong[name] = text
    assert wrong == {}
    assert await tips.stored() == 0


async def test_every_wrong_answer_is_named_at_once(tips: Tips) -> None:
    """A resident mends the form once, not once for each question."""
    answer = await tips.post(
        waste(answers={"what": ["bags", "bags"], "blocks_the_way": "perhaps"}, description="x")
    )
    assert answer.code == "wrong-answers"
    assert pointers(answer) == ["/answers/what", "/answers/blocks_the_way"]
    for bad in ([], "bags", ["bags", 3], [["bags"]], {"bags": True}):
        assert pointers(await tips.post(waste(answers={"what": bad}))) == ["/answers/what"]


async def test_dates_that_are_asked_for_are_days(tips: Tips) -> None:
    """Real ones, with four digits of the year."""
    for bad in ("2026-02-30", "31-01-2026", "2026-01-31T10:00", "0026-01-01", "20260131", "٢٠٢٦-٠١-٣١", 2026):
        answer = await tips.post(issue(category="graffiti", answers={"seen_since": bad}))
        assert (answer.status, pointers(answer)) == (422, ["/answers/seen_since"])
    good = issue(category="graffiti", answers={"seen_since": "2024-02-29"})
    assert (await tips.post(good)).status == 201


async def test_a_question_that_is_required_must_be_answered(tips: Tips) -> None:
    """Left out, null and empty are no answer."""
    for answers in ({}, {"what": None}, {"amount_euros": 12.5}):
        answer = await tips.post(tip(category="fraud", answers=answers))
        assert (answer.code, pointers(answer)) == ("wrong-answers", ["/answers/what"])
        assert answer.body["errors"][0]["detail"] == "answer this question"
    good = tip(category="fraud", answers={"what": "scam", "amount_euros": 12.5})
    assert (await tips.post(good)).status == 201
    assert (await words_of_the_only_one(tips))["answers"] == {"what": "scam", "amount_euros": 12.5}


@pytest.mark.parametrize(
    "happened",
    [
        {"from": "2026-11-12"},
        {"from": "2026-11-12T14:37"},
        {"from": "1900-01-01", "to": "2026-11-12"},
        {"from": "2026-11-11T22:00", "to": "2026-11-11"},
        # The municipality's clock says 14:37 on the 12th; a day more is allowed.
        {"from": "2026-11-13T14:37"},
        {"from": "2026-03-29T02:30"},
    ],
)
async def test_when_it_happened_is_a_day_or_a_minute_or_a_span(happened: dict[str, str], tips: Tips) -> None:
    """As a form has it, in the municipality's time, kept as it was written."""
    assert (await tips.post(issue(happened=happened))).status == 201
    assert (await words_of_the_only_one(tips))["happened"] == happened


@pytest.mark.parametrize(
    ("happened", "pointer"),
    [
        ({"from": "2026-11-13T14:38"}, "/happened/from"),
        ({"from": "2026-11-12", "to": "2026-11-14"}, "/happened/to"),
        ({"from": "2026-11-12T10:00", "to": "2026-11-12T09:00"}, "/happened"),
        ({"from": "2026-11-12", "to": "2026-11-11"}, "/happened"),
        ({"to": "2026-11-12"}, "/happened/from"),
        ({"from": "yesterday"}, "/happened/from"),
        ({"from": "2026-11-12T25:00"}, "/happened/from"),
        ({"from": "2026-11-12T14:37:00Z"}, "/happened/from"),
        ({"from": "1899-12-31"}, "/happened/from"),
        ({"from": 20261112}, "/happened/from"),
        ("2026-11-12", "/happened"),
    ],
)
async def test_a_time_that_cannot_be_is_named(happened: Any, pointer: str, tips: Tips) -> None:
    """Later than a day ahead, ended before it began, or no time at all."""
    answer = await tips.post(issue(happened=happened))
    assert (answer.status, pointers(answer)) == (422, [pointer])
    assert await tips.stored() == 0


async def test_a_tip_is_anonymous(tips: Tips) -> None:
    """Contact data are refused with the reason, and a category may do without them as well."""
    answer = await tips.post(tip(contact=CONTACT))
    assert (answer.status, answer.code, pointers(answer)) == (422, "contact-not-possible", ["/contact"])
    assert answer.body["errors"][0]["detail"] == "a tip is anonymous: leave out contact"
    assert "noor" not in answer.content.decode().lower()
    assert (await tips.post(tip(contact=None))).status == 201


@pytest.mark.parametrize(
    ("contact", "pointer"),
    [
        ({}, "/contact"),
        ({"name": None}, "/contact"),
        ({"name": "  "}, "/contact/name"),
        ({"name": "x" * 101}, "/contact/name"),
        ({"name": "Noor\nBcc: all"}, "/contact/name"),
        ({"email": "noor"}, "/contact/email"),
        ({"email": "noor@post"}, "/contact/email"),
        ({"email": "noor@post.example, all@post.example"}, "/contact/email"),
        ({"email": "noor@post.example\nBcc: a@b.example"}, "/contact/email"),
        ({"email": "no\u200bor@post.example"}, "/contact/email"),
        ({"email": f"noor@{'x' * 250}.example"}, "/contact/email"),
        ({"phone": "call me"}, "/contact/phone"),
        ({"phone": "06"}, "/contact/phone"),
        ({"phone": 31612345678}, "/contact/phone"),
        ({"fax": "1"}, "/contact/fax"),
    ],
)
async def test_contact_that_leads_nowhere_is_named(contact: Any, pointer: str, tips: Tips) -> None:
    """A mistyped address would be found out only when nobody answers."""
    answer = await tips.post(issue(contact=contact))
    assert (answer.status, pointers(answer)) == (422, [pointer])
    assert await tips.stored() == 0


@pytest.mark.parametrize(
    "contact",
    [
        {"email": "o'neil+ibuurt@straße.example"},
        {"phone": "(088) 123-45.67"},
        {"name": "علي رضا"},
        {"name": "می‌خواهم"},
    ],
)
async def test_contact_of_all_people_is_taken(contact: dict[str, str], tips: Tips) -> None:
    """One of the three is enough; names and addresses of other alphabets are kept as they are."""
    assert (await tips.post(issue(contact=contact))).status == 201
    assert (await words_of_the_only_one(tips))["contact"] == contact


async def test_danger_now_is_told_the_number_and_nothing_is_kept(tips: Tips) -> None:
    """Neither stored nor logged nor woken for; the answer is the resident's text and no word of theirs."""
    with structlog.testing.capture_logs() as lines:
        answer = await tips.post(tip(description=DANGER))
    assert (answer.status, answer.code) == (422, "emergency")
    assert (answer.body["emergency_number"], answer.body["matched"]) == ("112", "words")
    assert answer.body["detail"].startswith("Is er nu gevaar, of heeft iemand nu hulp nodig? Bel meteen 112.")
    assert pointers(answer) == ["/not_an_emergency"]
    assert "ingebroken" not in answer.content.decode()
    assert (lines, tips.wakes, await tips.stored()) == ([], [], 0)
    refused = tips.registry.get_sample_value("report_refused_at_intake_total", {"code": "emergency"})
    assert refused == 1


async def test_the_text_is_in_the_reports_language_and_the_words_in_any(tips: Tips) -> None:
    """People write in another language than the form's."""
    for language, begin in (("en", "Is there danger now"), ("nl", "Is er nu gevaar")):
        for words in (DANGER, "There is someone in my house"):
            answer = await tips.post(issue(description=words, language=language))
            assert answer.code == "emergency"
            assert answer.body["detail"].startswith(begin)


async def test_who_does_not_say_the_language_is_told_in_the_browsers_and_in_all(tips: Tips) -> None:
    """And finds the number also where something else was refused before danger was looked for."""
    body = issue(description=DANGER)
    del body["language"]
    answer = await tips.post(body, **{"Accept-Language": "en-GB,nl;q=0.5"})
    assert (answer.body["title"], answer.headers["Content-Language"]) == ("Danger now?", "en")
    assert answer.body["detail"].startswith("Is there danger now")
    assert answer.body["texts"]["nl"].startswith("Is er nu gevaar")
    assert (await tips.post(issue(description=DANGER))).body["title"] == "Is er nu gevaar?"
    refused = await tips.post(issue(description=DANGER, category="lamps"))
    assert (refused.code, refused.body["emergency_number"]) == ("unknown-category", "112")


async def test_danger_is_also_looked_for_where_the_place_is_told(tips: Tips) -> None:
    """People write where there is room."""
    body = issue(location={"address": "Kerkstraat 3, er wordt nu ingebroken"})
    assert (await tips.post(body)).code == "emergency"


@pytest.mark.parametrize("text", ["\u200b", "\u200b \u2060\u202e", "\u00ad\ufeff", "\u3164", "\u2800\u2800"])
async def test_words_that_nobody_can_see_are_none(text: str, tips: Tips) -> None:
    """Neither as what happened nor as where."""
    for body in (issue(description=text), issue(location={"address": text})):
        answer = await tips.post(body)
        assert (answer.status, answer.code) == (422, "invalid-request")


async def test_an_answer_in_words_stops_as_the_description_does(tips: Tips) -> None:
    """Also where the rest of the form is not yet right: the number comes first."""
    body = issue(
        answers={"post_number": "hij heeft een mes"}, contact=CONTACT, happened={"from": "2027-01-01"}
    )
    assert (await tips.post(body)).code == "emergency"
    assert (await tips.post(issue(answers={"post_number": "een messenblok"}))).status == 201


async def test_a_category_of_danger_always_stops(tips: Tips) -> None:
    """Whatever is written."""
    answer = await tips.post(issue(category="danger_now", description="De lamp is uit"))
    assert (answer.code, answer.body["matched"]) == ("emergency", "category")
    assert await tips.stored() == 0


async def test_who_says_that_it_is_no_emergency_is_taken_with_the_same_key(tips: Tips) -> None:
    """The unit reads that the sender said so; without it the same key is another submission."""
    key = new_key()
    for body in (tip(description=DANGER), issue(category="danger_now", language="en")):
        assert (await tips.post(body, key)).code == "emergency"
    sent = tip(description=DANGER, not_an_emergency=True)
    first = await tips.post(sent, key)
    assert first.status == 201
    assert (await tips.post(sent, key)).content == first.content
    words = await words_of_the_only_one(tips)
    assert (words["description"], words["not_an_emergency"]) == (DANGER, True)
    assert (await tips.post(issue(not_an_emergency="true"))).status == 422


async def test_every_part_belongs_to_the_submission(tips: Tips) -> None:
    """The same key with another answer, time, contact or insistence is another body."""
    key, body = new_key(), issue(answers={"how_many": 2}, contact=CONTACT, happened={"from": "2026-11-12"})
    assert (await tips.post(body, key)).status == 201
    assert (await tips.post(json.dumps(body, indent=1, sort_keys=True).encode(), key)).status == 201
    others: list[dict[str, Any]] = [
        {"answers": {"how_many": 3}},
        {"answers": {}},
        {"contact": CONTACT | {"name": "Noor"}},
        {"contact": None},
        {"happened": {"from": "2026-11-11"}},
        {"happened": None},
        {"location": None},
        {"not_an_emergency": True},
    ]
    assert [(await tips.post(body | other, key)).status for other in others] == [409] * len(others)
    assert len(await tips.rows("SELECT FROM report")) == 1


async def test_words_that_were_sealed_before_have_none_of_it(tips: Tips) -> None:
    """Reports of the version before, which knew only description and place, are still read."""
    assert (await tips.post(issue())).status == 201
    (row,) = await tips.rows("SELECT report_id, key_name FROM report")
    before = {"description": "x", "location": {"address": "y"}}
    month_key = tips.desk.keys.get(row["key_name"])
    sealed = sealing.seal(row["report_id"], row["key_name"], month_key, before)
    await tips.rows("UPDATE report SET wrapped_key = $1, sealed = $2", sealed.wrapped_key, sealed.sealed)
    words = await words_of_the_only_one(tips)
    assert (words["answers"], words["happened"], words["contact"], words["not_an_emergency"]) == (
        {},
        None,
        None,
        False,
    )


async def test_the_form_has_what_a_page_needs(tips: Tips) -> None:
    """Languages, categories with questions, areas without outlines, limits; and what it says is taken."""
    answer = await tips.request("GET", "/v1/form", None, {})
    form = answer.body
    town = tips.desk.municipality
    assert answer.status == 200
    assert (form["languages"], form["emergency_number"], form["version"]) == (
        ["nl", "en"],
        "112",
        town.version,
    )
    assert form["emergency_text"]["en"].startswith("Is there danger now")
    assert [one["id"] for one in form["categories"]] == list(town.categories)
    light = form["categories"][0]
    assert (light["kind"], light["contact"], light["danger"]) == ("issue", True, False)
    assert (light["public"], light["public_text"]) == (True, "words")
    assert (light["regime"], light["retention_days"]) == ("gdpr", 365)
    assert form["privacy_notice"] == dict(town.privacy_notice)
    assert set(form["privacy_notice"]) == {"nl", "en"}
    assert [(one["id"], one["kind"]) for one in light["questions"]] == [
        ("what_is_wrong", "choice"),
        ("how_many", "number"),
        ("post_number", "text"),
    ]
    assert light["questions"][0]["options"][1] == {
        "id": "flickers",
        "names": {"nl": "De lamp knippert", "en": "It flickers"},
    }
    assert light["questions"][1] | {"names": 0} == {
        "id": "how_many", "names": 0, "kind": "number", "required": False, "min": 1, "max": 200,
    }  # fmt: skip
    assert light["questions"][2]["max_characters"] == 40
    assert {"id": "oakwood", "names": {"nl": "Oakwood", "en": "Oakwood"}} in form["area_sets"][0]["areas"]
    assert "coordinates" not in answer.content.decode()
    limits = form["limits"]
    assert (limits["description_characters"], limits["photos"], limits["photo_bytes"]) == (
        10_000,
        5,
        MAX_PHOTO_BYTES,
    )
    for category in form["categories"]:
        given = {one["id"]: an_answer(one) for one in category["questions"]}
        body = issue(kind=category["kind"], category=category["id"], answers=given, not_an_emergency=True)
        assert (await tips.post(body)).status == 201, category["id"]


def an_answer(question: dict[str, Any]) -> Any:
    """A right answer, made from what the form says of the question."""
    match question["kind"]:
        case "text":
            return "x" * question["max_characters"]
        case "number":
            return question["max"]
        case "date":
            return "2026-11-12"
        case "choice":
            return question["options"][-1]["id"]
        case _:
            return [option["id"] for option in question["options"]]


async def test_the_form_is_sent_once(tips: Tips) -> None:
    """A strong tag and a short time in caches; who has it already gets 304 without a body."""
    first = await tips.request("GET", "/v1/form", None, {})
    tag, cached = header(first, "etag"), header(first, "cache-control")
    assert (tag[0], tag[-1], cached) == ('"', '"', "public, max-age=300")
    tips.clock.now += timedelta(days=1)
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = await tips.request("GET", "/v1/form", None, {"If-None-Match": known})
        assert (again.status, again.content, header(again, "etag")) == (304, b"", tag)
    other = await tips.request("GET", "/v1/form", None, {"If-None-Match": '"x"'})
    assert (other.status, other.content) == (200, first.content)


def header(answer: Answer, name: str) -> str:
    return {key.lower(): value for key, value in answer.headers.items()}[name]


async def test_the_document_names_every_answer(tips: Tips) -> None:
    """Of both routes; and each part of the body, with the names that are sent."""
    document = (await tips.request("GET", "/v1/openapi.json", None, {})).body["paths"]
    post, form = document["/v1/reports"]["post"], document["/v1/form"]["get"]
    assert set(post["responses"]) == {"201", "400", "408", "409", "410", "413", "415", "422", "429", "503"}
    assert set(form["responses"]) == {"200", "304"}
    schema = post["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["$defs"]["Happened"]["properties"]) == {"from", "to"}
    assert "location" not in schema["required"]


async def test_a_retry_gets_its_receipt_though_the_form_has_changed(tips: Tips, tmp_path: Path) -> None:
    """What was stored stays stored: only something new is held against the form of today."""
    key, body = new_key(), waste(answers=WASTE_ANSWERS)
    receipt = (await tips.post(body, key)).body["receipt"]
    async with running_tips(tips.dsn, tmp_path, town_with(bulky_waste={"questions": ()})) as later:
        again = await later.post(body, key)
        assert (again.status, again.body["receipt"]) == (201, receipt)
        assert (await later.post(body)).code == "unknown-question"
        other = await later.post(body | {"description": "Another heap of bags"}, key)
        assert other.code == "idempotency-key-reused"
        async with later.pool.acquire() as blocking, blocking.transaction():
            await blocking.execute("LOCK TABLE report IN ACCESS EXCLUSIVE MODE")
            # At once, whatever the database does.
            danger = await asyncio.wait_for(later.post(issue(description=DANGER)), 5)
        assert danger.code == "emergency"
    assert len(await tips.rows("SELECT FROM report")) == 1
