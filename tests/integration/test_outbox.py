"""What the outbox promises to a service that appends to it."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from bench.records import partition_of
from shared import outbox, postgres
from shared.cloudevents import Envelope
from shared.events import (
    DISPATCHES,
    MAX_VALUE_BYTES,
    REPORTS,
    IncidentRecorded,
    IssueGone,
    ReportAccepted,
    Topic,
    hour_of,
)
from shared.events import Event as ContractEvent
from shared.outbox import CLAIM_ROWS, KEEP_DAYS, Sent
from tests.conftest import MakeDatabase
from tests.spine import NOW, Database, envelope, event, key_in, opened


@pytest_asyncio.fixture
async def own(database: MakeDatabase) -> AsyncIterator[Database]:
    """A migrated database; these tests need no Kafka."""
    async with opened(await database("shared")) as fresh:
        yield fresh


async def _claim(database: Database) -> outbox.Batch | None:
    async with database.pool.acquire() as connection:
        return await outbox.claim(connection)


async def _report(database: Database, given: Envelope[Any], *, fails: bool) -> None:
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO report VALUES ($1)", uuid.UUID(given.event.key))
        await outbox.append(connection, [given])
        assert 1 / (not fails)


async def test_an_event_is_there_with_the_change_and_gone_with_its_rollback(own: Database) -> None:
    """The event commits with the state that the same transaction changes; a rollback leaves neither."""
    await own.pool.execute("CREATE TABLE report (id uuid PRIMARY KEY)")
    kept, undone = envelope(uuid.uuid4()), envelope(uuid.uuid4())
    await _report(own, kept, fails=False)
    with pytest.raises(ZeroDivisionError):
        await _report(own, undone, fails=True)
    assert await own.value("SELECT array_agg(id) FROM report") == [uuid.UUID(kept.event.key)]
    assert await own.value("SELECT array_agg(id) FROM outbox") == [kept.id]


async def test_an_open_transaction_is_not_seen_and_not_passed_over(own: Database) -> None:
    """A transaction that took its place first and commits last is claimed once it is there."""
    early, late = envelope(key_in(1)), envelope(key_in(1))
    async with own.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await outbox.append(connection, [early])
        await own.append(late)
        first = await _claim(own)
        await transaction.commit()
    second = await _claim(own)
    assert first is not None
    assert second is not None
    assert [(r.id, r.number) for r in (*first.records, *second.records)] == [(late.id, 1), (early.id, 2)]


@pytest.mark.parametrize("alone", [True, False])
async def test_an_oversize_event_is_refused_with_the_limit(own: Database, alone: bool) -> None:
    """It can never be sent, so it cannot be stored, nor can what is appended with it."""
    accepted = ReportAccepted(
        report_id=uuid.uuid4(),
        kind="issue",
        version=1,
        category="x",
        areas={},
        hour=hour_of(NOW),
        regime="gdpr",
        urgency="normal",
        source="web",
        language="nl",
        municipality_version="1",
        answers={"q": ("a" * 64,) * (MAX_VALUE_BYTES // 64)},
    )
    large = Envelope.of(accepted, id=uuid.uuid4(), source="/test/tips", now=NOW)
    others: list[Envelope[Any]] = [] if alone else [envelope(uuid.uuid4())]
    with pytest.raises(ValueError, match=f"the limit is {MAX_VALUE_BYTES}"):
        await own.append(*others, large)
    assert await own.value("SELECT count(*) FROM outbox") == 0


class Invented(ContractEvent):
    """An event that the contract does not have."""

    topic: ClassVar[Topic] = REPORTS
    type: ClassVar[str] = "ibuurt.Invented.v1"

    @property
    def key(self) -> str:
        return "k"


class Astray(Invented):
    """One whose topic the contract does not have."""

    topic: ClassVar[Topic] = Topic("ibuurt.nowhere.v1", "tips")


@pytest.mark.parametrize(
    ("given", "source", "said"),
    [
        (Invented(), "/test/tips", "not in the contract"),
        (Astray(), "/test/tips", "not in the contract"),
        (event(uuid.uuid4(), 1, DISPATCHES), "/test/tips", "which notify writes"),
        (
            IncidentRecorded(incident_id=uuid.uuid4(), category="x", areas={}, hour=hour_of(NOW)),
            "/test/police",
            "may not append",
        ),
    ],
)
async def test_what_could_not_be_sent_is_refused(
    own: Database, given: ContractEvent, source: str, said: str
) -> None:
    """An event or a topic outside the contract would stop the relay or be poison to every reader; a second
    writer of a topic would give its numbers twice."""
    with pytest.raises(ValueError, match=said):
        await own.append(Envelope.of(given, id=uuid.uuid4(), source=source, now=NOW))
    assert await own.value("SELECT count(*) FROM outbox") == 0


async def test_the_order_of_a_key_is_the_order_of_its_commits(own: Database) -> None:
    """Twelve appenders that each lock the row they change, and a relay that claims meanwhile: the events of a
    key are numbered in the order of their versions."""
    keys = [uuid.uuid4() for _ in range(4)]
    await own.pool.execute("CREATE TABLE report (id uuid PRIMARY KEY, version int NOT NULL)")
    await own.pool.executemany("INSERT INTO report VALUES ($1, 0)", [(key,) for key in keys])

    async def change(key: uuid.UUID, times: int) -> None:
        connection = await postgres.connect(own.dsn, "appender")
        try:
            for _ in range(times):
                async with connection.transaction():
                    version = await connection.fetchval(
                        "UPDATE report SET version = version + 1 WHERE id = $1 RETURNING version", key
                    )
                    await outbox.append(connection, [envelope(key, version)])
        finally:
            await connection.close()

    appending = asyncio.gather(*(change(key, 30) for key in keys for _ in range(3)))
    batches = []
    while True:
        done = appending.done()
        if batch := await _claim(own):
            batches.append(batch)
        elif done:
            break
    await appending
    records = [record for batch in batches for record in batch.records]
    for key in keys:
        mine = [record for record in records if record.key == str(key).encode()]
        assert [int(record.value.split(b'"version":')[1][:-1]) for record in mine if record.value] == list(
            range(1, 91)
        )
        assert [record.number for record in mine] == sorted(record.number for record in mine)
    assert len(batches) > 1


async def test_numbers_are_contiguous_per_partition_over_batches(own: Database) -> None:
    """Each partition of each topic counts from 1 without a hole, through as many batches as it takes."""
    await own.append(*(envelope(uuid.uuid4()) for _ in range(CLAIM_ROWS + 100)))
    first, second = await _claim(own), await _claim(own)
    assert first is not None
    assert second is not None
    assert (len(first.records), len(second.records)) == (CLAIM_ROWS, 100)
    for partition in range(12):
        numbers = [r.number for r in (*first.records, *second.records) if r.partition == partition]
        assert numbers == list(range(1, len(numbers) + 1))
    assert all(r.partition == partition_of(r.key, 12) for r in (*first.records, *second.records))
    assert await own.value("SELECT sum(last_number) FROM outbox_partition") == CLAIM_ROWS + 100


async def test_a_stored_batch_comes_back_as_it_was_claimed(own: Database) -> None:
    """What a restart reads from the database is what was claimed, to the byte; a tombstone has no value."""
    gone = Envelope.of(IssueGone(issue_id=uuid.uuid4()), id=uuid.uuid4(), source="/test/tips", now=NOW)
    await own.append(envelope(uuid.uuid4()), gone)
    claimed = await _claim(own)
    async with own.pool.acquire() as connection:
        assert await outbox.unsent_batches(connection) == [claimed]
    assert claimed is not None
    assert [record.value is None for record in claimed.records] == [False, True]


async def test_a_claim_that_is_rolled_back_took_nothing(own: Database) -> None:
    """A crash inside the claim leaves the rows, the numbers and the batch before as they were."""
    given = envelope(key_in(3))
    await own.append(given)
    async with own.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        assert await outbox.claim(connection)
        await transaction.rollback()
    again = await _claim(own)
    assert again is not None
    assert [(record.id, record.number) for record in again.records] == [(given.id, 1)]


@pytest.mark.parametrize(("newest", "left"), [(0, [13, 14, None]), (2, [13, 14, 16, None])])
async def test_sent_batches_are_forgotten_after_fourteen_days(
    own: Database, monkeypatch: pytest.MonkeyPatch, newest: int, left: list[int | None]
) -> None:
    """A batch is kept for `outbox resend` for KEEP_DAYS after it was sent; one that is not sent is kept, and
    so are the newest, which a relay that wakes late may send again."""
    assert (KEEP_DAYS, outbox.KEEP_BATCHES) == (14, 1_000)
    monkeypatch.setattr(outbox, "KEEP_BATCHES", newest)
    async with own.pool.acquire() as connection:
        for age in (13, 14, 15, 16, None):
            await outbox.append(connection, [envelope(uuid.uuid4())])
            batch = await outbox.claim(connection)
            assert batch is not None
            if age is not None:
                await outbox.mark_sent(connection, Sent(batch, {}))
                await connection.execute(
                    "UPDATE outbox_batch SET sent_on = current_date - $2::int WHERE batch = $1",
                    batch.batch,
                    age,
                )
        await outbox.forget_sent(connection)
    kept = await own.fetch("SELECT current_date - sent_on AS age FROM outbox_batch ORDER BY batch")
    assert [row["age"] for row in kept] == left


async def test_appending_notifies_nobody(own: Database) -> None:
    """NOTIFY makes every commit wait for every other: no statement and no trigger of the outbox has one."""
    statements: list[str] = []
    connection = await postgres.connect(own.dsn, "observed")
    connection.add_query_logger(lambda query: statements.append(query.query))
    try:
        async with connection.transaction():
            await outbox.append(connection, [envelope(uuid.uuid4())])
        await outbox.claim(connection)
    finally:
        await connection.close()
    assert any("INSERT INTO outbox " in statement for statement in statements)
    assert not [statement for statement in statements if "notify" in statement.lower()]
    assert await own.value("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0


async def test_no_column_holds_the_time_of_writing(own: Database) -> None:
    """A row's time would tell the minute of a tip: there are only the events' own times, which are cut to
    the hour for a tip, and the day of sending; and the server keeps no commit times."""
    rows = await own.fetch(
        """SELECT table_name, column_name, column_default FROM information_schema.columns
           WHERE table_name IN ('outbox', 'outbox_batch', 'outbox_partition', 'fence')
             AND (data_type LIKE 'timestamp%' OR data_type LIKE 'time%' OR data_type = 'date'
                  OR udt_name LIKE '\\_time%' OR column_default LIKE '%now%'
                  OR column_default LIKE '%uuidv7%' OR column_default LIKE '%current%')"""
    )
    assert {(row["table_name"], row["column_name"]) for row in rows} == {
        ("outbox", "time"),
        ("outbox_batch", "times"),
        ("outbox_batch", "sent_on"),
    }
    assert all(row["column_default"] is None for row in rows)
    assert await own.value("SHOW track_commit_timestamp") == "off"
    tip = event(uuid.uuid4(), 1).model_copy(update={"kind": "tip"})
    await own.append(Envelope.of(tip, id=uuid.uuid4(), source="/test/tips", now=NOW))
    assert await own.value("SELECT time FROM outbox") == hour_of(NOW)


async def test_a_claim_waits_for_no_appender(own: Database) -> None:
    """An appender that holds its transaction open neither blocks the relay nor is blocked by it."""
    async with own.pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, [envelope(uuid.uuid4())])
        await own.append(envelope(uuid.uuid4()))
        batch = await asyncio.wait_for(_claim(own), 2)
        assert batch is not None
        assert len(batch.records) == 1
