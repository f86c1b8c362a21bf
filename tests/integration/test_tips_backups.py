"""What a backup still tells after an erasure, and after its month's key is destroyed."""

import asyncio
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.local.postgres import _wheel
from services.tips import recovery
from services.tips.keys import KeyDestroyed
from services.tips.queries import reports
from shared import outbox, postgres
from shared.cloudevents import from_record
from shared.mending.recover import History
from tests.conftest import MakeDatabase
from tests.integration.test_tips_retention import LED, OVER, auditing_ok, erase, key_of, opened, run, sent
from tests.integration.tips_server import MIGRATIONS, Tips, running_tips, tip

BIN = _wheel() / "bin"


async def _command(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(*arguments)
    assert await process.wait() == 0


async def test_what_was_erased_after_the_backup_is_erased_again_and_a_months_end_reaches_it(
    database: MakeDatabase, tmp_path: Path
) -> None:
    """pg_dump and pg_restore, and the key folder of today. An erased report's wrapped key is in the dump: it
    opens until `outbox recover` has erased it again, or its month's key is destroyed; then nothing opens."""
    dsn, dump = await database(), str(tmp_path / "tips.dump")
    folder = tmp_path / "keys"
    folder.mkdir()

    async def restored() -> str:
        empty = await database()
        await _command(f"{BIN}/pg_restore", "--no-owner", "--exit-on-error", "-d", empty, dump)
        await postgres.check_migrated(empty, MIGRATIONS)
        return empty

    async with running_tips(dsn, folder) as tips:
        erased, kept = await sent(tips, tip()), await sent(tips, tip())
        await _command(f"{BIN}/pg_dump", "-Fc", "-f", dump, dsn)
        assert await erase(tips, erased) == "erased"
        await _before_the_months_end(tips, await restored(), erased, kept)
        await run(tips, OVER)
        assert await key_of(tips, kept) is None
        await _after_the_months_end(await restored(), folder, erased, kept)


async def _before_the_months_end(tips: Tips, dsn: str, erased: uuid.UUID, kept: uuid.UUID) -> None:
    async with tips.pool.acquire() as live:
        assert await opened(live, tips.desk.keys, erased) is None
        batch = await outbox.claim(live)
    assert batch is not None
    said = [from_record(one.topic, one.key, one.value, one.headers()) for one in batch.records]
    connection = await postgres.connect(dsn, "test")
    # The honest answer: whoever has this dump and today's keys can read it.
    assert await opened(connection, tips.desk.keys, erased) == LED
    async with connection.transaction():
        told = await recovery.take_back(connection, History(said[-1:], [], False), tips.clock.now)
    assert told.lines[0] == "1 reports were erased after the backup; they are erased again"
    assert await opened(connection, tips.desk.keys, erased) is None
    assert await opened(connection, tips.desk.keys, kept) == LED
    (logged,) = await connection.fetch("SELECT * FROM disclosure WHERE act = 'erasure'")
    assert (logged["report_id"], logged["purpose"]) == (erased, "erased_before_restore")
    async with connection.transaction():
        await auditing_ok(connection)
    await connection.close()


async def _after_the_months_end(dsn: str, folder: Path, erased: uuid.UUID, kept: uuid.UUID) -> None:
    async with running_tips(dsn, folder) as again:
        async with again.pool.acquire() as connection:
            for report_id in (erased, kept):
                with pytest.raises(KeyDestroyed):
                    await opened(connection, again.desk.keys, report_id)
        assert (await again.words(kept)).code == "report-erased"
        # The next hourly run brings the rows up to it.
        await run(again, datetime(2028, 1, 1, tzinfo=UTC))
        async with again.pool.acquire() as connection:
            for report_id in (erased, kept):
                found = await reports.lock(connection, report_id)
                assert found is not None
                assert (found[0].status, found[1]) == ("erased", None)
