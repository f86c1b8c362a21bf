"""From open counts to releases: frozen once, released once, shown when they were read back."""

import asyncio
import itertools
import json
import struct
import sys
import uuid
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from asyncpg import InsufficientPrivilegeError
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from deploy.operator.databases import rights
from services.notify.core.acts import TRANSITIONS
from services.stats import queries_releases
from services.stats.closing import KEEP, Closing
from services.stats.core.adjusting import margins
from services.stats.core.release import NOTHING_BEFORE, digest
from services.stats.core.spec import Table
from services.stats.history import close_history
from services.stats.measuring import measure
from services.stats.metrics import ReleaseMetrics
from services.stats.signing import is_signed
from shared import postgres
from shared.errors import Refusal
from shared.events import (
    DISPATCHES,
    INCIDENTS,
    REPORTS,
    Event,
    ReportAcknowledged,
    ReportHandedOver,
    ReportRefused,
    ReportReopened,
    ReportResolved,
    ReportRouted,
    ReportWithdrawn,
)
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.dying_closer import POINTS
from tests.integration.stats_harness import (
    ROOT,
    Stats,
    days,
    detail,
    incident,
    on_topic,
    report,
    stats_of,
)
from tests.integration.test_stats_service import Writer
from tests.spine import delete_records, read_topic, running, until
from tests.stats_town import SPEC

# The first week-part of October 2026 is Thursday 1 to Sunday 4.
FIRST = "2026-W40-2026-10"
NOON = datetime(2026, 10, 2, 10, tzinfo=UTC)
CLOSED = datetime(2026, 10, 6, 22, tzinfo=UTC)
# Two days after the end of October, and thirty after that of the quarter, by the clock of the town.
OCTOBER_CLOSED = datetime(2026, 11, 2, 23, tzinfo=UTC)
QUARTER_CLOSED = datetime(2027, 1, 30, 23, tzinfo=UTC)


async def close(stats: Stats, now: datetime) -> None:
    """Step until nothing is left to do at that time."""
    stats.now = now
    more = True
    while more:
        more = await stats.closing.step()
        await asyncio.sleep(0.02)


async def test_a_closed_period_is_released_with_its_noise_and_shown_when_it_was_read_back(
    stats: Stats,
) -> None:
    """Drawn before it opened, frozen 48 hours after its end and not a second earlier, signed."""
    drawn = await stats.value("SELECT noise FROM period WHERE name = $1 AND table_id LIKE 'reports%'", FIRST)
    await stats.count([report(NOON), report(NOON), report(NOON, "harbour"), report(NOON, "atlantis")])
    stats.now = CLOSED - days(0.00001)
    await stats.closing.step()
    assert await stats.released() == []
    stats.now = CLOSED
    await stats.closing.step()
    [release] = await stats.released()
    assert await stats.value("SELECT count(shown_at) FROM release") == 0
    async with stats.serving():
        await stats.shown(1)
    assert [cell.cell for cell in release.cells] == [("oakwood",), ("harbour",), ("unknown",)]
    assert [cell.value for cell in release.cells] == [
        count + error for count, error in zip((2, 1, 1), drawn, strict=True)
    ]
    assert (release.number, release.previous, release.spec) == (1, NOTHING_BEFORE, SPEC.id)
    assert (release.table, release.period, release.state) == ("reports.week_part", FIRST, "released")
    assert release.digest == digest(release)
    assert is_signed(release)
    assert release.signing_key == stats.signer.public
    assert release.margins == {"reports.week_part": 150}
    assert await on_topic(stats.bootstrap) == [release]
    assert await stats.rows("SELECT table_id, period, numerator, denominator FROM ledger") == [
        ("reports.week_part", FIRST, 1, 5)
    ]


async def test_what_is_late_counts_once_in_the_next_open_period_and_changes_no_release(stats: Stats) -> None:
    """Also when it comes again, and when it is the last week-part of a month that is late."""
    october = report(datetime(2026, 10, 31, 10, tzinfo=UTC))
    late = report(NOON)
    async with stats.serving():
        await close(stats, CLOSED)
        before = await stats.chain()
        await stats.count([late, late])
        await stats.count([late])
        await close(stats, OCTOBER_CLOSED)
        assert not any((await stats.counts("reports.week_part", FIRST)).values())
        assert (await stats.counts("reports.week_part", "2026-W41-2026-10"))["oakwood",] == 1
        # Counted in October all the same, since its week-part is the next one.
        assert sum((await stats.counts("reports.month", "2026-10")).values()) == 1
        await stats.count([october])
        await close(stats, datetime(2026, 12, 4, tzinfo=UTC))
    assert (await stats.chain())[:1] == before
    assert (await stats.counts("reports.week_part", "2026-W44-2026-11"))["oakwood",] == 1
    assert sum((await stats.counts("reports.month", "2026-11")).values()) == 1


async def test_a_month_that_is_out_has_a_final_edition_whose_tables_agree(stats: Stats) -> None:
    """Made of what was released, its totals exact sums; it spends nothing."""
    await stats.count([report(NOON, area) for area in ("oakwood", "harbour") for _ in range(20)])
    async with stats.serving():
        await close(stats, OCTOBER_CLOSED)
    first, final = [one for one in await stats.released() if one.table == "reports.month"]
    tenths: dict[str, dict[tuple[str, ...], int]] = {}
    for cell in final.cells:
        tenths.setdefault(cell.table, {})[cell.cell] = cell.tenths or 0
    city = tenths["reports.month_city"][()]
    assert {table: sum(cells.values()) for table, cells in tenths.items()} == dict.fromkeys(tenths, city)
    for area in ("oakwood", "harbour", "unknown"):
        assert tenths["reports.month_area"][area,] == sum(
            value for cell, value in tenths["reports.month"].items() if cell[0] == area
        )
    assert final.margins == margins(SPEC.table("reports.month"), SPEC.table("reports.week_part"), 5)
    assert {cell.cell for cell in first.cells} == set(tenths["reports.month"])
    assert await stats.value("SELECT count(*) FROM ledger WHERE table_id = 'reports.month'") == 1
    assert await on_topic(stats.bootstrap) == await stats.released()


def refused(about: dict[str, Any], routed: dict[str, Any], version: int) -> list[Event]:
    """What `notify` says where a unit refuses (services/notify/core/acts.py), from that version on."""
    steps = next(one.steps for one in TRANSITIONS if one.action == "refuse")
    made: dict[str, Event] = {
        "refused": ReportRefused(**about, version=version, reason="other"),
        "handed_over": ReportHandedOver(**about, version=version + 1, to_unit="care", reason="other"),
        "routed": ReportRouted(**about | {"unit": "care"}, **routed, version=version + 2),
    }
    assert tuple(made) == steps
    return list(made.values())


async def test_a_quarter_tells_how_long_and_how_it_ended(stats: Stats) -> None:
    """As it stands thirty days after its end; each report in one cell of each table. What a unit refuses is
    another's, as `notify` says in the same step, and open until that one is done."""
    lives = [report(NOON, category="graffiti") for _ in range(10)]
    about: list[dict[str, Any]] = [
        {"report_id": one.report_id, "kind": "tip", "unit": "parks"} for one in lives
    ]
    due = QUARTER_CLOSED - days(90)
    routed: dict[str, Any] = {"rule": "r", "rules_version": "1", "reason": "because"}
    routed |= {"acknowledge_by": due, "resolve_by": due}
    await stats.count(
        [
            *lives,
            ReportAcknowledged(**about[0], version=1, by="desk", took="4h"),
            ReportResolved(**about[0], version=2, outcome="done", in_time=True),
            ReportResolved(**about[1], version=1, outcome="done", in_time=False),
            # A unit did not want it, and another has it.
            ReportRouted(**about[2], **routed, version=1),
            *refused(about[2], routed, 2),
            # That one could do nothing: it is done, as each outcome of the folder is.
            ReportRouted(**about[3], **routed, version=1),
            *refused(about[3], routed, 2),
            ReportResolved(**about[3], version=5, outcome="not_possible", in_time=True),
            # Solved, and refused when it came again.
            ReportRouted(**about[4], **routed, version=1),
            ReportResolved(**about[4], version=2, outcome="done", in_time=True),
            ReportReopened(report_id=lives[4].report_id, kind="tip", version=2),
            ReportRouted(**about[4], **routed, version=3),
            *refused(about[4], routed, 4),
            # It came to no unit since: the record of that was lost.
            ReportRouted(**about[9], **routed, version=1),
            ReportRefused(**about[9], version=2, reason="other"),
            ReportWithdrawn(report_id=lives[5].report_id, kind="tip", version=2),
            # Solved, it was said; the resident says no, and the unit has it again.
            ReportRouted(**about[6], **routed, version=1),
            ReportResolved(**about[6], version=2, outcome="done", in_time=True),
            ReportReopened(report_id=lives[6].report_id, kind="tip", version=2),
            ReportRouted(**about[6], **routed, version=3),
            # The same, and now it is solved, late.
            ReportResolved(**about[7], version=2, outcome="done", in_time=True),
            ReportReopened(report_id=lives[7].report_id, kind="tip", version=2),
            ReportRouted(**about[7], **routed, version=3),
            ReportResolved(**about[7], version=4, outcome="done", in_time=False),
        ]
    )
    async with stats.serving():
        await close(stats, QUARTER_CLOSED)
    outcome = await stats.counts("reports.outcome", "2026-Q4")
    assert {cell: count for cell, count in outcome.items() if count} == {
        ("graffiti", "in_time"): 2,
        ("graffiti", "late"): 2,
        ("graffiti", "refused"): 1,
        ("graffiti", "withdrawn"): 1,
        ("graffiti", "open"): 4,
    }
    took = await stats.counts("reports.took", "2026-Q4")
    assert {cell: count for cell, count in took.items() if count} == {
        ("oakwood", "4h"): 1,
        ("oakwood", "later"): 9,
    }


async def test_recorded_crime_has_periods_and_tables_of_its_own(stats: Stats) -> None:
    """They close 35 days after their end, and no report is among them."""
    await stats.count([incident(NOON), incident(NOON, "harbour", "arson"), report(NOON)])
    async with stats.serving():
        await close(stats, datetime(2026, 11, 8, 21, 59, tzinfo=UTC))
        assert not any(one.table == "incidents.week_part" for one in await stats.released())
        await close(stats, datetime(2026, 12, 6, tzinfo=UTC))
    assert await stats.counts("incidents.month", "2026-10") == {
        ("oakwood", "burglary"): 1,
        ("oakwood", "other"): 0,
        ("harbour", "burglary"): 0,
        ("harbour", "other"): 1,
        ("unknown", "burglary"): 0,
        ("unknown", "other"): 0,
    }
    assert ("incidents.month", "final") in {(one.table, one.edition) for one in await stats.released()}


async def test_incidents_are_read_from_their_topic_each_once(stats: Stats) -> None:
    """Their writer numbers nothing and sends them again as it likes."""
    told = [incident(NOON + days(number % 20)) for number in range(50)]
    async with Writer(stats.bootstrap) as writer, stats.serving():
        await writer.send(told[:30])
        await writer.send_again()
        await writer.send(told)

        async def read() -> bool:
            return int(await stats.value("SELECT sum(next_offset) FROM fence")) == 110

        await until(read)
    assert await stats.value("SELECT count(*) FROM incident") == 50


async def test_noise_is_drawn_fourteen_days_before_a_period_opens_and_once(stats: Stats) -> None:
    """Not earlier, and a second drawing changes nothing."""

    async def drawn() -> list[tuple[Any, ...]]:
        return await stats.rows("SELECT table_id, name, noise FROM period ORDER BY 1, 2")

    before = await drawn()
    assert {name for _, name, _ in before} == {FIRST, "2026-10", "2026-Q4"}
    await stats.closing.draw()
    assert await drawn() == before
    stats.now = datetime(2026, 9, 21, 10, tzinfo=UTC)
    await stats.closing.draw()
    after = await drawn()
    assert {name for _, name, _ in after} - {name for _, name, _ in before} == {"2026-W41-2026-10"}
    assert [row for row in after if row in before] == before


async def test_a_freeze_waits_for_all_that_the_topics_held(stats: Stats) -> None:
    """A stats that was away, or was restored, first reads on: what came in time counts in time."""
    stats.now = CLOSED
    async with Writer(stats.bootstrap) as writer:
        await writer.send([report(NOON)])
    await stats.closing.step()
    assert await stats.released() == []
    async with stats.serving():
        await close(stats, CLOSED)
    assert (await stats.counts("reports.week_part", FIRST))["oakwood",] == 1
    offsets = await stats.value("SELECT offsets FROM period WHERE name = $1 AND frozen_at IS NOT NULL", FIRST)
    assert f'"{REPORTS.name}/' in offsets


async def test_a_freeze_waits_also_for_what_was_written_while_another_waited(stats: Stats) -> None:
    """Eight days behind: what the topics held when the first period had closed says nothing of the one that
    closed since. Its reports are in time, also where they are read long after."""
    async with Writer(stats.bootstrap) as writer:
        await writer.send([report(NOON)])
        stats.now = CLOSED
        await stats.closing.step()
        async with stats.serving():
            await until(lambda: stats.value("SELECT count(*) = 1 FROM lifecycle"))
        await writer.send([report(NOON + days(5)) for _ in range(20)])
    stats.now = CLOSED + days(8)
    await stats.closing.step()
    frozen = "SELECT name FROM period WHERE frozen_at IS NOT NULL"
    assert await stats.rows(frozen) == [(FIRST,)]
    async with stats.serving():
        await close(stats, stats.now)
    assert (await stats.counts("reports.week_part", FIRST))["oakwood",] == 1
    assert (await stats.counts("reports.week_part", "2026-W41-2026-10"))["oakwood",] == 20


async def test_a_freeze_waits_for_what_is_being_counted_and_what_comes_then_is_late(stats: Stats) -> None:
    """A report that was told its week-part is open is in it when that is frozen; the next one is told that it
    is closed."""
    stats.now = CLOSED
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with stats.pool.acquire() as connection:
        counting = connection.transaction()
        await counting.start()
        await stats.count_on(connection, [report(NOON)])
        freezing = asyncio.create_task(stats.closing.step())
        await until(lambda: stats.value(f"SELECT ({waiting}) = 1"))
        late = asyncio.create_task(stats.count([report(NOON, "harbour")]))
        await until(lambda: stats.value(f"SELECT ({waiting}) = 2"))
        await counting.commit()
    await asyncio.gather(freezing, late)
    counts = await stats.counts("reports.week_part", FIRST)
    assert (counts["oakwood",], counts["harbour",]) == (1, 0)
    assert await stats.rows("SELECT area, counted_in FROM lifecycle ORDER BY area") == [
        ("harbour", date(2026, 10, 5)),
        ("oakwood", date(2026, 10, 1)),
    ]


async def test_a_month_and_its_last_week_part_are_frozen_together(stats: Stats) -> None:
    """What comes while they are is in neither: between the two it would be in the week-part alone, and in no
    month for ever."""
    late_october = datetime(2026, 10, 31, 10, tzinfo=UTC)
    async with stats.serving():
        await close(stats, OCTOBER_CLOSED - days(0.001))
    stats.now = OCTOBER_CLOSED
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with stats.pool.acquire() as connection:
        counting = connection.transaction()
        await counting.start()
        await stats.count_on(connection, [report(late_october)])
        freezing = asyncio.create_task(stats.closing.step())
        await until(lambda: stats.value(f"SELECT ({waiting}) = 1"))
        # The next in the queue: it gets its turn as soon as anything is frozen.
        late = asyncio.create_task(stats.count([report(late_october)]))
        await until(lambda: stats.value(f"SELECT ({waiting}) = 2"))
        await counting.commit()
    await asyncio.gather(freezing, late)
    assert (await stats.counts("reports.week_part", "2026-W44-2026-10"))["oakwood",] == 1
    assert (await stats.counts("reports.month", "2026-10"))["oakwood", "noise"] == 1
    assert await stats.rows("SELECT counted_in FROM lifecycle ORDER BY 1") == [
        (date(2026, 10, 26),),
        (date(2026, 11, 1),),
    ]


async def test_where_counts_were_lost_a_period_is_withheld(stats: Stats) -> None:
    """Every one that was open when somebody accepted that events are gone, the month's final edition too;
    incidents are of another topic. The next one is whole."""
    await stats.pool.execute(
        "INSERT INTO mending (at, who, command, detail) VALUES ($1, 'eva', 'consumer accept-gap', $2)",
        datetime(2026, 10, 10, tzinfo=UTC),
        detail(REPORTS.name),
    )
    async with stats.serving():
        await close(stats, datetime(2026, 12, 6, tzinfo=UTC))
    states = {(one.table, one.period, one.edition): one for one in await stats.released()}
    withheld = {key for key, one in states.items() if one.state == "withheld"}
    assert withheld == {
        ("reports.week_part", FIRST, "first"),
        ("reports.week_part", "2026-W41-2026-10", "first"),
        ("reports.month", "2026-10", "first"),
        ("reports.month", "2026-10", "final"),
    }
    assert all(states[key].cells == () and states[key].reason == "incomplete" for key in withheld)
    assert states["reports.month", "2026-11", "final"].cells
    assert states["incidents.month", "2026-10", "final"].cells
    spent = await stats.rows("SELECT period FROM ledger WHERE table_id = 'reports.week_part'")
    assert (FIRST,) not in spent


async def test_where_what_units_did_was_lost_a_quarter_is_withheld(stats: Stats) -> None:
    """Week-parts and months count reports alone: they are whole."""
    await stats.pool.execute(
        "INSERT INTO mending (at, who, command, detail) VALUES ($1, 'eva', 'consumer accept-gap', $2)",
        datetime(2026, 10, 10, tzinfo=UTC),
        detail(DISPATCHES.name),
    )
    async with stats.serving():
        await close(stats, QUARTER_CLOSED)
    withheld = {(one.table, one.period) for one in await stats.released() if one.state == "withheld"}
    assert withheld == {("reports.took", "2026-Q4"), ("reports.outcome", "2026-Q4")}


async def test_two_replicas_and_a_crowd_of_reports_release_each_period_once(
    stats: Stats, infrastructure: Infrastructure
) -> None:
    """They step at the same time while reports are counted: every report is in one period of each table."""
    async with stats_of(infrastructure.bootstrap, stats.dsn) as other, stats.serving():

        async def crowd() -> None:
            for number in range(60):
                await stats.count([report(NOON + days(number % 20)) for _ in range(5)])

        async def closing(one: Stats) -> None:
            for day in range(5, 36):
                one.now = datetime(2026, 10, 1, 23, tzinfo=UTC) + days(day)
                await one.closing.step()

        await asyncio.gather(crowd(), closing(stats), closing(other))
        await close(stats, stats.now)
    _assert_once(await stats.released())
    assert await on_topic(stats.bootstrap) == await stats.released()
    # What was frozen is what counts in those days, for ever: nothing has come in behind it.
    frozen = await stats.rows(
        """SELECT (SELECT sum(count) FROM unnest(counts) AS count), (
               SELECT count(*) FROM lifecycle WHERE counted_in >= begins AND counted_in < ends)
           FROM period WHERE table_id LIKE 'reports.%' AND frozen_at IS NOT NULL"""
    )
    assert len(frozen) == 7
    assert [one for one, _ in frozen] == [other for _, other in frozen]
    assert await stats.value("SELECT count(counted_in) FROM lifecycle") == 300
    assert await stats.value("SELECT count(*) FROM ledger") == await stats.value(
        "SELECT count(*) FROM release WHERE edition = 'first'"
    )


def _assert_once(released: list[Any]) -> None:
    each = Counter((one.table, one.period, one.edition) for one in released)
    assert set(each.values()) == {1}
    for number, (before, after) in enumerate(itertools.pairwise(released), start=1):
        assert (after.number, after.previous) == (number + 1, before.digest)


@pytest.mark.parametrize("point", POINTS)
async def test_a_process_that_dies_between_the_steps_leaves_each_done_or_undone(
    stats: Stats, point: str
) -> None:
    """Killed there the first and the fourth time; a report comes after each death."""
    for hits, day in ((1, 7), (4, 38)):
        now = datetime(2026, 10, 1, tzinfo=UTC) + days(day)
        command = (stats.dsn, stats.bootstrap, now.isoformat(), point, str(hits))
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.dying_closer", *command, cwd=ROOT
        )
        await child.wait()
        assert child.returncode in (0, -9)
        await stats.count([report(NOON)])
    async with stats.serving():
        await close(stats, datetime(2026, 11, 12, tzinfo=UTC))
    released = await stats.released()
    _assert_once(released)
    assert await on_topic(stats.bootstrap) == released
    # Seven week-parts of reports and one of incidents, October and its final edition.
    assert len(released) == 10
    assert await stats.value("SELECT count(*) FROM ledger") == 9


NOISE = [1_111_111, -2_222_222, 3_333_333]


async def _released_with_noise(stats: Stats) -> None:
    await stats.pool.execute(
        "UPDATE period SET noise = $1 WHERE table_id = 'reports.week_part' AND name = $2", NOISE, FIRST
    )
    async with stats.serving():
        await close(stats, CLOSED)
    assert await _files_with(stats, NOISE)


async def _destroyed(stats: Stats, closing: Closing | None = None) -> None:
    """Wait until it is, in the row, in every file of the database, and by what the operator is told."""

    async def gone() -> bool:
        await (closing or stats.closing).destroy()
        async with stats.pool.acquire() as connection:
            return not (await queries_releases.late(connection, stats.now, stats.now - KEEP)).destroyed

    await until(gone)
    assert await stats.rows(KEPT, FIRST) == [(None, None, None)]
    assert await _files_with(stats, NOISE) == []
    # What is not released yet has its noise.
    assert await stats.value("SELECT count(*) FROM period WHERE noise IS NOT NULL")


KEPT = "SELECT noise, counts, offsets FROM period WHERE table_id = 'reports.week_part' AND name = $1"


async def test_noise_and_frozen_counts_are_destroyed_after_thirty_days(stats: Stats) -> None:
    """The release stays as it is: of a later leak nobody learns more than was published. No file of the
    database has them any more, in an old version of a row either."""
    await _released_with_noise(stats)
    stats.now = CLOSED + days(29.9)
    await stats.closing.step()
    assert None not in (await stats.rows(KEPT, FIRST))[0]
    stats.now = CLOSED + days(30.1)
    await _destroyed(stats)
    assert (await stats.released())[0].cells


@pytest.mark.parametrize("reads", ["before", "after"])
async def test_a_backup_that_had_begun_has_every_period_as_it_was(stats: Stats, reads: str) -> None:
    """pg_dump sees all as of its first moment and comes to each table later: while it may still read the
    noise that is in the files, and is not told as destroyed."""
    await _released_with_noise(stats)
    stats.now = CLOSED + days(30.1)
    await stats.closing.draw()
    periods = "SELECT table_id, name, noise, counts FROM period ORDER BY 1, 2"
    async with stats.pool.acquire() as backup, backup.transaction(isolation="repeatable_read", readonly=True):
        await backup.fetch("SELECT number FROM release" if reads == "after" else periods)
        before = await stats.rows(periods)
        assert len(before) > 5
        for _ in range(2):
            await stats.closing.destroy()
        assert [tuple(row) for row in await backup.fetch(periods)] == before
        assert await stats.rows(KEPT, FIRST) == [(None, None, None)]
        assert await _files_with(stats, NOISE)
        async with stats.pool.acquire() as connection:
            assert (await queries_releases.late(connection, stats.now, stats.now - KEEP)).destroyed > 0
    await _destroyed(stats)


async def test_what_died_before_the_files_were_rid_of_noise_is_done_by_the_next(stats: Stats) -> None:
    """Also where autovacuum has been there meanwhile: it cleans rows and leaves their bytes."""
    await _released_with_noise(stats)
    stats.now = CLOSED + days(30.1)
    async with stats.pool.acquire() as connection:
        await queries_releases.empty(connection, stats.now - KEEP)
        await connection.execute("VACUUM (FREEZE) period")
    assert await stats.rows(KEPT, FIRST) == [(None, None, None)]
    await _destroyed(stats)


async def test_the_role_of_the_deployment_may_destroy_and_no_table_is_emptied(
    stats: Stats, infrastructure: Infrastructure
) -> None:
    """It owns nothing. Without the right it says that nothing is destroyed, and goes on."""
    await _released_with_noise(stats)
    stats.now = CLOSED + days(30.1)
    role = f"town_{uuid.uuid4().hex}"
    for name in (role, f"{role}_owner"):
        await stats.pool.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD 'secret'")
    await stats.pool.execute(rights(role))
    there = urlsplit(stats.dsn)
    pool = await postgres.open_pool(
        there._replace(netloc=f"{role}:secret@{there.hostname}:{there.port}").geturl(), "test"
    )
    try:
        closing = Closing(
            pool, infrastructure.bootstrap, [SPEC], stats.signer, source="/town", clock=lambda: stats.now
        )
        with pytest.raises(InsufficientPrivilegeError):
            await pool.execute("TRUNCATE period")
        await stats.pool.execute(f'REVOKE MAINTAIN ON period FROM "{role}"')
        await closing.destroy()
        assert await _files_with(stats, NOISE)
        await stats.pool.execute(f'GRANT MAINTAIN ON period TO "{role}"')
        await _destroyed(stats, closing)
    finally:
        await pool.close()
        for name in (role, f"{role}_owner"):
            await stats.pool.execute(f'REASSIGN OWNED BY "{name}" TO CURRENT_USER')
            await stats.pool.execute(f'DROP OWNED BY "{name}"')
            await stats.pool.execute(f'DROP ROLE "{name}"')


async def test_how_late_a_release_is_goes_by_the_clock_and_not_by_what_is_counted(stats: Stats) -> None:
    """Closed and not released, released and not shown, not destroyed; open periods are nobody's business."""
    registry = CollectorRegistry()
    metrics = ReleaseMetrics(registry)

    async def measured(now: datetime) -> tuple[float | None, ...]:
        await measure(stats.pool, metrics, now)
        names = ("overdue", "unshown", "noise_overdue")
        return tuple(registry.get_sample_value(f"release_{name}_seconds") for name in names)

    await stats.count([report(NOON) for _ in range(30)])
    assert await measured(CLOSED - days(1)) == (0, 0, 0)
    assert await measured(CLOSED + days(0.5)) == (43_200, 0, 0)
    stats.now = CLOSED + days(0.5)
    await stats.closing.step()
    assert await measured(stats.now + days(0.25)) == (0, 21_600, 0)
    async with stats.serving():
        await stats.shown(1)
    assert await measured(stats.now + days(30)) == (days(23.5).total_seconds(), 0, 0)
    assert (await measured(stats.now + days(31)))[2] == 86_400


async def _files_with(stats: Stats, noise: list[int]) -> list[str]:
    """The database's files in which this noise stands; everything is on the disk by then."""
    await stats.pool.execute("CHECKPOINT")
    found = await stats.rows(
        """SELECT path FROM pg_database d, pg_ls_dir('base/' || d.oid) AS name,
               LATERAL (SELECT 'base/' || d.oid || '/' || name AS path) AS p
           WHERE datname = current_database()
             AND position($1::bytea IN coalesce(pg_read_binary_file(path, true), '')) > 0""",
        struct.pack(f"<{len(noise)}i", *noise),
    )
    return [path for (path,) in found]


async def test_the_past_waits_until_somebody_says_that_it_is_complete(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> None:
    """What began before stats knew of it: an import of years must not count as late."""
    now = datetime(2026, 12, 20, tzinfo=UTC)
    with capture_logs() as logs:
        async with stats_of(infrastructure.bootstrap, await database("stats"), now=now):
            pass
    told = {one["table"]: one["periods"] for one in logs if one["event"] == "waits_for_close_history"}
    assert told == {
        "reports.week_part": 13,
        "reports.month": 3,
        "reports.took": 1,
        "reports.outcome": 1,
        "incidents.week_part": 7,
        "incidents.month": 2,
    }
    async with stats_of(infrastructure.bootstrap, await database("stats"), now=now) as stats, stats.serving():
        await close(stats, now)
        assert await stats.released() == []
        await stats.count([incident(NOON), incident(NOON)])
        async with stats.pool.acquire() as connection:
            assert await queries_releases.close_history(connection, "incidents") == 9
        await close(stats, now)
        assert {one.table for one in await stats.released()} == {"incidents.week_part", "incidents.month"}
        assert (await stats.counts("incidents.month", "2026-10"))["oakwood", "burglary"] == 2


async def test_a_month_that_had_begun_waits_with_its_week_parts_for_its_past(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> None:
    """It ends after the first start, and its past is imported later still: it counts all that its week-parts
    count, which it would not if it closed while they wait."""
    start = datetime(2026, 12, 20, tzinfo=UTC)
    async with (
        stats_of(infrastructure.bootstrap, await database("stats"), now=start) as stats,
        stats.serving(),
    ):
        await close(stats, start)
        await close(stats, datetime(2027, 1, 10, tzinfo=UTC))
        await stats.count([incident(datetime(2026, 11, 3, 12, tzinfo=UTC))])
        async with stats.pool.acquire() as connection:
            await queries_releases.close_history(connection, "incidents")
        await close(stats, datetime(2027, 1, 11, tzinfo=UTC))
        assert (await stats.counts("incidents.month", "2026-11"))["oakwood", "burglary"] == 1
        assert (await stats.counts("incidents.week_part", "2026-W45-2026-11"))["oakwood",] == 1
        parts = await stats.rows(
            """SELECT p.frozen_at IS NULL
               FROM period m JOIN period p ON p.begins >= m.begins AND p.ends <= m.ends
               WHERE m.table_id = 'incidents.month' AND p.table_id = 'incidents.week_part'
                 AND m.frozen_at IS NOT NULL"""
        )
        assert parts
        assert not any(waits for (waits,) in parts)


async def test_what_comes_after_the_last_day_of_an_imported_past_is_withheld(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> None:
    """Nothing is known of it, which is not that nothing happened: the periods of the past, the one that is
    open, and those to come, until somebody says that more is imported."""
    now, said = datetime(2026, 12, 20, tzinfo=UTC), list[str]()
    async with stats_of(infrastructure.bootstrap, await database("stats"), now=now) as stats, stats.serving():

        async def say(until: date | None, who: str | None = None) -> None:
            async with stats.pool.acquire() as connection:
                await close_history(connection, "incidents", until, who, now.date(), said.append)

        for until, why in ((now.date(), "is not over yet"), (date(2026, 9, 30), "nothing would be released")):
            with pytest.raises(Refusal, match=why):
                await say(until, "ann")
        await stats.count([incident(NOON), incident(NOON)])
        await say(date(2026, 10, 31))
        await close(stats, now)
        assert await stats.released() == []
        await say(date(2026, 10, 31), "ann")
        with pytest.raises(Refusal, match="no past of incidents waits"):
            await say(date(2026, 10, 31), "ann")
        await close(stats, datetime(2027, 1, 10, tzinfo=UTC))
        await say(None, "ann")
        await close(stats, datetime(2027, 2, 10, tzinfo=UTC))
        states = {
            (one.table, one.period, one.edition): one.state
            for one in await stats.released()
            if (one.table or "").startswith("incidents.")
        }
    months = {key[1:]: state for key, state in states.items() if key[0] == "incidents.month"}
    assert months == {
        (month, edition): state
        for month, state in (("2026-10", "released"), ("2026-11", "withheld"), ("2026-12", "released"))
        for edition in ("first", "final")
    }
    assert states["incidents.week_part", "2026-W44-2026-10", "first"] == "released"
    assert states["incidents.week_part", "2026-W44-2026-11", "first"] == "withheld"
    assert said[-1] == "what of incidents closes from now on is released"
    assert said[:3] == [
        "6 periods of incidents that began before stats knew of them are released, 3 withheld",
        "what ends after 2026-10-31 is withheld, until close-history names a later day or none",
        "dry run: nothing was changed; with --by NAME they are",
    ]


async def test_a_past_of_which_counts_were_lost_is_not_said_to_be_released(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> None:
    """Before it is done: what is withheld then is withheld for ever."""
    now, said = datetime(2026, 12, 20, tzinfo=UTC), list[str]()
    async with stats_of(infrastructure.bootstrap, await database("stats"), now=now) as stats, stats.serving():
        await stats.pool.execute(
            "INSERT INTO mending (at, who, command, detail) VALUES ($1, 'stats', 'records lost', $2)",
            datetime(2026, 10, 20, tzinfo=UTC),
            detail(INCIDENTS.name),
        )
        for who in (None, "ann"):
            async with stats.pool.acquire() as connection:
                await close_history(connection, "incidents", None, who, now.date(), said.append)
        await close(stats, now)
        states = Counter(one.state for one in await stats.released() if one.edition == "first")
    assert said[0] == "4 periods of incidents that began before stats knew of them are released, 5 withheld"
    assert said[1].startswith("5 of those are withheld because counts of incidents were lost")
    assert states["withheld"] == 5


async def test_a_feed_that_has_stopped_is_said_to_end_though_no_past_waits(stats: Stats) -> None:
    """What ends after its last day is withheld: nothing is known of it."""
    said = list[str]()
    await stats.count([incident(NOON)])
    async with stats.serving():
        async with stats.pool.acquire() as connection:
            await close_history(
                connection, "incidents", date(2026, 10, 31), "ann", date(2026, 11, 9), said.append
            )
        await close(stats, datetime(2027, 1, 10, tzinfo=UTC))
    months = {
        one.period: one.state
        for one in await stats.released()
        if one.table == "incidents.month" and one.edition == "first"
    }
    assert months == {"2026-10": "released", "2026-11": "withheld"}
    assert said == ["what ends after 2026-10-31 is withheld, until close-history names a later day or none"]


async def test_a_month_with_one_withheld_week_part_has_no_figures_in_its_final_edition(stats: Stats) -> None:
    """Also where the month itself is released: the import was said to end within October, and then, after
    one week-part was withheld by that, not to. Its totals would be worked out of a part that is not there."""

    async def say(until: str | None) -> None:
        await stats.pool.execute(
            "INSERT INTO mending (at, who, command, detail) VALUES ($1, 'ann', 'close-history', $2)",
            stats.now,
            json.dumps({"subject": "incidents", "periods": 0, "until": until}),
        )

    await stats.count([incident(NOON)])
    async with stats.serving():
        await say("2026-10-11")
        # The week-part from the 12th to the 18th closes on 22 November, and the next a week later.
        await close(stats, datetime(2026, 11, 25, tzinfo=UTC))
        await say(None)
        await close(stats, datetime(2026, 12, 6, tzinfo=UTC))
    october = {
        (one.table, one.period, one.edition): one
        for one in await stats.released()
        if (one.table or "").startswith("incidents.") and (one.period or "").endswith("2026-10")
    }
    parts = {key[1]: one.state for key, one in october.items() if key[0] == "incidents.week_part"}
    assert len(parts) == 5
    assert [name for name, state in parts.items() if state == "withheld"] == ["2026-W42-2026-10"]
    assert october["incidents.month", "2026-10", "first"].state == "released"
    final = october["incidents.month", "2026-10", "final"]
    assert (final.state, final.reason, final.cells) == ("withheld", "incomplete", ())
    assert await on_topic(stats.bootstrap) == await stats.released()


async def test_a_release_of_a_large_city_goes_out(
    infrastructure: Infrastructure, fresh_topics: None, database: MakeDatabase
) -> None:
    """140 areas and 20 categories, first and final editions."""
    areas = tuple(f"neighbourhood_{number:03d}" for number in range(140))
    codes = {"area": areas, "category": tuple(f"category_{number:02d}" for number in range(20))}

    def large(table: Table) -> Table:
        values = (codes.get(column, own) for column, own in zip(table.columns, table.codes, strict=True))
        return table.model_copy(update={"codes": tuple(values)})

    spec = SPEC.model_copy(update={"tables": tuple(large(table) for table in SPEC.tables)})
    async with stats_of(infrastructure.bootstrap, await database("stats"), spec) as stats, stats.serving():
        await close(stats, OCTOBER_CLOSED)
        released = await stats.released()
        assert [len(one.cells) for one in released if one.table == "reports.month"] == [
            2_800,
            2_800 + 5 * 140 + 140 + 20 + 1,
        ]
        assert await on_topic(stats.bootstrap) == released


async def test_incidents_that_retention_took_unread_withhold_what_was_open(stats: Stats) -> None:
    """Their topic has no numbers that would be missed: the first offset that is left tells it, once.
    Reports are another topic's."""
    async with Writer(stats.bootstrap) as writer:
        await writer.send([incident(NOON) for _ in range(30)])
    await stats.closing.note_lost()
    assert await stats.value("SELECT count(*) FROM mending") == 0
    for partition, numbers in (await read_topic(stats.bootstrap, INCIDENTS.name)).items():
        await delete_records(stats.bootstrap, INCIDENTS.name, partition, len(numbers))
    noted = "SELECT count(*) FROM mending WHERE command = 'records lost'"
    for _ in range(2):
        # By itself at each start, before anything is read on.
        stats.closing.noted.clear()
        async with running(stats.closing.run(asyncio.Event())):
            await stats.closing.noted.wait()
            assert await stats.value(noted) == 1
    await stats.closing.note_lost()
    assert await stats.value(noted) == 1
    await stats.pool.execute("UPDATE mending SET at = $1", NOON)
    async with stats.serving():
        await stats.count([incident(NOON)])
        await close(stats, datetime(2026, 12, 6, tzinfo=UTC))
    withheld = {(one.table, one.period) for one in await stats.released() if one.state == "withheld"}
    assert withheld == {("incidents.week_part", FIRST), ("incidents.month", "2026-10")}
