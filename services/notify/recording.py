"""What became of deliveries is written down, and said, once: in one transaction for many."""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

import structlog

from services.notify import dead_ends, queries, queries_deliveries
from services.notify.core import steps
from services.notify.core.acts import Act, Impossible
from services.notify.core.deliveries import (
    NOTICE_WAIT,
    Delivered,
    Delivery,
    Failed,
    Outcome,
    Settlement,
    about_of,
    cause,
)
from services.notify.core.steps import Dispatch, Moved
from services.notify.dead_ends import Dead
from services.notify.dispatches import Dispatches
from services.notify.saying import say
from shared.cloudevents import Envelope, derived_id
from shared.events import ReportEvent

log = structlog.get_logger()


class Result(NamedTuple):
    """How one attempt ended and what follows from it."""

    delivery: Delivery
    outcome: Outcome
    settlement: Settlement


async def record(
    connection: Any,
    results: Sequence[Result],
    dispatches: Dispatches,
    now: datetime,
) -> set[uuid.UUID]:
    """Write results and append what follows, in the caller's transaction.

    Returns the ids of the deliveries that changed; the others were settled by another worker before, or
    cancelled. The ids of the events follow from the delivery's, so that saying it again says the same.
    """
    about = {result.delivery.report_id for result in results}
    standing = await queries.lock_dispatches(connection, about)
    changed = await queries_deliveries.settle_deliveries(
        connection, {result.delivery.id: result.settlement for result in results}
    )
    notices = [one.delivery.id for one in results if about_of(one.delivery.step) == "notice"]
    if notices:
        await queries_deliveries.renew_notices(connection, notices, now + NOTICE_WAIT)
    before = dict(standing)

    causes = {one.delivery.id: cause(one.delivery.id, one.delivery.revived) for one in results}

    def say_of(delivery_id: uuid.UUID, event: ReportEvent) -> Envelope[ReportEvent]:
        event_id = derived_id(causes[delivery_id], type(event))
        return Envelope.of(event, id=event_id, source=dispatches.source, now=now)

    envelopes: list[Envelope[ReportEvent]] = []
    for result in results:
        dispatch = standing.get(result.delivery.report_id)
        if result.delivery.id in changed and dispatch:
            dispatch, events = _follows(dispatch, result, now, dispatches.rules_version)
            standing[dispatch.report_id] = dispatch
            envelopes += [say_of(result.delivery.id, event) for event in events]
    dead = [
        Dead(one.id, one.report_id, one.unit, one.channel, one.step)
        for one, _, settlement in results
        if one.id in changed and settlement.state == "dead"
    ]
    for one, (dispatch, events) in await dead_ends.follow(connection, dead, standing, dispatches, now):
        standing[dispatch.report_id] = dispatch
        envelopes += [say_of(one.id, event) for event in events]
    if envelopes:
        moved = [dispatch for report_id, dispatch in standing.items() if dispatch != before[report_id]]
        await dispatches.update(connection, moved, before)
        await say(connection, envelopes)
        for envelope in envelopes:
            if envelope.event.kind == "issue":
                name, report_id = type(envelope.event).__name__, str(envelope.event.report_id)
                log.info("report_moved", event_type=name, report_id=report_id, event_id=str(envelope.id))
    return changed


def _follows(dispatch: Dispatch, result: Result, now: datetime, rules_version: str) -> Moved:
    delivery, outcome, settlement = result
    if delivery.unit != dispatch.unit or about_of(delivery.step) != "route":
        return dispatch, ()  # it has moved on meanwhile, or this was about something else
    if isinstance(outcome, Failed) and settlement.state == "dead":
        return steps.give_up(dispatch, delivery.channel, outcome.reason, settlement.attempts)
    if not isinstance(outcome, Delivered):
        return dispatch, ()
    acts = [Act("deliver", delivery.channel)]
    if outcome.acknowledged:
        acts.append(Act("acknowledge", "webhook"))
    events: tuple[ReportEvent, ...] = ()
    for act in acts:
        # What is withdrawn or erased meanwhile changes no more.
        with suppress(Impossible):
            dispatch, more = steps.advance(dispatch, act, now, rules_version)
            events += more
    return dispatch, events
