"""Resident and unit write to each other over a report, also over a tip."""

import asyncio
import uuid

import pytest

from services.tips.core.conversation import MESSAGE_CHARACTERS, MESSAGES_PER_SENDER
from services.tips.schemas import Conversation, MessageAnswer, UnitConversation, UnitMessageAnswer
from shared import events
from tests.integration.followed import ANSWER, QUESTION, followed
from tests.integration.test_tips_privacy import all_times, everything, forms
from tests.integration.tips_server import Tips, issue, new_key, tip

DANGER = "Er wordt nu ingebroken bij de buren"
TURNS = (
    QUESTION,
    ANSWER,
    "Thank you. Where did it come from?",
    "From the school",
    "We go there tonight",
)


async def test_five_turns_over_a_tip(tips: Tips) -> None:
    """Question and answer go back and forth; both sides read the same, whole hours, in order; the resident
    sees what is new and that an answer is wanted; nothing is readable in the database, no line is logged."""
    mine = await followed(tips, tip(language="en"))
    await mine.dispatch(events.ReportRouted, events.ReportDelivered, events.ReportAnswerAsked)
    assert (await mine.ask(TURNS[0])).status == 201
    view = await mine.view()
    assert (view["unread"], view["question_open"]) == (1, True)
    assert view["text"] == "Public space team asked you something. You can answer here."
    assert "answer" in view["possible"]
    assert (await mine.mine("GET", "/messages")).body["question_open"]
    assert (await mine.view())["unread"] == 0
    assert (await mine.write(TURNS[1])).status == 201
    view = await mine.view()
    assert (view["question_open"], "answer" in view["possible"]) == (False, False)
    assert (await mine.ask(TURNS[2])).status == 201
    assert (await mine.write(TURNS[3])).status == 201
    assert (await mine.ask(TURNS[4], asks=False)).status == 201
    assert not (await mine.view())["question_open"]

    read = (await mine.mine("GET", "/messages")).body
    Conversation.model_validate(read)
    assert [one["text"] for one in read["messages"]] == list(TURNS)
    assert [one["sender"] for one in read["messages"]] == ["unit", "resident", "unit", "resident", "unit"]
    assert [one["number"] for one in read["messages"]] == [1, 2, 3, 4, 5]
    assert {one["at"] for one in read["messages"]} == {"2026-11-12T13:00:00Z"}
    units = (await mine.inside("GET", "/messages?purpose=follow_up&reader=officer:k.jansen")).body
    UnitConversation.model_validate(units)
    assert [one["text"] for one in units["messages"]] == list(TURNS)
    assert await mine.events() == ["ReportAccepted", "ReportAnswered", "ReportAnswered"]
    assert [step["status"] for step in (await mine.view())["timeline"]][-3:] == [
        "answer_asked", "answered", "answered",
    ]  # fmt: skip
    dump = await everything(tips)
    for text in TURNS:
        for form in forms(text):
            assert [table for table, rows in dump.items() if form in rows] == []
    assert {(at.minute, at.second) for at in await all_times(tips) if at} == {(0, 0)}


async def test_every_message_is_logged_with_who_and_why(tips: Tips) -> None:
    """The unit's as a change, the resident's as collected, a reading as a reading."""
    mine = await followed(tips)
    await mine.ask()
    await mine.write(ANSWER)
    await mine.inside("GET", "/messages?purpose=follow_up&reader=officer:k.jansen")
    assert await mine.log() == [
        ("alteration", "unit:public_space", "notify", "message"),
        ("collection", "resident", "tips", "message"),
        ("consultation", "officer:k.jansen", "notify", "follow_up"),
    ]


@pytest.mark.parametrize(("path", "status"), [("/messages", 201), ("/reopening", 200)])
async def test_danger_now_is_stopped_in_later_words_too(path: str, status: int, tips: Tips) -> None:
    """With the emergency number, before anything is stored, changed or logged, also where the report takes no
    words any more; who insists is taken, and the unit reads that."""
    mine, erased = await followed(tips, tip()), await followed(tips, tip(language="en"))
    await mine.dispatch(events.ReportRouted, events.ReportResolved)
    await erased.mine("DELETE")
    wakes = len(tips.wakes)
    for one, language in ((mine, "nl"), (erased, "en")):
        was = await one.events(), await one.log(), await one.view()
        stopped = await one.mine("POST", path, {"text": DANGER}, **{"Idempotency-Key": new_key()})
        assert (stopped.status, stopped.code) == (422, "emergency")
        assert (stopped.body["emergency_number"], stopped.body["language"]) == ("112", language)
        assert stopped.body["errors"][0]["pointer"] == "/not_an_emergency"
        assert (await one.events(), await one.log(), await one.view()) == was
    assert (len(tips.wakes), await tips.rows("SELECT FROM message")) == (wakes, [])
    sent = {"text": DANGER, "not_an_emergency": True}
    key = {"Idempotency-Key": new_key()}
    for _ in range(2):
        assert (await mine.mine("POST", path, sent, **key)).status == status
    await mine.ask()
    units = (await mine.inside("GET", "/messages?purpose=follow_up&reader=officer:k.jansen")).body
    UnitConversation.model_validate(units)
    assert [one["not_an_emergency"] for one in units["messages"]] == [True, False]


async def test_what_nobody_asked_for_is_a_supplement(tips: Tips) -> None:
    """Also after a message of the unit that asks nothing; the relay is woken each time."""
    mine = await followed(tips)
    await mine.write("It is worse now")
    await mine.ask("We are on our way", asks=False)
    await mine.write("Thank you")
    assert await mine.events() == ["ReportAccepted", "ReportSupplemented", "ReportSupplemented"]
    assert len(tips.wakes) == 3


async def test_the_same_message_again_is_stored_once(tips: Tips) -> None:
    """From both sides, also at the same time; under the same key or id another message is refused."""
    mine = await followed(tips)
    key, message_id = new_key(), str(uuid.uuid4())
    answers = await asyncio.gather(*(mine.write(ANSWER, key) for _ in range(4)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    MessageAnswer.model_validate(answers[0].body)
    statuses = [(await mine.ask(message_id=message_id)).status for _ in range(3)]
    assert statuses == [201, 200, 200]
    UnitMessageAnswer.model_validate((await mine.ask(message_id=message_id)).body)
    assert (await mine.write("Something else", key)).code == "message-id-reused"
    assert (await mine.ask("Something else", message_id=message_id)).code == "message-id-reused"
    assert (await mine.ask(asks=False, message_id=message_id)).code == "message-id-reused"
    assert len((await mine.mine("GET", "/messages")).body["messages"]) == 2
    assert await mine.events() == ["ReportAccepted", "ReportSupplemented"]
    assert len(await mine.log()) == 2


async def test_a_message_belongs_to_one_report(tips: Tips) -> None:
    """Another receipt shows nothing of it, and the same key there is another message."""
    one, other = await followed(tips), await followed(tips, tip())
    key = new_key()
    await one.write(ANSWER, key)
    assert (await other.mine("GET", "/messages")).body["messages"] == []
    assert (await other.write("Something else", key)).status == 201


async def test_limits_are_named(tips: Tips) -> None:
    """The longest text is taken and one character more is not; after so many messages of one side no more."""
    mine = await followed(tips)
    assert (await mine.write("é" * MESSAGE_CHARACTERS)).status == 201
    refused = await mine.write("e" * (MESSAGE_CHARACTERS + 1))
    assert refused.status == 422
    assert str(MESSAGE_CHARACTERS) in refused.body["errors"][0]["detail"]
    await tips.rows(
        """INSERT INTO message SELECT report_id, n, gen_random_uuid(), sender, unit, asks, read, at, sealed
           FROM message, generate_series(2, $1) AS n""",
        MESSAGES_PER_SENDER,
    )
    refused = await mine.write("One more")
    assert (refused.status, refused.code) == (409, "too-many-messages")
    assert refused.body["limit_messages"] == MESSAGES_PER_SENDER
    assert (await mine.ask()).status == 201


@pytest.mark.parametrize("text", ["", " \n ", "a\0b", None, 5])
async def test_a_message_without_words_is_refused(text: object, tips: Tips) -> None:
    """By name, and nothing is stored."""
    mine = await followed(tips)
    answer = await mine.mine("POST", "/messages", {"text": text}, **{"Idempotency-Key": new_key()})
    assert (answer.status, answer.code) == (422, "invalid-request")
    assert not await tips.rows("SELECT FROM message")


async def test_messages_need_key_token_and_a_known_unit(tips: Tips) -> None:
    """Each refusal says what to send."""
    mine = await followed(tips)
    assert (await mine.mine("POST", "/messages", {"text": "x"})).code == "idempotency-key-missing"
    assert (await mine.write("x", "short")).code == "idempotency-key-weak"
    assert (await mine.ask(unit="nobody")).code == "unknown-unit"
    assert (await mine.inside("POST", "/messages", {}, token="x" * 40)).status == 401
    reading = "/messages?purpose=follow_up&reader=officer:k.jansen"
    assert (await mine.inside("GET", reading, token="x" * 40)).status == 401
    assert (await mine.inside("GET", "/messages")).status == 422
    assert (await mine.inside("GET", "/messages?purpose=follow_up&reader=me")).status == 422
    mine.report_id = uuid.uuid4()
    assert (await mine.ask()).status == 404
    assert (await mine.inside("GET", reading)).status == 404
    assert not await tips.rows("SELECT FROM disclosure WHERE purpose <> 'report'")


async def test_nobody_writes_about_what_was_taken_back(tips: Tips) -> None:
    """409 with the status and what is possible; what was sent before is still the same message."""
    mine = await followed(tips)
    key = new_key()
    await mine.write(ANSWER, key)
    await mine.mine("POST", "/withdrawal")
    for answer in (await mine.write("More"), await mine.ask()):
        assert (answer.status, answer.code) == (409, "not-possible-now")
        assert (answer.body["status_of_report"], answer.body["possible"]) == ("withdrawn", ["erase"])
    assert (await mine.write(ANSWER, key)).status == 201


async def test_when_the_months_key_is_destroyed_the_conversation_is_gone(tips: Tips) -> None:
    """410 for both sides, and no reading is logged."""
    mine = await followed(tips, issue())
    await mine.write(ANSWER)
    (row,) = await tips.rows("SELECT key_name FROM report")
    tips.desk.keys.destroy(row["key_name"])
    for answer in (
        await mine.mine("GET", "/messages"),
        await mine.write("More"),
        await mine.ask(),
        await mine.inside("GET", "/messages?purpose=follow_up&reader=officer:k.jansen"),
    ):
        assert (answer.status, answer.code) == (410, "report-erased")
    assert len(await mine.log()) == 1
    export = (await mine.mine("GET", "/export")).body["export"]
    assert (export["words"], export["messages"]) == (None, [])
