"""What `stats` keeps of a batch, on a real PostgreSQL: each report once, in any order, however it is cut."""

import asyncio
import hashlib
import itertools
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.stats import queries
from services.stats.consumer import Counting
from services.stats.core.lifecycle import Accepted, Latest, Lifecycle, merge_events
from services.stats.core.periods import part_of
from services.stats.core.spec import spec_of
from services.stats.specs import count_earlier
from shared import municipality, postgres
from shared.cloudevents import Envelope
from shared.errors import Poison
from shared.events import (
    Event,
    IncidentRecorded,
    IssueGone,
    ReportAccepted,
    ReportAcknowledged,
    ReportDelivered,
    ReportEvent,
    ReportRouted,
)
from tests.conftest import MakeDatabase
from tests.spine import until
from tests.unit.stats_lives import lives, seen_and_done_twice

ROOT = Path(__file__).parents[2]
ZONE, AREA_SET = ZoneInfo("Europe/Amsterdam"), "district"
COUNTING = Counting(ZONE, AREA_SET)
NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)


@pytest_asyncio.fixture
async def dsn(database: MakeDatabase) -> str:
    return await database("stats")


@pytest_asyncio.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    connection = await postgres.connect(dsn, "test")
    yield connection
    await connection.close()


def enveloped(events: Iterable[Event]) -> list[Envelope[Any]]:
    """Written now: a topic drops what is older than its retention."""
    now = datetime.now(UTC)
    return [Envelope.of(event, id=uuid.uuid4(), source="/ibuurt/test", now=now) for event in events]


async def apply(connection: Any, events: Iterable[Event]) -> None:
    async with connection.transaction():
        await COUNTING.apply(connection, enveloped(events))


async def stored_rows(connection: Any) -> dict[uuid.UUID, Lifecycle]:
    rows = await connection.fetch("SELECT * FROM lifecycle")
    return {row["report_id"]: _lifecycle(row) for row in rows}


def _lifecycle(row: Any) -> Lifecycle:
    """A row as core knows it."""
    same = ("kind", "tips_version", "notify_version", "routed", "routed_version", "delivered", "acknowledged")
    more = ("refused_version", "reopened", "withdrawn", "erased")
    resolved = (row["resolved_version"], (row["outcome"], row["in_time"]))
    return Lifecycle(
        accepted=Accepted(row["hour"], row["area"], row["counted_category"]) if row["hour"] else None,
        category=Latest(row["category_version"], row["category"]) if row["category"] else None,
        resolved=Latest(*resolved) if row["resolved_version"] else None,
        **{name: row[name] for name in (*same, *more)},
    )


Counted = Counter[tuple[date, str | None, str]]


async def stored_counts(connection: Any) -> Counted:
    """How many reports count in each week-part, area and category."""
    rows = await connection.fetch(
        "SELECT counted_in, area, counted_category FROM lifecycle WHERE counted_in IS NOT NULL"
    )
    return Counter(tuple(row) for row in rows)


def counts_of(reports: Iterable[Lifecycle]) -> Counted:
    return Counter(
        (part_of(known.accepted.hour, ZONE), known.accepted.area, known.accepted.category)
        for known in reports
        if known.accepted
    )


def cut(events: Sequence[ReportEvent], sizes: Iterable[int]) -> list[Sequence[ReportEvent]]:
    batches, rest = [], events
    for size in sizes:
        batches.append(rest[:size])
        rest = rest[size:]
    return [batch for batch in (*batches, rest) if batch]


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(lives(), min_size=1, max_size=3), st.data())
async def test_rows_and_counts_are_the_same_in_any_order_batches_and_repeats(
    connection: Any, all_lives: list[list[ReportEvent]], data: st.DataObject
) -> None:
    """The SQL merges as core does: interleaved, shuffled, cut into batches anywhere, and replayed."""
    events = [event for life in all_lives for event in life]
    repeats = data.draw(st.lists(st.sampled_from(events), max_size=4))
    shuffled = data.draw(st.permutations([*events, *repeats]))
    batches = cut(shuffled, data.draw(st.lists(st.integers(1, 5), max_size=6)))
    expected = merge_events(AREA_SET, events)
    undo = connection.transaction()
    await undo.start()
    try:
        for batch in batches:
            await apply(connection, batch)
        assert await stored_rows(connection) == expected
        assert await stored_counts(connection) == counts_of(expected.values())
    finally:
        await undo.rollback()


def accepted(report_id: uuid.UUID, number: int = 0) -> ReportAccepted:
    return ReportAccepted(
        report_id=report_id,
        kind="tip" if number % 3 else "issue",
        version=1,
        category=("graffiti", "noise", "moon_landing")[number % 3],
        areas={"district": ("oakwood", "harbour", "atlantis")[number % 3]} if number % 7 else {},
        hour=NOON + timedelta(hours=number % 400),
        regime="gdpr",
        urgency="normal",
        source="web",
        language="nl",
        municipality_version="v1",
    )


def dispatched(report_id: uuid.UUID, number: int = 0) -> list[ReportEvent]:
    about: dict[str, Any] = {
        "report_id": report_id,
        "kind": "tip" if number % 3 else "issue",
        "unit": "parks",
    }
    due = NOON + timedelta(days=1)
    return [
        ReportRouted(
            **about, version=1, rule="r", rules_version="v1", reason="r", acknowledge_by=due, resolve_by=due
        ),
        ReportDelivered(**about, version=2, channel="webhook"),
        ReportAcknowledged(**about, version=3, by="link", took="4h"),
    ]


def many(number: int, seed: int) -> tuple[list[ReportEvent], list[ReportEvent]]:
    """That many reports' events: those of `tips` and those of `notify`, each shuffled."""
    chance = random.Random(seed)
    ids = [uuid.UUID(int=chance.getrandbits(128), version=4) for _ in range(number)]
    told: list[ReportEvent] = [accepted(report_id, index) for index, report_id in enumerate(ids)]
    sent = [event for index, report_id in enumerate(ids) for event in dispatched(report_id, index)]
    chance.shuffle(told)
    chance.shuffle(sent)
    return told, sent


def totals_of(accepted: int, acknowledged: int, digest: str) -> dict[str, Any]:
    steps = dict.fromkeys(("routed", "delivered", "acknowledged"), acknowledged)
    return {"accepted": accepted, "counted": accepted, "digest": digest} | steps


async def test_a_replay_of_everything_changes_nothing(connection: Any) -> None:
    """A lifecycle that already knows of its acceptance is not counted again."""
    told, sent = many(50, seed=1)
    await apply(connection, [*sent, *told])
    before = await stored_rows(connection), await stored_counts(connection)
    for batch in (told, sent, [*told, *told], told[:1]):
        await apply(connection, batch)
    assert (await stored_rows(connection), await stored_counts(connection)) == before
    assert before[1].total() == 50


async def test_a_report_known_only_by_its_dispatches_is_not_counted_yet(connection: Any) -> None:
    """A count without an acceptance would have no period, area or category."""
    report_id = uuid.uuid4()
    await apply(connection, dispatched(report_id))
    assert await stored_counts(connection) == {}
    assert (await queries.totals(connection))["accepted"] == 0
    await apply(connection, [accepted(report_id, 1)])
    assert await stored_counts(connection) == {(date(2026, 8, 1), "harbour", "noise"): 1}


async def test_a_batch_that_is_rolled_back_leaves_nothing_and_counts_when_it_comes_again(
    connection: Any,
) -> None:
    """Rows and counts commit together with the fence, or not at all."""
    told, sent = many(20, seed=2)
    transaction = connection.transaction()
    await transaction.start()
    await COUNTING.apply(connection, enveloped([*told, *sent]))
    await transaction.rollback()
    assert (await stored_rows(connection), await stored_counts(connection)) == ({}, {})
    await apply(connection, [*told, *sent])
    assert (await queries.totals(connection))["counted"] == 20


async def test_two_consumers_of_the_same_reports_neither_lose_nor_double(dsn: str) -> None:
    """Reports and dispatches are assigned apart, so two processes write the same rows at the same time."""
    told, sent = many(300, seed=3)
    one, two = await postgres.connect(dsn, "one"), await postgres.connect(dsn, "two")

    async def consume(connection: Any, events: Sequence[ReportEvent]) -> None:
        for batch in cut(events, [40] * 40):
            await apply(connection, batch)

    try:
        # Both are told of every acceptance, as when a slow consumer is superseded without knowing.
        await asyncio.gather(consume(one, [*told, *sent]), consume(two, [*sent[::-1], *told[::-1]]))
        totals = await queries.totals(one)
        assert {**totals, "digest": ""} == totals_of(300, 300, "")
        assert await stored_counts(one) == counts_of(merge_events(AREA_SET, told).values())
    finally:
        await one.close()
        await two.close()


async def test_two_consumers_never_wait_for_each_other_in_a_circle(connection: Any, dsn: str) -> None:
    """Batches that name the same reports in opposite orders lock their rows in the same order. Each is held
    up at the row in the middle, where in opposite orders each would hold what the other wants next."""
    told, _ = many(101, seed=10)
    await apply(connection, told)
    one, two = await postgres.connect(dsn, "one"), await postgres.connect(dsn, "two")
    held = connection.transaction()
    await held.start()
    await connection.execute("SELECT FROM lifecycle WHERE report_id = $1 FOR UPDATE", told[50].report_id)

    async def both_wait() -> bool:
        waiting = await connection.fetchval("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
        return bool(waiting == 2)

    try:
        both = [asyncio.create_task(apply(one, told)), asyncio.create_task(apply(two, told[::-1]))]
        await until(both_wait)
        await held.rollback()
        await asyncio.gather(*both)
    finally:
        await one.close()
        await two.close()


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
async def test_the_first_acknowledgement_and_the_last_resolution_hold_across_batches(
    connection: Any, order: tuple[int, ...]
) -> None:
    """Each event comes in a batch of its own, in every order."""
    life = seen_and_done_twice()
    for index in order:
        await apply(connection, [life[index]])
    assert await stored_rows(connection) == merge_events(AREA_SET, life)


async def test_a_batch_is_one_statement_per_table(connection: Any) -> None:
    """However many events, besides the two that look which periods are open: a statement for each would be
    twenty times slower."""
    told, sent = many(250, seed=4)
    seen: list[str] = []
    # Once before, so that only the batch itself is seen and not asyncpg's look at the types.
    await apply(connection, told[:1])
    async with connection.transaction():
        with connection.query_logger(lambda query: seen.append(query.query)):
            await COUNTING.apply(connection, enveloped([*told, *sent]))
    assert len(seen) == 3


async def test_a_version_that_no_column_can_hold_is_refused_as_lasting(connection: Any) -> None:
    """It must be set aside as poison, not tried again for ever."""
    with pytest.raises(asyncpg.DataError) as refused:
        await apply(connection, [accepted(uuid.uuid4()).model_copy(update={"version": 2**63})])
    assert not postgres.is_transient(refused.value)


async def test_an_event_of_another_kind_is_poison(connection: Any) -> None:
    """It cannot come on these topics; were it skipped in silence, nobody would know that one did."""
    gone = IssueGone(issue_id=uuid.uuid4())
    with pytest.raises(Poison, match="nothing that is counted"):
        await COUNTING.apply(
            connection, [Envelope.of(gone, id=uuid.uuid4(), source="/ibuurt/tips", now=NOON)]
        )


def incident(number: int, category: str = "burglary", hour: datetime = NOON) -> IncidentRecorded:
    return IncidentRecorded(
        incident_id=uuid.UUID(int=number), category=category, areas={"district": "oakwood"}, hour=hour
    )


async def test_an_incident_is_kept_once_as_it_was_first_told(connection: Any) -> None:
    """The police send it again, corrected or not: within a batch, and later."""
    await apply(
        connection, [incident(1), incident(1, "robbery"), incident(2, hour=NOON + timedelta(days=40))]
    )
    await apply(connection, [incident(2, "robbery"), incident(1)])
    rows = await connection.fetch("SELECT * FROM incident ORDER BY incident_id")
    assert [tuple(row) for row in rows] == [
        (uuid.UUID(int=1), "oakwood", "burglary", date(2026, 8, 1)),
        (uuid.UUID(int=2), "oakwood", "burglary", date(2026, 9, 7)),
    ]


async def test_reports_that_an_earlier_program_has_kept_count_in_their_own_week_part(connection: Any) -> None:
    """The migration cannot know the municipality's zone: the first start fills it in."""
    told, sent = many(30, seed=6)
    await apply(connection, [*told, *sent])
    before = await stored_counts(connection)
    await connection.execute("UPDATE lifecycle SET counted_in = NULL")
    spec = spec_of(municipality.read(ROOT / "deploy/municipalities/ibuurt"))
    await count_earlier(connection, spec)
    assert await stored_counts(connection) == before


async def test_totals_are_what_the_other_services_can_be_held_against(connection: Any) -> None:
    """The digest is that of tips and notify: of accepted reports only, whatever order they came in."""
    assert await queries.totals(connection) == totals_of(0, 0, "0" * 16)
    told, sent = many(40, seed=5)
    await apply(connection, [*told[:30], *sent])
    digest = 0
    for event in told[:30]:
        digest ^= int(hashlib.md5(str(event.report_id).encode()).hexdigest()[:16], 16)
    assert await queries.totals(connection) == totals_of(30, 40, f"{digest:016x}")
