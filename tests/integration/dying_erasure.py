"""`python -m tests.integration.dying_erasure DSN KEY_FOLDER FIRST RECEIPT...`: for each receipt a child of
this process, in which the real `tips` is asked to erase the report and kills itself (SIGKILL) just before its
statement number FIRST, FIRST + 1 and so on. Prints how each child ended, as JSON; 0 had no such statement.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import asyncpg

from tests.integration.followed import Followed
from tests.integration.tips_server import running_tips

STATEMENTS = ("execute", "executemany", "fetch", "fetchrow", "fetchval")


def light(hits: int) -> None:
    """From now on the process dies before its statement of that number."""
    left = hits

    def wrapped(function: Any) -> Any:
        async def counted(*arguments: Any, **keywords: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return await function(*arguments, **keywords)

        return counted

    for name in STATEMENTS:
        setattr(asyncpg.Connection, name, wrapped(getattr(asyncpg.Connection, name)))


async def erase(dsn: str, key_folder: str, receipt: str, hits: int) -> None:
    async with running_tips(dsn, Path(key_folder)) as tips:
        light(hits)
        mine = Followed(tips, receipt, None, "tip")  # type: ignore[arg-type] # it knows only the receipt
        assert (await mine.mine("DELETE")).status == 200


def main() -> None:
    _, dsn, key_folder, first, *receipts = sys.argv
    children = []
    for hits, receipt in enumerate(receipts, start=int(first)):
        child = os.fork()
        if child == 0:
            asyncio.run(erase(dsn, key_folder, receipt, hits))
            os._exit(0)
        children.append(child)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))


if __name__ == "__main__":
    main()
