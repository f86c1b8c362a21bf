"""What is known of single reports and incidents goes when nothing is counted from it any more."""

from datetime import datetime, timedelta
from typing import Any

from services.stats import queries_horizon
from shared.events import DAY_MS, DEAD_LETTER_SETTINGS, REPORTS

# As long as an event of the report can be read again: from the topic, or set aside from its last day on.
KEPT_DAYS = 1 + sum(int(kept["retention.ms"]) // DAY_MS for kept in (REPORTS.settings, DEAD_LETTER_SETTINGS))
EVERY_SECONDS = 3_600.0
AT_ONCE = 2_000


async def forget(pool: Any, now: datetime) -> tuple[int, int]:
    """Delete reports and empty incidents at their horizon; how many of each that was."""
    before = (now - timedelta(days=KEPT_DAYS)).date()
    reports = await _all(pool, lambda connection: queries_horizon.forget_reports(connection, before, AT_ONCE))
    incidents = await _all(
        pool, lambda connection: queries_horizon.forget_incidents(connection, before, AT_ONCE)
    )
    return reports, incidents


async def _all(pool: Any, forget_some: Any) -> int:
    count = 0
    while True:
        async with pool.acquire() as connection, connection.transaction():
            gone: int = await forget_some(connection)
        count += gone
        if gone < AT_ONCE:
            return count
