"""Which public issues may be the same as one that is about to be sent."""

from collections.abc import Iterable, Sequence

from services.tips.core.grid import Apart, Place, apart
from services.tips.core.public_view import Shown

NEAR_ISSUES = 10


def near(place: Place, metres: float, shown: Iterable[Shown]) -> Sequence[tuple[Shown, Apart]]:
    """The NEAR_ISSUES nearest of those whose exact places may be within so many metres of the exact place,
    the nearest first; both places are the rounded ones, so that some of them are farther."""
    found = [(one, apart(place, one.issue.place)) for one in shown if one.issue.place]
    within = [(one, far) for one, far in found if far.least <= metres]
    return sorted(within, key=lambda pair: (pair[1].most, str(pair[0].issue.issue_id)))[:NEAR_ISSUES]
