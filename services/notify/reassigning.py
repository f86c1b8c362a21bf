"""A unit that left the municipality's folder leaves its open reports to others: at start they move on."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog

from services.notify import queries
from services.notify.acting import Acting
from shared.repeating import in_batches, once

AT_ONCE = 100
log = structlog.get_logger()


class Reassigning:
    """Moves them. `appended` is called after each commit."""

    def __init__(
        self, pool: Any, acting: Acting, units: tuple[str, ...], appended: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._acting = acting
        self._units = units
        self._appended = appended
        self._moved: Counter[str] = Counter()

    async def run(self) -> None:
        """Do it once, as soon as the database is there."""
        await once("reassigning", self.reassign)

    async def reassign(self) -> int:
        """Move the open reports of units that are not in the folder; how many there were."""
        count = await in_batches(self._pool, self._some, AT_ONCE)
        for unit, reports in sorted(self._moved.items()):
            log.warning(
                "unit_left",
                unit=unit,
                reports=reports,
                mend="the rules name who has them now: tell those units",
            )
        self._moved.clear()
        return count

    async def _some(self, connection: Any) -> int:
        found = await queries.lock_of_others(connection, self._units, AT_ONCE)
        for dispatch in found:
            await self._acting.unit_left(connection, dispatch)
            self._moved[dispatch.unit] += 1
        if found:
            self._appended()
        return len(found)
