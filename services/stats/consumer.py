"""What `stats` does with what it reads: each report and each incident has one row and is counted once; its
own releases are read back from their topic."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.stats import queries, queries_releases, reading
from services.stats.core.lifecycle import merge_events
from services.stats.core.periods import next_open, part_of
from services.stats.core.spec import Subject
from shared.cloudevents import Envelope
from shared.errors import Poison
from shared.events import Event, IncidentRecorded, ReportEvent, StatisticsReleased


class Counting:
    """Applies batches, for one municipality: its zone, and the area set that it counts by."""

    def __init__(self, zone: ZoneInfo, area_set: str) -> None:
        self._zone = zone
        self._area_set = area_set

    async def apply(self, connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        """Apply a batch in the caller's transaction, one statement per table.

        Right in any order and any number of times: a row says where it is counted from the first time on.
        Raises Poison for an event of another kind, and for a release that is not ours or not the first.
        """
        reports: list[ReportEvent] = []
        incidents: list[IncidentRecorded] = []
        for envelope in envelopes:
            event = envelope.event
            # By its own type first: what it is a kind of, is asked at the price of reading a header.
            if type(event) is IncidentRecorded:
                incidents.append(event)
            elif type(event) is StatisticsReleased:
                await self.on_statistics_released(connection, envelope.time, event)
            elif isinstance(event, ReportEvent):
                reports.append(event)
            else:
                raise Poison("wrong_topic", f"{event.type} is nothing that is counted")
        if reports:
            await self.on_report_events(connection, reports)
        if incidents:
            await self.on_incident_recorded(connection, incidents)

    async def on_report_events(self, connection: Any, events: Iterable[ReportEvent]) -> None:
        """Merge what is told of reports; those that are accepted are counted."""
        merged = merge_events(self._area_set, events)
        own = {
            report_id: part_of(known.accepted.hour, self._zone)
            for report_id, known in merged.items()
            if known.accepted
        }
        open_parts = await _open_parts(connection, "reports", set(own.values()))
        counted_in = {report_id: open_parts[part] for report_id, part in own.items()}
        await queries.merge_lifecycles(connection, merged, counted_in)

    async def on_incident_recorded(self, connection: Any, incidents: Iterable[IncidentRecorded]) -> None:
        """Keep each incident once, as it was first told, and count it."""
        first: dict[Any, IncidentRecorded] = {}
        for incident in incidents:
            first.setdefault(incident.incident_id, incident)
        own = {one.incident_id: part_of(one.hour, self._zone) for one in first.values()}
        open_parts = await _open_parts(connection, "incidents", set(own.values()))
        await queries.insert_incidents(
            connection,
            [
                (
                    one.incident_id,
                    one.areas.get(self._area_set),
                    one.category,
                    open_parts[own[one.incident_id]],
                )
                for one in first.values()
            ],
        )

    async def on_statistics_released(
        self, connection: Any, released_at: datetime, release: StatisticsReleased
    ) -> None:
        """From here on a release may be shown; one that this database does not have is adopted."""
        known = await queries_releases.keys(connection)
        fault = await reading.take(connection, release, known, released_at, datetime.now(UTC))
        if fault:
            raise Poison(fault)


async def _open_parts(connection: Any, subject: Subject, parts: set[date]) -> dict[date, date]:
    """For each week-part that something belongs to, the one that it counts in: none is closed before the
    transaction ends."""
    if not parts:
        return {}
    await queries.hold_open(connection)
    table = f"{subject}.week_part"
    closed = await queries.closed_parts(connection, table, parts)
    if closed:
        closed = await queries.closed_since(connection, table, min(parts))
    return {part: next_open(part, closed) for part in parts}
