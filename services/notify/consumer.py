"""What notify does with the reports that tips announces: each goes to a unit, once."""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from services.notify import queries, queries_deliveries
from services.notify.core.acts import Act, Impossible
from services.notify.core.deliveries import NewDelivery, route_step
from services.notify.core.steps import Dispatch, Moved, advance, first_step
from services.notify.dispatches import Dispatches
from services.notify.saying import say
from services.notify.telling import Telling
from shared.cloudevents import Envelope, derived_id
from shared.errors import Poison
from shared.events import (
    Event,
    ReportAccepted,
    ReportAnswered,
    ReportErased,
    ReportEvent,
    ReportReopened,
    ReportRouted,
    ReportSupplemented,
    ReportWithdrawn,
)

log = structlog.get_logger()


class Reports:
    """Applies batches of `ibuurt.reports.v1`."""

    def __init__(
        self,
        dispatches: Dispatches,
        telling: Telling,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._municipality = dispatches.municipality
        self._dispatches = dispatches
        self._responsibility = dispatches.responsibility
        self._telling = telling
        self._clock = clock

    async def apply(self, connection: Any, envelopes: Sequence[Envelope[Event]]) -> None:
        """Apply a batch in the caller's transaction. Raises Poison for what the folder does not know.

        Each kind of event at a time: of one report, acceptance comes before everything else.
        """
        accepted: list[Envelope[ReportAccepted]] = []
        later: list[Envelope[ReportEvent]] = []
        for envelope in envelopes:
            if isinstance(envelope.event, ReportAccepted):
                accepted.append(envelope)  # type: ignore[arg-type] # its event was just looked at
            elif isinstance(envelope.event, ReportEvent):
                later.append(envelope)  # type: ignore[arg-type] # as above
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
        new = await self._dispatches.insert(connection, rows)
        if not new:
            return
        await queries_deliveries.insert_deliveries(
            connection,
            [row for report_id in new for row in self._deliveries(first[report_id].event, routed)],
        )
        await say(
            connection,
            [
                self._said(event, first[report_id], now)
                for report_id, (_, event) in routed.items()
                if report_id in new
            ],
        )
        for report_id, version in await queries.take_added_unseen(connection, new):
            await self._telling.unit(connection, routed[report_id][0], _message(version))
        await self._end_unseen(connection, new)
        for report_id in new:
            dispatch, event = routed[report_id]
            if event.kind == "issue":
                event_id = str(first[report_id].id)
                log.info("report_routed", report_id=str(report_id), event_id=event_id, unit=dispatch.unit)

    async def on_report_withdrawn(self, connection: Any, report_ids: Sequence[uuid.UUID]) -> None:
        """Nothing more goes to the unit, but that it need do nothing more."""
        await self._end(connection, report_ids, "withdrawn")

    async def on_report_erased(self, connection: Any, report_ids: Sequence[uuid.UUID]) -> None:
        """Nothing more goes to the unit: there are no words left to send. Whoever was sent some is told, and
        asked to erase them."""
        await self._end(connection, report_ids, "erased")

    async def _end(self, connection: Any, report_ids: Sequence[uuid.UUID], status: str) -> None:
        # Read again it changes nothing: least of all does it cancel what tells of the end.
        ended = await queries.end_dispatches(connection, report_ids, status, self._clock().date())
        await self._telling.readers(connection, ended, status)

    async def _note_added_unseen(
        self, connection: Any, dispatches: Mapping[uuid.UUID, Dispatch], events: Iterable[ReportEvent]
    ) -> None:
        added = [
            (event.report_id, event.version)
            for event in events
            if isinstance(event, ReportAnswered | ReportSupplemented) and event.report_id not in dispatches
        ]
        if added:
            await queries.note_added_unseen(connection, added, self._clock().date())

    async def _note_unseen(
        self,
        connection: Any,
        dispatches: Mapping[uuid.UUID, Dispatch],
        ended: Iterable[uuid.UUID],
        status: str,
    ) -> None:
        if unseen := [report_id for report_id in ended if report_id not in dispatches]:
            await queries.note_ended_unseen(connection, unseen, status, self._clock().date())

    async def _end_unseen(self, connection: Any, new: Iterable[uuid.UUID]) -> None:
        """What was withdrawn or erased before its acceptance was applied ends as it did."""
        for report_id, status in (await queries.take_ended_unseen(connection, new)).items():
            await self._end(connection, [report_id], status)

    async def on_report_answered(
        self, connection: Any, dispatches: dict[uuid.UUID, Dispatch], envelope: Envelope[ReportAnswered]
    ) -> Moved:
        """The clock goes on where it stood for this answer, which goes to the unit."""
        dispatch = dispatches[envelope.event.report_id]
        await self._tell_added(connection, dispatch, envelope.event.version)
        if not await self._is_new(connection, envelope):
            return dispatch, ()
        return self._dispatches.go_on(dispatch, envelope.time)

    async def on_report_supplemented(
        self, connection: Any, dispatches: dict[uuid.UUID, Dispatch], envelope: Envelope[ReportSupplemented]
    ) -> Moved:
        """The unit gets what the resident added."""
        dispatch = dispatches[envelope.event.report_id]
        await self._tell_added(connection, dispatch, envelope.event.version)
        return dispatch, ()

    async def on_report_reopened(
        self, connection: Any, dispatches: dict[uuid.UUID, Dispatch], envelope: Envelope[ReportReopened]
    ) -> Moved:
        """The unit has it again, and its time begins anew."""
        dispatch = dispatches[envelope.event.report_id]
        self._check_category(dispatch.category)
        to = self._responsibility.again(
            dispatch.unit, dispatch.rule, dispatch.reason, dispatch.category, envelope.time
        )
        with suppress(Impossible):
            act = Act("reopen", "resident")
            moved = advance(dispatch, act, envelope.time, self._municipality.version, to)
            if not await self._is_new(connection, envelope):
                return dispatch, ()
            await self._telling.unit(connection, moved[0], route_step(moved[0].turn))
            return moved
        return dispatch, ()

    async def _tell_added(self, connection: Any, dispatch: Dispatch, version: int) -> None:
        # Read again it goes to nobody: a unit that came later got it with the report.
        step = _message(version)
        if not await queries_deliveries.is_put_down(connection, dispatch.report_id, step):
            await self._telling.unit(connection, dispatch, step)

    async def _is_new(self, connection: Any, envelope: Envelope[Any]) -> bool:
        """Whether what follows from it has not been said yet, which is remembered: a topic that is read again
        would reopen what was solved since, and end the wait for another answer."""
        said = derived_id(envelope.id, ReportRouted)
        return bool(await queries.note_said(connection, {said: envelope.event.report_id}))

    async def _on_later(self, connection: Any, envelopes: Sequence[Envelope[ReportEvent]]) -> None:
        events = [envelope.event for envelope in envelopes]
        versions: dict[uuid.UUID, int] = {}
        for event in events:
            versions[event.report_id] = max(versions.get(event.report_id, 0), event.version)
        # Locked first and in order, as everybody does who changes more than one.
        dispatches = await queries.lock_dispatches(connection, versions)
        await queries.note_report_versions(connection, versions)
        await self._on_conversation(connection, dispatches, envelopes)
        await self._note_added_unseen(connection, dispatches, events)
        if withdrawn := [event.report_id for event in events if isinstance(event, ReportWithdrawn)]:
            await self.on_report_withdrawn(connection, withdrawn)
            await self._note_unseen(connection, dispatches, withdrawn, "withdrawn")
        if erased := [event.report_id for event in events if isinstance(event, ReportErased)]:
            await self.on_report_erased(connection, erased)
            await self._note_unseen(connection, dispatches, erased, "erased")

    async def _on_conversation(
        self,
        connection: Any,
        dispatches: dict[uuid.UUID, Dispatch],
        envelopes: Sequence[Envelope[ReportEvent]],
    ) -> None:
        handlers: dict[type[ReportEvent], Any] = {
            ReportAnswered: self.on_report_answered,
            ReportSupplemented: self.on_report_supplemented,
            ReportReopened: self.on_report_reopened,
        }
        before, said, now = dict(dispatches), list[Envelope[Any]](), self._clock()
        for envelope in sorted(envelopes, key=lambda one: one.event.version):
            handler = handlers.get(type(envelope.event))
            if handler is None or envelope.event.report_id not in dispatches:
                continue
            dispatch, events = await handler(connection, dispatches, envelope)
            dispatches[dispatch.report_id] = dispatch
            said += [self._said(event, envelope, now) for event in events]
        if changed := [one for report_id, one in dispatches.items() if one != before[report_id]]:
            await self._dispatches.update(connection, changed, before)
        if said:
            await say(connection, said)

    def _said(self, event: ReportEvent, cause: Envelope[Any], now: datetime) -> Envelope[ReportEvent]:
        event_id = derived_id(cause.id, type(event))
        return Envelope.of(event, id=event_id, source=self._dispatches.source, now=now)

    def _routed(self, envelope: Envelope[ReportAccepted]) -> tuple[Dispatch, ReportRouted]:
        report = envelope.event
        self._check_category(report.category)
        chosen = self._responsibility.first(report, envelope.time)
        return first_step(report, envelope.time, chosen, self._municipality.version)

    def _deliveries(
        self,
        report: ReportAccepted,
        routed: dict[uuid.UUID, tuple[Dispatch, ReportRouted]],
    ) -> list[NewDelivery]:
        unit = routed[report.report_id][0].unit
        return self._telling.rows(report.report_id, unit, report.kind, report.category, route_step(1))

    def _check_category(self, category: str) -> None:
        if category not in self._municipality.categories:
            raise Poison(
                "unknown_category",
                "add the category to the municipality's folder, then replay the dead letter",
            )


def _message(version: int) -> str:
    """The step of the delivery of what a resident wrote."""
    return f"message.{version}"
