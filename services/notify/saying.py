"""What happened is said to the other services, and remembered for the units that come after."""

from collections.abc import Sequence
from typing import Any

from services.notify import queries
from shared import outbox
from shared.cloudevents import Envelope
from shared.events import ReportEvent


async def say(connection: Any, envelopes: Sequence[Envelope[Any]], actor: str | None = None) -> None:
    """Append events and keep them as steps of their reports, in the caller's transaction; `actor` is who did
    what they tell, which no event has."""
    if not envelopes:
        return
    await outbox.append(connection, envelopes)
    said: list[tuple[ReportEvent, Any]] = [(one.event, one.time) for one in envelopes]
    await queries.insert_steps(connection, said, actor)
