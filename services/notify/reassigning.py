"""A unit that left the municipality's folder leaves its open reports to others: at start they move on."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from services.notify import queries
from services.notify.acting import Acting
from shared.repeating import in_batches

AT_ONCE = 100
log = structlog.get_logger()


async def reassign(pool: Any, acting: Acting, units: Sequence[str], appended: Callable[[], None]) -> int:
    """Move the open reports of units that are not among the folder's; how many there were. `appended` is
    called where there were any, after they are committed."""
    moved: Counter[str] = Counter()

    async def some(connection: Any) -> int:
        found = await queries.lock_of_others(connection, units, AT_ONCE)
        for dispatch in found:
            await acting.unit_left(connection, dispatch)
        moved.update(one.unit for one in found)
        return len(found)

    count = await in_batches(pool, some, AT_ONCE)
    if count:
        appended()
    mend = "the rules name who has them now: tell those units"
    for unit, reports in sorted(moved.items()):
        log.warning("unit_left", unit=unit, reports=reports, mend=mend)
    return count
