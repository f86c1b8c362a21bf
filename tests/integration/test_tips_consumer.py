"""What `tips` does with dispatches, in real transactions, and what the resident sees of them."""

import random
import uuid
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from services.tips import consumer
from services.tips.queries.reports import totals as count_all
from shared import events
from shared.cloudevents import Envelope
from shared.errors import Poison
from tests.integration.tips_server import Tips, issue, tip

NOT_OURS = "front_desk_decides"
LIFE: list[type[events.ReportEvent]] = [
    events.ReportRouted,
    events.ReportDelivered,
    events.ReportAcknowledged,
    events.ReportResolved,
]


def envelope(
    report: Any, event_type: type[events.ReportEvent], version: int, start: datetime, **changes: Any
) -> Envelope[Any]:
    """An event as `notify` would write it, `version` minutes after the start."""
    now = start + timedelta(minutes=version)
    given: dict[str, Any] = {
        "rule": "public_space",
        "rules_version": "abc",
        "reason": "public_space_maintains_streets",
        "acknowledge_by": now + timedelta(hours=24),
        "resolve_by": now + timedelta(hours=72),
        "channel": "webhook",
        "attempts": 3,
        "by": "webhook",
        "took": "1h",
        "outcome": "repaired",
        "in_time": True,
        "to_unit": "parking",
        "level": 1,
        "day": date(2026, 11, 20),
    }
    fields = {name: value for name, value in given.items() if name in event_type.model_fields}
    event = event_type(
        report_id=report["report_id"],
        kind=report["kind"],
        version=version,
        **({"unit": "public_space"} | fields | changes),
    )
    return Envelope.of(
        event, id=uuid.uuid5(report["report_id"], f"{version}"), source="/ibuurt/notify", now=now
    )


async def stored(tips: Tips, count: int = 1, body: dict[str, Any] | None = None) -> list[Any]:
    """So many reports, and what is known of them."""
    for _ in range(count):
        assert (await tips.post(body or issue())).status == 201
    return await tips.rows("SELECT report_id, kind, accepted_at FROM report ORDER BY report_id")


async def apply(tips: Tips, envelopes: Sequence[Envelope[Any]]) -> None:
    async with tips.pool.acquire() as connection, connection.transaction():
        await consumer.apply(connection, envelopes)


async def test_the_resident_sees_every_step_who_when_and_why(tips: Tips) -> None:
    """In the report's language, with the names and texts of the municipality."""
    receipt = (await tips.post(issue(language="en"))).body["receipt"]
    (row,) = await tips.rows("SELECT report_id, kind FROM report")
    await apply(
        tips, [envelope(row, one, number, tips.clock.now) for number, one in enumerate(LIFE, start=1)]
    )
    report = (await tips.mine(receipt)).body["report"]
    unit = {"id": "public_space", "name": "Public space team"}
    reason = {
        "code": "public_space_maintains_streets",
        "text": "The public space team looks after streets, lights, trees and parks.",
    }
    assert (report["status"], report["unit"], report["reason"]) == ("resolved", unit, reason)
    assert report["acknowledge_by"] == "2026-11-13T13:38:11.123456Z"
    assert report["resolve_by"] == "2026-11-15T13:38:11.123456Z"
    assert [(step["status"], step["unit"], step["reason"]) for step in report["timeline"]] == [
        ("accepted", None, None),
        ("routed", unit, reason),
        ("delivered", unit, None),
        ("acknowledged", unit, None),
        ("resolved", unit, {"code": "repaired", "text": None}),
    ]
    assert [step["at"] for step in report["timeline"]][:2] == [
        "2026-11-12T13:37:11.123456Z",
        "2026-11-12T13:38:11.123456Z",
    ]


async def test_a_report_in_dutch_is_answered_in_dutch(tips: Tips) -> None:
    """Whatever the browser prefers."""
    receipt = (await tips.post(issue())).body["receipt"]
    (row,) = await tips.rows("SELECT report_id, kind FROM report")
    await apply(tips, [envelope(row, events.ReportRouted, 1, tips.clock.now)])
    assert (await tips.mine(receipt)).body["report"]["unit"]["name"] == "Team Openbare Ruimte"


async def test_a_units_refusal_hand_over_and_plan_are_seen(tips: Tips) -> None:
    """The report is the next unit's, and the day of the work stands in the timeline."""
    receipt = (await tips.post(issue(language="en"))).body["receipt"]
    (row,) = await tips.rows("SELECT report_id, kind FROM report")
    steps: list[tuple[Any, dict[str, Any]]] = [
        (events.ReportRouted, {}),
        (events.DeliveryFailed, {"reason": "http_500"}),
        (events.ReportEscalated, {"reason": "overdue"}),
        (events.ReportRefused, {"reason": NOT_OURS}),
        (events.ReportHandedOver, {"reason": NOT_OURS}),
        (events.ReportRouted, {"unit": "parking", "reason": "parking_wardens_check_parking"}),
        (events.ReportAnswerAsked, {"unit": "parking"}),
        (events.ReportPlanned, {"unit": "parking"}),
    ]
    await apply(
        tips,
        [envelope(row, one, n, tips.clock.now, **more) for n, (one, more) in enumerate(steps, start=1)],
    )
    report = (await tips.mine(receipt)).body["report"]
    assert report["status"] == "planned"
    assert report["unit"] == {"id": "parking", "name": "Parking wardens"}
    assert report["reason"]["text"] == "The parking wardens check whether vehicles are parked correctly."
    assert report["timeline"][-1]["day"] == "2026-11-20"
    assert [step["status"] for step in report["timeline"]] == [
        "accepted",
        "routed",
        "delivery_failed",
        "escalated",
        "refused",
        "handed_over",
        "routed",
        "answer_asked",
        "planned",
    ]
    assert report["timeline"][2]["reason"] is None


async def test_a_unit_that_has_a_report_by_two_channels_has_it_once(tips: Tips) -> None:
    """A second delivery to who has it is no news; one to who gets it later, or once more, is."""
    receipt = (await tips.post(issue(language="en"))).body["receipt"]
    (row,) = await tips.rows("SELECT report_id, kind FROM report")
    elsewhere = {"unit": "parking", "reason": "parking_wardens_check_parking"}
    steps: list[tuple[Any, dict[str, Any]]] = [
        (events.ReportRouted, {}),
        (events.ReportDelivered, {}),
        (events.ReportDelivered, {}),
        (events.ReportAcknowledged, {}),
        (events.ReportDelivered, {}),
        (events.ReportRefused, {"reason": NOT_OURS}),
        (events.ReportHandedOver, {"reason": NOT_OURS}),
        (events.ReportRouted, elsewhere),
        (events.ReportDelivered, {"unit": "parking"}),
    ]
    await apply(
        tips,
        [envelope(row, one, n, tips.clock.now, **more) for n, (one, more) in enumerate(steps, start=1)],
    )
    timeline = (await tips.mine(receipt)).body["report"]["timeline"]
    assert [step["unit"]["id"] for step in timeline if step["status"] == "delivered"] == [
        "public_space",
        "parking",
    ]
    assert [step["status"] for step in timeline].count("acknowledged") == 1


async def test_a_tips_steps_are_seen_to_the_hour(tips: Tips) -> None:
    """The times by which it must be done as well."""
    receipt = (await tips.post(tip())).body["receipt"]
    (row,) = await tips.rows("SELECT report_id, kind FROM report")
    await apply(
        tips, [envelope(row, one, number, tips.clock.now) for number, one in enumerate(LIFE, start=1)]
    )
    report = (await tips.mine(receipt)).body["report"]
    times = [report["accepted_at"], report["acknowledge_by"], *(step["at"] for step in report["timeline"])]
    assert {time[13:] for time in times} == {":00:00Z"}
    assert [step["status"] for step in report["timeline"]][1:] == [
        "routed", "delivered", "acknowledged", "resolved",
    ]  # fmt: skip


async def test_any_order_any_batches_and_repeats_give_the_same(tips: Tips) -> None:
    """Events of many reports, shuffled, cut into batches, half of them twice: as if in order."""
    reports = await stored(tips, 12)
    happened = [
        envelope(row, one, n, tips.clock.now) for row in reports for n, one in enumerate(LIFE, start=1)
    ]
    await apply(tips, happened)
    expected = await state(tips)
    assert {row["status"] for row in expected[0]} == {"resolved"}
    for seed in range(6):
        await tips.rows("DELETE FROM report_step")
        await tips.rows("UPDATE report SET status = 'accepted'")
        chance = random.Random(seed)
        arriving = happened + chance.sample(happened, len(happened) // 2)
        chance.shuffle(arriving)
        while arriving:
            size = chance.randint(1, 20)
            batch, arriving = arriving[:size], arriving[size:]
            await apply(tips, batch)
        assert await state(tips) == expected


async def state(tips: Tips) -> tuple[list[Any], list[Any]]:
    return (
        await tips.rows("SELECT * FROM report ORDER BY report_id"),
        await tips.rows("SELECT * FROM report_step ORDER BY report_id, cause"),
    )


async def test_totals_count_what_was_ever_reached(tips: Tips) -> None:
    """A report that is resolved was also routed, delivered and acknowledged; one counts once."""
    reports = await stored(tips, 3)
    await apply(tips, [envelope(reports[0], one, n, tips.clock.now) for n, one in enumerate(LIFE, start=1)])
    await apply(tips, [envelope(reports[0], events.ReportDelivered, 9, tips.clock.now)])
    await apply(tips, [envelope(reports[1], events.ReportRouted, 1, tips.clock.now)])
    async with tips.pool.acquire() as connection:
        totals = await count_all(connection)
    assert [totals[name] for name in ("accepted", "routed", "delivered", "acknowledged")] == [3, 2, 1, 1]


async def test_an_event_of_an_unknown_report_is_poison(tips: Tips) -> None:
    """It waits among the dead letters until the report is there again: nothing is lost, nothing invented."""
    await stored(tips)
    stranger = {"report_id": uuid.uuid4(), "kind": "issue"}
    with pytest.raises(Poison) as poison:
        await apply(tips, [envelope(stranger, events.ReportRouted, 1, tips.clock.now)])
    assert poison.value.reason == "unknown_report"
    assert not await tips.rows("SELECT FROM report_step")


async def test_an_event_that_takes_a_tip_for_an_issue_is_poison(tips: Tips) -> None:
    """Its time would be the tip's minute."""
    (row,) = await stored(tips, body=tip())
    with pytest.raises(Poison) as poison:
        await apply(tips, [envelope(dict(row) | {"kind": "issue"}, events.ReportRouted, 1, tips.clock.now)])
    assert poison.value.reason == "wrong_kind"
    assert not await tips.rows("SELECT FROM report_step")


async def test_a_batch_that_rolls_back_leaves_nothing(tips: Tips) -> None:
    """The transaction is the caller's: fence and steps stand or fall together."""
    (row,) = await stored(tips)
    async with tips.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await consumer.apply(connection, [envelope(row, events.ReportRouted, 1, tips.clock.now)])
        await transaction.rollback()
    assert not await tips.rows("SELECT FROM report_step")
    assert [row["status"] for row in await tips.rows("SELECT status FROM report")] == ["accepted"]
