"""docs/units.md, At the desk: the commands as they stand there, run one after another, and its tables held
against the code."""

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from services.notify.core.acts import UNITS_ACTIONS, Status, possible
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import DESK_TOKEN, running_notify, send
from tests.integration.tips_server import Tips

PAGE = (Path(__file__).parents[2] / "docs" / "units.md").read_text("utf-8").partition("## At the desk")[2]
(BLOCK,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
STATUSES: tuple[Status, ...] = get_args(Status)


async def test_every_act_is_done_as_the_page_types_it(database: MakeDatabase, tips: Tips) -> None:
    """One command for each act that there is; all but the first two change where the report stands."""
    first, second = [line for line in BLOCK.splitlines() if line.startswith("curl")]
    (function,) = [line for line in BLOCK.splitlines() if line.startswith("act()")]
    acts = [line for line in BLOCK.splitlines() if line.startswith("act ")]
    assert {re.findall(r'"action": "(\w+)"', line)[0] for line in acts} == set(UNITS_ACTIONS)
    async with running_notify(await database("notify"), tips.internal_url) as notify:
        (report_id,) = await send(tips, notify)
        # The day that is planned on the page is a day ahead.
        notify.clock.at = datetime(2026, 11, 26, 10, tzinfo=UTC)
        surroundings = {
            "PATH": "/usr/bin:/bin:/usr/local/bin",
            "DESK": notify.internal_url,
            "IBUURT_DESK_TOKEN": DESK_TOKEN,
            "REPORT": str(report_id),
        }
        answers = []
        for line in (first, second, *(f"{function}\n{one}" for one in acts)):
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", line, env=surroundings, stdout=asyncio.subprocess.PIPE
            )
            said, _ = await process.communicate()
            answers.append(json.loads(said))
        listed, shown, *done = answers
        assert [one["report_id"] for one in listed["reports"]] == [str(report_id)]
        assert shown["report"]["possible"] == list(UNITS_ACTIONS)
        assert [one.get("changed", one) for one in done] == [True] * len(acts)
        assert [one["report"]["status"] for one in done] == _afterwards(acts)
        _, now = await notify.ask("GET", f"/internal/v1/reports/{report_id}")
        assert {one["actor"] for one in now["report"]["history"][1:]} == {"officer:k.jansen"}


def _afterwards(acts: list[str]) -> list[str]:
    """The status after each act, as the page's table has it."""
    after = {row[0]: row[4] for row in _rows()}
    return [after[re.findall(r'"action": "(\w+)"', line)[0]] for line in acts]


def _rows() -> list[list[str]]:
    """The table of acts: of each cell the first code, of that of statuses all."""
    rows = []
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0].startswith("`") and cells[0] != "`action`":
            rows.append([(re.findall(r"`([^`]+)`", cell) or [""])[0] for cell in cells])
            rows[-1][3] = cells[3]
    return rows


def test_the_table_names_the_statuses_in_which_an_act_is_possible() -> None:
    """Of each act; those in which it changes nothing stand in the text."""
    table = {row[0]: set(re.findall(r"`([^`]+)`", row[3])) for row in _rows()}
    assert table == {
        action: {status for status in STATUSES if action in possible(status)} for action in UNITS_ACTIONS
    }
