"""The morning digest of a unit: what is open in each area, what is late, and where several reports lie."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from services.notify.core.overdue import Need, need
from services.notify.core.steps import Dispatch

# The area of what lies in none, or of which nobody knows.
NOWHERE = ""
# What is listed of each sort, by area; the numbers are of all.
LISTED_MOST = 100
SEVERAL = 2


class Entry(NamedTuple):
    """A report that is late, or nears its time."""

    dispatch: Dispatch
    needs: Need


class Place(NamedTuple):
    """A rounded place at which several public issues lie; `pages` are theirs."""

    latitude: float
    longitude: float
    categories: Mapping[str, int]
    pages: Sequence[str]


@dataclass
class AreaDigest:
    """One area's part; `open` counts open reports of public categories by category."""

    area: str
    open: Counter[str] = field(default_factory=Counter)
    planned_today: list[Dispatch] = field(default_factory=list)
    late: list[Entry] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)


@dataclass(frozen=True)
class Digest:
    """A unit's whole digest for a day of the municipality's; areas in the folder's order."""

    unit: str
    day: date
    areas: Sequence[AreaDigest]

    @property
    def empty(self) -> bool:
        """Whether nothing is open."""
        return not any(one.open or one.places for one in self.areas)


class PublicIssue(NamedTuple):
    """What the topic says of an issue; `place` is rounded, WGS 84 latitude and longitude."""

    category: str
    area: str
    place: tuple[float, float] | None
    page: str


def digest(
    unit: str,
    day: date,
    now: datetime,
    reports: Iterable[tuple[str, Dispatch]],
    issues: Iterable[PublicIssue],
    areas: Sequence[str],
) -> Digest:
    """The digest of a unit: its open reports of public categories, each with its area, and the open public
    issues for which it is responsible. `areas` gives the order; what lies in none comes last."""
    found: dict[str, AreaDigest] = {area: AreaDigest(area) for area in (*areas, NOWHERE)}
    for area, dispatch in reports:
        part = found.get(area, found[NOWHERE])
        part.open[dispatch.category] += 1
        if dispatch.day == day:
            part.planned_today.append(dispatch)
        if why := need(dispatch, now):
            part.late.append(Entry(dispatch, why))
    at: dict[tuple[str, tuple[float, float]], list[PublicIssue]] = defaultdict(list)
    for issue in issues:
        if issue.place:
            at[issue.area if issue.area in found else NOWHERE, issue.place].append(issue)
    for (area, (latitude, longitude)), there in at.items():
        if len(there) >= SEVERAL:
            categories = Counter(one.category for one in there)
            pages = sorted(one.page for one in there)
            found[area].places.append(Place(latitude, longitude, categories, pages))
    for part in found.values():
        part.late.sort(key=lambda entry: (entry.dispatch.resolve_by, entry.dispatch.report_id))
        part.planned_today.sort(key=lambda one: one.report_id)
        part.places.sort(key=lambda place: (-len(place.pages), place.latitude, place.longitude))
    return Digest(unit, day, [one for one in found.values() if one.open or one.places])
