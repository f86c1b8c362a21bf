"""Attacks on the figures themselves: 4, 8, 9, 11 and 14 of the fifteen."""

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import numpy
import pytest

from services.stats import closing, noise
from services.stats.core import adjusting
from services.stats.core.adjusting import Cell
from services.stats.core.margins import of_one
from services.stats.core.release import Link, noisy, unsigned
from services.stats.core.spec import Group, Table, tally
from shared.events import Event, ReportAcknowledged, ReportResolved, Took
from tests.conftest import Infrastructure, MakeDatabase
from tests.integration.stats_harness import on_topic, report, stats_of
from tests.integration.test_stats_closing import QUARTER_CLOSED
from tests.privacy.attacks import (
    CHANCE,
    Draw,
    Rates,
    log_ratios,
    lowest,
    misfit,
    rates,
    unlikely,
    worlds,
)
from tests.privacy.sizes import DRAWS, LEVEL, MONTHS, PAIRS
from tests.privacy.stepping import run_until_done
from tests.privacy.table import ROWS, Row
from tests.spine import renew_topics
from tests.stats_town import SPEC

REPORTS = [table for table in SPEC.tables if table.subject == "reports"]
SCALES = [table.scale for table in REPORTS]
CLAIM = sum(1 / scale for scale in SCALES)


def halved(scale: int, cells: int) -> Sequence[int]:
    """A planted bug: half the noise that is promised, as where a factor is forgotten."""
    return [round(value / 2) for value in noise.draw(scale, cells)]


def floats(scale: int, cells: int) -> Sequence[int]:
    """A planted bug: the noise of numpy, cut to whole numbers."""
    generator = numpy.random.default_rng()
    return [int(value) for value in generator.laplace(0, scale, cells)]


def shared(scale: int, cells: int) -> Sequence[int]:
    """A planted bug: one draw for two cells."""
    drawn = noise.draw(scale, (cells + 1) // 2)
    return [drawn[number // 2] for number in range(cells)]


def never_again(scale: int, cells: int) -> Sequence[int]:
    """No noise at all."""
    return [0] * cells


def audited(draw: Draw, second: Draw | None = None) -> Rates:
    """What the best attacker finds in all cells in which one report counts. `second` is a second release of
    each, with noise of its own."""
    scales = SCALES * (2 if second else 1)
    with_it, without = worlds(draw, SCALES, PAIRS)
    if second:
        more_with, more_without = worlds(second, SCALES, PAIRS)
        with_it, without = numpy.hstack([with_it, more_with]), numpy.hstack([without, more_without])
    present = [1] * len(scales)
    threshold = 0.5 * sum(1 / scale for scale in scales)
    return rates(log_ratios(with_it, present, scales), log_ratios(without, present, scales), threshold)


def test_8_the_audit_shows_no_more_than_is_claimed() -> None:
    """The lower end of what is spent lies below the claim; with half the noise, or with a second release, it
    lies above."""
    built = audited(noise.draw)
    half, twice = audited(halved), audited(noise.draw, noise.draw)
    ROWS.append(
        Row(
            8,
            f"likelihood ratio over all tables of one report, of at most {CLAIM:.3f}; 95 % intervals",
            "noise of 1/scale, drawn once",
            "half the noise; a second draw that is seen",
            built.interval,
            f"{half.interval}; {twice.interval}",
        )
    )
    assert built.epsilon_at_least <= CLAIM < min(half.epsilon_at_least, twice.epsilon_at_least)
    assert built.epsilon_at_least < built.epsilon_at_most


def held(_scale: int, cells: int) -> Sequence[int]:
    """Noise that is the same in every life: what differs then is what was counted."""
    return [number * 7 % 11 - 5 for number in range(cells)]


def in_shares(table: Table, groups: Sequence[Group]) -> list[int]:
    """A planted bug: parts of a thousand, which change with every report."""
    counts = tally(table, groups)
    return [1000 * count // max(1, sum(counts)) for count in counts]


def _lives() -> list[list[Event]]:
    """Reports of a quarter, each with all that is told of it; the area and category of some no spec knows."""
    chance = random.Random(4)
    areas, categories = REPORTS[1].codes
    found = []
    for _ in range(60):
        noon = datetime(2026, 10, 1, 10, tzinfo=UTC) + timedelta(days=chance.randrange(92))
        accepted = report(noon, chance.choice([*areas, "atlantis"]), chance.choice([*categories, "gone"]))
        of: dict[str, Any] = {"report_id": accepted.report_id, "kind": "tip", "unit": "parks"}
        life: list[Event] = [accepted]
        if chance.random() < 0.7:
            took = chance.choice(get_args(Took))
            life.append(ReportAcknowledged(**of, version=1, by="desk", took=took))
        if chance.random() < 0.5:
            life.append(ReportResolved(**of, version=2, outcome="done", in_time=chance.random() < 0.5))
        found.append(life)
    return found


async def test_4_across_a_close_one_report_changes_its_own_cells_by_one_and_no_other(
    infrastructure: Infrastructure, database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, frozen, released and read from the topic, with the noise held fast: one cell of each table, so
    that no figure leans on how many there are."""
    monkeypatch.setattr(noise, "draw", held)
    lives = _lives()

    async def figures(told: Sequence[Sequence[Event]]) -> dict[tuple[str, str, Cell], int]:
        """The first editions of all periods of the quarter."""
        await renew_topics(infrastructure.bootstrap)
        spec = SPEC.model_copy(update={"tables": tuple(REPORTS)})
        async with stats_of(infrastructure.bootstrap, await database("stats"), spec) as stats:
            await stats.count([event for life in told for event in life])
            stats.now = QUARTER_CLOSED
            await run_until_done(stats)
        return {
            (cell.table, one.period, cell.cell): cell.value
            for one in await on_topic(infrastructure.bootstrap)
            if one.edition == "first"
            for cell in one.cells
        }

    async def changed() -> dict[str, list[int]]:
        """By how much each cell differs that does, where the first report is there and where it is not."""
        with_it, without = await figures(lives), await figures(lives[1:])
        assert with_it.keys() == without.keys()
        found: dict[str, list[int]] = {table.id: [] for table in REPORTS}
        for (table, period, cell), value in with_it.items():
            if by := value - without[table, period, cell]:
                found[table].append(by)
        return found

    built = await changed()
    assert built == {table.id: [1] for table in REPORTS}
    monkeypatch.setattr(closing, "tally", in_shares)
    broken = await changed()
    assert broken != built
    ROWS.append(
        Row(
            4,
            f"before and after one of {len(lives)} reports, counted, closed and released, noise held fast",
            "counts that add up, fixed cells",
            "shares of the whole",
            f"{sum(map(len, built.values()))} cells, each by 1",
            f"{sum(map(len, broken.values()))} cells",
        )
    )


def test_9_one_report_in_an_empty_city_is_guessed_no_better_than_the_bound() -> None:
    """At equal odds at most e/(1+e) of the guesses are right; and no cell appears or vanishes."""

    def right(draw: Draw) -> tuple[int, int]:
        with_it, without = worlds(draw, SCALES, PAIRS)
        present = [1] * len(SCALES)
        ups, downs = log_ratios(with_it, present, SCALES), log_ratios(without, present, SCALES)
        coin = numpy.random.default_rng(9).uniform(size=len(ups)) < 0.5
        hits = (ups > 0).sum() + (downs < 0).sum() + (coin & (ups == 0)).sum() + (coin & (downs == 0)).sum()
        return int(hits), 2 * len(ups)

    bound = math.exp(CLAIM) / (1 + math.exp(CLAIM))
    built, bare = right(noise.draw), right(never_again)
    assert lowest(*built, CHANCE) <= bound < lowest(*bare, CHANCE)
    table = SPEC.table("reports.month")
    empty, one = [0] * len(table.cells()), [1] + [0] * (len(table.cells()) - 1)
    drawn = noise.draw(table.scale, len(empty))
    assert [cell.cell for cell in noisy(table, empty, drawn)] == [
        cell.cell for cell in noisy(table, one, drawn)
    ]
    ROWS.append(
        Row(
            9,
            "one report in an empty city",
            "every cell is published, with noise",
            "no noise",
            f"{built[0] / built[1]:.1%} right; at most {bound:.1%}",
            f"{bare[0] / bare[1]:.1%} right",
        )
    )


SAMPLED = (2, 5, 7)
# Of each scale its fit and its independence: together they ring by chance as rarely as LEVEL says.
EACH_LEVEL = LEVEL / (2 * len(SAMPLED))


@pytest.mark.parametrize("scale", SAMPLED)
def test_11_the_noise_is_what_it_says_and_that_of_one_cell_says_nothing_of_the_next(scale: int) -> None:
    """Pearson's test against the exact probabilities, and the correlation of neighbours, at a level that was
    fixed before."""

    def fits(draw: Draw) -> float:
        return unlikely(*misfit(numpy.array(draw(scale, DRAWS), dtype=numpy.int64), scale))

    def independent(draw: Draw) -> float:
        drawn = numpy.array(draw(scale, DRAWS // 2 * 2), dtype=numpy.float64)
        deviations = float(numpy.corrcoef(drawn[::2], drawn[1::2])[0, 1]) * math.sqrt(len(drawn) / 2)
        return math.erfc(abs(deviations) / math.sqrt(2))

    built, apart = fits(noise.draw), independent(noise.draw)
    other, together = fits(floats), independent(shared)
    ROWS.append(
        Row(
            11,
            f"the sampler at scale {scale}, {DRAWS:,} draws, each p held above {EACH_LEVEL:.1e}",
            "OpenDP's discrete Laplace, each cell of its own",
            "floats of numpy, cut; one draw for two cells",
            f"fit p {built:.3f}; independence p {apart:.3f}",
            f"p {other:.0e}; {together:.0e}",
        )
    )
    assert min(built, apart) > EACH_LEVEL > max(other, together)


def test_14_the_bounds_hold_as_often_as_they_say_and_nothing_leans_to_one_side() -> None:
    """Of many simulated months: 95 % of the final figures lie within, and the mean error is none."""
    month, week_part = SPEC.table("reports.month"), SPEC.table("reports.week_part")
    weeks = [f"w{number}" for number in range(5)]
    bounds = adjusting.margins(month, week_part, len(weeks))
    names = adjusting.names_of(month)
    inside, cells, error = dict.fromkeys(names, 0), dict.fromkeys(names, 0), 0
    half = 0
    for _ in range(MONTHS):
        first: dict[Cell, int] = dict(
            zip(month.cells(), noise.draw(month.scale, len(month.cells())), strict=True)
        )
        places = [(week, area) for week in weeks for area in week_part.codes[0]]
        parts: dict[Cell, int] = dict(zip(places, noise.draw(week_part.scale, len(places)), strict=True))
        final = adjusting.adjust(month, week_part, first, parts)
        for name, found in final.items():
            cells[name] += len(found)
            inside[name] += sum(abs(tenths) <= bounds[name] for tenths in found.values())
        half += sum(abs(tenths) <= bounds[names.month] / 2 for tenths in final[names.month].values())
        error += final[names.city][()]
    shares = {name: inside[name] / cells[name] for name in names}
    for name in names:
        # Cells of one month hang together a little: so much room as if there were a fifth of them.
        room = 4 * math.sqrt(0.95 * 0.05 / (cells[name] / 5))
        assert abs(shares[name] - 0.95) < max(0.01, room), (name, shares[name])
    assert half / cells[names.month] < 0.94
    assert abs(error / MONTHS) < 6 * bounds[names.city] / 1.96 / math.sqrt(MONTHS)
    assert of_one(2) == 60
    ROWS.append(
        Row(
            14,
            f"accuracy over {MONTHS:,} months",
            "bounds from the noise's own distribution",
            "half the bound",
            ", ".join(f"{share:.1%}" for share in shares.values()) + " within",
            f"{half / cells[names.month]:.1%} within",
        )
    )


def test_a_release_says_no_more_than_its_cells() -> None:
    """A withheld one has none, and the same figures are the same bytes."""
    table = SPEC.table("reports.week_part")
    nothing = Link(0, "0" * 64)
    withheld = unsigned(SPEC, table, "2026-W40-2026-10", nothing, (), withheld=True)
    assert (withheld.cells, withheld.scale, withheld.margins) == ((), None, {})
    cells = noisy(table, [1, 2, 3], [0, 0, 0])
    one = unsigned(SPEC, table, "2026-W40-2026-10", nothing, cells)
    assert one == unsigned(SPEC, table, "2026-W40-2026-10", nothing, cells)
