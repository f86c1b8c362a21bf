"""A step of closing that dies: `python -m tests.integration.dying_closer DSN KAFKA NOW POINT HITS`.

It is the real work; where POINT is reached for so many times, the process kills itself.
"""

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from asyncpg.transaction import Transaction

from services.stats import queries_releases
from shared import outbox
from tests.integration.stats_harness import stats_of

POINTS: dict[str, tuple[Any, str]] = {
    "before the noise is kept": (queries_releases, "insert_periods"),
    "before a freeze": (queries_releases, "freeze"),
    "before the debit": (queries_releases, "debit"),
    "before the release": (queries_releases, "insert_release"),
    "before the event": (outbox, "append"),
    "before a commit": (Transaction, "_Transaction__commit"),
    "between the steps": (queries_releases, "next_frozen"),
    "before the destruction": (queries_releases, "empty"),
    "before the table's new file": (queries_releases, "rewrite"),
}


def light(point: str, hits: int) -> None:
    """Have this process die when the point is reached for so many times."""
    owner, name = POINTS[point]
    function: Callable[..., Any] = getattr(owner, name)
    left = hits

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(owner, name, called)


async def _step(bootstrap: str, dsn: str, now: datetime) -> None:
    async with stats_of(bootstrap, dsn, now=now) as stats:
        await stats.closing.step()


if __name__ == "__main__":
    light(sys.argv[4], int(sys.argv[5]))
    asyncio.run(_step(sys.argv[2], sys.argv[1], datetime.fromisoformat(sys.argv[3])))
