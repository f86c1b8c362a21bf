"""By when, how long it took, and how long to wait."""

from datetime import datetime, timedelta
from typing import NamedTuple

from services.notify.core.calendar import Calendar
from shared.events import Took
from shared.municipality import Targets

_BUCKETS: tuple[tuple[int, Took], ...] = ((1, "1h"), (4, "4h"), (24, "24h"), (72, "72h"), (168, "7d"))


class Due(NamedTuple):
    """By when a unit is to act (UTC); `answer_by` for a category that promises an answer."""

    acknowledge_by: datetime
    answer_by: datetime | None
    resolve_by: datetime


def due(accepted_at: datetime, targets: Targets, calendar: Calendar) -> Due:
    """By when, in the unit's working hours from acceptance."""
    return Due(
        calendar.after(accepted_at, targets.acknowledge_hours),
        calendar.after(accepted_at, targets.answer_hours) if targets.answer_hours else None,
        calendar.after(accepted_at, targets.resolve_hours),
    )


def written(moment: datetime) -> str:
    """A moment (UTC) as others read it: ISO 8601, such as 2026-11-01T12:00:00Z."""
    return moment.isoformat().replace("+00:00", "Z")


def took(duration: timedelta) -> Took:
    """The bucket of how long it took; the upper limit belongs to it."""
    return next((name for hours, name in _BUCKETS if duration <= timedelta(hours=hours)), "later")


def backoff(failures: int, base: float, cap: float, chance: float) -> float:
    """Seconds to wait after that many failures in a row (1 or more): doubling from `base` to `cap`, times
    between a half and one by `chance` (0 to 1)."""
    return float(min(cap, base * 2 ** min(failures - 1, 40)) * (0.5 + 0.5 * chance))
