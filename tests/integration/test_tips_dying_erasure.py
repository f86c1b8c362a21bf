"""kill -9 between every two steps of an erasure."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import MakeDatabase
from tests.integration.followed import Followed
from tests.integration.service_process import ROOT
from tests.integration.test_tips_erasing import lived
from tests.integration.tips_server import Tips, running_tips, tip

AT_ONCE = 6
MOST_STATEMENTS = 60


async def test_an_erasure_that_dies_anywhere_is_whole_or_did_not_happen(
    database: MakeDatabase, tmp_path: Path
) -> None:
    """Before each of its statements, the commit included, until one lives to its end: a report that is not
    erased has its words, messages, rating and log as before and no event; once more, and it is erased."""
    dsn = await database()
    async with running_tips(dsn, tmp_path) as tips:
        whole, codes = 0, [-signal.SIGKILL]
        for first in range(1, MOST_STATEMENTS, AT_ONCE):
            reports = [await lived(tips, tip()) for _ in range(AT_ONCE)]
            receipts = [mine.receipt for mine in reports]
            codes = await asyncio.to_thread(_erase, dsn, tmp_path, first, receipts)
            assert set(codes) <= {0, -signal.SIGKILL}
            for code, mine in zip(codes, reports, strict=True):
                erased = await _is_erased(tips, mine)
                assert erased or code != 0
                whole += not erased
                assert (await mine.mine("DELETE")).status == 200
                assert await _is_erased(tips, mine)
            if 0 in codes:
                break
        assert 0 in codes
        assert whole >= 8


def _erase(dsn: str, keys: Path, first: int, receipts: list[str]) -> list[int]:
    """How the processes ended, one for each receipt."""
    command = [sys.executable, "-m", "tests.integration.dying_erasure", dsn, str(keys), str(first), *receipts]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    codes: list[int] = json.loads(ended.stdout.splitlines()[-1])
    return codes


async def _is_erased(tips: Tips, mine: Followed) -> bool:
    """Whether it is erased, wholly; anything between the two fails."""
    (row,) = await tips.rows(
        """SELECT status, version, sealed IS NOT NULL, wrapped_key IS NOT NULL,
                  (SELECT count(*) FROM message WHERE report_id = $1),
                  (SELECT count(*) FROM rating WHERE report_id = $1),
                  (SELECT count(*) FROM erasure WHERE report_id = $1),
                  (SELECT count(*) FROM report_step WHERE report_id = $1 AND step = 'erased')
           FROM report WHERE report_id = $1""",
        mine.report_id,
    )
    said = (await mine.events()).count("ReportErased")
    logged = [line[0] for line in await mine.log()].count("erasure")
    state = (*row, said, logged)
    whole = ("resolved", 2, True, True, 2, 1, 0, 0, 0, 0)
    erased = ("erased", 3, False, False, 0, 0, 1, 1, 1, 1)
    assert state in (whole, erased)
    return state == erased
