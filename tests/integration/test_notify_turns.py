"""A report's way from unit to unit, as the resident, the units and the topics see it: the real `tips` and
`notify`, and units that listen; only Kafka is left out."""

import itertools
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.notify.core.turns import MOVES_MOST
from services.tips import consumer as tips_consumer
from shared.cloudevents import Envelope
from shared.events import ISSUES, Event, ReportEvent, ReportRouted, hour_of
from tests.conftest import MakeDatabase
from tests.integration.followed import Followed, followed
from tests.integration.notify_harness import (
    Arrival,
    Notify,
    announced,
    envelope_of,
    kinds,
    plain,
    running_notify,
)
from tests.integration.test_notify_email import reached_by
from tests.integration.test_notify_inbound import post, signed
from tests.integration.tips_server import Tips, issue, new_key, running_tips, tip

UNIT, LAST = "public_space", "front_desk"
QUESTION, ANSWER = "Which side of the shed?", "The side of the canal, behind the fence"


@dataclass
class Town:
    """Both services, and what was said between them."""

    tips: Tips
    notify: Notify
    said: list[Event] = field(default_factory=list)
    public: list[str] = field(default_factory=list)

    async def pass_on(self) -> None:
        """Whatever one of them says, the other reads; until neither has anything to say."""
        while True:
            rows = await self.tips.rows(
                "SELECT * FROM outbox WHERE topic = $1 ORDER BY position", ISSUES.name
            )
            self.public += [getattr(envelope_of(row).event, "status", "gone") for row in rows]
            heard = await announced(self.tips)
            if heard:
                await self.notify.apply(*heard)
            sent = await self.notify.rows("DELETE FROM outbox RETURNING *")
            told: list[Envelope[Event]] = [
                envelope_of(row) for row in sorted(sent, key=lambda r: r["position"])
            ]
            self.said += [one.event for one in (*heard, *told)]
            if told:
                async with self.tips.pool.acquire() as connection, connection.transaction():
                    await tips_consumer.apply(connection, told)
            if not heard and not told:
                return

    def pass_days(self, days: int) -> datetime:
        """Set both clocks on; the time that it is then."""
        self.tips.clock.now += timedelta(days=days)
        self.notify.clock.at = self.tips.clock.now
        return self.tips.clock.now

    async def delivered(self) -> None:
        """What is due has gone, and both have heard of it."""
        await self.notify.settled()
        await self.pass_on()

    async def do(self, report: Followed, action: str, unit: str, **more: Any) -> Any:
        """Somebody of a unit does something at the desk."""
        status, answer = await self.notify.act(report.report_id, action, unit, **more)
        assert status == 200, answer
        await self.delivered()
        return answer["report"]


@pytest_asyncio.fixture
async def town(database: MakeDatabase, tmp_path: Path) -> AsyncIterator[Town]:
    async with (
        running_tips(await database("tips"), tmp_path) as tips,
        running_notify(await database("notify"), tips.internal_url) as notify,
    ):
        notify.clock.at = tips.clock.now
        notify.work()
        yield Town(tips, notify)


async def came(town: Town, body: dict[str, Any] | None = None) -> Followed:
    """A report that has come to its first unit."""
    report = await followed(town.tips, body)
    await town.pass_on()
    await town.delivered()
    return report


def steps(view: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(one["status"], one["unit"] and one["unit"]["id"]) for one in view["timeline"]]


@pytest.mark.parametrize("retried", [True, False])
async def test_a_question_that_is_answered_before_it_is_written_down_stops_no_clock(
    town: Town, monkeypatch: pytest.MonkeyPatch, retried: bool
) -> None:
    """Its process died between the two and it is asked again, or the answer is read in the middle of it: the
    clock would stand until the resident writes something else."""
    report, act_id = await came(town), uuid.uuid4()
    write = type(town.notify.tips).write

    async def answered(*given: Any, **named: Any) -> Any:
        stored = await write(town.notify.tips, *given, **named)
        assert (await report.write(ANSWER)).status == 201
        await town.pass_on()
        return stored

    if retried:
        message_id = uuid.uuid5(act_id, "message")
        await answered(report.report_id, message_id, UNIT, "officer:test", QUESTION, asks=True)
    else:
        monkeypatch.setattr(
            type(town.notify.tips), "write", lambda _, *given, **named: answered(*given, **named)
        )
    status, answer = await town.notify.act(report.report_id, "ask", UNIT, text=QUESTION, act_id=str(act_id))
    assert (status, answer["report"]["waits_since"]) == (200, None)
    await town.pass_on()
    view = await report.view()
    assert (view["status"], view["question_open"]) == ("acknowledged", False)


def last(town: Town, unit: str) -> Arrival:
    return [one for one in town.notify.units.arrivals if one.unit == unit][-1]


async def test_refused_handed_over_asked_planned_resolved_and_reopened(town: Town) -> None:
    """Each step as the resident, the units and the topics see it."""
    report = await came(town)
    moved = await town.do(report, "refuse", UNIT, reason="private_ground")
    assert (moved["unit"], moved["turn"], moved["refused_by"]) == (LAST, 2, [UNIT])
    view = await report.view()
    assert (view["status"], view["unit"]["id"]) == ("delivered", LAST)
    assert steps(view)[-4:] == [
        ("refused", UNIT),
        ("handed_over", UNIT),
        ("routed", LAST),
        ("delivered", LAST),
    ]
    refused = next(one for one in view["timeline"] if one["status"] == "refused")
    assert refused["reason"]["text"] == "Dit is grond van iemand anders. Daar mag dit team niets doen."
    # The words went to the second unit too, under another id, and to the first no more.
    assert [one.unit for one in town.notify.units.arrivals] == [UNIT, LAST]
    assert last(town, LAST).data["description"]

    assert (
        view["explained"]["before"] == f"Team Openbare Ruimte kan dit niet doen. {refused['reason']['text']}"
    )
    assert view["reason"]["code"] == "front_desk_decides"

    await town.do(report, "hand_over", LAST, reason="other_authority", to_unit="inspection")
    asked = await town.do(report, "ask", "inspection", text=QUESTION)
    assert (asked["status"], bool(asked["waits_since"])) == ("acknowledged", True)
    view = await report.view()
    assert (view["question_open"], view["unread"]) == (True, 1)
    messages = (await report.mine("GET", "/messages")).body["messages"]
    assert [(one["sender"], one["text"]) for one in messages] == [("unit", QUESTION)]

    now = town.pass_days(3)
    assert (await report.write(ANSWER)).status == 201
    await town.pass_on()
    await town.delivered()
    heard = last(town, "inspection")
    assert heard.body["type"] == "ibuurt.report.message"
    assert [one["text"] for one in heard.data["messages"]] == [QUESTION, ANSWER]
    status, answer = await town.notify.ask("GET", f"/internal/v1/reports/{report.report_id}")
    assert status == 200
    assert answer["report"]["waits_since"] is None
    # Three days from Thursday to Sunday, of which one and a half were worked.
    assert answer["report"]["resolve_by"] > asked["resolve_by"]
    view = await report.view()
    assert view["resolve_by"] == answer["report"]["resolve_by"]
    assert view["timeline"][-1]["text"].startswith(
        "Uw antwoord is binnen. Toezicht en Handhaving lost dit nu"
    )

    day = (now + timedelta(days=9)).date().isoformat()
    await town.do(report, "plan", "inspection", day=day)
    assert (await report.view())["status"] == "planned"
    await town.do(report, "resolve", "inspection", outcome="nothing_found", text="We were there on Monday")
    view = await report.view()
    assert (view["status"], view["unread"]) == ("resolved", 1)
    assert view["timeline"][-1]["reason"]["text"].startswith("Wij zijn gaan kijken")

    assert (await report.mine("POST", "/reopening", {}, **{"Idempotency-Key": new_key()})).status in (
        200,
        201,
    )
    await town.pass_on()
    await town.delivered()
    view = await report.view()
    assert (view["status"], view["unit"]["id"]) == ("delivered", "inspection")
    assert view["resolve_by"]
    done = await town.do(report, "resolve", "inspection", outcome="done")
    assert (done["turn"], done["status"], done["possible"]) == (4, "resolved", [])
    assert (await report.view())["status"] == "resolved"

    assert kinds([one for one in town.said if isinstance(one, ReportEvent)]) == [
        *("ReportAccepted", "ReportRouted", "ReportDelivered"),
        *("ReportRefused", "ReportHandedOver", "ReportRouted", "ReportDelivered"),
        *("ReportHandedOver", "ReportRouted", "ReportDelivered"),
        *("ReportAcknowledged", "ReportAnswerAsked", "ReportAnswered", "ReportRouted"),
        *("ReportPlanned", "ReportResolved", "ReportReopened", "ReportRouted", "ReportDelivered"),
        *("ReportAcknowledged", "ReportResolved"),
    ]
    assert [
        status for status, before in zip(town.public, ["", *town.public], strict=False) if status != before
    ] == [*("accepted", "routed", "acknowledged", "planned", "resolved", "routed", "resolved")]
    history = (await town.notify.ask("GET", f"/internal/v1/reports/{report.report_id}"))[1]["report"][
        "history"
    ]
    assert [one["step"] for one in history if one["step"] == "ReportHandedOver"] == ["ReportHandedOver"] * 2
    words = str(history) + str([event.model_dump_json() for event in town.said])
    assert QUESTION not in words
    assert ANSWER not in words


@pytest.mark.parametrize("action", ["resolve", "refuse"])
async def test_a_unit_that_does_without_the_answer_has_waited_and_nobody_is_told_of_one(
    town: Town, action: str
) -> None:
    """It has the time of the wait, which is in what is said; to the resident and on the public page there is
    what it did and no answer."""
    report = await came(town)
    asked = await town.do(report, "ask", UNIT, text=QUESTION)
    town.pass_days(3)
    code = {"outcome": "done"} if action == "resolve" else {"reason": "not_our_task"}
    await town.do(report, action, UNIT, **code)
    told = [one for one in town.said if isinstance(one, ReportRouted) and one.unit == UNIT]
    assert [one.resolve_by.isoformat()[:19] > asked["resolve_by"][:19] for one in told] == [False, True]
    shown = steps(await report.view())
    done = shown[shown.index(("answer_asked", UNIT)) + 1]
    assert done == ("resolved" if action == "resolve" else "refused", UNIT)
    (listed,) = (await town.tips.get("/v1/issues")).body["issues"]
    public = (await town.tips.get(f"/v1/issues/{listed['id']}")).body["timeline"]
    assert [one["status"] for one in public if one["unit"] and one["unit"]["id"] == UNIT][:3] == [
        *("routed", "acknowledged", done[0])
    ]


async def test_whoever_has_it_later_gets_what_was_written_and_how_it_came(town: Town) -> None:
    """By the same call as the report: the conversation until then, who gave it away and why, or that it is
    not solved. What the resident wrote just before it moved on is not lost with the message that was under
    way."""
    report = await came(town)
    assert (last(town, UNIT).data["turn"], "before" in last(town, UNIT).data) == (1, False)
    await town.do(report, "ask", UNIT, text=QUESTION)
    await town.notify.stop()
    assert (await report.write(ANSWER)).status == 201
    await town.pass_on()
    status, _ = await town.notify.act(
        report.report_id, "hand_over", UNIT, reason="not_our_task", to_unit="inspection", text="For you"
    )
    assert status == 200
    town.notify.work()
    await town.delivered()
    heard = last(town, "inspection")
    assert (heard.body["type"], heard.data["turn"]) == ("ibuurt.report", 2)
    assert heard.data["description"]
    assert heard.data["before"] == {"why": "handed_over", "unit": UNIT, "reason": "not_our_task"}
    assert [one["text"] for one in heard.data["messages"]] == [QUESTION, ANSWER, "For you"]

    await town.do(report, "refuse", "inspection", reason="private_ground", to_unit="parking")
    heard = last(town, "parking")
    assert heard.data["before"] == {"why": "refused", "unit": "inspection", "reason": "private_ground"}
    await town.do(report, "resolve", "parking", outcome="done")
    body = {"text": "The car is still there"}
    reopened = await report.mine("POST", "/reopening", body, **{"Idempotency-Key": new_key()})
    assert reopened.status in (200, 201)
    await town.pass_on()
    await town.delivered()
    heard = last(town, "parking")
    assert (heard.body["type"], heard.data["turn"]) == ("ibuurt.report", 4)
    assert heard.data["before"] == {"why": "reopened", "unit": "parking", "reason": "done"}
    assert heard.data["messages"][-1]["text"] == "The car is still there"
    # The report and the conversation, at both of its turns.
    given = ("disclosure", "unit:parking via webhook", "notify", "delivery")
    assert (await report.log()).count(given) == 4


@pytest.mark.parametrize("leaves", ["codes", "notice"])
async def test_where_words_may_not_leave_a_later_unit_gets_no_conversation(
    database: MakeDatabase, tmp_path: Path, leaves: str
) -> None:
    """Neither with the report nor with a message; nobody has read what was written."""
    async with (
        running_tips(await database("tips"), tmp_path) as tips,
        running_notify(
            await database("notify"), tips.internal_url, change=reached_by(leaves={"webhook": leaves})
        ) as notify,
    ):
        notify.clock.at = tips.clock.now
        notify.work()
        town = Town(tips, notify)
        report = await came(town)
        await town.do(report, "ask", UNIT, text=QUESTION)
        assert (await report.write(ANSWER)).status == 201
        await town.pass_on()
        await town.do(report, "hand_over", UNIT, reason="not_our_task", to_unit="inspection")
        heard = last(town, "inspection")
        if leaves == "codes":
            assert (heard.data["turn"], heard.data["before"]["why"]) == (2, "handed_over")
        sent = b" ".join(one.content for one in notify.units.arrivals).decode()
        assert "messages" not in sent
        assert QUESTION not in sent
        assert ANSWER not in sent
        assert [entry for entry in await report.log() if entry[0] == "disclosure"] == []


async def test_who_did_it_is_in_the_history_and_the_log_and_on_no_topic(town: Town) -> None:
    """At the desk, by a partner's system and by a link; what rules, clocks and channels do, nobody did. What
    was written to the resident is logged at tips with who wrote it."""
    report, officer = await came(town), "officer:k.jansen"
    await town.do(report, "ask", UNIT, text=QUESTION, by=officer)
    told = {"report_id": str(report.report_id), "action": "resolve", "outcome": "done"}
    body = json.dumps({"type": "ibuurt.act", "data": told})
    assert (await post(town.notify, body, signed(body)))[0] == 200
    await town.pass_on()
    link = last(town, UNIT).data["answer_url"]
    reopened = await report.mine("POST", "/reopening", {}, **{"Idempotency-Key": new_key()})
    assert reopened.status in (200, 201)
    await town.pass_on()
    await town.notify.settled()
    async with town.notify.session.post(link, data={"action": "acknowledge"}) as pressed:
        assert pressed.status == 200
    await town.pass_on()
    _, answer = await town.notify.ask("GET", f"/internal/v1/reports/{report.report_id}")
    assert [(one["step"], one["actor"]) for one in answer["report"]["history"]] == [
        ("ReportRouted", None),
        ("ReportDelivered", None),
        ("ReportAcknowledged", officer),
        ("ReportAnswerAsked", officer),
        ("ReportResolved", f"unit:{UNIT} via webhook"),
        ("ReportRouted", None),
        ("ReportDelivered", None),
        ("ReportAcknowledged", f"unit:{UNIT} via link"),
    ]
    assert ("alteration", officer, "notify", "message") in await report.log()
    assert "jansen" not in str([event.model_dump_json() for event in town.said])
    assert "jansen" not in (await report.mine("GET", "/export")).content.decode()


@pytest.mark.parametrize("language", ["nl", "en"])
@pytest.mark.parametrize("action", ["refuse", "hand_over"])
async def test_who_passed_it_on_and_why_is_told_apart_from_why_the_next_has_it(
    town: Town, action: str, language: str
) -> None:
    """The reason of the one is never shown as the other's: not in the timeline, not above it, and not on the
    public page; nor is it the other's in what is said."""
    report = await came(town, issue(language=language))
    await town.do(report, action, UNIT, reason="not_our_task", to_unit="parking")
    view = await report.view()
    told = [(one["text"], one["unit"]["id"], one["reason"]) for one in view["timeline"][-4:-1]]
    gave = town.notify.municipality.refusals["not_our_task"][language]
    had, has, refused, passed, named = {
        "nl": (
            "Team Openbare Ruimte",
            "Team Parkeren",
            "Team Openbare Ruimte kan dit niet doen.",
            "Team Openbare Ruimte gaf uw melding door aan Team Parkeren.",
            "Team Openbare Ruimte zegt dat dit team uw melding kan oppakken.",
        ),
        "en": (
            "Public space team",
            "Parking wardens",
            "Public space team cannot do this.",
            "Public space team passed your report on to Parking wardens.",
            "Public space team says that this team can deal with your report.",
        ),
    }[language]
    why = {"code": "not_our_task", "text": gave}
    assert told[-2] == (passed, UNIT, why)
    assert told[-1][1:] == ("parking", {"code": "named_by_unit", "text": named})
    assert (told[0] == (refused, UNIT, why)) == (action == "refuse")
    assert (view["unit"]["name"], view["reason"]["text"]) == (has, named)
    explained = view["explained"]
    assert (explained["who"].startswith(has), explained["why"]) == (True, named)
    assert explained["before"] == f"{refused if action == 'refuse' else passed} {gave}"
    (routed,) = [one for one in town.said if getattr(one, "rule", "") == "handed_over"]
    assert (routed.unit, routed.reason) == ("parking", "named_by_unit")  # type: ignore[attr-defined]
    (listed,) = (await town.tips.get("/v1/issues")).body["issues"]
    public = (await town.tips.get(f"/v1/issues/{listed['id']}?language={language}")).body["timeline"]
    for one in public:
        if one["unit"] and one["reason"]:
            assert (one["unit"]["name"] == had) == (one["reason"]["code"] != "named_by_unit")


async def test_a_loop_of_refusals_ends_with_a_person(town: Town) -> None:
    """Two units name one another: the last rule's unit gets it, with an escalation, and must name one."""
    report = await came(town)
    await town.do(report, "refuse", UNIT, reason="not_our_task", to_unit="inspection")
    moved = await town.do(report, "refuse", "inspection", reason="not_our_task", to_unit=UNIT)
    assert (moved["unit"], moved["level"]) == (LAST, 1)
    escalated = [one for one in town.said if type(one).__name__ == "ReportEscalated"]
    assert [(one.unit, one.reason) for one in escalated] == [(LAST, "refused_by_all")]  # type: ignore[attr-defined]
    (told,) = [one for one in (await report.view())["timeline"] if one["status"] == "escalated"]
    assert (told["unit"]["id"], told["text"]) == (
        LAST,
        "Een medewerker beslist nu welk team uw melding krijgt.",
    )
    status, answer = await town.notify.act(report.report_id, "refuse", LAST, reason="not_our_task")
    assert (status, answer["errors"][0]["pointer"]) == (422, "/to_unit")
    assert UNIT in answer["allowed"]
    # A person's word counts, also for a unit that has refused.
    moved = await town.do(report, "refuse", LAST, reason="not_our_task", to_unit=UNIT)
    assert moved["unit"] == UNIT


async def test_moves_to_and_fro_end_with_a_person_and_give_no_new_time(town: Town) -> None:
    """Two units hand it over every day: each has the time that it had first, and after six moves the last
    rule's unit decides, whoever is named."""
    report, units = await came(town), [UNIT, "inspection"] * 4
    given: dict[str, set[str]] = {}
    for number, (unit, to) in enumerate(itertools.pairwise(units)):
        moved = await town.do(report, "hand_over", unit, reason="not_our_task", to_unit=to)
        given.setdefault(moved["unit"], set()).add(moved["resolve_by"])
        town.pass_days(1)
        assert (moved["unit"], moved["level"]) == ((to, 0) if number < MOVES_MOST else (LAST, 1))
    assert {unit: len(times) for unit, times in given.items()} == {UNIT: 1, "inspection": 1, LAST: 1}
    view = await report.view()
    assert (view["unit"]["id"], [view["resolve_by"]]) == (LAST, list(given[LAST]))
    escalated = [one for one in town.said if type(one).__name__ == "ReportEscalated"]
    assert [(one.unit, one.reason) for one in escalated] == [(LAST, "moved_too_often")]  # type: ignore[attr-defined]
    # A person's word counts; who does not want it then gives it back to them, whomever it names.
    moved = await town.do(report, "hand_over", LAST, reason="not_our_task", to_unit=UNIT)
    assert (moved["unit"], {moved["resolve_by"]}) == (UNIT, given[UNIT])
    moved = await town.do(report, "refuse", UNIT, reason="not_our_task", to_unit="parking")
    assert (moved["unit"], moved["level"], {moved["resolve_by"]}) == (LAST, 2, given[LAST])


async def test_what_is_of_a_category_that_has_left_the_folder_moves_on_by_the_times_that_it_has(
    town: Town,
) -> None:
    """Refused, handed over and refused to a unit that does not want it: by the rules that ask for no
    category, to whom is named, to a person; and to a person after as many moves as any other."""
    report = await came(town)
    before = (await town.do(report, "acknowledge", UNIT))["resolve_by"]
    await town.notify.rows(
        "UPDATE dispatch SET category = 'no_more', report = jsonb_set(report, '{category}', '\"no_more\"')"
    )
    for action, unit, to, comes_to in (
        ("refuse", UNIT, None, LAST),
        ("hand_over", LAST, "parking", "parking"),
        ("refuse", "parking", UNIT, LAST),
        ("hand_over", LAST, "inspection", "inspection"),
        ("refuse", "inspection", "youth_work", "youth_work"),
        ("hand_over", "youth_work", "care_team", "care_team"),
        ("refuse", "care_team", None, LAST),
    ):
        moved = await town.do(report, action, unit, reason="not_our_task", to_unit=to)
        assert (moved["unit"], moved["resolve_by"]) == (comes_to, before)


async def test_the_same_act_again_does_nothing_and_another_under_its_id_is_refused(town: Town) -> None:
    """Also after the report has moved on, when the answer was lost."""
    report, act_id = await came(town), str(uuid.uuid4())
    first = await town.notify.act(report.report_id, "refuse", UNIT, reason="not_our_task", act_id=act_id)
    again = await town.notify.act(report.report_id, "refuse", UNIT, reason="not_our_task", act_id=act_id)
    assert (first[1]["changed"], again[0], again[1]["changed"]) == (True, 200, False)
    other = await town.notify.act(report.report_id, "refuse", UNIT, reason="private_ground", act_id=act_id)
    assert (other[0], other[1]["type"].split(":")[-1]) == (409, "act-id-reused")
    late = await town.notify.act(report.report_id, "acknowledge", UNIT)
    assert (late[0], late[1]["type"].split(":")[-1], late[1]["unit"]) == (409, "moved-on", LAST)


async def test_what_is_impossible_is_refused_with_what_is_possible(town: Town) -> None:
    """And what the folder does not know with what it does; nothing was written to the resident."""
    report = await came(town)
    await town.do(report, "resolve", UNIT, outcome="done")
    status, answer = await town.notify.act(report.report_id, "ask", UNIT, text=QUESTION)
    assert (status, answer["status_of_report"], answer["possible"]) == (409, "resolved", [])
    assert (await report.mine("GET", "/messages")).body["messages"] == []
    other = await came(town)
    for action, more, field_ in (
        ("resolve", {"outcome": "magic"}, "outcome"),
        ("refuse", {"reason": "magic"}, "reason"),
        ("refuse", {"reason": "not_our_task", "to_unit": "magic"}, "to_unit"),
        ("refuse", {"reason": "not_our_task", "to_unit": UNIT}, "to_unit"),
        ("hand_over", {"reason": "not_our_task"}, "to_unit"),
        ("plan", {"day": "2020-01-01"}, "day"),
        ("plan", {}, "day"),
        ("ask", {}, "text"),
    ):
        status, answer = await town.notify.act(other.report_id, action, UNIT, **more)
        assert (status, answer["errors"][0]["pointer"]) == (422, f"/{field_}")
    assert (await other.view())["status"] == "delivered"
    assert (await town.notify.act(uuid.uuid4(), "acknowledge", UNIT))[0] == 404
    assert (await town.notify.ask("GET", f"/internal/v1/reports/{other.report_id}", token="x" * 40))[0] == 401


async def test_a_units_list_is_in_the_order_in_which_it_is_to_be_done(town: Town) -> None:
    """Page by page, without what is done."""
    reports = [await came(town) for _ in range(5)]
    await town.do(reports[0], "resolve", UNIT, outcome="done")
    seen: list[str] = []
    after = ""
    while True:
        path = f"/internal/v1/units/{UNIT}/reports?limit=2{after}"
        status, page = await town.notify.ask("GET", path)
        assert status == 200
        seen += [one["report_id"] for one in page["reports"]]
        if page["after"] is None:
            break
        # What the page ended with is solved and has another time before the next one is asked for.
        last = uuid.UUID(page["reports"][-1]["report_id"])
        assert (await town.notify.act(last, "resolve", UNIT, outcome="done"))[0] == 200
        later = "UPDATE dispatch SET resolve_by = resolve_by + interval '30 days' WHERE report_id = $1"
        await town.notify.rows(later, last)
        after = f"&after={page['after']}"
    assert len(seen) == len(set(seen)) == 4
    assert str(reports[0].report_id) not in seen
    assert (await town.notify.ask("GET", "/internal/v1/units/nobody/reports"))[0] == 422
    for wrong in ("", str(reports[1].report_id), "1_", f"{10**17}_{uuid.uuid4()}"):
        path = f"/internal/v1/units/{UNIT}/reports?after={wrong}"
        status, problem = await town.notify.ask("GET", path)
        assert (status, problem["errors"][0]["pointer"]) == (422, "/query/after")


async def test_whoever_was_sent_words_is_told_that_they_are_erased(town: Town) -> None:
    """The unit that refused it and the one that has it; what their systems say is in the certificate."""
    answers = town.notify.units.answers

    report = await came(town)
    await town.do(report, "refuse", UNIT, reason="private_ground")
    answers[UNIT] = plain(200, {"erased": True})
    assert (await report.mine("DELETE")).status in (200, 201, 202, 204)
    await town.pass_on()
    await town.delivered()
    told = [one for one in town.notify.units.arrivals if one.body["type"] == "ibuurt.report.erased"]
    assert {one.unit for one in told} == {UNIT, LAST}
    assert set(told[0].data) == {"report_id", "unit"}
    certificate = (await report.mine("GET", "/certificate")).body["certificate"]
    states = {one["reader"].split()[0]: one["state"] for one in certificate["sent_to"]}
    assert states == {f"unit:{UNIT}": "confirmed", f"unit:{LAST}": "waiting"}
    # A system that could not say so at once says it later.
    body = json.dumps(
        {"type": "ibuurt.erased", "data": {"report_id": str(report.report_id), "erased": False}}
    )
    assert (await post(town.notify, body, signed(body, LAST), LAST))[0] == 204
    certificate = (await report.mine("GET", "/certificate")).body["certificate"]
    assert [one["state"] for one in certificate["sent_to"]] == ["confirmed", "cannot"]


async def test_when_a_tip_is_taken_back_no_row_tells_the_minute(town: Town) -> None:
    """Its unit is told at once, by a delivery that is due since the hour began."""
    # Of an urgent category: it does not wait.
    report = await came(town, tip() | {"category": "weapons"})
    for _, task in town.notify.workers:
        task.cancel()
    await town.notify.stop()
    assert (await report.mine("POST", "/withdrawal")).status == 200
    await town.pass_on()
    rows = await town.notify.rows("SELECT due_at, next_attempt_at FROM delivery WHERE step = 'withdrawn'")
    assert [tuple(row) for row in rows] == [(hour_of(town.notify.clock()),) * 2]
