"""Where reports stand is written with the time at which their clocks tell something next."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.notify import queries
from services.notify.core.deliveries import channels, fallbacks
from services.notify.core.overdue import Clocks, running
from services.notify.core.responsible import Responsibility
from services.notify.core.steps import Dispatch, Moved, go_on
from services.notify.queries import KEPT, NextClock
from shared.events import ReportAccepted, ReportRouted
from shared.municipality import Municipality


class Dispatches:
    """The municipality's rules, calendars and clocks, and the rows that follow from them."""

    def __init__(self, municipality: Municipality) -> None:
        self.municipality = municipality
        self.responsibility = Responsibility(municipality)
        self.clocks = Clocks(municipality, self.responsibility.calendars)
        # By unit, the names of its channels, and of those that are used where one of them is given up.
        self.channels = {unit.id: tuple(channels(unit)) for unit in municipality.units.values()}
        self.fallbacks = {unit.id: tuple(fallbacks(unit)) for unit in municipality.units.values()}
        self.rules_version = municipality.version
        # Who speaks in the events that are appended.
        self.source = f"/{municipality.slug}/notify"

    async def insert(
        self, connection: Any, rows: Sequence[tuple[ReportAccepted, Dispatch, ReportRouted]]
    ) -> set[uuid.UUID]:
        """Store where reports went; the ids of those that were not known yet."""
        return await queries.insert_dispatches(connection, rows, self.clocks.next)

    async def update(
        self, connection: Any, dispatches: Sequence[Dispatch], before: Mapping[uuid.UUID, Dispatch]
    ) -> None:
        """Write where reports stand now, and `before`. The rows are locked before."""
        rows = [(one, self._clock(one, before[one.report_id])) for one in dispatches]
        await queries.update_dispatches(connection, rows, self.rules_version)

    def go_on(self, dispatch: Dispatch, now: datetime) -> Moved:
        """Nobody waits for the resident any more: see steps.py. A unit that has left the folder has no hours
        to add."""
        calendar = self.responsibility.calendars.get(dispatch.unit)
        return go_on(dispatch, calendar, now, self.rules_version) if calendar else (dispatch, ())

    def _clock(self, after: Dispatch, before: Dispatch) -> NextClock:
        """When its clocks tell something next; KEPT where nothing has changed of what they tell."""
        there = after.turn == before.turn and after.clocks_until == before.clocks_until
        return KEPT if there and list(running(after)) == list(running(before)) else self.clocks.next(after)
