"""Notices: what of a unit nears its time or is late, gathered when the notice goes."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.notify import queries_clocks
from services.notify.core.clocks import written
from services.notify.core.deliveries import NOTICE_WAIT
from services.notify.core.overdue import Clocks, need
from services.notify.queries import Listed
from shared.events import Kind
from shared.municipality import Extent

# Of more than these the notice has the numbers alone.
NAMED_MOST = 50


async def put_down(
    connection: Any, units: Iterable[str], channels: Mapping[str, Sequence[str]], now: datetime
) -> None:
    """Have units told, by each of their channels, what of theirs waits; a unit that has left the folder has
    none."""
    notices = [(unit, name) for unit in sorted(units) for name in channels.get(unit, ())]
    if notices:
        await queries_clocks.insert_notices(connection, notices, now + NOTICE_WAIT)


class Notices:
    """What a unit is to be told; codes alone, no words and no places."""

    def __init__(self, pool: Any, clocks: Clocks, clock: Callable[[], datetime]) -> None:
        self._pool = pool
        self._clocks = clocks
        self._clock = clock

    async def of(self, unit: str, leaving: Callable[[str, Kind], Extent]) -> dict[str, Any] | None:
        """What a unit's notice says now, `leaving` how much may leave of a category's reports of a kind; None
        where there is nothing to say any more."""
        now = self._clock()
        async with self._pool.acquire() as connection:
            found = await queries_clocks.told_about(connection, unit, self._clocks.levels_of(unit))
        told = [(one, why) for one, unheard in found if (why := need(one.dispatch, now, unheard=unheard))]
        if not told:
            return None
        return {
            "unit": unit,
            "counts": dict(Counter(why for _, why in told)),
            "by_unit": dict(Counter(one.dispatch.unit for one, _ in told)),
            "reports": [
                _entry(one, why, leaving(one.dispatch.category, one.dispatch.kind))
                for one, why in told[:NAMED_MOST]
            ],
        }


def _entry(one: Listed, why: str, level: Extent) -> dict[str, Any]:
    dispatch = one.dispatch
    least = {"report_id": str(dispatch.report_id), "unit": dispatch.unit, "needs": why}
    if level == "notice":
        return least
    return least | {
        "kind": dispatch.kind,
        "category": dispatch.category,
        "areas": dict(one.areas),
        "status": dispatch.status,
        "level": dispatch.level,
        "acknowledge_by": written(dispatch.acknowledge_by),
        "resolve_by": written(dispatch.resolve_by),
    }
