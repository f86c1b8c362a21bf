"""An e-mail that came back after the mail server had taken it: its delivery is given up after all."""

import uuid
from datetime import datetime
from typing import Any

from services.notify import dead_ends, queries, queries_deliveries
from services.notify.core import steps
from services.notify.core.deliveries import about_of, cause, kind_of
from services.notify.dead_ends import Dead
from services.notify.dispatches import Dispatches
from services.notify.saying import say
from shared.cloudevents import Envelope, derived_id
from shared.events import ReportEvent
from shared.municipality import Municipality

BOUNCED = "bounced"


async def bounce(
    connection: Any, delivery_id: uuid.UUID, municipality: Municipality, now: datetime
) -> bool | None:
    """Give a delivery by e-mail up and use its unit's other ways, in the caller's transaction. False where it
    was over already, None where there is no such delivery."""
    known = await queries_deliveries.delivery_known(connection, delivery_id)
    if known is None or kind_of(known[2]) != "email":
        return None
    if known[0] is None:
        # A notice, which is of no report; the next one goes all the same.
        return await queries_deliveries.turn_down(connection, delivery_id, BOUNCED) is not None
    one = Dead(delivery_id, *known)
    dispatches = await queries.lock_dispatches(connection, [one.report_id])
    given_up = await queries_deliveries.turn_down(connection, delivery_id, BOUNCED)
    if given_up is None:
        return False
    attempts, revived = given_up
    said_by = cause(delivery_id, revived)
    dispatch = before = dispatches[one.report_id]
    events: list[ReportEvent] = []
    if one.unit == dispatch.unit and about_of(one.step) == "route":
        # Where it was taken and that was not recorded yet, there was an attempt all the same.
        dispatch, said = steps.give_up(dispatch, one.channel, BOUNCED, max(1, attempts))
        events += said
    keeping = Dispatches(municipality)
    standing = {dispatch.report_id: dispatch}
    for _, (after, said) in await dead_ends.follow(connection, [one], standing, keeping, now):
        dispatch, events = after, [*events, *said]
    if dispatch != before:
        await keeping.update(connection, [dispatch], {before.report_id: before})
    await say(
        connection,
        [
            Envelope.of(event, id=derived_id(said_by, type(event)), source=keeping.source, now=now)
            for event in events
        ],
    )
    return True
