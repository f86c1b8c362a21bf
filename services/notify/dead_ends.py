"""What follows where a channel was given up: the unit's other ways, and where none is left, a person."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from services.notify import noticing, queries_deliveries
from services.notify.core import steps
from services.notify.core.deliveries import (
    FALLBACK,
    NewDelivery,
    about_of,
    deliveries_of,
    first_due,
    route_step,
)
from services.notify.core.steps import Dispatch, Moved
from services.notify.dispatches import Dispatches

# Nobody has seen it yet, so that it waits for whoever was not reached.
_UNSEEN = ("routed", "delivered")


class Dead(NamedTuple):
    """A delivery that is given up."""

    id: uuid.UUID
    report_id: uuid.UUID
    unit: str
    channel: str
    step: str


async def follow(
    connection: Any,
    dead: Iterable[Dead],
    standing: Mapping[uuid.UUID, Dispatch],
    dispatches: Dispatches,
    now: datetime,
) -> list[tuple[Dead, Moved]]:
    """Put the deliveries by the fallback channels down, once for each step, in the caller's transaction.
    Returns what a report comes to whose unit is reached by nothing, with it or with what its resident wrote,
    and by which delivery; another unit is told of it, and its own as soon as it is reached.

    `standing` are locked, and stand where they do after what was given up.
    """
    rows: list[NewDelivery] = []
    last: dict[tuple[uuid.UUID, str], Dead] = {}
    for one in dead:
        if about_of(one.step) not in ("route", "message"):
            continue  # there is nothing left to do
        dispatch = standing[one.report_id]
        if one.unit != dispatch.unit:
            continue  # it has moved on
        if dispatch.status in ("withdrawn", "erased"):
            continue
        if not one.channel.startswith(FALLBACK):
            due = first_due(dispatch.kind, 0, now, 0.0)
            rows += deliveries_of(
                one.report_id, one.unit, dispatches.fallbacks.get(one.unit, ()), one.step, due
            )
        last[one.report_id, one.step] = one
    if rows:
        await queries_deliveries.insert_deliveries(connection, rows)
    return await _escalated(connection, last.values(), standing, dispatches, now)


async def _escalated(
    connection: Any,
    last: Iterable[Dead],
    standing: Mapping[uuid.UUID, Dispatch],
    dispatches: Dispatches,
    now: datetime,
) -> list[tuple[Dead, Moved]]:
    waiting = [one for one in last if _waits(one, standing[one.report_id])]
    if not waiting:
        return []
    reached = await queries_deliveries.reached(
        connection, [(one.report_id, one.unit, one.step) for one in waiting]
    )
    # Of one report once, whatever of it did not arrive.
    unreached = {one.report_id: one for one in waiting if (one.report_id, one.step) not in reached}
    followed: list[tuple[Dead, Moved]] = []
    told: set[str] = set()
    for one in unreached.values():
        dispatch = standing[one.report_id]
        level = dispatches.clocks.above(dispatch, again=about_of(one.step) == "message")
        after, event = steps.escalate(dispatch, level, steps.NOT_DELIVERED)
        followed.append((one, (after, (event,))))
        told |= {dispatch.unit, dispatches.clocks.told_at(level) or dispatch.unit}
    await noticing.put_down(connection, told, dispatches.channels, now)
    return followed


def _waits(one: Dead, dispatch: Dispatch) -> bool:
    """Whether somebody has to be told that its unit was not reached; what the resident writes may be all that
    the unit does not know, whatever it did before."""
    if about_of(one.step) == "message":
        return True
    return dispatch.status in _UNSEEN and one.step == route_step(dispatch.turn)
