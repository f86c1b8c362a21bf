"""What is keyed by a report's id goes at its horizon: here nothing of it is left but its share of totals."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from services.notify import queries_horizon
from shared import postgres
from shared.events import DAY_MS, DEAD_LETTER_SETTINGS, REPORTS

# As long as an event of the report can be read again: from the topic, or set aside from its last day on.
KEPT_DAYS = 1 + sum(int(kept["retention.ms"]) // DAY_MS for kept in (REPORTS.settings, DEAD_LETTER_SETTINGS))
# Longer than any zone is behind.
MORNINGS_KEPT_DAYS = 3
EVERY_SECONDS = 3_600.0
AT_ONCE = 500
log = structlog.get_logger()


async def forget(pool: Any, now: datetime) -> int:
    """Delete what was erased so long ago; how many reports that was about."""
    async with pool.acquire() as connection:
        await queries_horizon.forget_notices(connection, (now - timedelta(days=MORNINGS_KEPT_DAYS)).date())
    before, count = (now - timedelta(days=KEPT_DAYS)).date(), 0
    while True:
        async with pool.acquire() as connection, connection.transaction():
            gone = await queries_horizon.forget(connection, before, AT_ONCE)
        count += gone
        if gone < AT_ONCE:
            return count


async def keep_forgetting(
    pool: Any, clock: Callable[[], datetime], every_seconds: float = EVERY_SECONDS
) -> None:
    """Again and again, whoever is away meanwhile."""
    while True:
        try:
            await forget(pool, clock())
        except Exception as error:
            if not postgres.is_transient(error):
                raise
            log.warning("not_now", part="horizon", error=type(error).__name__)
        await asyncio.sleep(every_seconds)
