"""What is put down to go to units when something has happened to a report; delivery.py takes it there."""

import uuid
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from services.notify import queries_deliveries
from services.notify.core.deliveries import NewDelivery, channels, deliveries_of, first_due, kind_of, level_of
from services.notify.core.steps import Dispatch
from shared.events import Kind
from shared.municipality import Municipality


class Telling:
    """Puts deliveries down; `chance` gives a number from 0 to 1 that nobody can foresee."""

    def __init__(
        self, municipality: Municipality, *, clock: Callable[[], datetime], chance: Callable[[], float]
    ) -> None:
        self._categories = municipality.categories
        self._channels = {unit.id: tuple(channels(unit)) for unit in municipality.units.values()}
        self._clock = clock
        self._chance = chance

    def rows(
        self, report_id: uuid.UUID, unit: str, kind: Kind, category: str, step: str
    ) -> list[NewDelivery]:
        """What goes to a unit by all its channels; none where it left the folder. A tip waits a random part
        of its category's wait."""
        names = self._channels.get(unit, ())
        known = self._categories.get(category)
        wait = known.delivery_wait_minutes if known else 0
        return deliveries_of(
            report_id, unit, names, step, first_due(kind, wait, self._clock(), self._chance())
        )

    async def unit(self, connection: Any, dispatch: Dispatch, step: str) -> None:
        """The unit that has a report is told."""
        if dispatch.status in ("withdrawn", "erased"):
            return
        rows = self.rows(dispatch.report_id, dispatch.unit, dispatch.kind, dispatch.category, step)
        if rows:
            await queries_deliveries.insert_deliveries(connection, rows)

    async def readers(self, connection: Any, report_ids: Collection[uuid.UUID], what: str) -> None:
        """What has not gone of reports goes no more; whoever was sent words of them, or may have been, is
        told: not before what a worker is about to send has come, or who has erased all would get it then."""
        await queries_deliveries.cancel_deliveries(connection, report_ids, what)
        now = self._clock()
        rows: list[NewDelivery] = []
        for one in await queries_deliveries.readers_of(connection, report_ids):
            if one.sent or self._words_leave(one.category, one.kind, one.channel):
                # At once; but no row may tell the minute in which a tip was taken back.
                due = first_due(one.kind, 0, now, 0.0)
                if one.leased_until and one.leased_until > now:
                    due = one.leased_until
                rows += deliveries_of(one.report_id, one.unit, [one.channel], what, due)
        if rows:
            await queries_deliveries.insert_deliveries(connection, rows)

    def _words_leave(self, category: str, kind: Kind, channel: str) -> bool:
        # At the desk words are read at tips, which logs it. Of a category that the folder has no more nobody
        # knows what left.
        known = self._categories.get(category)
        words = known is None or level_of(known, kind, channel) == "words"
        return kind_of(channel) != "desk" and words
