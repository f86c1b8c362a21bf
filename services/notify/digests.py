"""Digests: gathered from the rows when somebody asks, or when they go in the morning."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from services.notify import queries_digest
from services.notify.core.clocks import written
from services.notify.core.digest import LISTED_MOST, AreaDigest, Digest, PublicIssue, digest
from services.notify.core.responsible import Responsibility
from services.notify.queries_digest import Public
from shared.municipality import Municipality


class Digests:
    """What a unit has before it in the morning; public categories alone, no words."""

    def __init__(
        self,
        pool: Any,
        municipality: Municipality,
        responsibility: Responsibility,
        clock: Callable[[], datetime],
    ) -> None:
        self._pool = pool
        self._municipality = municipality
        self._responsibility = responsibility
        self._clock = clock
        self._public = [one.id for one in municipality.categories.values() if one.public]

    async def of(self, unit: str, area: str | None = None) -> Digest:
        """A unit's digest of now; of one area of the first area set alone where it is given."""
        now, town = self._clock(), self._municipality
        async with self._pool.acquire() as connection:
            reports = await queries_digest.open_reports(connection, unit, self._public)
            issues = await queries_digest.open_issues(connection)
        primary = town.primary_area_set
        whole = digest(
            unit,
            now.astimezone(town.tz).date(),
            now,
            [(areas.get(primary, ""), dispatch) for areas, dispatch in reports],
            [self._issue(one) for one in issues if self._responsible(one) == unit],
            list(town.area_sets[primary].areas),
        )
        wanted = [one for one in whole.areas if area in (None, one.area)]
        return Digest(whole.unit, whole.day, wanted)

    def _responsible(self, issue: Public) -> str | None:
        """The unit by the rules; an issue does not say which one has it, since it is no report."""
        return self._responsibility.unit_of(issue.category, issue.areas)

    def _issue(self, one: Public) -> PublicIssue:
        placed = one.latitude is not None and one.longitude is not None
        place = (float(one.latitude or 0), float(one.longitude or 0)) if placed else None
        area = one.areas.get(self._municipality.primary_area_set, "")
        return PublicIssue(one.category, area, place, one.page)


def as_json(found: Digest) -> dict[str, Any]:
    """A digest as JSON: codes, times in UTC, at most LISTED_MOST of each sort in each area; `totals` are of
    all."""
    return {
        "unit": found.unit,
        "day": found.day.isoformat(),
        "areas": [_area(one) for one in found.areas],
    }


def _area(one: AreaDigest) -> Mapping[str, Any]:
    return {
        "area": one.area or None,
        "open": one.open.total(),
        "by_category": dict(one.open),
        "totals": {
            "late": len(one.late),
            "planned_today": len(one.planned_today),
            "places": len(one.places),
        },
        "late": [
            {
                "report_id": str(entry.dispatch.report_id),
                "category": entry.dispatch.category,
                "status": entry.dispatch.status,
                "needs": entry.needs,
                "acknowledge_by": written(entry.dispatch.acknowledge_by),
                "resolve_by": written(entry.dispatch.resolve_by),
            }
            for entry in one.late[:LISTED_MOST]
        ],
        "planned_today": [
            {"report_id": str(dispatch.report_id), "category": dispatch.category}
            for dispatch in one.planned_today[:LISTED_MOST]
        ],
        "places": [
            {
                "latitude": place.latitude,
                "longitude": place.longitude,
                "reports": len(place.pages),
                "by_category": dict(place.categories),
                "pages": list(place.pages),
            }
            for place in one.places[:LISTED_MOST]
        ],
    }
