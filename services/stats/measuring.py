"""How late releases are, as an operator is told: by the database, so that a part that hangs is seen too."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from services.stats import queries_releases
from services.stats.closing import KEEP
from services.stats.metrics import ReleaseMetrics
from shared.errors import Refusal

EVERY_SECONDS = 30.0


async def measure(pool: Any, metrics: ReleaseMetrics, now: datetime) -> None:
    """Set what goes by the clock."""
    async with pool.acquire() as connection:
        late = await queries_releases.late(connection, now, now - KEEP)
    for gauge, seconds in zip((metrics.overdue, metrics.unshown, metrics.kept), late, strict=True):
        gauge.set(seconds)


async def told_of_refusal(work: Callable[[], Awaitable[None]], metrics: ReleaseMetrics) -> None:
    """Do it. Raises Refusal as it does, once the metric says so."""
    try:
        await work()
    except Refusal:
        metrics.refused.set(1)
        raise
