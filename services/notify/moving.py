"""How a report came to a unit that did not have it from the start; codes alone, no words and no places."""

import uuid
from typing import Any

from services.notify import queries
from shared.events import ReportHandedOver, ReportRefused, ReportResolved

# By these a report leaves a unit. A refusal is said just before it is handed over.
_LEFT = (ReportHandedOver.__name__, ReportResolved.__name__)


class Moves:
    """Looks it up when the report goes to its unit."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def of(self, report_id: uuid.UUID) -> dict[str, str]:
        """Why it moved, `refused`, `handed_over` or `reopened`; the unit before, and the code of the reason
        that it gave, or of its outcome. Nothing where the steps of the report are gone."""
        async with self._pool.acquire() as connection:
            steps = await queries.steps_of(connection, report_id)
        left = [number for number, one in enumerate(steps) if one.step in _LEFT]
        if not left:
            return {}
        last, before = steps[left[-1]], steps[: left[-1]][-1:]
        if last.step == ReportResolved.__name__:
            return {"why": "reopened", "unit": last.unit, "reason": last.said["outcome"]}
        refused = any(one.step == ReportRefused.__name__ for one in before)
        why = "refused" if refused else "handed_over"
        return {"why": why, "unit": last.unit, "reason": last.said["reason"]}
