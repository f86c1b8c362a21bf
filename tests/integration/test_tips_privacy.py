"""What the database and the logs of `tips` tell: no words, no place, no minute of a tip."""

import base64
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import structlog

from services.tips import consumer, holding, retention
from shared import events, outbox
from tests.integration.test_tips_consumer import envelope
from tests.integration.tips_server import (
    PEPPERS,
    SECRET_ADDRESS,
    SECRET_WORDS,
    Tips,
    issue,
    new_key,
    tip,
)

TABLES = """SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
            WHERE relkind IN ('r', 'p', 'm') AND nspname = 'public' AND relname <> 'migration'"""


async def everything(tips: Tips) -> dict[str, str]:
    """Every row of every table as text, lower case; bytes as hexadecimal and, where they can be, as text."""
    dump = {}
    for (table,) in await tips.rows(TABLES):
        rows = await tips.rows(f'SELECT * FROM "{table}"')
        dump[table] = "\n".join(text_of(value) for row in rows for value in row.values()).lower()
    return dump


def text_of(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{value.hex()} {value.decode('utf-8', 'ignore')}"
    if isinstance(value, list):
        return " ".join(text_of(one) for one in value)
    return str(value)


def forms(secret: str) -> set[str]:
    """A text as it would look in clear, in hexadecimal and in base64."""
    written = secret.encode()
    return {secret.lower(), written.hex(), base64.b64encode(written).decode().lower().rstrip("=")[:-2]}


async def lived(tips: Tips, body: dict[str, Any]) -> tuple[str, str]:
    """A report that was sent, followed, read and dispatched; its receipt and its key."""
    key = new_key()
    answer = await tips.post(body, key)
    receipt = answer.body["receipt"]
    await tips.mine(receipt)
    rows = await tips.rows("SELECT report_id FROM report")
    for row in rows:
        await tips.words(row["report_id"])
    (row,) = await tips.rows("SELECT report_id, kind FROM report WHERE kind = $1", body["kind"])
    happened = [envelope(row, one, number, tips.clock.now) for number, one in enumerate(ALL_STEPS, start=1)]
    async with tips.pool.acquire() as connection, connection.transaction():
        await consumer.apply(connection, happened)
    return str(receipt), key


ALL_STEPS: list[type[events.ReportEvent]] = [
    events.ReportRouted,
    events.ReportDelivered,
    events.ReportAcknowledged,
    events.ReportResolved,
]


async def test_words_address_and_receipt_are_nowhere_in_the_database(tips: Tips) -> None:
    """A full dump of every table is searched, after a report has lived a whole life."""
    receipt, key = await lived(tips, tip(description=SECRET_WORDS, location={"address": SECRET_ADDRESS}))
    dump = await everything(tips)
    assert set(dump) >= {"report", "report_step", "submission", "disclosure", "outbox"}
    assert all(dump[table] for table in ("report", "report_step", "submission", "disclosure", "outbox"))
    secrets = [
        SECRET_WORDS,
        SECRET_WORDS[9:21],
        SECRET_ADDRESS,
        "Kastanjelaan",
        receipt,
        receipt.replace("-", ""),
    ]
    secrets += [key, PEPPERS.receipt.decode(), PEPPERS.lookup.decode()]
    for secret in secrets:
        for form in forms(secret):
            assert [table for table, text in dump.items() if form in text] == [], form


async def test_a_point_is_nowhere_in_the_database(tips: Tips) -> None:
    """Only the area that it lies in and, of a public issue, three of its decimals."""
    await lived(tips, issue(location={"point": {"latitude": 52.0512345, "longitude": 5.6012345}}))
    dump = await everything(tips)
    for secret in ("0512345", "6012345", "52.0512", "5.6012"):
        for form in {secret, secret.encode().hex()}:
            assert [table for table, text in dump.items() if form in text] == []
    assert "oakwood" in dump["report"]


async def test_the_months_keys_are_not_in_the_database(tips: Tips) -> None:
    """Whoever has the database alone has nothing that opens it."""
    await lived(tips, tip())
    dump = await everything(tips)
    key = tips.desk.keys.get("2026-11-led-365")
    assert [table for table, text in dump.items() if key.hex() in text] == []


async def test_a_tips_minute_is_nowhere_in_the_database(tips: Tips) -> None:
    """Every time in every table is a whole hour, also in the outbox, its stored batches and the steps."""
    await lived(tips, tip())
    dump = await everything(tips)
    async with tips.pool.acquire() as connection:
        await outbox.claim(connection)
    dump |= {f"{table} later": text for table, text in (await everything(tips)).items()}
    for form in ("37:11", ":37", "3711", "123456", *forms("13:37")):
        assert [table for table, text in dump.items() if form in text and form not in tips_noise(text)] == []
    times = [value for value in await all_times(tips) if value]
    assert len(times) > 8
    assert {(value.minute, value.second, value.microsecond) for value in times} == {(0, 0, 0)}


def tips_noise(text: str) -> str:
    """Random hexadecimal, in which any digits may stand."""
    return "".join(word for word in text.split() if len(word) >= 32)


async def all_times(tips: Tips) -> list[datetime]:
    """The value of every timestamp column, arrays unfolded."""
    columns = await tips.rows(
        """SELECT table_name, column_name, data_type FROM information_schema.columns
           WHERE table_schema = 'public' AND table_name <> 'migration'
           AND (data_type LIKE 'time%' OR udt_name LIKE '_time%')"""
    )
    assert len(columns) >= 6
    times: list[datetime] = []
    for table, column, data_type in columns:
        expression = f'unnest("{column}")' if data_type == "ARRAY" else f'"{column}"'
        times += [row[0] for row in await tips.rows(f'SELECT {expression} FROM "{table}"')]
    return times


async def test_the_database_itself_refuses_a_tips_minute(tips: Tips) -> None:
    """Should the code ever forget to cut it."""
    await tips.post(tip())
    with pytest.raises(Exception, match="tip_to_the_hour"):
        await tips.rows("UPDATE report SET accepted_at = $1", datetime(2026, 11, 12, 13, 37, tzinfo=UTC))


async def test_no_line_is_logged_for_a_tip(tips: Tips) -> None:
    """Its time would be the tip's minute. An issue's line has its id and nothing that was written."""
    with structlog.testing.capture_logs() as lines:
        await lived(tips, tip())
        await tips.post(tip(description=""))
        await tips.mine("0000-0000-0000-0000-00000")
        assert lines == []
        await tips.post(issue())
    assert [set(line) for line in lines] == [{"event", "log_level", "report_id", "event_id"}]


async def test_no_metric_tells_tips_from_issues(tips: Tips) -> None:
    """The only label is the code of a refusal; a refusal of a tip has the same codes as one of an issue."""
    await lived(tips, tip())
    await tips.post(tip(description=""))
    labels = {
        label
        for family in tips.registry.collect()
        for sample in family.samples
        for label in sample.labels.items()
        if label[0] != "le"
    }
    assert labels == {("code", "invalid-request")}


async def test_holds_retention_and_the_log_tell_no_minute_of_a_tip(tips: Tips) -> None:
    """Neither where it is held, nor extended, nor erased; the journal has the minute in which somebody ran a
    command, and names no tip that nobody named."""
    await lived(tips, tip())
    tips.clock.now += timedelta(minutes=1)
    (first,) = await tips.rows("SELECT report_id FROM report")
    held = first["report_id"]
    for _ in range(2):
        await tips.post(tip())
    (still,) = await tips.rows("SELECT report_id FROM report WHERE report_id <> $1 LIMIT 1", held)
    until = date(2028, 1, 31)
    later = datetime(2027, 12, 1, 13, 37, 11, 123456, tzinfo=UTC)
    async with tips.pool.acquire() as connection:
        now, source = tips.clock.now, tips.desk.source
        await holding.place(connection, held, "court_order", until, now, "jansen", say_nothing, source=source)
        await connection.execute("UPDATE report SET status = 'planned' WHERE report_id <> $1", held)
        await connection.execute("UPDATE report SET status = 'resolved' WHERE report_id = $1", still[0])
        await retention.run(connection, tips.desk.keys, tips.desk.municipality, later, "test", say_nothing)
    dump = await everything(tips)
    assert dump["hold"]
    assert str(still[0]) not in dump.pop("mending")
    for form in ("37:11", "38:11", ":37", ":38", "123456"):
        assert [table for table, text in dump.items() if form in text and form not in tips_noise(text)] == []
    journal = {row["at"] for row in await tips.rows("SELECT at FROM mending")}
    times = [value for value in await all_times(tips) if value and value not in journal]
    assert {(value.minute, value.second, value.microsecond) for value in times} == {(0, 0, 0)}


def say_nothing(_line: str) -> None:
    """What a command says is for a person."""
