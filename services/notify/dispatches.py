"""Where reports stand is written with the time at which their clocks tell something next."""

import uuid
from collections.abc import Sequence
from typing import Any

from services.notify import queries
from services.notify.core.overdue import Clocks
from services.notify.core.responsible import Responsibility
from services.notify.core.steps import Dispatch
from shared.events import ReportAccepted, ReportRouted
from shared.municipality import Municipality


class Dispatches:
    """The municipality's rules, calendars and clocks, and the rows that follow from them."""

    def __init__(self, municipality: Municipality) -> None:
        self.responsibility = Responsibility(municipality)
        self.clocks = Clocks(municipality, self.responsibility.calendars)
        self.rules_version = municipality.version

    async def insert(
        self, connection: Any, rows: Sequence[tuple[ReportAccepted, Dispatch, ReportRouted]]
    ) -> set[uuid.UUID]:
        """Store where reports went; the ids of those that were not known yet."""
        return await queries.insert_dispatches(connection, rows, self.clocks.next)

    async def update(self, connection: Any, dispatches: Sequence[Dispatch]) -> None:
        """Write where reports stand now. The rows are locked before."""
        await queries.update_dispatches(connection, dispatches, self.rules_version, self.clocks.next)
