"""What is known of single reports and incidents goes when nothing is counted from it any more."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from services.stats import queries_horizon
from shared.events import READABLE_DAYS
from shared.repeating import in_batches

EVERY_SECONDS = 3_600.0
AT_ONCE = 2_000


async def forget(pool: Any, draw: Callable[[], Awaitable[None]], now: datetime) -> tuple[int, int]:
    """Delete reports and empty incidents at their horizon; how many of each that was. `draw` draws every
    period that is not there: what counts in one that nobody has drawn would be taken for released."""
    await draw()
    before = (now - timedelta(days=READABLE_DAYS)).date()
    reports = await in_batches(
        pool, lambda connection: queries_horizon.forget_reports(connection, before, AT_ONCE), AT_ONCE
    )
    incidents = await in_batches(
        pool, lambda connection: queries_horizon.forget_incidents(connection, before, AT_ONCE), AT_ONCE
    )
    return reports, incidents
