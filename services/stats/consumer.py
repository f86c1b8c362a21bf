"""What `stats` does with reports and dispatches: each report has one row and is counted once."""

from collections.abc import Sequence
from typing import Any, cast

from services.stats import core, queries
from shared.cloudevents import Envelope
from shared.errors import Poison
from shared.events import Event, ReportEvent


class Counting:
    """Merges events into `lifecycle` and `open_count`, for one municipality."""

    def __init__(self, scope: core.Scope) -> None:
        self._scope = scope

    async def apply(self, connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        """Apply a batch in the caller's transaction, one statement per table.

        Right in any order and any number of times: a report is counted by whoever first tells its row that
        it was accepted. Raises Poison for an event that is not about a report.
        """
        events = [envelope.event for envelope in envelopes]
        # By their types, which are few: what one is, is asked of pydantic at the price of reading a header.
        for event_type in {type(event) for event in events}:
            if not issubclass(event_type, ReportEvent):
                raise Poison("wrong_topic", f"{event_type.type} is not about a report")
        merged = core.merge_events(self._scope, cast("list[ReportEvent]", events))
        newly_accepted = await queries.merge_lifecycles(connection, merged)
        counts = core.count(self._scope, [merged[report_id].accepted for report_id in newly_accepted])
        if counts:
            await queries.add_counts(connection, counts)
