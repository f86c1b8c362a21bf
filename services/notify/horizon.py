"""What is keyed by a report's id goes at its horizon: here nothing of it is left but its share of totals."""

from datetime import datetime, timedelta
from typing import Any

from services.notify import queries_horizon
from shared.events import DAY_MS, DEAD_LETTER_SETTINGS, REPORTS

# As long as an event of the report can be read again: from the topic, or set aside from its last day on.
KEPT_DAYS = 1 + sum(int(kept["retention.ms"]) // DAY_MS for kept in (REPORTS.settings, DEAD_LETTER_SETTINGS))
# Longer than any zone is behind.
MORNINGS_KEPT_DAYS = 3
EVERY_SECONDS = 3_600.0
AT_ONCE = 500


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
