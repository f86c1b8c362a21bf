"""What notify makes of the reports that tips announces, on a real PostgreSQL."""

import json
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from services.notify.core.acts import Act
from services.notify.horizon import forget
from shared.cloudevents import Envelope, derived_id
from shared.errors import Poison
from shared.events import (
    READABLE_DAYS,
    Event,
    ReportAccepted,
    ReportAnswered,
    ReportErased,
    ReportRecategorised,
    ReportReopened,
    ReportRouted,
    ReportSupplemented,
    ReportWithdrawn,
)
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import Notify, accepted, reports_of, running_notify

NOWHERE = "http://127.0.0.1:9"
ABOUT: dict[str, Any] = {"kind": "issue"}
NOW = datetime(2026, 11, 12, 13, 37, 11, 123456, tzinfo=UTC)


@pytest_asyncio.fixture
async def notify(database: MakeDatabase) -> AsyncIterator[Notify]:
    """Without a worker: what is due stays open."""
    async with running_notify(await database("notify"), NOWHERE) as running:
        running.clock.at = NOW
        yield running


def later(event: Event) -> Envelope[Event]:
    return Envelope.of(event, id=uuid.uuid4(), source="/ibuurt/tips", now=NOW)


async def test_a_batch_is_routed_once_however_often_it_comes(notify: Notify) -> None:
    """Two hundred reports, applied twice: one dispatch, one delivery and one ReportRouted each."""
    batch = [accepted(now=NOW) for _ in range(200)]
    await notify.apply(*batch)
    await notify.apply(*batch)
    totals = await notify.totals()
    assert [totals[name] for name in ("accepted", "routed", "open_deliveries", "waiting")] == [200] * 4
    rows = await notify.rows("SELECT id, key FROM outbox")
    assert {row["id"] for row in rows} == {derived_id(one.id, ReportRouted) for one in batch}
    assert {bytes(row["key"]).decode() for row in rows} == {one.event.key for one in batch}


async def test_a_report_announced_twice_under_two_ids_is_routed_once(notify: Notify) -> None:
    """In one batch and in the next; the first one stays."""
    one = accepted(now=NOW)
    twin = Envelope.of(one.event, id=uuid.uuid4(), source=one.source, now=NOW)
    await notify.apply(one, twin)
    await notify.apply(twin)
    (row,) = await notify.rows("SELECT id FROM outbox")
    assert row["id"] == derived_id(one.id, ReportRouted)


async def test_what_is_said_of_the_route_is_what_is_stored(notify: Notify) -> None:
    """Unit, rule, version, reason and due times: hours in which the unit works, on Sundays fewer."""
    await notify.apply(accepted("wrong_parking", now=NOW))
    (said,) = await notify.said()
    (row,) = await notify.rows("SELECT * FROM dispatch")
    assert isinstance(said, ReportRouted)
    for name in ("unit", "rule", "rules_version", "reason", "acknowledge_by", "resolve_by", "version"):
        assert row[name] == getattr(said, name)
    assert (said.unit, said.rule, said.version) == ("parking", "parking", 1)
    assert said.acknowledge_by - NOW == timedelta(hours=4)
    assert said.resolve_by - NOW == timedelta(days=4)
    assert json.loads(row["areas"]) == {"district": "oakwood"}
    (delivery,) = await notify.rows("SELECT * FROM delivery")
    assert (delivery["due_at"], delivery["next_attempt_at"]) == (NOW, NOW)


async def test_a_tip_waits_as_its_category_says_and_its_times_are_hours(notify: Notify) -> None:
    """Half of 30 minutes at a chance of a half; an urgent one is due since its hour began, so that it goes at
    once; nothing tells the minute."""
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    await notify.apply(accepted("drug_dealing", now=NOW))
    (waiting,) = await notify.rows("DELETE FROM delivery RETURNING *")
    assert waiting["next_attempt_at"] == NOW + timedelta(minutes=15)
    await notify.apply(accepted("weapons", now=NOW))
    (urgent,) = await notify.rows("SELECT * FROM delivery")
    assert (urgent["due_at"], urgent["next_attempt_at"]) == (hour, hour)
    for row in await notify.rows("SELECT * FROM dispatch"):
        assert row["accepted_at"] == hour
    for row in await notify.rows("SELECT time FROM outbox"):
        assert row["time"] == hour


async def test_a_tips_step_with_a_minute_cannot_be_stored(notify: Notify) -> None:
    """The database holds the promise too."""
    await notify.apply(accepted("weapons", now=NOW))
    with pytest.raises(Exception, match="tip_to_the_hour"):
        await notify.rows("UPDATE dispatch SET delivered_at = $1", NOW)


@pytest.mark.parametrize(("event", "status"), [(ReportWithdrawn, "withdrawn"), (ReportErased, "erased")])
async def test_what_is_withdrawn_or_erased_is_no_longer_delivered(
    notify: Notify, event: type[ReportWithdrawn] | type[ReportErased], status: str
) -> None:
    """Also when it comes in the same batch; others are left alone, and nothing is said about it."""
    gone, stays = accepted(now=NOW), accepted(now=NOW)
    about = ABOUT | {"report_id": gone.event.report_id, "version": 2}
    end = event(**about, reason="resident") if event is ReportErased else event(**about)
    await notify.apply(gone, stays, later(end))
    await notify.apply(later(end))
    rows = await notify.rows(
        "SELECT report_id, status, state, report_version FROM dispatch JOIN delivery USING (report_id)"
    )
    found = {row["report_id"]: tuple(row)[1:] for row in rows}
    assert found[gone.event.report_id] == (status, "cancelled", 2)
    assert found[stays.event.report_id] == ("routed", "open", 1)
    assert len(await notify.said()) == 2


async def test_what_is_erased_does_not_become_withdrawn(notify: Notify) -> None:
    """Erasure is the last word."""
    one = accepted(now=NOW)
    about = ABOUT | {"report_id": one.event.report_id}
    await notify.apply(one, later(ReportErased(**about, version=2, reason="resident")))
    await notify.apply(later(ReportWithdrawn(**about, version=3)))
    (row,) = await notify.rows("SELECT status FROM dispatch")
    assert row["status"] == "erased"


async def test_other_events_are_noted_and_change_nothing_else(notify: Notify) -> None:
    """The highest version stays, in whatever order they come; a report that is not here is no mistake."""
    one, unknown = accepted(now=NOW), accepted(now=NOW)
    await notify.apply(one)

    def moved(about: ReportAccepted, version: int) -> Envelope[Event]:
        return later(
            ReportRecategorised(
                report_id=about.report_id,
                kind="issue",
                version=version,
                category="graffiti",
                regime="gdpr",
                urgency="normal",
            )
        )

    await notify.apply(moved(one.event, 3), moved(one.event, 2), moved(unknown.event, 2))
    (row,) = await notify.rows("SELECT status, version, report_version, category FROM dispatch")
    assert tuple(row) == ("routed", 1, 3, "street_light")


@pytest.mark.parametrize("event", [ReportSupplemented, ReportAnswered, ReportReopened])
async def test_what_a_resident_adds_is_no_poison_and_leaves_the_delivery_open(
    notify: Notify, event: type[ReportSupplemented] | type[ReportAnswered] | type[ReportReopened]
) -> None:
    """In the same batch, again, and about a report that is not here. What was written goes to the unit, once;
    what is not done cannot be reopened."""
    one, unknown = accepted(now=NOW), accepted(now=NOW)
    added = later(event(**ABOUT | {"report_id": one.event.report_id, "version": 2}))
    strange = later(event(**ABOUT | {"report_id": unknown.event.report_id, "version": 2}))
    await notify.apply(one, added, strange)
    await notify.apply(added)
    (row,) = await notify.rows("SELECT status, turn, report_version FROM dispatch")
    assert tuple(row) == ("routed", 1, 2)
    steps = {row["step"]: row["state"] for row in await notify.rows("SELECT step, state FROM delivery")}
    assert steps == {"route": "open"} | ({} if event is ReportReopened else {"message.2": "open"})
    assert len(await notify.said()) == 1


async def test_who_may_have_words_of_a_category_that_has_left_the_folder_is_told_of_the_end(
    notify: Notify,
) -> None:
    """Its call was answered with 503, or its worker died: what may have left then is known no more."""
    one = accepted(now=NOW)
    await notify.apply(one)
    await notify.rows("UPDATE delivery SET tried = true")
    town = notify.municipality
    others = {name: known for name, known in town.categories.items() if name != one.event.category}
    reports = reports_of(town.model_copy(update={"categories": others}), notify.clock)
    erased = ReportErased(**ABOUT, report_id=one.event.report_id, version=2, reason="resident")
    async with notify.pool.acquire() as connection, connection.transaction():
        await reports.apply(connection, [later(erased)])
    assert [row["step"] for row in await notify.rows("SELECT step FROM delivery WHERE state = 'open'")] == [
        "erased"
    ]


async def test_an_end_that_is_read_again_leaves_what_tells_of_it(notify: Notify) -> None:
    """After `consumer read-again`: the unit that is away has to erase its copy all the same."""
    one = accepted(now=NOW)
    await notify.apply(one)
    await notify.rows("UPDATE delivery SET tried = true")
    about = ABOUT | {"report_id": one.event.report_id}
    withdrawn = later(ReportWithdrawn(**about, version=2))
    erased = later(ReportErased(**about, version=3, reason="resident"))
    for end, others in ((withdrawn, ()), (erased, (withdrawn,))):
        await notify.apply(end)
        await notify.apply(one, *others)
        await notify.apply(end)
        assert await notify.rows("SELECT step FROM delivery WHERE state = 'open'") == [
            ("withdrawn" if end is withdrawn else "erased",)
        ]


async def test_what_was_added_before_a_report_moved_on_goes_to_no_later_unit(notify: Notify) -> None:
    """That one had it with the report: after `consumer read-again` it is nothing new to it."""
    one = accepted(now=NOW)
    about = ABOUT | {"report_id": one.event.report_id}
    added = [later(ReportSupplemented(**about, version=2)), later(ReportAnswered(**about, version=3))]
    await notify.apply(one, *added)
    reason = {"reason": "not_our_task", "to_unit": "front_desk"}
    assert (await notify.act(one.event.report_id, "hand_over", "public_space", **reason))[0] == 200
    await notify.apply(one, *added)
    assert [
        tuple(row) for row in await notify.rows("SELECT step, unit FROM delivery WHERE state = 'open'")
    ] == [("route.2", "front_desk")]
    await notify.apply(later(ReportSupplemented(**about, version=4)))
    (row,) = await notify.rows("SELECT unit FROM delivery WHERE step = 'message.4'")
    assert row["unit"] == "front_desk"


async def test_what_a_resident_did_that_is_read_again_is_done_once(notify: Notify) -> None:
    """After `consumer read-again` no report is reopened that was solved since, and no wait for another answer
    ends."""
    one = accepted(now=NOW)
    about = ABOUT | {"report_id": one.event.report_id}
    reopened = later(ReportReopened(**about, version=2))
    answered = later(ReportAnswered(**about, version=3))
    solves, asks = Act("resolve", "desk", outcome="done"), Act("ask", "desk")

    async def act(what: Act) -> None:
        async with notify.pool.acquire() as connection, connection.transaction():
            await notify.acting.act(
                connection, one.event.report_id, "public_space", what, uuid.uuid4(), "officer:test"
            )

    async def stands() -> tuple[Any, ...]:
        (row,) = await notify.rows("SELECT status, turn, waits_since IS NULL FROM dispatch")
        return tuple(row)

    await notify.apply(one)
    await act(solves)
    await notify.apply(reopened)
    await act(solves)
    await notify.apply(one, reopened)
    assert await stands() == ("resolved", 2, True)
    await notify.apply(later(ReportReopened(**about, version=4)))
    await act(asks)
    await notify.apply(answered)
    await act(asks)
    await notify.apply(one, reopened, answered)
    assert await stands() == ("acknowledged", 3, False)
    await notify.said()


async def test_a_category_that_the_folder_lacks_is_poison_with_a_mend(notify: Notify) -> None:
    """It is set aside, to be replayed with a newer folder; nothing of it is stored."""
    strange = accepted(now=NOW)
    event = strange.event.model_copy(update={"category": "flying_saucers"})
    with pytest.raises(Poison, match="folder") as caught:
        await notify.apply(Envelope.of(event, id=strange.id, source=strange.source, now=NOW))
    assert caught.value.reason == "unknown_category"
    assert (await notify.totals())["accepted"] == 0


async def test_totals_name_what_was_accepted_in_whatever_order(notify: Notify) -> None:
    """The digest is the exclusive or of the first 8 bytes of each id's MD5, as the other services count."""
    assert (await notify.totals())["digest"] == "0" * 16
    batch = [accepted(now=NOW) for _ in range(5)]
    await notify.apply(*batch)
    (row,) = await notify.rows(
        """SELECT lpad(to_hex(bit_xor(('x' || left(md5(id), 16))::bit(64)::bigint)), 16, '0') AS digest
           FROM unnest($1::text[]) AS id""",
        [one.event.key for one in reversed(batch)],
    )
    assert await notify.totals() == {
        "accepted": 5,
        "digest": row["digest"],
        "routed": 5,
        "delivered": 0,
        "acknowledged": 0,
        "open_deliveries": 5,
        "waiting": 5,
    }


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ([ReportErased], "erased"),
        ([ReportWithdrawn], "withdrawn"),
        ([ReportErased, ReportWithdrawn], "erased"),
    ],
)
async def test_what_ended_before_its_acceptance_was_applied_goes_to_nobody(
    notify: Notify, ends: list[Any], status: str
) -> None:
    """It was among the dead letters when its resident took it back; replayed it is counted, and ended."""
    late = accepted(now=NOW)
    about = ABOUT | {"report_id": late.event.report_id}
    for number, one in enumerate(ends, start=2):
        more = {"reason": "resident"} if one is ReportErased else {}
        await notify.apply(later(one(**about, version=number, **more)))
    await notify.apply(late)
    rows = await notify.rows("SELECT status, erased_on IS NULL AS stays, clock_at FROM dispatch")
    assert [tuple(row) for row in rows] == [(status, status != "erased", None)]
    assert await notify.rows("SELECT FROM delivery WHERE state = 'open'") == []
    assert await notify.rows("SELECT FROM ended_unseen") == []
    assert (await notify.totals())["accepted"] == 1


@pytest.mark.parametrize("ends", [False, True])
async def test_what_was_added_before_its_acceptance_was_applied_goes_to_the_unit(
    notify: Notify, ends: bool
) -> None:
    """Each of it once, whatever is replayed; unless the report was taken back meanwhile."""
    late = accepted(now=NOW)
    about = ABOUT | {"report_id": late.event.report_id}
    added = [later(ReportSupplemented(**about, version=version)) for version in (2, 3)]
    await notify.apply(*added)
    await notify.apply(added[0])
    if ends:
        await notify.apply(later(ReportWithdrawn(**about, version=4)))
    state = "cancelled" if ends else "open"
    for again in ((), added):
        await notify.apply(late, *again)
        rows = await notify.rows("SELECT step, unit, state FROM delivery ORDER BY step")
        assert [tuple(row) for row in rows] == [
            (step, "public_space", state) for step in ("message.2", "message.3", "route")
        ]
    assert await notify.rows("SELECT FROM added_unseen") == []


async def test_what_was_added_to_what_never_comes_is_forgotten(notify: Notify) -> None:
    """With all else that is keyed by a report's id."""
    await notify.apply(later(ReportSupplemented(**ABOUT, report_id=uuid.uuid4(), version=2)))
    await forget(notify.pool, NOW + timedelta(days=READABLE_DAYS))
    assert len(await notify.rows("SELECT FROM added_unseen")) == 1
    await forget(notify.pool, NOW + timedelta(days=READABLE_DAYS + 1))
    assert await notify.rows("SELECT FROM added_unseen") == []


async def test_of_what_is_here_no_end_is_remembered_besides(notify: Notify) -> None:
    """And of what never came it is forgotten with all else that is keyed by a report's id."""
    here = accepted(now=NOW)
    await notify.apply(here)
    for report_id in (here.event.report_id, uuid.uuid4()):
        erased = ReportErased(**ABOUT, report_id=report_id, version=2, reason="resident")
        await notify.apply(later(erased))
    assert len(await notify.rows("SELECT FROM ended_unseen")) == 1
    await forget(notify.pool, NOW + timedelta(days=READABLE_DAYS))
    assert len(await notify.rows("SELECT FROM ended_unseen")) == 1
    await forget(notify.pool, NOW + timedelta(days=READABLE_DAYS + 1))
    assert await notify.rows("SELECT FROM ended_unseen") == []


async def test_a_tips_row_tells_no_minute_of_a_call_that_was_under_way_when_it_was_erased(
    notify: Notify,
) -> None:
    """Whoever may still get its words is told at the end of the hour."""
    tip = accepted("weapons", now=NOW)
    await notify.apply(tip)
    await notify.rows("UPDATE delivery SET tried = true, leased_until = $1", NOW + timedelta(seconds=30))
    erased = ReportErased(report_id=tip.event.report_id, kind="tip", version=2, reason="resident")
    await notify.apply(later(erased))
    rows = await notify.rows("SELECT step, state, leased_until, due_at FROM delivery ORDER BY step DESC")
    end = NOW.replace(hour=NOW.hour + 1, minute=0, second=0, microsecond=0)
    assert {(row["step"], row["state"]) for row in rows} == {("route", "cancelled"), ("erased", "open")}
    assert {row["leased_until"] or row["due_at"] for row in rows} == {end}
