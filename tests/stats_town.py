"""What a small town publishes, for tests of `stats`."""

from datetime import date
from typing import get_args

from services.stats.core.spec import OUTCOMES, Spec, Table
from shared.events import Took

AREAS = ("oakwood", "harbour", "unknown")
CATEGORIES = ("noise", "graffiti", "other")
SINCE = date(2026, 10, 1)


def _table(name: str, grain: str, scale: int, hours: int, **codes: tuple[str, ...]) -> Table:
    return Table.model_validate(
        {
            "id": name,
            "subject": name.partition(".")[0],
            "grain": grain,
            "scale": scale,
            "since": SINCE,
            "closes_hours": hours,
            "columns": tuple(codes),
            "codes": tuple(codes.values()),
        }
    )


SPEC = Spec(
    id="town-1",
    zone="Europe/Amsterdam",
    tables=(
        _table("reports.week_part", "week_part", 5, 48, area=AREAS),
        _table("reports.month", "month", 2, 48, area=AREAS, category=CATEGORIES),
        _table("reports.took", "quarter", 7, 720, area=AREAS, took=get_args(Took)),
        _table("reports.outcome", "quarter", 7, 720, category=CATEGORIES, outcome=OUTCOMES),
        _table("incidents.week_part", "week_part", 5, 840, area=AREAS),
        _table("incidents.month", "month", 2, 840, area=AREAS, category=("burglary", "other")),
    ),
)
