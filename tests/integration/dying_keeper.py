"""A run of retention, or a command about keys, that dies: `python -m tests.integration.dying_keeper`.

It is the real work on a real database and key folder; where POINT is reached, the process kills itself.
"""

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from asyncpg.transaction import Transaction

from services.tips import holding, month_keys, retention
from services.tips.keys import KeyFolder
from services.tips.queries import disclosures, keeping
from shared import municipality, outbox, postgres

# Not from tips_server.py: its imports would double the time to start.
IBUURT = Path(__file__).parents[2] / "deploy/municipalities/ibuurt"
# Where it can die: whose function, its name, and which call of it, counted from 1.
POINTS: dict[str, tuple[Any, str]] = {
    "before the hold ends": (holding, "end"),
    "before the mark of spam goes": (keeping, "unmark_spam"),
    "before the spam is erased": (retention, "erase_and_log"),
    "before retiring": (keeping, "retire"),
    "before the wait": (keeping, "newest_transaction"),
    "before a batch": (keeping, "next_under"),
    "before the hold's key": (KeyFolder, "make"),
    "before the words move": (keeping, "rewrap"),
    "before the event": (outbox, "append"),
    "before the log": (disclosures, "record"),
    "before a commit": (Transaction, "_Transaction__commit"),
    "before the journal": (month_keys, "note"),
    "before the destruction": (KeyFolder, "destroy"),
    "between mark and removal": (KeyFolder, "tidy"),
    "before the removal is durable": (KeyFolder, "_sync_folder"),
    "before reports are forgotten": (keeping, "drop_erased"),
    "before the log is cut": (disclosures, "cut"),
}


class Fuse:
    """Kills this process when a function is called for so many times."""

    def __init__(self, point: str, hits: int) -> None:
        owner, name = POINTS[point]
        function: Callable[..., Any] = getattr(owner, name)

        def reached() -> None:
            self.hits -= 1
            if self.hits == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            reached()
            return function(*args, **kwargs)

        self.hits = hits
        setattr(owner, name, called)


def main() -> None:
    """DSN FOLDER NOW POINT HITS COMMAND [NAME]; POINT "nowhere" dies nowhere."""
    dsn, folder, now, point, hits, command, *names = sys.argv[1:]
    if point != "nowhere":
        Fuse(point, int(hits))
    asyncio.run(_work(dsn, KeyFolder(Path(folder)), datetime.fromisoformat(now), command, *names))


async def _work(dsn: str, keys: KeyFolder, now: datetime, command: str, name: str = "") -> None:
    connection = await postgres.connect(dsn, "dying")
    town = municipality.read(IBUURT)
    work: Awaitable[None]
    if command == "retention":
        work = retention.run(connection, keys, town, now, "test", print)
    elif command == "rotate":
        work = month_keys.rotate(connection, keys, name, "test", print)
    else:
        source = f"/{town.slug}/tips"
        work = month_keys.destroy(connection, keys, name, now, "test", print, even_so=True, source=source)
    await work
    await connection.close()


if __name__ == "__main__":
    main()
