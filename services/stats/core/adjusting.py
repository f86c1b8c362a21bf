"""The final edition of a month: its tables made to agree with one another, by weighted least squares.

Of each area there are two measurements of the month: its categories and its week-parts. Both say the total,
and what they disagree by is noise alone. It is shared out among all cells by their variance, which is the
exact solution here, since every constraint is about one area. Figures are whole tenths, rounded so that every
total is the sum of its parts, exactly. Only what was published goes in, so nothing is spent.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from services.stats.core.margins import Part, of_sum, variance
from services.stats.core.spec import Table
from shared.events import ReleasedCell

Cell = tuple[str, ...]
# By table, the tenths of each cell.
Final = Mapping[str, Mapping[Cell, int]]


class Names(NamedTuple):
    """What the tables of a final edition are called: two as they were released, and three of totals."""

    month: str
    week_part: str
    area: str
    category: str
    city: str


def names_of(month: Table) -> Names:
    subject = month.subject
    return Names(
        month.id,
        f"{subject}.week_part",
        f"{subject}.month_area",
        f"{subject}.month_category",
        f"{subject}.month_city",
    )


def adjust(
    month: Table, week_part: Table, by_category: Mapping[Cell, int], parts: Mapping[Cell, int]
) -> Final:
    """The figures that agree. `by_category` has a value for each (area, category), `parts` for each
    (week-part, area)."""
    areas, categories = month.codes
    weeks = list(dict.fromkeys(week for week, _ in parts))
    names = names_of(month)
    final: dict[str, dict[Cell, int]] = {name: {} for name in names}
    for area in areas:
        one = [by_category[area, category] for category in categories]
        other = [parts[week, area] for week in weeks]
        total, cells, week_cells = _agree(one, variance(month.scale), other, variance(week_part.scale))
        final[names.area][area,] = total
        for category, tenths in zip(categories, cells, strict=True):
            final[names.month][area, category] = tenths
        for week, tenths in zip(weeks, week_cells, strict=True):
            final[names.week_part][week, area] = tenths
    for category in categories:
        final[names.category][category,] = sum(final[names.month][area, category] for area in areas)
    final[names.city][()] = sum(final[names.area].values())
    return final


def _agree(
    one: Sequence[int], variance_one: float, other: Sequence[int], variance_other: float
) -> tuple[int, list[int], list[int]]:
    """The total of both, and the cells of each that add up to it; in tenths."""
    apart = sum(one) - sum(other)
    whole = len(one) * variance_one + len(other) * variance_other
    by_one, by_other = apart * variance_one / whole, apart * variance_other / whole
    total = round(10 * (sum(one) - len(one) * by_one))
    return (
        total,
        _shared(total, [10 * (value - by_one) for value in one]),
        _shared(total, [10 * (value + by_other) for value in other]),
    )


def _shared(total: int, exact: Sequence[float]) -> list[int]:
    """Whole numbers next to the exact ones that add up to the total, which is their sum rounded: those with
    the largest rest are rounded up."""
    floors = [math.floor(value) for value in exact]
    by_rest = sorted(range(len(exact)), key=lambda index: floors[index] - exact[index])
    for index in by_rest[: total - sum(floors)]:
        floors[index] += 1
    return floors


def cells_of(final: Final) -> tuple[ReleasedCell, ...]:
    """The figures as they are released: whole, and in the tenths that add up."""
    return tuple(
        ReleasedCell(table=table, cell=cell, value=(tenths + 5) // 10, tenths=tenths)
        for table, cells in final.items()
        for cell, tenths in cells.items()
    )


def margins(month: Table, week_part: Table, weeks: int) -> dict[str, int]:
    """The bound of each table's figures, in tenths, of a month with so many week-parts."""
    areas, categories = map(len, month.codes)
    variances = variance(month.scale), variance(week_part.scale)
    whole = categories * variances[0] + weeks * variances[1]
    names = names_of(month)

    def within(own: int, other: int, mine: int, others: int) -> list[Part]:
        """A cell, the others of its table, and those of the other table."""
        share = variances[own] / whole
        scales = month.scale, week_part.scale
        return [
            Part(1 - share, scales[own], 1),
            Part(share, scales[own], mine - 1),
            Part(share, scales[other], others),
        ]

    def times(parts: Iterable[Part], number: int) -> list[Part]:
        return [part._replace(cells=part.cells * number) for part in parts]

    cell = within(0, 1, categories, weeks)
    share = categories * variances[0] / whole
    total = [Part(1 - share, month.scale, categories), Part(share, week_part.scale, weeks)]
    return {
        names.month: of_sum(cell),
        names.week_part: of_sum(within(1, 0, weeks, categories)),
        names.area: of_sum(total),
        names.category: of_sum(times(cell, areas)),
        names.city: of_sum(times(total, areas)),
    }
