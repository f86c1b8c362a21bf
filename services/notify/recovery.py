"""What `notify` takes back from its own topic after its database was restored from a backup."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.notify import queries, queries_deliveries
from services.notify.core.deliveries import (
    FALLBACK,
    channels,
    deliveries_of,
    delivery_id,
    fallbacks,
    route_step,
)
from services.notify.core.steps import dispatched, follow
from services.notify.dispatches import Dispatches
from shared.cloudevents import Envelope
from shared.errors import Refusal
from shared.events import (
    DeliveryFailed,
    Event,
    ReportAccepted,
    ReportDelivered,
    ReportEscalated,
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
    # Where each went first; what came later follows from the other events.
    routed: dict[uuid.UUID, ReportRouted] = {}
    for envelope in history.own:
        event = envelope.event
        if isinstance(event, ReportRouted) and event.version == 1:
            routed[event.report_id] = event
    rows = [
        (accepted, dispatched(accepted, at, routed[one]), routed[one])
        for one, (accepted, at) in heard.items()
        if one in routed
    ]
    dispatches = Dispatches(municipality)
    new = await dispatches.insert(connection, rows) if rows else set()
    await _apply(connection, history.own, dispatches, municipality, now)
    open_by_unit = await queries_deliveries.open_deliveries(connection)
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


async def _apply(
    connection: Any,
    own: Sequence[Envelope[Event]],
    keeping: Dispatches,
    municipality: Municipality,
    now: datetime,
) -> None:
    """Follow what was said, and put the deliveries down of the turns in which reports are now."""
    said = [(one.event, one.time) for one in own if isinstance(one.event, ReportEvent)]
    before = await queries.lock_dispatches(connection, {event.report_id for event, _ in said})
    dispatches = dict(before)
    # Why each was given up, None where it has arrived.
    settled: dict[uuid.UUID, str | None] = {}
    # Reports that a channel was given up of, by their turn: the other ways were put down then.
    fell_back: set[tuple[uuid.UUID, int]] = set()
    for event, at in sorted(said, key=lambda one: one[0].version):
        dispatch = dispatches.get(event.report_id)
        if dispatch is None:
            continue
        dispatches[event.report_id] = dispatch = follow(dispatch, event, at)
        if isinstance(event, ReportDelivered | DeliveryFailed):
            step = route_step(dispatch.turn)
            settled[delivery_id(event.report_id, event.unit, event.channel, step)] = (
                None if isinstance(event, ReportDelivered) else event.reason
            )
            if isinstance(event, DeliveryFailed) or event.channel.startswith(FALLBACK):
                fell_back.add((event.report_id, dispatch.turn))
    moved = [one.report_id for one in dispatches.values() if one.turn != before[one.report_id].turn]
    await queries_deliveries.cancel_deliveries(connection, moved, "moved")
    rows = [
        row
        for one in dispatches.values()
        if one.status not in ("withdrawn", "erased") and (unit := municipality.units.get(one.unit))
        for row in deliveries_of(
            one.report_id,
            unit.id,
            (*channels(unit), *(fallbacks(unit) if (one.report_id, one.turn) in fell_back else ())),
            route_step(one.turn),
            now,
        )
    ]
    if rows:
        await queries_deliveries.insert_deliveries(connection, rows)
    await keeping.update(connection, list(dispatches.values()), before)
    known = [(event, at) for event, at in said if event.report_id in dispatches]
    if known:
        await queries.insert_steps(connection, known)
    # What residents did comes again by the consumer, and the clocks catch up: what followed is here already.
    followed = {
        one.id: one.event.report_id
        for one in own
        if isinstance(one.event, ReportRouted | ReportEscalated) and one.event.report_id in dispatches
    }
    await queries.note_said(connection, followed)
    await queries_deliveries.close_deliveries(connection, settled)
