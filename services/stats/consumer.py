"""What `stats` does with reports and dispatches: each report has one row and is counted once."""

from collections.abc import Sequence
from typing import Any

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
        merged = core.merge_events(self._scope, [_of_report(envelope.event) for envelope in envelopes])
        newly_accepted = await queries.merge_lifecycles(connection, merged)
        counts = core.count(self._scope, [merged[report_id].accepted for report_id in newly_accepted])
        if counts:
            await queries.add_counts(connection, counts)


def _of_report(event: Event) -> ReportEvent:
    if not isinstance(event, ReportEvent):
        raise Poison("wrong_topic", f"{event.type} is not about a report")
    return event
