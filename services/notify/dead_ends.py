"""What follows where a channel was given up: the unit's other ways, and where none is left, a person."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from services.notify import queries_deliveries
from services.notify.core import steps
from services.notify.core.deliveries import (
    FALLBACK,
    NewDelivery,
    about_of,
    deliveries_of,
    fallbacks,
    first_due,
    route_step,
)
from services.notify.core.steps import Dispatch, Moved
from shared.municipality import Municipality

# Nobody has seen it yet, so that it waits for whoever was not reached.
_UNSEEN = ("routed", "delivered")


class Dead(NamedTuple):
    """A delivery that is given up."""

    id: uuid.UUID
    report_id: uuid.UUID
    unit: str
    channel: str
    step: str


def names_of(municipality: Municipality) -> Mapping[str, tuple[str, ...]]:
    """The names of each unit's fallback channels."""
    return {unit.id: tuple(fallbacks(unit)) for unit in municipality.units.values()}


async def follow(
    connection: Any,
    dead: Iterable[Dead],
    dispatches: Mapping[uuid.UUID, Dispatch],
    names: Mapping[str, Sequence[str]],
    now: datetime,
) -> list[tuple[Dead, Moved]]:
    """Put the deliveries by the fallback channels down, once for each step, in the caller's transaction.
    Returns what a report whose unit is reached by nothing comes to, and by which delivery.

    The dispatches are locked, and stand where they do after what was given up.
    """
    rows: list[NewDelivery] = []
    last: dict[tuple[uuid.UUID, str], Dead] = {}
    for one in dead:
        if about_of(one.step) not in ("route", "message"):
            continue  # there is nothing left to do
        dispatch = dispatches[one.report_id]
        if one.unit != dispatch.unit:
            continue  # it has moved on
        if dispatch.status in ("withdrawn", "erased"):
            continue
        if not one.channel.startswith(FALLBACK):
            due = first_due(dispatch.kind, 0, now, 0.0)
            rows += deliveries_of(one.report_id, one.unit, names.get(one.unit, ()), one.step, due)
        last[one.report_id, one.step] = one
    if rows:
        await queries_deliveries.insert_deliveries(connection, rows)
    return await _escalated(connection, last.values(), dispatches)


async def _escalated(
    connection: Any, last: Iterable[Dead], dispatches: Mapping[uuid.UUID, Dispatch]
) -> list[tuple[Dead, Moved]]:
    waiting = [
        one
        for one in last
        if (dispatch := dispatches[one.report_id]).status in _UNSEEN and one.step == route_step(dispatch.turn)
    ]
    if not waiting:
        return []
    reached = await queries_deliveries.reached(
        connection, [(one.report_id, one.unit, one.step) for one in waiting]
    )
    followed: list[tuple[Dead, Moved]] = []
    for one in waiting:
        if one.report_id not in reached:
            dispatch = dispatches[one.report_id]
            after, event = steps.escalate(dispatch, dispatch.level + 1, steps.NOT_DELIVERED)
            followed.append((one, (after, (event,))))
    return followed
