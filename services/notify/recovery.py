"""What `notify` takes back from its own topic after its database was restored from a backup."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from services.notify import queries
from services.notify.core.deliveries import FIRST_STEP, channels, delivery_id, first_deliveries
from services.notify.core.steps import dispatched, follow
from shared.cloudevents import Envelope
from shared.errors import Refusal
from shared.events import (
    DeliveryFailed,
    Event,
    ReportAccepted,
    ReportDelivered,
    ReportEvent,
    ReportRouted,
)
from shared.mending.recover import History, Recovered
from shared.municipality import Municipality


async def take_back(
    connection: Any, history: History, municipality: Municipality, now: datetime
) -> Recovered:
    """Restore where reports went and what became of their deliveries.

    Raises Refusal where a delivery is open: it may have gone after the backup, and nothing goes to a unit a
    second time before a person says so.
    """
    heard = {
        envelope.event.report_id: (envelope.event, envelope.time)
        for envelope in history.heard
        if isinstance(envelope.event, ReportAccepted)
    }
    routed = {
        envelope.event.report_id: envelope.event
        for envelope in history.own
        if isinstance(envelope.event, ReportRouted)
    }
    rows = [
        (accepted, dispatched(accepted, at, routed[one]), routed[one])
        for one, (accepted, at) in heard.items()
        if one in routed
    ]
    new = await queries.insert_dispatches(connection, rows) if rows else set()
    deliveries = [
        row
        for one in new
        if (unit := municipality.units.get(routed[one].unit))
        for row in first_deliveries(one, unit.id, channels(unit), now)
    ]
    if deliveries:
        await queries.insert_deliveries(connection, deliveries)
    await _apply(connection, history.own)
    open_by_unit = await queries.open_deliveries(connection)
    if open_by_unit and not history.deliver_again:
        waiting = ", ".join(f"{count} to {unit}" for unit, count in sorted(open_by_unit.items()))
        raise Refusal(
            f"no event says that these deliveries arrived: {waiting}; they may have gone after the backup. "
            "With --deliver-again they go, perhaps again, under the webhook-id that they had"
        )
    known = await queries.lock_dispatches(connection, routed)
    gone = [one for one in routed if one not in known]
    lines = [f"{len(new)} reports were routed after the backup; they are where they were"]
    lines += [f"{sum(open_by_unit.values())} deliveries are open and go again"] if open_by_unit else []
    lines += [f"  not restored: report {one}, whose acceptance is on no topic any more" for one in gone]
    return Recovered(lines)


async def _apply(connection: Any, own: Sequence[Envelope[Event]]) -> None:
    said = [(one.event, one.time) for one in own if isinstance(one.event, ReportEvent)]
    dispatches = await queries.lock_dispatches(connection, {event.report_id for event, _ in said})
    settled: dict[uuid.UUID, Literal["done", "dead"]] = {}
    for event, at in sorted(said, key=lambda one: one[0].version):
        if dispatch := dispatches.get(event.report_id):
            dispatches[event.report_id] = follow(dispatch, event, at)
        if isinstance(event, ReportDelivered | DeliveryFailed):
            settled[delivery_id(event.report_id, event.unit, event.channel, FIRST_STEP)] = (
                "done" if isinstance(event, ReportDelivered) else "dead"
            )
    await queries.update_dispatches(connection, list(dispatches.values()))
    await queries.close_deliveries(connection, settled)
