"""What notify does with the reports that tips announces: each goes to a unit, once."""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import structlog

from services.notify import queries
from services.notify.core.calendar import Calendar
from services.notify.core.deliveries import NewDelivery, channels, first_deliveries, first_due
from services.notify.core.routing import facts_of, route, routes
from services.notify.core.steps import Dispatch, first_step
from shared import outbox
from shared.cloudevents import Envelope, derived_id
from shared.errors import Poison
from shared.events import Event, ReportAccepted, ReportErased, ReportEvent, ReportRouted, ReportWithdrawn
from shared.municipality import Municipality

log = structlog.get_logger()


class Reports:
    """Applies batches of `ibuurt.reports.v1`; `chance` gives a number from 0 to 1 that nobody can foresee."""

    def __init__(
        self,
        municipality: Municipality,
        *,
        clock: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        self._municipality = municipality
        self._routes = routes(municipality.rules)
        self._calendars = {unit.id: Calendar.of(municipality, unit) for unit in municipality.units.values()}
        self._channels = {unit.id: tuple(channels(unit)) for unit in municipality.units.values()}
        self._clock = clock
        self._chance = chance

    async def apply(self, connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        """Apply a batch in the caller's transaction. Raises Poison for what the folder does not know.

        Each kind of event at a time: of one report, acceptance comes before everything else.
        """
        accepted: list[Envelope[ReportAccepted]] = []
        later: list[ReportEvent] = []
        for envelope in envelopes:
            if isinstance(envelope.event, ReportAccepted):
                accepted.append(envelope)  # type: ignore[arg-type] # its event was just looked at
            elif isinstance(envelope.event, ReportEvent):
                later.append(envelope.event)
        if accepted:
            await self.on_report_accepted(connection, accepted)
        if later:
            await self._on_later(connection, later)

    async def on_report_accepted(
        self, connection: Any, envelopes: Sequence[Envelope[ReportAccepted]]
    ) -> None:
        """Route reports, say so, and put their deliveries down. A report that is known stays as it is."""
        now = self._clock()
        first = {envelope.event.report_id: envelope for envelope in reversed(envelopes)}
        routed = {report_id: self._routed(envelope) for report_id, envelope in first.items()}
        rows = [(first[report_id].event, *decided) for report_id, decided in routed.items()]
        new = await queries.insert_dispatches(connection, rows)
        if not new:
            return
        await queries.insert_deliveries(
            connection,
            [row for report_id in new for row in self._deliveries(first[report_id].event, routed, now)],
        )
        await outbox.append(
            connection,
            [
                Envelope.of(
                    event,
                    id=derived_id(first[report_id].id, ReportRouted),
                    source=f"/{self._municipality.slug}/notify",
                    now=now,
                )
                for report_id, (_, event) in routed.items()
                if report_id in new
            ],
        )
        for report_id in new:
            dispatch, event = routed[report_id]
            if event.kind == "issue":
                event_id = str(first[report_id].id)
                log.info("report_routed", report_id=str(report_id), event_id=event_id, unit=dispatch.unit)

    async def on_report_withdrawn(self, connection: Any, report_ids: Sequence[uuid.UUID]) -> None:
        """Nothing more goes to the unit."""
        await queries.end_dispatches(connection, report_ids, "withdrawn")
        await queries.cancel_deliveries(connection, report_ids, "withdrawn")

    async def on_report_erased(self, connection: Any, report_ids: Sequence[uuid.UUID]) -> None:
        """Nothing more goes to the unit; there are no words left to send."""
        await queries.end_dispatches(connection, report_ids, "erased")
        await queries.cancel_deliveries(connection, report_ids, "erased")

    async def _on_later(self, connection: Any, events: Sequence[ReportEvent]) -> None:
        versions: dict[uuid.UUID, int] = {}
        for event in events:
            versions[event.report_id] = max(versions.get(event.report_id, 0), event.version)
        # Locked first and in order, as everybody does who changes more than one.
        await queries.lock_dispatches(connection, versions)
        await queries.note_report_versions(connection, versions)
        if withdrawn := [event.report_id for event in events if isinstance(event, ReportWithdrawn)]:
            await self.on_report_withdrawn(connection, withdrawn)
        if erased := [event.report_id for event in events if isinstance(event, ReportErased)]:
            await self.on_report_erased(connection, erased)

    def _routed(self, envelope: Envelope[ReportAccepted]) -> tuple[Dispatch, ReportRouted]:
        report = envelope.event
        if report.category not in self._municipality.categories:
            raise Poison(
                "unknown_category",
                "add the category to the municipality's folder, then replay the dead letter",
            )
        chosen = route(self._routes, facts_of(report, self._municipality))
        calendar = self._calendars[chosen.unit]
        return first_step(report, envelope.time, chosen, self._municipality, calendar)

    def _deliveries(
        self,
        report: ReportAccepted,
        routed: dict[uuid.UUID, tuple[Dispatch, ReportRouted]],
        now: datetime,
    ) -> list[NewDelivery]:
        unit = routed[report.report_id][0].unit
        wait = self._municipality.categories[report.category].delivery_wait_minutes
        due_at = first_due(report.kind, wait, now, self._chance())
        return first_deliveries(report.report_id, unit, self._channels[unit], due_at)
