"""What is shown of releases: by topic and table, each figure with the bound of its error. A pure reading of
what was published; nothing is counted here.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

Topic = Literal["recorded-crime", "reports", "answers"]
TOPICS: tuple[Topic, ...] = get_args(Topic)
COLUMNS = ("week_part", "area", "category", "took", "outcome")
PER = 1000
THOUSANDTHS = 1000


class View(NamedTuple):
    """A table as it is asked for. `released` is the table that releases name; `cells` the one of their cells,
    which is another where a month's final edition has totals."""

    topic: Topic
    name: str
    released: str
    cells: str
    columns: tuple[str, ...]

    @property
    def of_final(self) -> bool:
        return self.released != self.cells


def _views(topic: Topic, subject: str, **columns: tuple[str, ...]) -> list[View]:
    return [
        View(
            topic,
            name,
            f"{subject}.{'month' if name.startswith('month_') else name}",
            f"{subject}.{name}",
            has,
        )
        for name, has in columns.items()
    ]


_COUNTED: Mapping[str, tuple[str, ...]] = {
    "month": ("area", "category"),
    "week_part": ("area",),
    "month_area": ("area",),
    "month_category": ("category",),
    "month_city": (),
}
VIEWS: tuple[View, ...] = (
    *_views("recorded-crime", "incidents", **_COUNTED),
    *_views("reports", "reports", **_COUNTED),
    *_views("answers", "reports", took=("area", "took"), outcome=("category", "outcome")),
)
_BY_CELLS = {view.cells: view for view in VIEWS}
_BY_RELEASED = {view.released: view for view in VIEWS if not view.of_final}


class Figure(NamedTuple):
    """One figure. In 95 % of all cells the count lies no more than `margin` from the value."""

    table: str
    # By column; a column that its table has not is missing.
    place: Mapping[str, str]
    value: float
    margin: float


class Rate(NamedTuple):
    """So many per 1,000 inhabitants, and the bound of its error."""

    inhabitants: int
    value: float
    margin: float


def view_of(released: str) -> View | None:
    """The view of a table that releases name; None for one that this program does not know."""
    return _BY_RELEASED.get(released)


def release_of(content: bytes) -> dict[str, Any]:
    """A release, as it was published."""
    read: dict[str, Any] = json.loads(content)
    return read


def figures(release: Mapping[str, Any], wanted: Mapping[str, Collection[str]]) -> Iterator[Figure]:
    """The figures of a release, of those whose columns have one of the values that are `wanted` of them."""
    margins = release["margins"]
    for cell in release["cells"]:
        table = cell["table"]
        view = _BY_CELLS.get(table)
        if view is None:
            continue
        columns = view.columns
        # In a month's final edition a week-part says which.
        if len(cell["cell"]) > len(columns):
            columns = ("week_part", *columns)
        place = dict(zip(columns, cell["cell"], strict=True))
        if all(place.get(column) in values for column, values in wanted.items()):
            tenths = cell.get("tenths")
            value = cell["value"] if tenths is None else tenths / 10
            yield Figure(table, place, value, margins[table] / 10)


def is_of(figure: Figure, period: str) -> bool:
    """Whether it is of this period: a month's final edition has those of all its week-parts."""
    return figure.place.get("week_part", period) == period


def rate(figure: Figure, inhabitants: Mapping[str, int]) -> Rate | None:
    """Per 1,000 inhabitants of its area, or of "", the whole town; None where nobody is known to live there.
    The number of inhabitants is taken to be exact, so that the error is the figure's own, and what the value
    is rounded by; it is rounded up."""
    living = inhabitants.get(figure.place.get("area", ""), 0)
    if not living:
        return None
    # In whole numbers, since a bound holds exactly or not: thousandths times those who live there.
    value, margin = (round(10 * told) * PER * THOUSANDTHS // 10 for told in (figure.value, figure.margin))
    shown = (2 * value + living) // (2 * living)
    bound = -(-(margin + abs(shown * living - value)) // living)
    return Rate(living, shown / THOUSANDTHS, bound / THOUSANDTHS)
