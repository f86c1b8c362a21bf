"""kill -9 between every two steps of a photo's life: nothing half done, nothing lost, nothing left behind."""

import asyncio
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from services.tips.photos import holding, moving
from tests.integration.dying_photos import POINTS, attach, erase
from tests.integration.test_tips_photos import names_in, own, sent, uploaded
from tests.integration.tips_server import Tips, photo_folder
from tests.photos import shown

DYING = (sys.executable, "-m", "tests.integration.dying_photos")
ROOT = Path(__file__).parents[2]
CASES = [(work, point) for work, places in POINTS.items() for point in range(len(places))]


def named(case: tuple[str, int]) -> str:
    place = POINTS[case[0]][case[1]]
    owner = getattr(place.owner, "__name__", "").rpartition(".")[2]
    return f"{case[0]}, {'before' if place.before else 'after'} {owner}.{place.function}"


@pytest.mark.parametrize("case", CASES, ids=named)
async def test_killed_between_two_steps(case: tuple[str, int], tips: Tips, tmp_path: Path) -> None:
    """What is tried again afterwards ends as if nothing had happened: every photo of a report that is there
    can be read, every object is a photo's, and of an erased report's there is none."""
    work, point = case
    keys, store, now = tips.desk.keys, tips.desk.photo_store, tips.clock.now
    ids = [await uploaded(tips) for _ in range(3)]
    report_id, receipt = await sent(tips)
    gone, _ = await sent(tips)
    async with tips.pool.acquire() as connection:
        if work != "attach":
            await attach(connection, keys, report_id, ids[:1], now)
            await attach(connection, keys, gone, ids[1:], now)
        if work in {"erase", "clear"}:
            await moving.move(tips.pool, store, now + timedelta(hours=1))
        if work == "clear":
            await erase(connection, gone, now)
    given = {"attach": [report_id, *ids[:1]], "erase": [gone]}.get(work, [])
    later = now + {"move": timedelta(hours=1), "clear": holding.DELETION_REPEATED}.get(work, timedelta())
    ended = await asyncio.to_thread(
        subprocess.run,
        [*DYING, *map(str, (tips.dsn, tmp_path, photo_folder(tmp_path), work, point, later, *given))],
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert ended.returncode == -9
    await settle(tips, work, report_id, gone, ids)
    answer = await own(tips, receipt, ids[0])
    assert (answer.status, shown(answer.content)) == (200, ["red", "green", "blue", "white"])
    kept = {row["object_name"] for row in await tips.rows("SELECT object_name FROM photo")}
    assert {uuid.UUID(name) for name in names_in(photo_folder(tmp_path))} == kept
    assert await tips.rows("SELECT * FROM photo WHERE report_id = $1", gone) == []
    assert await tips.rows("SELECT * FROM photo_to_delete") == []


async def settle(tips: Tips, work: str, report_id: uuid.UUID, gone: uuid.UUID, ids: list[uuid.UUID]) -> None:
    """What a resident or the service does afterwards: all of it again, to the end."""
    store, now = tips.desk.photo_store, tips.clock.now
    async with tips.pool.acquire() as connection:
        left = await connection.fetch(
            "SELECT photo_id FROM photo WHERE photo_id = $1 AND report_id IS NULL", ids[0]
        )
        if work == "attach" and left:
            await attach(connection, tips.desk.keys, report_id, ids[:1], now)
        (row,) = await connection.fetch("SELECT status FROM report WHERE report_id = $1", gone)
        if row["status"] != "erased":
            await erase(connection, gone, now)
    await moving.move(tips.pool, store, now + timedelta(hours=1))
    await moving.clear(tips.pool, store, now + holding.UPLOAD_KEPT)
