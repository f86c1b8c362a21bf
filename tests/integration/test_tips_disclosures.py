"""The log of what is done with words: two chains in which no change stays unseen."""

import asyncio
import csv
import io
import re
import shutil
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.tips import auditing
from services.tips.core.chain import Mark
from services.tips.queries import disclosures
from services.tips.queries.disclosures import Entry
from shared import postgres
from shared.errors import Refusal
from tests.conftest import MakeDatabase
from tests.integration.followed import followed
from tests.integration.service_process import ended
from tests.integration.test_mending import Told
from tests.integration.test_tips_photos import uploaded
from tests.integration.tips_server import MIGRATIONS, Tips, issue, tip

NOON = datetime(2026, 11, 12, 12, 0, tzinfo=UTC)


def entry(number: int, kind: str = "issue", at: datetime = NOON) -> Entry:
    return Entry(uuid.uuid4(), kind, at, "consultation", f"officer:{number}", "notify", "follow_up")  # type: ignore[arg-type]


async def logged(tips: Tips, count: int, kind: str = "issue") -> None:
    """A chain of that many entries."""
    async with tips.pool.acquire() as connection, connection.transaction():
        await disclosures.record(connection, [entry(number, kind) for number in range(1, count + 1)])


async def fault(tips: Tips, **noted: Sequence[Mark]) -> str:
    """What `verify` says to be wrong; "" where all is well."""
    async with tips.pool.acquire() as connection:
        try:
            await auditing.verify(connection, noted, lambda _: None)
        except Refusal as refusal:
            return str(refusal).partition(": ")[2]
    return ""


async def tamper(tips: Tips, *statements: str) -> None:
    """As somebody who is above the triggers."""
    async with tips.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)


async def test_both_chains_are_whole_and_each_head_is_said(tips: Tips) -> None:
    """Each has numbers of its own, without a gap, whatever came between."""
    await tips.post(issue())
    await tips.post(tip())
    await tips.post(issue())
    told = Told()
    async with tips.pool.acquire() as connection:
        await auditing.verify(connection, {}, told)
    assert re.search(r"--head issue:2:[0-9a-f]{64}", told.text)
    assert re.search(r"--head tip:1:[0-9a-f]{64}", told.text)


async def test_nothing_tells_when_a_tip_came_between_two_issues(tips: Tips) -> None:
    """Tips lie in a table of their own, under numbers of their own, with whole hours only."""
    for body in (issue(), tip(), issue(), tip()):
        await tips.post(body)
    rows = await tips.rows("SELECT tableoid::regclass::text AS t, number, at FROM disclosure ORDER BY 1, 2")
    assert [(row["t"], row["number"]) for row in rows] == [
        ("disclosure_issue", 1),
        ("disclosure_issue", 2),
        ("disclosure_tip", 1),
        ("disclosure_tip", 2),
    ]
    with pytest.raises(Exception, match="tip_to_the_hour"):
        async with tips.pool.acquire() as connection, connection.transaction():
            await disclosures.record(connection, [entry(1, "tip", NOON + timedelta(minutes=3))])
    assert await fault(tips) == ""


async def test_whoever_was_sent_anything_is_named_as_its_recipient(tips: Tips) -> None:
    """Words, conversation and photos alike: delivered is a disclosure, to be erased there too; looked at is
    not."""
    mine = await followed(tips, issue(photos=[str(photo := await uploaded(tips))]))
    desk = "officer:k.jansen via desk"
    for purpose, act, recipient in (("delivery", "disclosure", desk), ("follow_up", "consultation", None)):
        await tips.words(mine.report_id, purpose=purpose, reader=desk)
        await mine.inside("GET", f"/messages?purpose={purpose}&reader={desk}")
        await mine.inside("GET", f"/photos/{photo}?purpose={purpose}&reader={desk}")
        rows = await tips.rows("SELECT act, recipient FROM disclosure WHERE purpose = $1", purpose)
        assert [tuple(row) for row in rows] == [(act, recipient)] * 3


@pytest.mark.parametrize(
    "change",
    [
        "report_id = gen_random_uuid()",
        "at = at + interval '1 microsecond'",
        "act = 'disclosure'",
        "actor = 'officer:33'",
        "service = 'stats'",
        "purpose = 'follow_u'",
        "recipient = ''",
        "hash = sha256('x')",
    ],
)
async def test_a_changed_column_is_found(change: str, tips: Tips) -> None:
    """Whichever it is."""
    await logged(tips, 5)
    await tamper(tips, f"UPDATE disclosure SET {change} WHERE number = 3")
    assert await fault(tips) == "chain issue: number 3 is altered"


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (["DELETE FROM disclosure WHERE number = 1"], "number 1 is missing"),
        (["DELETE FROM disclosure WHERE number = 3"], "number 3 is missing"),
        (
            ["DELETE FROM disclosure WHERE number = 5"],
            "number 5 is missing: the chain says that it ends with 5",
        ),
        (
            [
                "UPDATE disclosure SET number = 99 WHERE number = 2",
                "UPDATE disclosure SET number = 2 WHERE number = 3",
                "UPDATE disclosure SET number = 3 WHERE number = 99",
            ],
            "number 2 is out of order",
        ),
        (
            [
                "UPDATE disclosure SET number = 99 WHERE number = 2",
                "UPDATE disclosure SET number = 2 WHERE number = 5",
                "UPDATE disclosure SET number = 5 WHERE number = 99",
            ],
            "number 2 is out of order",
        ),
        (
            [
                "UPDATE disclosure SET number = number + 100 WHERE number >= 3",
                "UPDATE disclosure SET number = number - 99 WHERE number > 100",
                """INSERT INTO disclosure SELECT chain, 3, hash, at, report_id, act, actor, service, purpose
                   FROM disclosure WHERE number = 2""",
                "UPDATE disclosure_chain SET number = 6 WHERE chain = 'issue'",
            ],
            "number 3 is inserted",
        ),
        (
            [
                """INSERT INTO disclosure SELECT chain, 6, hash, at, report_id, act, actor, service, purpose
                   FROM disclosure WHERE number = 2"""
            ],
            "number 6 is inserted",
        ),
        (
            [
                """INSERT INTO disclosure SELECT chain, 0, hash, at, report_id, act, actor, service, purpose
                   FROM disclosure WHERE number = 2"""
            ],
            "number 0 is inserted",
        ),
        (
            ["UPDATE disclosure_chain SET hash = sha256('x') WHERE chain = 'issue'"],
            "number 6 is missing: the chain says that it ends with 5",
        ),
    ],
)
async def test_what_is_deleted_swapped_or_inserted_is_found(
    statements: list[str], found: str, tips: Tips
) -> None:
    """The first place where the chain breaks, by its number and by what happened there."""
    await logged(tips, 5)
    await tamper(tips, *statements)
    assert await fault(tips) == f"chain issue: {found}"


async def test_a_tail_that_is_cut_off_and_chained_anew_is_found_by_a_noted_head(tips: Tips) -> None:
    """All is consistent in itself; only what was noted elsewhere tells."""
    await logged(tips, 5)
    (row,) = await tips.rows("SELECT number, hash FROM disclosure_chain WHERE chain = 'issue'")
    noted = Mark(row["number"], row["hash"])
    cut = [
        "DELETE FROM disclosure WHERE number > 3",
        """UPDATE disclosure_chain c SET number = d.number, hash = d.hash FROM disclosure d
           WHERE d.number = 3 AND c.chain = 'issue' AND d.chain = 'issue'""",
    ]
    await tamper(tips, *cut)
    assert await fault(tips) == ""
    assert await fault(tips, issue=[noted]) == ("chain issue: cut off: it ends with 3, and 5 was there")
    await logged(tips, 4)
    assert await fault(tips) == ""
    assert await fault(tips, issue=[noted]) == (
        "chain issue: written anew: 5 has another hash than was noted"
    )


async def test_fifty_who_log_at_once_make_one_chain(tips: Tips) -> None:
    """No number twice, none left out, nobody deadlocked, whichever chains they write in which order."""

    async def one(number: int) -> None:
        kinds = ("tip", "issue") if number % 2 else ("issue", "tip")
        async with tips.pool.acquire() as connection, connection.transaction():
            await disclosures.record(connection, [entry(number, kind) for kind in kinds])

    await asyncio.gather(*(one(number) for number in range(50)))
    assert await fault(tips) == ""
    rows = await tips.rows("SELECT max(number) AS n FROM disclosure GROUP BY chain")
    assert [row["n"] for row in rows] == [50, 50]


async def test_only_what_is_five_years_old_can_go(tips: Tips) -> None:
    """The database's own clock decides, whatever the service says."""
    async with tips.pool.acquire() as connection, connection.transaction():
        old = datetime(2020, 1, 1, tzinfo=UTC)
        await disclosures.record(connection, [entry(1, at=old), entry(2)])
    await tips.rows("DELETE FROM disclosure WHERE number = 1")
    with pytest.raises(Exception, match="only added to"):
        await tips.rows("DELETE FROM disclosure WHERE number = 2")
    for table in ("disclosure", "disclosure_tip", "disclosure_issue"):
        with pytest.raises(Exception, match="only added to"):
            await tips.rows(f"TRUNCATE {table}")
    with pytest.raises(Exception, match="only added to"):
        await tips.rows("UPDATE disclosure_issue SET actor = 'x'")


async def test_a_log_that_was_there_before_the_chains_is_carried_over(
    database: MakeDatabase, tmp_path: Path
) -> None:
    """The migration writes the same bytes as the service, also for letters of several bytes."""
    dsn = await database()
    folder = tmp_path / "tips" / "migrations"
    folder.mkdir(parents=True)
    for file in sorted(MIGRATIONS[1].glob("*.sql"))[:1]:
        shutil.copy(file, folder)
    await postgres.migrate(dsn, [MIGRATIONS[0], folder])
    connection = await postgres.connect(dsn, "test")
    for number in range(20):
        at = NOON + timedelta(hours=number, microseconds=number % 3)
        await connection.execute(
            "INSERT INTO disclosure (at, report_id, reader, service, purpose, act)"
            " VALUES ($1, gen_random_uuid(), 'officer:zoë', 'notify', 'naïef', 'consultation')",
            at,
        )
    await postgres.migrate(dsn, MIGRATIONS)
    told = Told()
    await auditing.verify(connection, {}, told)
    assert "issue:13:" in told.text
    assert "tip:7:" in told.text
    async with connection.transaction():
        await disclosures.record(connection, [entry(1), entry(2, "tip")])
    await auditing.verify(connection, {}, told)
    await connection.close()


async def test_the_command_says_0_or_1_and_an_auditor_gets_csv(database: MakeDatabase) -> None:
    """`python -m services.tips disclosures`, with the database alone."""
    dsn = await database()
    await postgres.migrate(dsn, MIGRATIONS)
    connection = await postgres.connect(dsn, "test")
    entries = [entry(1), entry(2, "tip"), entry(3, at=NOON + timedelta(days=1))]
    async with connection.transaction():
        await disclosures.record(connection, entries)

    def run(*arguments: str) -> tuple[int, str]:
        done = ended("tips", {"IBUURT_DATABASE_URL": dsn}, "disclosures", *arguments)
        return done.returncode, done.stdout + done.stderr

    code, said = await asyncio.to_thread(run, "verify")
    heads = re.findall(r"--head (\S+)", said)
    assert (code, len(heads)) == (0, 2)
    noted = [word for head in heads for word in ("--head", head)]
    assert (await asyncio.to_thread(run, "verify", *noted))[0] == 0
    code, said = await asyncio.to_thread(run, "verify", "--head", f"tip:7:{'0' * 64}")
    assert (code, "it ends with 1, and 7 was there" in said) == (1, True)

    def table(answer: tuple[int, str]) -> list[dict[str, Any]]:
        assert answer[0] == 0
        return list(csv.DictReader(io.StringIO(answer[1])))

    (row,) = table(await asyncio.to_thread(run, "export", "--report-id", str(entries[1].report_id)))
    assert (row["chain"], row["number"], row["actor"], row["at"]) == (
        "tip",
        "1",
        "officer:2",
        "2026-11-12T12:00:00Z",
    )
    day = table(await asyncio.to_thread(run, "export", "--from", "2026-11-13", "--to", "2026-11-13"))
    assert [row["actor"] for row in day] == ["officer:3"]
    assert len(table(await asyncio.to_thread(run, "export"))) == 3
    await connection.close()
