"""What a process does again and again, whoever is away meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from shared import postgres

AWAY_SECONDS = 1.0
Done = TypeVar("Done")
log = structlog.get_logger()


async def once(
    part: str,
    work: Callable[[], Awaitable[Done]],
    away_seconds: float = AWAY_SECONDS,
    *,
    away: tuple[type[Exception], ...] = (),
) -> Done:
    """Do it, and while the database is away, or for what else is `away`, try it again. Returns its result."""
    while True:
        try:
            return await work()
        except Exception as error:
            if not isinstance(error, away) and not postgres.is_transient(error):
                raise
            log.warning("not_now", part=part, error=type(error).__name__)
            await asyncio.sleep(away_seconds)


async def repeat(part: str, work: Callable[[], Awaitable[Any]], every_seconds: float) -> None:
    """Do it every so many seconds, until cancelled."""
    while True:
        await once(part, work)
        await asyncio.sleep(every_seconds)


async def in_batches(pool: Any, some: Callable[[Any], Awaitable[int]], at_once: int) -> int:
    """Do it with at most `at_once` things in a transaction, until fewer are left; how many there were. `some`
    gets the connection and says how many it was."""
    count = 0
    while True:
        async with pool.acquire() as connection, connection.transaction():
            done = await some(connection)
        count += done
        if done < at_once:
            return count
