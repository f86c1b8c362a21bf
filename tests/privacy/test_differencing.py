"""Attack 1 of the fifteen: whatever is nested is added up and taken apart, as it was released."""

import math
from collections.abc import Callable, Sequence
from itertools import chain

import numpy
from numpy.typing import NDArray

from services.stats import noise
from services.stats.core import adjusting, margins
from services.stats.core.adjusting import Cell
from tests.privacy.attacks import CHANCE, Draw, Integers, Rates, highest, log_ratios, lowest, rates
from tests.privacy.sizes import RECONCILED
from tests.privacy.table import ROWS, Row
from tests.privacy.test_mechanism import CLAIM, REPORTS, halved
from tests.stats_town import SPEC

# What is published of a month and its quarter: edition, table and cell.
Column = tuple[str, str, Cell]
WEEKS = ("w0", "w1", "w2", "w3", "w4")
MONTH, WEEK_PART = SPEC.table("reports.month"), SPEC.table("reports.week_part")
PLACES: list[Cell] = [(week, area) for week in WEEKS for area in WEEK_PART.codes[0]]
NAMES = adjusting.names_of(MONTH)
TOTALS = (NAMES.area, NAMES.category, NAMES.city)


def _final(first: Sequence[int], parts: Sequence[int]) -> adjusting.Final:
    return adjusting.adjust(
        MONTH,
        WEEK_PART,
        dict(zip(MONTH.cells(), first, strict=True)),
        dict(zip(PLACES, parts, strict=True)),
    )


def _columns() -> list[Column]:
    """All of it, of the cells of the quarter only those in which the report counts."""
    final = _final([0] * len(MONTH.cells()), [0] * len(PLACES))
    return [
        *(("first", MONTH.id, cell) for cell in MONTH.cells()),
        *(("first", WEEK_PART.id, cell) for cell in PLACES),
        *(("first", table.id, ()) for table in REPORTS[2:]),
        *(("final", table, cell) for table, cells in final.items() for cell in cells),
    ]


COLUMNS = _columns()


def published(draw: Draw, by: int) -> Integers:
    """All figures of so many worlds, a row for each; the attacker has taken off what is known. The report
    counts, or not, in the first cell of each table. Final editions are in tenths."""
    first = _drawn(draw, MONTH.scale, len(MONTH.cells()), by)
    parts = _drawn(draw, WEEK_PART.scale, len(PLACES), by)
    quarter = [_drawn(draw, table.scale, 1, by) for table in REPORTS[2:]]
    final = numpy.array(
        [
            [tenths for cells in _final(*one).values() for tenths in cells.values()]
            for one in zip(first.tolist(), parts.tolist(), strict=True)
        ]
    )
    return numpy.hstack([first, parts, *quarter, final])


def _drawn(draw: Draw, scale: int, cells: int, by: int) -> Integers:
    figures = numpy.array(draw(scale, RECONCILED * cells), dtype=numpy.int64).reshape(RECONCILED, cells)
    figures[:, 0] += by
    return figures


def counted_totals(figures: Integers, by: int) -> Integers:
    """A planted bug: the totals of the final edition are counts, and not sums of what was released."""
    told = figures.copy()
    for number, (_, table, cell) in enumerate(COLUMNS):
        if table in TOTALS:
            told[:, number] = 10 * by * (cell in ((), (MONTH.codes[0][0],), (MONTH.codes[1][0],)))
    return told


def _sum_of(unit: int, edition: str, table: str, cells: Callable[[Cell], bool]) -> NDArray[numpy.float64]:
    """The weights of the sum of these cells."""
    of = [one == edition and name == table and cells(cell) for one, name, cell in COLUMNS]
    return unit * numpy.array(of, dtype=numpy.float64)


def combinations() -> list[NDArray[numpy.float64]]:
    """Each figure by itself; of what is nested the whole, and the whole less all other parts; the best sum
    that there is, by the variances; and some that chance makes."""
    area, category, week = MONTH.codes[0][0], MONTH.codes[1][0], WEEKS[0]
    nested: list[tuple[str, Cell, str, Callable[[Cell], bool], Cell]] = [
        (NAMES.city, (), NAMES.area, lambda _: True, (area,)),
        (NAMES.city, (), NAMES.category, lambda _: True, (category,)),
        (NAMES.city, (), NAMES.month, lambda _: True, (area, category)),
        (NAMES.city, (), NAMES.week_part, lambda _: True, (week, area)),
        (NAMES.area, (area,), NAMES.month, lambda cell: cell[0] == area, (area, category)),
        (NAMES.area, (area,), NAMES.week_part, lambda cell: cell[1] == area, (week, area)),
        (NAMES.category, (category,), NAMES.month, lambda cell: cell[1] == category, (area, category)),
    ]
    found = list(numpy.eye(len(COLUMNS)))
    for whole, its_cell, part, within, own in nested:
        for edition in ("first", "final") if part in (NAMES.month, NAMES.week_part) else ("final",):
            unit = 10 if edition == "first" else 1
            parts = _sum_of(unit, edition, part, within)
            alone = _sum_of(unit, edition, part, own.__eq__)
            found += [parts, _sum_of(1, "final", whole, its_cell.__eq__) - parts + alone]
    best = numpy.zeros(len(COLUMNS))
    for number, scale in _own():
        best[number] = 1 / margins.variance(scale)
    generator = numpy.random.default_rng(1)
    return [*found, best, *generator.integers(-2, 3, (200, len(COLUMNS))).astype(numpy.float64)]


def _own() -> list[tuple[int, int]]:
    """Where the report counts in first editions, and the scale there."""
    tables = [(edition, table) for edition, table, _ in COLUMNS]
    return [(tables.index(("first", table.id)), table.scale) for table in REPORTS]


def most(with_it: Integers, without: Integers) -> tuple[Rates, int]:
    """Of all attackers, at one false alarm in a hundred, the one that is right the most often; and how many
    there are. The last goes by the likelihood ratio, which no combination beats."""
    own = [number for number, _ in _own()]
    scales = [scale for _, scale in _own()]
    ratios = [log_ratios(figures[:, own], [1] * len(own), scales) for figures in (with_it, without)]
    worlds = with_it.astype(numpy.float64), without.astype(numpy.float64)
    scores = ([figures @ weights for figures in worlds] for weights in combinations())
    # Many score the same: among those a coin decides, or there would be no one alarm in a hundred.
    coin = numpy.random.default_rng(1)
    found = []
    for ups, downs in chain(scores, [ratios]):
        one, other = (score + coin.uniform(0, 1e-9, len(score)) for score in (ups, downs))
        for sign in (1, -1):
            found.append(rates(sign * one, sign * other, float(numpy.quantile(sign * other, 0.99))))
    return max(found, key=lambda one: one.true), len(found)


def test_1_whoever_combines_figures_is_right_no_more_often_than_the_bound() -> None:
    """Of nested areas, categories, weeks and months, first and final editions: at one false alarm in a
    hundred at most e^epsilon in a hundred are right. Nothing bounds a cell for a linear program, since no
    noise is the largest. The tables of the final edition add up, so that none tells what another does not."""
    with_it, without = published(noise.draw, 1), published(noise.draw, 0)
    for figures in (with_it, without):
        city = figures @ _sum_of(1, "final", NAMES.city, lambda _: True)
        for table in NAMES:
            assert (figures @ _sum_of(1, "final", table, lambda _: True) == city).all()

    def within(found: Rates, number: int) -> bool:
        bound = math.exp(CLAIM) * highest(found.false, found.runs, CHANCE / number)
        return lowest(found.true, found.runs, CHANCE / number) <= bound

    built, number = most(with_it, without)
    half, _ = most(published(halved, 1), published(halved, 0))
    totals, _ = most(counted_totals(with_it, 1), counted_totals(without, 0))
    ROWS.append(
        Row(
            1,
            f"{number} combinations of nested areas, categories, weeks and months, first and final editions",
            "noise in each cell, totals of what was released",
            "half the noise; totals that are counted",
            f"true at most {built.true / built.runs:.2%} at {built.false / built.runs:.2%} false alarms",
            f"true {half.true / half.runs:.2%}; {totals.true / totals.runs:.2%}",
        )
    )
    assert within(built, number)
    assert not within(half, number)
    assert not within(totals, number)
