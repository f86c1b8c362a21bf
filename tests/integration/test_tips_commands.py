"""The commands that only `tips` has, as an operator runs them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.conftest import MakeDatabase
from tests.integration.service_process import ask
from tests.integration.test_tips_retention import sent
from tests.integration.test_tips_service import environment
from tests.integration.tips_server import running_tips, tip


async def test_an_operator_holds_rotates_and_looks(database: MakeDatabase, tmp_path: Path) -> None:
    """Beside the running service and without Kafka; each says what it did, and the journal who did it."""
    dsn = await database()
    env = environment(dsn, "127.0.0.1:1", tmp_path)

    async def run(*arguments: str, code: int = 0) -> str:
        return await ask("tips", env, *arguments, code=code)

    async with running_tips(dsn, tmp_path) as tips:
        tips.clock.now = datetime.now(UTC)
        month = f"{tips.clock.now:%Y-%m}-led-365"
        report_id = str(await sent(tips, tip()))
        until = str(tips.clock.now.date() + timedelta(days=30))
        order = ("hold", "place", report_id, "--reason", "court_order", "--until", until)
        assert "dry run: nothing was changed" in await run(*order, "--dry-run")
        assert f"{report_id} is held until {until}" in await run(*order, "--by", "jansen")
        assert "1 holds" in await run("hold", "list")
        assert f"{month}: there" in await run("keys", "list")
        assert "1 reports under" in await run("keys", "destroy", month, "--even-so", "--by", "jansen", code=1)
        assert f"{month} is destroyed" in await run("keys", "rotate", month, "--by", "jansen")
        said = await run("keys", "list")
        assert f"{month}: destroyed, 0 reports" in said
        assert f"{month}.2: there" in said
        assert "keys are made" in await run("keys", "make", "--by", "jansen")
        assert "0 reports end within 30 days" in await run("retention", "run", "--dry-run")
        assert "is held no more" in await run("hold", "lift", report_id, "--by", "jansen")
        assert (await tips.words(report_id)).status == 200
        journal = await tips.rows("SELECT who, command, detail FROM mending ORDER BY id")
        assert [row["command"] for row in journal] == ["hold place", "keys rotate", "keys make", "hold lift"]
        assert {row["who"] for row in journal} == {"jansen"}
        assert json.loads(journal[1]["detail"]) == {"destroyed": month}
    said = await run("--help")
    assert all(name in said for name in ("disclosures", "keys", "retention", "hold", "issues"))
