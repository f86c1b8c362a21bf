"""What a database restored from a backup takes back from its service's own topics, and what it refuses."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry

from services.notify import recovery as notify_recovery
from services.notify.clocks import Sweeper
from services.notify.dispatches import Dispatches
from services.notify.metrics import DeliveryMetrics
from services.tips import recovery as tips_recovery
from shared import municipality, postgres
from shared.cloudevents import Envelope, derived_id
from shared.errors import Refusal
from shared.events import (
    Event,
    IssueGone,
    ReportAccepted,
    ReportAcknowledged,
    ReportDelivered,
    ReportErased,
    ReportHandedOver,
    ReportPlanned,
    ReportRefused,
    ReportReopened,
    ReportResolved,
    ReportRouted,
    ReportWithdrawn,
    hour_of,
)
from shared.mending.recover import History, Recovered, recover
from shared.mending.resend import resend
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.followed import followed
from tests.integration.notify_harness import MIGRATIONS, envelope_of, reports_of
from tests.integration.test_tips_consumer import apply
from tests.integration.test_tips_consumer import envelope as dispatched
from tests.integration.tips_server import issue, new_key, running_tips
from tests.spine import (
    envelope,
    headers,
    key_in,
    number_sequence,
    opened,
    read_topic,
    relaying,
    renew_topics,
    running,
    writing,
)

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 12, 13, 37, 11, tzinfo=UTC)


@asynccontextmanager
async def notify_database(database: MakeDatabase) -> AsyncIterator[asyncpg.Pool]:
    """A pool of a new database of notify."""
    dsn = await database()
    await postgres.migrate(dsn, MIGRATIONS)
    async with await postgres.open_pool(dsn, "test") as pool:
        yield pool


class Taking:
    """A service's taking back that only looks."""

    def __init__(self) -> None:
        self.histories: list[History] = []

    async def __call__(self, _connection: Any, history: History) -> Recovered:
        self.histories.append(history)
        return Recovered([])


async def _relay(bootstrap: str, dsn: str) -> None:
    async with opened(dsn) as database:
        relay, _ = relaying(bootstrap, dsn)
        async with running(relay.run()):
            await database.sent()


async def _append(dsn: str, *given: Envelope[Event]) -> None:
    async with opened(dsn) as database:
        await database.append(*given)


async def test_numbers_go_on_from_the_topic_and_what_was_sent_is_not_sent_again(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> None:
    """What waited in the backup's outbox and is on the topic is dropped, what is not is kept; the service is
    shown its own events; a dry run changes nothing; what was recovered can be sent again like any other."""
    bootstrap, lines = infrastructure.bootstrap, list[str]()
    before, waited, after, new = (envelope(key_in(3)) for _ in range(4))
    dsn = await database()
    await _append(dsn, before)
    await _relay(bootstrap, dsn)
    await _append(dsn, waited)
    backup = await database(template=dsn.rsplit("/", 1)[1])
    await _append(dsn, after)
    await _relay(bootstrap, dsn)
    await _append(backup, new)

    taking = Taking()
    common: dict[str, Any] = {"deliver_again": False, "first_counts": False, "say": lines.append}
    for who in (None, "an operator"):
        await recover(backup, bootstrap, "tips", taking, who=who, **common)
    assert lines.count("2 events were sent after the backup; 1 that waited here had been sent") == 2
    assert [[one.id for one in history.own] for history in taking.histories] == [[waited.id, after.id]] * 2
    async with opened(backup) as restored:
        assert [row["id"] for row in await restored.fetch("SELECT id FROM outbox")] == [new.id]
        assert [row["who"] for row in await restored.fetch("SELECT who FROM mending")] == ["an operator"]
    await _relay(bootstrap, backup)
    assert await number_sequence(bootstrap, 3) == [1, 2, 3, 4]

    await renew_topics(bootstrap)
    await resend(backup, bootstrap, "tips", who="an operator", say=lines.append)
    records = (await read_topic(bootstrap, "ibuurt.reports.v1"))[3]
    assert [dict(record.headers)["ce_id"].decode() for record in records] == [
        str(one.id) for one in (before, waited, after, new)
    ]


async def test_another_writers_record_is_no_past_of_ours(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> None:
    """No number, no event, or one number under two ids: nothing is taken back, and the refusal says what to
    do. Where a person says so, what every reader took is taken: the first under each number."""
    bootstrap, dsn = infrastructure.bootstrap, await database()
    await _append(dsn)
    backup = await database(template=dsn.rsplit("/", 1)[1])
    ours, garbled = envelope(key_in(3)), envelope(key_in(4))
    await _append(dsn, ours)
    await _relay(bootstrap, dsn)
    taking, lines = Taking(), list[str]()
    common: dict[str, Any] = {"deliver_again": False, "who": "an operator", "say": lines.append}

    async def refused(fault: str) -> None:
        with pytest.raises(Refusal, match=rf"{fault}.*another writer was there: withdraw"):
            await recover(backup, bootstrap, "tips", taking, first_counts=False, **common)

    async with writing(bootstrap) as writer:
        await writer.record(5, b"key", b"?", [])
        await refused("partition 5 offset 0: unnumbered")
        await writer.record(4, b"key", b"?", headers(1, garbled))
        await refused("partition 4 offset 0: bad_value")
        await writer.event(3, 1, envelope(key_in(3)))
        await refused("partition 3 offset 1: number_used_twice")
    assert (taking.histories, lines) == ([], [])

    await recover(backup, bootstrap, "tips", taking, first_counts=True, **common)
    assert [one.id for one in taking.histories[0].own] == [ours.id]
    assert "3 records that no reader took were left" in lines
    await _append(backup, envelope(key_in(3)), envelope(key_in(4)), envelope(key_in(5)))
    await _relay(bootstrap, backup)
    topic = await read_topic(bootstrap, "ibuurt.reports.v1")
    last = {place: dict(topic[place][-1].headers)["ce_sequence"] for place in (3, 4, 5)}
    assert last == {3: b"2", 4: b"2", 5: b"1"}


# tips.


async def test_what_was_erased_after_the_backup_is_erased_again(
    infrastructure: Infrastructure, database: MakeDatabase, tmp_path: Path
) -> None:
    """The backup brings the words back; the topic says that they are gone. All that is said anew
    is that its issue is gone: that was not on its topic yet."""
    async with running_tips(await database("tips"), tmp_path) as tips:
        for _ in range(2):
            assert (await tips.post(issue(), new_key())).status == 201
        gone, kept = [row["report_id"] for row in await tips.rows("SELECT report_id FROM report")]
        erased = ReportErased(report_id=gone, kind="issue", version=2, reason="resident")
        history = History([_said(erased, "tips")], [], deliver_again=False)
        async with tips.desk.pool.acquire() as connection, connection.transaction():
            found = await tips_recovery.take_back(connection, history, NOW)
        assert [type(one.event) for one in found.events] == [IssueGone]
        assert (await tips.words(gone)).status == 410
        assert (await tips.words(kept)).status == 200
        (row,) = await tips.rows("SELECT version, status FROM report WHERE report_id = $1", gone)
        assert tuple(row) == (2, "erased")
        (certificate,) = await tips.rows("SELECT report_id, reason FROM erasure")
        assert tuple(certificate) == (gone, "resident")


async def test_what_residents_did_after_the_backup_is_taken_back_as_steps(
    infrastructure: Infrastructure, database: MakeDatabase, tmp_path: Path
) -> None:
    """What was reopened is open, also where the dispatch before it comes again only later; what was taken
    back stays so; an event of a report that is nowhere is left alone."""
    async with running_tips(await database("tips"), tmp_path) as tips:
        tips.clock.now = NOW - timedelta(hours=2)
        reopened, withdrawn = await followed(tips), await followed(tips)
        for mine in (reopened, withdrawn):
            await mine.dispatch(ReportRouted)
        row = {"report_id": reopened.report_id, "kind": "issue"}
        resolved = dispatched(row, ReportResolved, 2, tips.clock.now)
        own: list[Envelope[Event]] = [
            _said(ReportReopened(report_id=reopened.report_id, kind="issue", version=2), "tips"),
            _said(ReportWithdrawn(report_id=withdrawn.report_id, kind="issue", version=2), "tips"),
            _said(ReportWithdrawn(report_id=uuid.uuid4(), kind="issue", version=2), "tips"),
        ]
        async with tips.desk.pool.acquire() as connection, connection.transaction():
            await tips_recovery.take_back(connection, History(own, [resolved], deliver_again=False), NOW)
        assert (await withdrawn.view())["status"] == "withdrawn"
        await apply(tips, [resolved])
        view = await reopened.view()
        assert [step["status"] for step in view["timeline"]][1:] == ["routed", "resolved", "reopened"]
        assert view["status"] == "routed"


def _said(event: Event, service: str) -> Envelope[Event]:
    return Envelope.of(event, id=uuid.uuid4(), source=f"/ibuurt/{service}", now=NOW)


# notify.


async def test_no_delivery_goes_again_before_a_person_says_so(
    infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """A delivery that no event says arrived may have gone after the backup. One that arrived is done."""
    town = municipality.read(ROOT / "deploy/municipalities/ibuurt")
    known, unknown = _accepted(town), _accepted(town)
    async with notify_database(database) as pool:
        reports = reports_of(town, lambda: NOW)
        async with pool.acquire() as connection, connection.transaction():
            await reports.apply(connection, [known])
        (row,) = await pool.fetch("SELECT * FROM dispatch")
        routed = _routed(unknown, row["unit"])
        about: dict[str, Any] = {"report_id": unknown.event.report_id, "kind": "issue", "unit": row["unit"]}
        own: list[Envelope[Event]] = [
            _said(routed, "notify"),
            _said(ReportDelivered(**about, version=2, channel="webhook"), "notify"),
            _said(ReportAcknowledged(**about, version=3, by="webhook", took="1h"), "notify"),
        ]
        for again in (False, True):
            history = History(own, [unknown], deliver_again=again)
            async with pool.acquire() as connection:
                transaction = connection.transaction()
                await transaction.start()
                if again:
                    found = await notify_recovery.take_back(connection, history, town, NOW)
                    assert "1 deliveries are open and go again" in found.lines
                    await transaction.commit()
                else:
                    with pytest.raises(Refusal, match=rf"1 to {row['unit']}; .*--deliver-again"):
                        await notify_recovery.take_back(connection, history, town, NOW)
                    await transaction.rollback()
        states = await pool.fetch("SELECT report_id, state FROM delivery")
        assert {(one["report_id"], one["state"]) for one in states} == {
            (known.event.report_id, "open"),
            (unknown.event.report_id, "done"),
        }
        (taken,) = await pool.fetch("SELECT * FROM dispatch WHERE report_id = $1", unknown.event.report_id)
        assert (taken["status"], taken["version"], taken["acknowledged_at"]) == ("acknowledged", 3, NOW)


async def test_a_report_of_a_unit_that_the_folder_lacks_is_restored_without_a_delivery(
    infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """The unit left the municipality's folder after the backup: where it went is known all the same."""
    town = municipality.read(ROOT / "deploy/municipalities/ibuurt")
    unknown = _accepted(town)
    history = History([_said(_routed(unknown, "gone"), "notify")], [unknown], deliver_again=False)
    async with notify_database(database) as pool:
        async with pool.acquire() as connection, connection.transaction():
            await notify_recovery.take_back(connection, history, town, NOW)
        assert await pool.fetchval("SELECT unit FROM dispatch") == "gone"
        assert await pool.fetchval("SELECT count(*) FROM delivery") == 0


async def test_a_report_that_moved_on_after_the_backup_is_where_it_is(
    infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """Handed over, delivered there and planned: the turn, its times and its steps are taken back; nothing
    goes to either unit again, and what was open for the first is cancelled."""
    town = municipality.read(ROOT / "deploy/municipalities/ibuurt")
    known, unknown = _accepted(town), _accepted(town)
    later = NOW + timedelta(hours=5)
    async with notify_database(database) as pool:
        async with pool.acquire() as connection, connection.transaction():
            # In the backup, with its delivery open.
            await reports_of(town, lambda: NOW, 0.0).apply(connection, [known])
        said = []
        for one in (known, unknown):
            about: dict[str, Any] = {"report_id": one.event.report_id, "kind": "issue"}
            first = _routed(one, "public_space")
            second = first.model_copy(update={"version": 5, "unit": "front_desk", "resolve_by": later})
            said += [
                first,
                ReportDelivered(**about, version=2, unit="public_space", channel="webhook"),
                ReportRefused(**about, version=3, unit="public_space", reason="not_our_task"),
                ReportHandedOver(
                    **about, version=4, unit="public_space", to_unit="front_desk", reason="not_our_task"
                ),
                second,
                ReportDelivered(**about, version=6, unit="front_desk", channel="webhook"),
                ReportAcknowledged(**about, version=7, unit="front_desk", by="desk", took="1h"),
                ReportPlanned(**about, version=8, unit="front_desk", day=NOW.date()),
            ]
        own = [_said(event, "notify") for event in said]
        async with pool.acquire() as connection, connection.transaction():
            history = History(own, [known, unknown], deliver_again=False)
            await notify_recovery.take_back(connection, history, town, NOW)
        for row in await pool.fetch("SELECT * FROM dispatch"):
            stands = row["unit"], row["status"], row["turn"], row["version"]
            assert stands == ("front_desk", "planned", 2, 8)
            assert (row["refused_by"], row["resolve_by"], row["day"]) == (["public_space"], later, NOW.date())
            assert row["clock_at"] is not None
        assert await pool.fetchval("SELECT count(*) FROM delivery WHERE state = 'open'") == 0
        steps = await pool.fetch("SELECT step FROM report_step ORDER BY report_id, version")
        assert [one["step"] for one in steps] == [type(event).__name__ for event in said]


async def test_a_report_that_was_reopened_and_solved_after_the_backup_stays_solved(
    infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """What its resident did is read again from there on: what followed from it has been taken back."""
    town = municipality.read(ROOT / "deploy/municipalities/ibuurt")
    accepted = _accepted(town)
    about: dict[str, Any] = {"report_id": accepted.event.report_id, "kind": "issue"}
    solved = ReportResolved(**about, version=2, unit="public_space", outcome="done", in_time=True)
    reopened = _said(ReportReopened(**about, version=2), "tips")
    again = _routed(accepted, "public_space").model_copy(update={"version": 3})
    own: list[Envelope[Event]] = [
        _said(_routed(accepted, "public_space"), "notify"),
        _said(solved, "notify"),
        Envelope.of(again, id=derived_id(reopened.id, ReportRouted), source="/ibuurt/notify", now=NOW),
        _said(solved.model_copy(update={"version": 4}), "notify"),
    ]
    async with notify_database(database) as pool:
        async with pool.acquire() as connection, connection.transaction():
            history = History(own, [accepted, reopened], deliver_again=True)
            await notify_recovery.take_back(connection, history, town, NOW)
            await reports_of(town, lambda: NOW).apply(connection, [accepted, reopened])
        row = await pool.fetchrow("SELECT status, turn, version FROM dispatch")
        assert tuple(row) == ("resolved", 2, 4)
        assert await pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_what_was_escalated_after_the_backup_is_said_no_second_time(
    infrastructure: Infrastructure, database: MakeDatabase
) -> None:
    """The clocks of a restored database catch up, and the topic has it already."""
    town = municipality.read(ROOT / "deploy/municipalities/ibuurt")
    accepted, later = _accepted(town), NOW + timedelta(days=60)
    own: list[Envelope[Event]] = []
    for first in (True, False):
        async with notify_database(database) as pool:
            async with pool.acquire() as connection, connection.transaction():
                if first:
                    await reports_of(town, lambda: NOW).apply(connection, [accepted])
                else:
                    history = History(own, [accepted], deliver_again=True)
                    await notify_recovery.take_back(connection, history, town, NOW)
            sweeper = Sweeper(
                pool,
                Dispatches(town),
                metrics=DeliveryMetrics(CollectorRegistry()),
                clock=lambda: later,
                appended=lambda: None,
            )
            assert await sweeper.sweep() == 1
            own += map(envelope_of, await pool.fetch("SELECT * FROM outbox ORDER BY position"))
            # A notice all the same, of whatever is late now.
            assert await pool.fetchval("SELECT count(*) FROM delivery WHERE step = 'notice'") == 2
    assert [type(one.event).__name__ for one in own] == ["ReportRouted"] + ["ReportEscalated"] * 6


def _routed(accepted: Envelope[Any], unit: str) -> ReportRouted:
    return ReportRouted(
        report_id=accepted.event.report_id,
        kind="issue",
        version=1,
        unit=unit,
        rule="r",
        rules_version="v",
        reason="r",
        acknowledge_by=NOW,
        resolve_by=NOW,
    )


def _accepted(town: municipality.Municipality) -> Envelope[Any]:
    category = next(one for one in town.categories.values() if one.kind == "issue")
    event = ReportAccepted(
        report_id=uuid.uuid4(),
        kind="issue",
        version=1,
        category=category.id,
        areas={"district": "oakwood"},
        hour=hour_of(NOW),
        regime=category.regime,
        urgency="normal",
        source="api",
        language="nl",
        municipality_version="v",
    )
    return Envelope.of(event, id=uuid.uuid4(), source="/ibuurt/tips", now=NOW)
