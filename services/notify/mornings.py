"""Mornings: on each day on which a unit works, its digest is put down to go by e-mail, once."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from services.notify import queries_digest
from services.notify.core.calendar import Calendar
from services.notify.core.deliveries import digest_id
from shared.municipality import Municipality

EVERY_SECONDS = 60.0
# Who works at night reads it in the morning too.
EARLIEST_HOUR = 7
# A service that stood still sends no morning's digest in the afternoon.
LATEST = timedelta(hours=4)


class Mornings:
    """Puts down what goes to units that have an address for it. `put_down` is called after each commit."""

    def __init__(
        self,
        pool: Any,
        municipality: Municipality,
        calendars: Mapping[str, Calendar],
        clock: Callable[[], datetime],
        put_down: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._zone = municipality.tz
        self._calendars = {unit.id: calendars[unit.id] for unit in municipality.units.values() if unit.digest}
        self._clock = clock
        self._put_down = put_down

    async def look(self) -> list[str]:
        """Put down what is to go now; the units whose digest that is."""
        now = self._clock()
        today = now.astimezone(self._zone).date()
        due = [unit for unit, calendar in self._calendars.items() if self._is_due(calendar, today, now)]
        if not due:
            return []
        async with self._pool.acquire() as connection, connection.transaction():
            new = await queries_digest.begin_mornings(connection, due, today)
            ids = [(digest_id(unit, today), unit) for unit in new]
            await queries_digest.insert_digests(connection, ids, now)
        if new:
            self._put_down()
        return new

    def _is_due(self, calendar: Calendar, today: date, now: datetime) -> bool:
        opens = calendar.opens(today, EARLIEST_HOUR)
        return opens is not None and opens <= now <= opens + LATEST
