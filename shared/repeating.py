"""What a process does again and again, whoever is away meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from shared import postgres

AWAY_SECONDS = 1.0
log = structlog.get_logger()


async def once(part: str, work: Callable[[], Awaitable[Any]], away_seconds: float = AWAY_SECONDS) -> None:
    """Do it, and while the database is away try it again."""
    while True:
        try:
            await work()
        except Exception as error:
            if not postgres.is_transient(error):
                raise
            log.warning("not_now", part=part, error=type(error).__name__)
            await asyncio.sleep(away_seconds)
        else:
            return


async def repeat(part: str, work: Callable[[], Awaitable[Any]], every_seconds: float) -> None:
    """Do it every so many seconds, until cancelled."""
    while True:
        await once(part, work)
        await asyncio.sleep(every_seconds)
