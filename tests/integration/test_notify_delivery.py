"""Deliveries: the real tips gives the words, real HTTP receivers play the units, on a real PostgreSQL."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from deploy.local.processes import free_port
from services.notify import queries_deliveries
from services.notify.core.deliveries import Delivered, Delivery, Failed, Outcome, Retrying
from services.notify.delivery import Limits
from services.notify.leasing import CLOCKS_APART
from shared.cloudevents import Envelope, derived_id
from shared.events import (
    DeliveryFailed,
    ReportAcknowledged,
    ReportDelivered,
    ReportErased,
    ReportRouted,
    hour_of,
)
from shared.municipality import Municipality
from tests.conftest import MakeDatabase, Server
from tests.integration.notify_harness import (
    Answer,
    Notify,
    accepted,
    announced,
    first,
    kinds,
    plain,
    running_notify,
    send,
)
from tests.integration.tips_server import SECRET_ADDRESS, SECRET_WORDS, Tips, issue, tip
from tests.spine import until

LONG_AGO = "UPDATE delivery SET next_attempt_at = now() - interval '1 second' WHERE state = 'open'"


@pytest_asyncio.fixture
async def notify(database: MakeDatabase, tips: Tips) -> AsyncIterator[Notify]:
    """Notify beside it; a test starts the workers."""
    async with running_notify(await database("notify"), tips.internal_url) as running:
        yield running


async def test_a_unit_gets_the_report_signed_and_whole(tips: Tips, notify: Notify) -> None:
    """Everything of the body that the unit needs; the signature verifies (the receiver checks each call)."""
    (report_id,) = await send(tips, notify, issue())
    notify.work()
    (call,) = await notify.units.seen(1)
    await notify.settled()
    (routed, _) = await notify.said()
    assert isinstance(routed, ReportRouted)
    assert call.body["type"] == "ibuurt.report"
    data = call.data
    assert data.pop("answer_url").startswith(f"{notify.url}/answer/")
    point = data.pop("location")["point"]
    assert set(point) == {"latitude", "longitude"}
    assert data == {
        "report_id": str(report_id),
        "turn": 1,
        "kind": "issue",
        "category": "street_light",
        "areas": {"district": "oakwood"},
        "unit": "public_space",
        "description": SECRET_WORDS,
        "happened": None,
        "answers": {},
        "contact": None,
        "not_an_emergency": False,
        "language": "nl",
        "accepted_at": "2026-11-12T13:37:11.123456Z",
        "acknowledge_by": routed.acknowledge_by.isoformat().replace("+00:00", "Z"),
        "resolve_by": routed.resolve_by.isoformat().replace("+00:00", "Z"),
    }


async def test_two_hundred_is_delivered_and_only_the_named_field_is_acknowledged(
    tips: Tips, notify: Notify
) -> None:
    """`case.seen` is true at one unit and false at the other; the events' ids follow from the delivery's."""
    notify.units.answers["public_space"] = plain(202, {"case": {"seen": True}})
    notify.units.answers["parking"] = plain(200, {"case": {"seen": False}, "acknowledged": True})
    await send(tips, notify, issue(), issue(category="wrong_parking"))
    notify.work()
    await notify.settled()
    said = await notify.said()
    by_unit = {
        unit: kinds([event for event in said if getattr(event, "unit", "") == unit])
        for unit in ("public_space", "parking")
    }
    assert by_unit == {
        "public_space": ["ReportRouted", "ReportDelivered", "ReportAcknowledged"],
        "parking": ["ReportRouted", "ReportDelivered"],
    }
    (seen,) = await notify.said(ReportAcknowledged)
    assert isinstance(seen, ReportAcknowledged)
    assert (seen.by, seen.took, seen.version) == ("webhook", "later", 3)
    (row,) = await notify.rows("SELECT id FROM delivery WHERE unit = 'public_space'")
    assert await notify.rows("SELECT 1 FROM outbox WHERE id = $1", derived_id(row["id"], ReportAcknowledged))
    totals = await notify.totals()
    assert (totals["delivered"], totals["acknowledged"]) == (2, 1)


async def test_what_waits_to_be_recorded_keeps_no_unit_waiting(tips: Tips, notify: Notify) -> None:
    """The next call is made while the one before is written down, here held up for as long as it takes; each
    is made once."""
    ids = await send(tips, notify, issue(), issue(), issue())
    async with notify.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM dispatch WHERE report_id = ANY($1) FOR UPDATE", ids)
        notify.work(limits=Limits(1, 1))
        calls = await notify.units.seen(3)
    await notify.settled()
    assert sorted(call.data["report_id"] for call in calls) == sorted(map(str, ids))
    assert len(await notify.said(ReportDelivered)) == len(await notify.units.seen(3)) == 3


async def test_a_tips_delivery_tells_no_minute_afterwards(tips: Tips, notify: Notify) -> None:
    """Events, steps and the settled delivery hold whole hours or nothing."""
    notify.units.answers["neighbourhood_police_south"] = plain(200, {"case": {"seen": True}})
    notify.units.answers["neighbourhood_police_north"] = plain(200, {"case": {"seen": True}})
    await send(tips, notify, tip(category="weapons"))
    notify.work()
    (call,) = await notify.units.seen(1)
    await notify.settled()
    assert call.data["location"] == {"address": SECRET_ADDRESS}
    (row,) = await notify.rows("SELECT * FROM dispatch JOIN delivery USING (report_id)")
    for name in ("accepted_at", "delivered_at", "acknowledged_at"):
        assert row[name] == hour_of(row[name])
    assert (row["due_at"], row["next_attempt_at"]) == (None, None)
    for event in await notify.rows("SELECT time FROM outbox"):
        assert event["time"] == hour_of(event["time"])


async def test_an_urgent_tip_that_its_unit_does_not_take_tells_no_minute_and_rings_all_the_same(
    tips: Tips, notify: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is due since the hour; how long it has waited the worker knows from its memory, and not a
    second too much."""
    monkeypatch.setattr("services.notify.delivery.GAUGE_SECONDS", 0.05)
    notify.units.answers["neighbourhood_police_south"] = plain(503)
    notify.clock.at = datetime.now(UTC).replace(minute=37, second=11, microsecond=123456)
    await send(tips, notify, tip(category="weapons"))
    notify.work()
    await until(lambda: notify.metric("deliveries_total", result="open") == 1)
    await until(lambda: notify.metric("deliveries_open") == 1)
    (row,) = await notify.rows("SELECT due_at FROM delivery WHERE state = 'open'")
    assert row["due_at"] == hour_of(notify.clock.at)
    assert notify.metric("delivery_oldest_seconds") == 0
    notify.clock.at += timedelta(minutes=16)
    await until(lambda: notify.metric("delivery_oldest_seconds") == 16 * 60)


async def test_every_reading_of_words_is_logged_with_the_unit_that_got_them(
    tips: Tips, notify: Notify
) -> None:
    """One disclosure per attempt, because each attempt fetches the words anew."""
    notify.units.answers["public_space"] = first(plain(503), plain())
    (report_id,) = await send(tips, notify)
    notify.work()
    await notify.settled()
    rows = await tips.rows("SELECT report_id, actor, purpose FROM disclosure WHERE act = 'disclosure'")
    assert [tuple(row) for row in rows] == [(report_id, "unit:public_space via webhook", "delivery")] * 2


async def test_no_word_stays_at_notify(tips: Tips, notify: Notify, capfd: pytest.CaptureFixture[str]) -> None:
    """Whole tables, what was logged, and the metrics, after a failure and a delivery."""
    notify.units.answers["public_space"] = first(plain(500, SECRET_WORDS), plain())
    await send(tips, notify)
    notify.work()
    await notify.settled()
    await notify.stop()
    for table in ("dispatch", "delivery", "outbox"):
        (row,) = await notify.rows(f"SELECT coalesce(string_agg(t::text, ' '), '') AS all FROM {table} t")
        assert "14" not in row["all"].split()
        assert "shed" not in row["all"]
    captured = capfd.readouterr()
    assert "shed" not in captured.out + captured.err
    assert "/answer/" not in captured.out + captured.err


async def test_a_refused_delivery_goes_again_under_the_same_id(tips: Tips, notify: Notify) -> None:
    """503, 503, 200: three calls, one webhook-id, ReportDelivered once."""
    notify.units.answers["public_space"] = first(plain(503), plain(503), plain())
    await send(tips, notify)
    notify.work()
    calls = await notify.units.seen(3)
    await notify.settled()
    assert len({call.webhook_id for call in calls}) == 1
    assert kinds(await notify.said()) == ["ReportRouted", "ReportDelivered"]
    (row,) = await notify.rows("SELECT state, attempts FROM delivery")
    assert tuple(row) == ("done", 3)
    assert notify.metric("deliveries_total", result="open") == 2
    assert notify.metric("deliveries_total", result="done") == 1


async def test_anything_but_two_hundred_is_tried_again(tips: Tips, notify: Notify) -> None:
    """Ten answers of all sorts, each saying that it was seen: none is believed, the eleventh is."""
    refusals = (301, 302, 307, 400, 401, 404, 410, 429, 500, 503)
    seen = {"case": {"seen": True}}
    notify.units.answers["public_space"] = first(*(plain(status, seen) for status in refusals), plain(200))
    await send(tips, notify)
    notify.work()
    await notify.settled()
    (row,) = await notify.rows("SELECT state, attempts, last_failure FROM delivery")
    assert tuple(row) == ("done", 11, "http_503")
    assert kinds(await notify.said()) == ["ReportRouted", "ReportDelivered"]


async def test_a_redirect_is_not_followed(tips: Tips, notify: Notify) -> None:
    """Words go to the address in the municipality's folder and nowhere else."""

    def away(status: int) -> Answer:
        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": "/elsewhere"})

        return answer

    notify.units.answers["public_space"] = first(*map(away, (301, 302, 303, 307, 308)), plain())
    await send(tips, notify)
    notify.work()
    await notify.settled()
    assert len(notify.units.arrivals) == 6
    assert notify.units.elsewhere == []


async def test_a_receiver_that_hangs_is_a_timeout(database: MakeDatabase, tips: Tips) -> None:
    """It costs its time limit and no more, and is tried again."""

    async def hang(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async with running_notify(await database("notify"), tips.internal_url, webhook_seconds=0.3) as notify:
        notify.units.answers["public_space"] = first(hang, plain())
        await send(tips, notify)
        begun = time.monotonic()
        notify.work()
        await notify.settled()
        assert 0.3 <= time.monotonic() - begun < 3
        (row,) = await notify.rows("SELECT state, attempts, last_failure FROM delivery")
        assert tuple(row) == ("done", 2, "timeout")


async def test_an_endless_answer_is_cut_off_and_acknowledges_nothing(tips: Tips, notify: Notify) -> None:
    """A 2xx is delivered; of its body no more than 64 KiB is read."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"case": {"seen": true}, "filler": "')
        while True:
            await response.write(b"x" * 10_000)
            sent += 10_000

    notify.units.answers["public_space"] = endless
    await send(tips, notify)
    notify.work()
    await notify.settled(5)
    assert kinds(await notify.said()) == ["ReportRouted", "ReportDelivered"]
    after = sent
    await asyncio.sleep(0.2)
    assert sent == after < 20_000_000


async def test_an_answer_that_cannot_be_read_is_delivered_and_nothing_more(
    tips: Tips, notify: Notify
) -> None:
    """Whatever a receiver writes besides its 2xx: a page, half of something, something deep, nothing."""
    answers = {
        "street_light": ("public_space", plain(200, '{"case": {"seen": true}}', "text/html")),
        "wrong_parking": ("parking", plain(200, '{"case": {"seen": tru')),
        "youth_nuisance": ("youth_work", plain(200, "[" * 60_000)),
        "worry_about_someone": ("care_team", plain(200, "")),
        "fraud": ("inspection", plain(204, "")),
    }
    notify.units.answers.update(answers.values())
    tips_too = {"worry_about_someone", "fraud"}
    asked = {"fraud": {"answers": {"what": "scam"}}}
    bodies = [(tip if name in tips_too else issue)(category=name, **asked.get(name, {})) for name in answers]
    await send(tips, notify, *bodies)
    await notify.rows(LONG_AGO)
    notify.work()
    await notify.settled(5)
    assert {call.unit for call in notify.units.arrivals} == {unit for unit, _ in answers.values()}
    assert len(await notify.said(ReportDelivered)) == 5
    assert await notify.said(ReportAcknowledged) == []


async def test_json_under_a_name_of_its_own_is_read(tips: Tips, notify: Notify) -> None:
    """Such as application/vnd.city+json; charset=utf-8."""
    notify.units.answers["public_space"] = plain(200, {"case": {"seen": 1}}, "application/vnd.city+json")
    await send(tips, notify)
    notify.work()
    await notify.settled()
    assert await notify.said(ReportAcknowledged)


async def test_a_unit_that_is_down_is_given_up_after_the_last_attempt(
    database: MakeDatabase, tips: Tips
) -> None:
    """DeliveryFailed, once, with the reason and how often; the report stays routed."""
    async with running_notify(
        await database("notify"), tips.internal_url, ports={"public_space": free_port()}
    ) as notify:
        await send(tips, notify)
        notify.work(retrying=Retrying(0.02, 0.05, 4))
        await notify.settled()
        (failed,) = await notify.said(DeliveryFailed)
        assert isinstance(failed, DeliveryFailed)
        assert (failed.reason, failed.attempts, failed.channel) == ("refused", 4, "webhook")
        (row,) = await notify.rows(
            "SELECT status, version, state FROM dispatch JOIN delivery USING (report_id)"
        )
        assert tuple(row) == ("routed", 3, "dead")
        assert notify.metric("deliveries_total", result="dead") == 1


async def test_a_unit_that_hangs_holds_up_nobody_else(database: MakeDatabase, tips: Tips) -> None:
    """Forty reports for the unit that hangs are due before twenty for a healthy one, which arrive at once."""

    async def hang(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async with running_notify(await database("notify"), tips.internal_url, webhook_seconds=5) as notify:
        notify.units.answers["parking"] = hang
        await send(tips, notify, *[issue(category="wrong_parking")] * 40)
        await notify.rows(LONG_AGO)
        await send(tips, notify, *[issue()] * 20)
        begun = time.monotonic()
        notify.work(limits=Limits(16, 4))
        await notify.units.seen(20, "public_space")
        assert time.monotonic() - begun < 2
        assert len([call for call in notify.units.arrivals if call.unit == "parking"]) == 4


async def test_a_unit_that_keeps_failing_is_asked_with_one_call_at_a_time(tips: Tips, notify: Notify) -> None:
    """After five failures in a row the others wait, uncounted; when it is back everything arrives."""
    notify.units.answers["public_space"] = plain(503)
    await send(tips, notify, *[issue()] * 30)
    notify.work(limits=Limits(16, 4), retrying=Retrying(0.5, 0.5, 20))
    await notify.units.seen(5)
    await asyncio.sleep(0.2)
    assert notify.metric("delivery_circuit_open", destination="public_space") == 1
    assert len(notify.units.arrivals) <= 9
    notify.units.answers["public_space"] = plain()
    await notify.settled()
    assert notify.metric("delivery_circuit_open", destination="public_space") == 0
    assert len(await notify.said(ReportDelivered)) == 30


async def test_a_unit_that_refuses_reports_is_not_taken_for_broken(tips: Tips, notify: Notify) -> None:
    """A 422 says that the system works: after many of them another report still goes at once."""

    async def picky(request: web.Request) -> web.StreamResponse:
        refused = (await request.json())["data"]["category"] == "graffiti"
        return web.json_response({}, status=422 if refused else 200)

    notify.units.answers["public_space"] = picky
    await send(tips, notify, *[issue(category="graffiti")] * 8)
    notify.work(retrying=Retrying(5, 5, 20))
    await notify.units.seen(8)
    begun = time.monotonic()
    await send(tips, notify, issue())
    await notify.units.seen(9)
    assert time.monotonic() - begun < 2
    assert notify.metric("delivery_circuit_open", destination="public_space") == 0


async def test_while_tips_is_away_nothing_counts_and_nothing_is_lost(
    database: MakeDatabase, tips: Tips
) -> None:
    """The words come from a port where nobody listens; when tips is back all is delivered."""
    async with running_notify(await database("notify"), f"http://127.0.0.1:{free_port()}") as notify:
        await send(tips, notify, *[issue()] * 10)
        notify.work(retrying=Retrying(0.02, 0.1, 2))
        await until(lambda: notify.metric("delivery_circuit_open", destination="tips") == 1)
        await asyncio.sleep(0.5)
        (row,) = await notify.rows("SELECT max(attempts), min(last_failure) AS why FROM delivery")
        assert tuple(row) == (0, "tips_refused")
        assert notify.units.arrivals == []
        assert notify.metric("delivery_circuit_open", destination="public_space") == 0
        notify.tips._url = tips.internal_url
        await notify.settled()
        assert len(await notify.said(ReportDelivered)) == 10


async def test_what_needs_no_words_does_not_wait_for_tips(database: MakeDatabase, tips: Tips) -> None:
    """Forty reports wait for their words: what their unit need not read, and that it is to erase its copy,
    goes at once, and not over and over; when tips is back all else goes."""
    quiet = "weapons"

    def change(town: Municipality) -> Municipality:
        one = town.categories[quiet]
        silent = one.model_copy(update={"leaves": one.leaves.model_copy(update={"webhook": "notice"})})
        return town.model_copy(update={"categories": {**town.categories, quiet: silent}})

    add = """INSERT INTO delivery (id, report_id, unit, channel, step, due_at, next_attempt_at)
             VALUES (gen_random_uuid(), $1, 'public_space', 'webhook', $2, now(), now())"""
    async with running_notify(
        await database("notify"), f"http://127.0.0.1:{free_port()}", change=change
    ) as notify:
        report_ids = await send(tips, notify, *[issue()] * 40)
        await notify.rows(LONG_AGO)
        notify.units.answers["public_space"] = plain(200, {"erased": True})
        notify.work(limits=Limits(8, 4), retrying=Retrying(0.5, 2, 20))
        await until(lambda: notify.metric("delivery_circuit_open", destination="tips") == 1)
        for step in ("withdrawn", "erased"):
            for report_id in report_ids[:5]:
                await notify.rows(add, report_id, step)
        await notify.apply(accepted(quiet))
        await notify.rows("UPDATE delivery SET next_attempt_at = now() WHERE next_attempt_at > now()")
        await notify.units.seen(11, seconds=5)
        await asyncio.sleep(3)
        told = Counter(one.body["type"].rpartition(".")[2] for one in notify.units.arrivals)
        # With an erasure too it is seen whether tips is back.
        assert told == Counter(withdrawn=5, notice=1, erased=told["erased"])
        assert 5 <= told["erased"] <= 9
        notify.tips._url = tips.internal_url
        await until(lambda: notify.metric("deliveries_total", result="done") >= 46)
        assert len(await notify.said(ReportDelivered)) == 41


async def test_with_a_wrong_token_nothing_counts(database: MakeDatabase, tips: Tips) -> None:
    """An operator's mistake costs no report its attempts."""
    async with running_notify(await database("notify"), tips.internal_url) as notify:
        notify.tips._headers = {"Authorization": "Bearer " + "w" * 40}
        await send(tips, notify)
        notify.work()
        await until(lambda: notify.metric("deliveries_total", result="open") >= 3)
        (row,) = await notify.rows("SELECT state, attempts, last_failure FROM delivery")
        assert tuple(row) == ("open", 0, "tips_401")


async def test_erased_words_cancel_the_delivery(tips: Tips, notify: Notify) -> None:
    """tips says 410, before ReportErased has come: nothing goes to the unit."""
    (report_id,) = await send(tips, notify)
    await tips.rows(
        "UPDATE report SET key_name = NULL, wrapped_key = NULL, sealed = NULL WHERE report_id = $1", report_id
    )
    notify.work()
    await notify.settled()
    (row,) = await notify.rows("SELECT state, last_failure FROM delivery")
    assert tuple(row) == ("cancelled", "erased")
    assert notify.units.arrivals == []


async def test_a_report_that_tips_does_not_know_ends_as_failed(notify: Notify) -> None:
    """Never silently dropped: tips may have been restored from a backup, or the address may be wrong."""
    await notify.apply(accepted())
    notify.work(retrying=Retrying(0.02, 0.05, 3))
    await notify.settled()
    (failed,) = await notify.said(DeliveryFailed)
    assert isinstance(failed, DeliveryFailed)
    assert failed.reason == "report_unknown"


async def test_damaged_words_hold_up_nobody_else(tips: Tips, notify: Notify) -> None:
    """`tips` works: the other report arrives. The damaged one is not given up: an operator may mend it."""
    damaged, sound = await send(tips, notify, issue(), issue())
    await tips.rows(
        "UPDATE report SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE report_id = $1",
        damaged,
    )
    notify.work(retrying=Retrying(0.02, 0.05, 3))
    await until(lambda: notify.metric("deliveries_total", result="open") >= 5)
    rows = await notify.rows("SELECT report_id, state, attempts, last_failure FROM delivery")
    told = {row["report_id"]: tuple(row)[1:] for row in rows}
    assert told == {damaged: ("open", 0, "words_damaged"), sound: ("done", 1, None)}
    (arrival,) = notify.units.arrivals
    assert arrival.data["report_id"] == str(sound)
    assert not await notify.said(DeliveryFailed)
    await tips.rows(
        "UPDATE report SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE report_id = $1",
        damaged,
    )
    await notify.settled()
    assert len(notify.units.arrivals) == 2


async def test_a_unit_that_left_the_folder_ends_as_failed(tips: Tips, notify: Notify) -> None:
    """What was routed to it is not forgotten."""
    await send(tips, notify)
    for table in ("delivery", "dispatch"):
        await notify.rows(f"UPDATE {table} SET unit = 'closed_down'")
    notify.work(retrying=Retrying(0.02, 0.05, 2))
    await notify.settled()
    (failed,) = await notify.said(DeliveryFailed)
    assert isinstance(failed, DeliveryFailed)
    assert failed.reason == "no_channel"


async def test_after_a_death_between_call_and_record_it_goes_again_and_is_said_once(
    tips: Tips, notify: Notify
) -> None:
    """The first worker dies when the unit has answered; the lease runs out; the next one uses the same id."""
    await send(tips, notify)
    await notify.die_before_record()
    assert kinds(await notify.said()) == ["ReportRouted"]
    notify.work()
    await notify.settled()
    calls = await notify.units.seen(2)
    assert len({call.webhook_id for call in calls}) == 1
    assert kinds(await notify.said()) == ["ReportRouted", "ReportDelivered"]


async def test_a_database_that_goes_away_during_a_call_is_waited_for(
    tips: Tips, notify: Notify, local_postgres: Server
) -> None:
    """The unit has the report and nothing of that can be written: it is not called again, and it is said
    once, when the database is back. What was due meanwhile goes then."""

    async def take(delivery: Delivery) -> Outcome:
        outcome = await notify.calls.deliver(delivery)
        if local_postgres.running and len(notify.units.arrivals) == 1:
            await asyncio.to_thread(local_postgres.kill)
        return outcome

    await send(tips, notify, *[issue()] * 3)
    notify.work(deliver=take, limits=Limits(1, 1), lease_seconds=2)
    await notify.units.seen(1)
    await asyncio.sleep(2.5)
    assert len(notify.units.arrivals) == 1
    await asyncio.to_thread(local_postgres.start)
    await notify.settled(20)
    calls = await notify.units.seen(3)
    assert len({call.webhook_id for call in calls}) == 3
    assert kinds(await notify.said()).count("ReportDelivered") == 3


async def test_the_lease_of_a_worker_that_died_while_the_clock_was_ahead_ends_with_it(
    tips: Tips, notify: Notify
) -> None:
    """Its delivery goes again now, not in an hour; a lease of now is not touched, and when the delivery is
    done, no time of it is left in the row."""
    right, most = datetime.now(UTC), timedelta(minutes=1)
    notify.clock.at = right + timedelta(hours=1)
    await send(tips, notify)
    await notify.die_before_record()
    (row,) = await notify.rows("SELECT leased_until FROM delivery")
    assert row["leased_until"] > notify.clock.at
    notify.clock.at = right
    async with notify.pool.acquire() as connection:
        brought = [
            await queries_deliveries.bring_forward(connection, right + back, most, most, CLOCKS_APART)
            for back in (timedelta(hours=1), timedelta())
        ]
    assert brought == [0, 1]
    notify.work()
    await notify.settled()
    assert len(await notify.units.seen(2)) == 2
    (row,) = await notify.rows("SELECT due_at, next_attempt_at, leased_until FROM delivery")
    assert tuple(row) == (None, None, None)


async def test_what_a_clock_that_was_ahead_has_put_off_goes_when_it_is_right_again(
    tips: Tips, notify: Notify
) -> None:
    """An attempt that failed when the clock was an hour ahead is tried again now, not in an hour, and so is
    an urgent tip of that hour; any other tip's first attempt keeps its random wait, which may be half an
    hour long."""
    outcomes: list[Outcome] = [Failed("http_503", unit_up=True), *[Delivered(acknowledged=False)] * 2]

    async def deliver(_delivery: Delivery) -> Outcome:
        return outcomes.pop(0)

    right = datetime.now(UTC)
    notify.clock.at = right + timedelta(hours=1)
    await send(tips, notify, issue())
    notify.work(deliver=deliver)
    await until(lambda: notify.metric("deliveries_total", result="open") == 1)
    await notify.stop()
    await notify.apply(accepted("weapons", now=notify.clock.at))
    (urgent,) = await notify.rows("SELECT id FROM delivery WHERE attempts = 0")
    notify.clock.at = right
    await notify.apply(accepted("drug_dealing", now=right))
    due = right + timedelta(minutes=29)
    await notify.rows(
        "UPDATE delivery SET due_at = $1, next_attempt_at = $1 WHERE attempts = 0 AND id <> $2",
        due,
        urgent["id"],
    )
    notify.work(deliver=deliver)
    await until(lambda: notify.metric("deliveries_total", result="done") == 2)
    (waiting,) = await notify.rows("SELECT due_at FROM delivery WHERE state = 'open'")
    assert waiting["due_at"] == due


async def test_what_waits_for_the_hours_end_or_was_put_off_by_a_clock_ahead_is_no_clock_that_went_back(
    tips: Tips, notify: Notify
) -> None:
    """A tip that was erased while it was under way, whose unit is told when the hour ends; and an urgent tip
    that a worker has put down whose clock stands just past an hour. What a clock that was a day ahead has put
    off goes at once, and its row tells the hour alone."""
    notify.clock.at = datetime.now(UTC).replace(minute=59, second=55)
    hour = notify.clock.at.replace(minute=0, second=0, microsecond=0)
    tip, soon = (accepted("weapons", now=notify.clock.at) for _ in range(2))
    await notify.apply(tip)
    leased = notify.clock.at + timedelta(seconds=30)
    await notify.rows("UPDATE delivery SET tried = true, leased_until = $1", leased)
    erased = ReportErased(report_id=tip.event.report_id, kind="tip", version=2, reason="resident")
    await notify.apply(Envelope.of(erased, id=uuid.uuid4(), source="/ibuurt/tips", now=notify.clock()))
    notify.clock.at += timedelta(seconds=6)
    await notify.apply(soon)
    again, first = timedelta(minutes=5), timedelta(minutes=30)
    minute = timedelta(minutes=1)
    moments = [hour + 60 * minute - timedelta(seconds=5), hour + 59 * minute, hour - timedelta(hours=21.5)]
    async with notify.pool.acquire() as connection:
        brought = [
            await queries_deliveries.bring_forward(connection, moment, again, first, CLOCKS_APART)
            for moment in moments
        ]
    assert brought == [0, 1, 2]
    rows = await notify.rows("SELECT DISTINCT due_at, next_attempt_at FROM delivery WHERE state = 'open'")
    assert [tuple(row) for row in rows] == [(hour - timedelta(hours=22),) * 2]


async def test_what_another_worker_takes_while_the_clock_is_minded_stays_its_own(
    tips: Tips, notify: Notify
) -> None:
    """Both see that the clock has gone back; one has brought it forward, and taken it, while the other was
    about to."""
    right, most = datetime.now(UTC), timedelta(minutes=5)
    notify.clock.at = right + timedelta(hours=1)
    await send(tips, notify)
    lease = right + timedelta(seconds=30)
    async with notify.pool.acquire() as first, notify.pool.acquire() as second:
        async with first.transaction():
            await first.execute("UPDATE delivery SET next_attempt_at = $1, leased_until = $2", right, lease)
            minding = asyncio.create_task(
                queries_deliveries.bring_forward(second, right, most, most, CLOCKS_APART)
            )
            waits = "SELECT FROM pg_locks WHERE NOT granted"
            while not await notify.rows(waits):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        assert await minding == 0
    (row,) = await notify.rows("SELECT leased_until FROM delivery")
    assert row["leased_until"] == lease


async def test_a_worker_that_slept_through_its_lease_says_nothing_twice(tips: Tips, notify: Notify) -> None:
    """Two workers hold the same delivery, one of them a zombie; whoever comes second adds no event."""
    release = asyncio.Event()

    async def slow(delivery: Delivery) -> Outcome:
        outcome = await notify.calls.deliver(delivery)
        await release.wait()
        return outcome

    notify.units.answers["public_space"] = plain(200, {"case": {"seen": True}})
    await send(tips, notify)
    notify.work(deliver=slow, lease_seconds=0.2)
    await notify.units.seen(1)
    await asyncio.sleep(0.3)
    notify.work()
    await notify.settled()
    release.set()
    await until(lambda: notify.metric("deliveries_total", result="late") == 1)
    assert kinds(await notify.said()) == ["ReportRouted", "ReportDelivered", "ReportAcknowledged"]


async def test_a_zombies_failure_undoes_nothing(tips: Tips, notify: Notify) -> None:
    """The delivery that the next worker holds keeps its lease and its count."""
    release, held = asyncio.Event(), asyncio.Event()

    async def fail_late(_delivery: Delivery) -> Outcome:
        await release.wait()
        raise RuntimeError("whatever")

    async def hold(_delivery: Delivery) -> Outcome:
        held.set()
        await asyncio.sleep(3600)
        return Delivered(acknowledged=False)

    await send(tips, notify)
    notify.work(deliver=fail_late, lease_seconds=0.2)
    await asyncio.sleep(0.4)
    notify.work(deliver=hold)
    async with asyncio.timeout(5):
        await held.wait()
    (before,) = await notify.rows("SELECT * FROM delivery")
    release.set()
    await until(lambda: notify.metric("deliveries_total", result="late") == 1)
    (after,) = await notify.rows("SELECT * FROM delivery")
    assert tuple(after) == tuple(before)


async def test_what_waited_behind_a_slow_call_is_not_called_on_what_is_left_of_its_lease(
    notify: Notify,
) -> None:
    """It would end after the lease, and another worker would call too: it goes under a lease of its own, at
    once and not after the first has ended, and that is no attempt."""
    lease, left = 6.0, list[float]()

    async def slow(delivery: Delivery) -> Outcome:
        left.append((delivery.leased_until - notify.clock()).total_seconds())
        await asyncio.sleep(0.25 * lease)
        return Delivered(tips_asked=False)

    await notify.apply(accepted(), accepted())
    taken = time.monotonic()
    notify.work(deliver=slow, limits=Limits(1, 2), lease_seconds=lease)
    await notify.settled()
    assert time.monotonic() - taken < lease
    assert min(left) > 0.8 * lease
    assert [row["attempts"] for row in await notify.rows("SELECT attempts FROM delivery")] == [1, 1]


async def test_units_that_hang_all_at_once_hold_up_no_other(notify: Notify) -> None:
    """All units but one hang, and have more than is ever taken at once: what falls due for the last one goes
    at once, one after another."""
    healthy = "public_space"

    async def call(delivery: Delivery) -> Outcome:
        arrived.append(delivery.unit)
        if delivery.unit != healthy:
            await asyncio.sleep(60)
        return Delivered(tips_asked=False)

    add = """INSERT INTO delivery (id, report_id, unit, channel, step, due_at, next_attempt_at)
             SELECT gen_random_uuid(), report_id, $1, 'webhook', 'withdrawn', now(), now() FROM dispatch"""
    arrived, hanging = list[str](), [one for one in notify.municipality.units if one != healthy]
    await notify.apply(*[accepted() for _ in range(6)])
    await notify.rows("DELETE FROM delivery")
    for unit in hanging:
        await notify.rows(add, unit)
    notify.work(deliver=call, limits=Limits(2 * len(hanging), 4))
    await until(lambda: len(arrived) >= 2 * len(hanging) - 1)
    (row,) = await notify.rows("SELECT count(*) FROM delivery WHERE leased_until > now()")
    assert row["count"] == 4 * len(hanging)
    await notify.rows(add, healthy)
    await until(lambda: arrived.count(healthy) == 6, 3)
    assert len(arrived) == 2 * len(hanging) - 1 + 6


async def test_two_workers_on_one_table_deliver_each_report_once(tips: Tips, notify: Notify) -> None:
    """A hundred reports over eight units: each goes once, and is said once."""
    categories = ["street_light", "wrong_parking", "noise", "youth_nuisance"]
    bodies = [issue(category=categories[number % 4]) for number in range(100)]
    report_ids = await send(tips, notify, *bodies)
    notify.work(limits=Limits(8, 4))
    notify.work(limits=Limits(8, 4))
    await notify.settled()
    assert sorted(call.data["report_id"] for call in notify.units.arrivals) == sorted(map(str, report_ids))
    assert len(await notify.said(ReportDelivered)) == 100


async def test_a_report_withdrawn_while_it_is_under_way_is_said_nothing_more_about(
    tips: Tips, notify: Notify
) -> None:
    """The unit answers after the erasure: cancelled stays cancelled; but it has the words, and is told."""
    release = asyncio.Event()

    async def slow(_request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.json_response({"case": {"seen": True}})

    notify.units.answers["public_space"] = slow
    (report_id,) = await send(tips, notify)
    notify.work(lease_seconds=2)
    await notify.units.seen(1)
    about: dict[str, Any] = {"report_id": report_id, "kind": "issue", "version": 2, "reason": "resident"}
    erased = ReportErased(**about)
    await notify.apply(Envelope.of(erased, id=uuid.uuid4(), source="/ibuurt/tips", now=notify.clock()))
    release.set()
    await until(lambda: notify.metric("deliveries_total", result="late") == 1)
    (row,) = await notify.rows(
        "SELECT status, state FROM dispatch JOIN delivery USING (report_id) WHERE step = 'route'"
    )
    assert tuple(row) == ("erased", "cancelled")
    await until(lambda: [one.body["type"] for one in notify.units.arrivals][1:] == ["ibuurt.report.erased"])
    assert kinds(await notify.said()) == ["ReportRouted"]


async def test_it_goes_the_moment_it_is_committed(tips: Tips, notify: Notify) -> None:
    """Woken, the worker does not wait for its next look, 200 ms later."""
    worker = notify.work()
    waited = []
    for number in range(1, 8):
        assert (await tips.post(issue())).status == 201
        async with notify.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await notify.reports.apply(connection, await announced(tips))
            await transaction.commit()
        worker.wake()
        begun = time.monotonic()
        waited.append((await notify.units.seen(number))[-1].at - begun)
    assert sorted(waited)[3] < 0.1, waited


async def test_a_stop_lets_what_is_under_way_finish(tips: Tips, notify: Notify) -> None:
    """And takes nothing new; the rest stays open for the next start."""
    release = asyncio.Event()

    async def slow(_request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    notify.units.answers["public_space"] = slow
    await send(tips, notify, *[issue()] * 5)
    notify.work(limits=Limits(4, 2))
    await notify.units.seen(2)
    asyncio.get_running_loop().call_later(0.3, release.set)
    begun = time.monotonic()
    await notify.stop()
    assert time.monotonic() - begun < 3
    totals = await notify.totals()
    assert (totals["delivered"], totals["open_deliveries"]) == (2, 3)
    assert len(notify.units.arrivals) == 2


async def test_the_wait_of_a_tip_is_kept(tips: Tips, notify: Notify) -> None:
    """It does not go before its time, and does when it has come."""
    await send(tips, notify, tip())
    notify.work()
    await asyncio.sleep(0.5)
    assert notify.units.arrivals == []
    (row,) = await notify.rows("SELECT next_attempt_at - now() AS wait FROM delivery")
    assert timedelta(minutes=14) < row["wait"] < timedelta(minutes=16)
    await notify.rows(LONG_AGO)
    await notify.units.seen(1)
