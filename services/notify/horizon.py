"""What is keyed by a report's id goes at its horizon: here nothing of it is left but its share of totals."""

from datetime import datetime, timedelta
from typing import Any

from services.notify import queries_horizon
from shared.events import READABLE_DAYS
from shared.repeating import in_batches

# Longer than any zone is behind.
MORNINGS_KEPT_DAYS = 3
EVERY_SECONDS = 3_600.0
AT_ONCE = 500


async def forget(pool: Any, now: datetime) -> int:
    """Delete what was erased so long ago; how many reports that was about."""
    before = (now - timedelta(days=READABLE_DAYS)).date()
    async with pool.acquire() as connection:
        await queries_horizon.forget_notices(connection, (now - timedelta(days=MORNINGS_KEPT_DAYS)).date())
        await queries_horizon.forget_unseen(connection, before)
    return await in_batches(
        pool, lambda connection: queries_horizon.forget(connection, before, AT_ONCE), AT_ONCE
    )
