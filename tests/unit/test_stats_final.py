"""The final edition of a month agrees with itself, and its bounds hold as often as they say."""

import math
from collections import Counter
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.stats import noise
from services.stats.core import margins
from services.stats.core.adjusting import Cell, adjust, cells_of, names_of
from services.stats.core.adjusting import margins as margins_of
from services.stats.core.margins import Part, of_one, of_sum, variance
from services.stats.core.spec import Table
from shared.errors import Refusal
from tests.stats_town import SPEC

WEEKS = 5


def tables(areas: int, categories: int) -> tuple[Table, Table]:
    """The two tables of a month, of that many areas and categories."""
    codes = (
        tuple(f"a{number}" for number in range(areas)),
        tuple(f"c{number}" for number in range(categories)),
    )
    month, week_part = SPEC.table("reports.month"), SPEC.table("reports.week_part")
    return month.model_copy(update={"codes": codes}), week_part.model_copy(update={"codes": codes[:1]})


def adjusted(month: Table, week_part: Table, first: Any, other: Any) -> dict[str, dict[Any, int]]:
    """Of arrays: areas × categories, and weeks × areas."""
    areas, categories = month.codes
    by_category: dict[Cell, int] = {
        (area, category): int(first[row][column])
        for row, area in enumerate(areas)
        for column, category in enumerate(categories)
    }
    parts: dict[Cell, int] = {
        (f"w{week}", area): int(other[week][row])
        for week in range(len(other))
        for row, area in enumerate(areas)
    }
    final = adjust(month, week_part, by_category, parts)
    return {table: dict(cells) for table, cells in final.items()}


VALUES = st.integers(-10_000, 10_000)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6))
def test_every_total_is_the_sum_of_its_parts_exactly(
    data: st.DataObject, areas: int, categories: int, weeks: int
) -> None:
    """Whatever was released: in whole tenths, over areas, categories and weeks."""
    month, week_part = tables(areas, categories)
    first = [[data.draw(VALUES) for _ in range(categories)] for _ in range(areas)]
    other = [[data.draw(VALUES) for _ in range(areas)] for _ in range(weeks)]
    final = adjusted(month, week_part, first, other)
    names = names_of(month)
    for area in month.codes[0]:
        total = final[names.area][area,]
        assert total == sum(value for cell, value in final[names.month].items() if cell[0] == area)
        assert total == sum(value for cell, value in final[names.week_part].items() if cell[1] == area)
    for category in month.codes[1]:
        by_area = (value for cell, value in final[names.month].items() if cell[1] == category)
        assert final[names.category][category,] == sum(by_area)
    for cells in final.values():
        assert sum(cells.values()) == final[names.city][()]
    assert all(abs(10 * cell.value - (cell.tenths or 0)) <= 5 for cell in cells_of(final))


@settings(max_examples=50, deadline=None)
@given(st.data(), st.integers(1, 5), st.integers(1, 6))
def test_it_is_the_weighted_least_squares_solution(data: st.DataObject, categories: int, weeks: int) -> None:
    """As numpy finds it for the whole of an area, to the rounding of a tenth."""
    month, week_part = tables(1, categories)
    one = [data.draw(st.integers(-99, 99)) for _ in range(categories)]
    other = [data.draw(st.integers(-99, 99)) for _ in range(weeks)]
    final = adjusted(month, week_part, [one], [[value] for value in other])
    # Unknown: the categories, and all week-parts but the last, which follows from them.
    rows = numpy.zeros((categories + weeks, categories + weeks - 1))
    rows[:categories, :categories] = numpy.eye(categories)
    rows[categories : categories + weeks - 1, categories:] = numpy.eye(weeks - 1)
    rows[-1, :categories], rows[-1, categories:] = 1, -1
    root = numpy.sqrt([1 / variance(2)] * categories + [1 / variance(5)] * weeks)
    solved = numpy.linalg.lstsq(rows * root[:, None], numpy.array([*one, *other]) * root, rcond=None)[0]
    found = list(final["reports.month"].values()) + list(final["reports.week_part"].values())[:-1]
    assert numpy.abs(numpy.array(found) / 10 - solved).max() <= 0.1 + 1e-9


def test_what_agrees_already_stays_as_it_is() -> None:
    """Nothing is moved without a reason."""
    month, week_part = tables(2, 2)
    final = adjusted(month, week_part, [[5, 7], [0, -2]], [[4, -1], [8, -1]])
    assert list(final["reports.month"].values()) == [50, 70, 0, -20]
    assert final["reports.month_city"] == {(): 100}


def test_the_bounds_are_those_that_privacy_was_weighed_by() -> None:
    """privacy.md, section 2: twelve districts and eight categories at a budget of 1."""
    month, week_part = tables(12, 8)
    assert margins_of(month, week_part, WEEKS) == {
        "reports.month": pytest.approx(59, abs=1),
        "reports.week_part": pytest.approx(135, abs=2),
        "reports.month_area": pytest.approx(140, abs=2),
        "reports.month_category": pytest.approx(190, abs=3),
        "reports.month_city": pytest.approx(480, abs=5),
    }
    assert [of_one(scale) for scale in (2, 5, 7)] == [60, 150, 210]
    cell = [Part(1, 2, 12)]
    assert of_sum(cell) == pytest.approx(190, abs=5)


def _noise(generator: Any, scale: int, shape: tuple[int, ...]) -> Any:
    """The same distribution as OpenDP's, faster: the difference of two geometric numbers."""
    p = 1 - math.exp(-1 / scale)
    return generator.geometric(p, shape) - generator.geometric(p, shape)


@pytest.mark.parametrize(("areas", "categories", "weeks"), [(12, 8, 5), (140, 20, 6), (3, 2, 4)])
def test_the_bounds_of_a_final_edition_hold_in_95_of_100_cells(
    areas: int, categories: int, weeks: int
) -> None:
    """Simulated with exact counts of 0, which changes nothing: 94 to 96 in each table."""
    generator = numpy.random.default_rng(20261127)
    month, week_part = tables(areas, categories)
    bounds = margins_of(month, week_part, weeks)
    held: Counter[str] = Counter()
    cells: Counter[str] = Counter()
    # The city's total is one cell in each run; it has its own number of them below.
    for _ in range(max(40, 24_000 // (areas * categories))):
        first = _noise(generator, 2, (areas, categories))
        other = _noise(generator, 5, (weeks, areas))
        for table, values in adjusted(month, week_part, first, other).items():
            cells[table] += len(values)
            held[table] += sum(abs(value) <= bounds[table] for value in values.values())
    for table in ("reports.month", "reports.week_part", "reports.month_area"):
        slack = 3 * math.sqrt(0.95 * 0.05 / cells[table])
        assert 0.94 - slack < held[table] / cells[table] < 0.96 + slack, table
    # Sums over the city, drawn as sums: enough of them to tell.
    share = categories * variance(2) / (categories * variance(2) + weeks * variance(5))
    runs = 20_000
    total = (1 - share) * _noise(generator, 2, (runs, areas * categories)).sum(1)
    total += share * _noise(generator, 5, (runs, areas * weeks)).sum(1)
    assert 0.94 < numpy.mean(numpy.abs(total) * 10 <= bounds["reports.month_city"]) < 0.96


def test_the_bound_of_a_sum_is_at_most_the_root_of_the_squares() -> None:
    """As privacy.md tells it: of two cells, of all of an area, and of a cell over a year, first editions and
    final ones."""
    generator = numpy.random.default_rng(20261127)
    month, week_part = tables(2, 4)
    bounds = margins_of(month, week_part, WEEKS)
    finals = [
        adjusted(month, week_part, _noise(generator, 2, (2, 4)), _noise(generator, 5, (WEEKS, 2)))
        for _ in range(6_000)
    ]
    cells = numpy.array([[*one["reports.month"].values()] for one in finals])
    areas = numpy.array([[*one["reports.month_area"].values()] for one in finals])
    first = 10 * _noise(generator, 2, (6_000, 12))
    for sums, bound, number in (
        (cells[:, :2].sum(1), bounds["reports.month"], 2),
        (cells[:, :4].sum(1), bounds["reports.month"], 4),
        (cells[:, 0].reshape(-1, 12).sum(1), bounds["reports.month"], 12),
        (areas.sum(1), bounds["reports.month_area"], 2),
        (areas[:, 0].reshape(-1, 12).sum(1), bounds["reports.month_area"], 12),
        (first.sum(1), of_one(2), 12),
    ):
        room = 3 * math.sqrt(0.95 * 0.05 / len(sums))
        assert numpy.mean(numpy.abs(sums) <= bound * math.sqrt(number)) > 0.95 - room


@pytest.mark.parametrize("scale", [1, 2, 5, 7, 40])
def test_the_bound_of_a_first_edition_is_the_least_that_holds(scale: int) -> None:
    """Its noise is whole, so it holds in 95 of 100 cells or a little more; one less would not do."""
    p = math.exp(-1 / scale)

    def within(bound: int) -> float:
        return sum((1 - p) / (1 + p) * p ** abs(number) for number in range(-bound, bound + 1))

    bound = of_one(scale) // 10
    assert within(bound - 1) < margins.CONFIDENCE <= within(bound)


def test_the_noise_is_discrete_laplace_of_its_scale() -> None:
    """200,000 draws against the exact distribution: χ² with a limit set beforehand (p = 0.001)."""
    draws = Counter(noise.draw(2, 200_000))
    p = math.exp(-1 / 2)
    exact = {number: (1 - p) / (1 + p) * p ** abs(number) * 200_000 for number in range(-12, 13)}
    rest = 200_000 - sum(exact.values())
    seen_rest = 200_000 - sum(draws[number] for number in exact)
    square = sum((draws[number] - wanted) ** 2 / wanted for number, wanted in exact.items())
    square += (seen_rest - rest) ** 2 / rest
    # 25 degrees of freedom.
    assert square < 52.62
    assert variance(2) == pytest.approx(7.835, abs=0.001)


def test_noise_that_would_cost_more_than_it_says_is_refused() -> None:
    """OpenDP takes a scale of 0, and says then that it costs everything."""
    for scale in (1, 2, 5, 7, 1000):
        noise.check(scale)
    for scale in (0, -1):
        with pytest.raises(Refusal, match="would spend inf on each report"):
            noise.check(scale)
