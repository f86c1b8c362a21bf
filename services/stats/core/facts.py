"""What a spec means for people, as text: of each table what is published and what that spends, and what
anybody could learn from all of them together. docs/privacy.md has it of the town that is shipped, and
`stats privacy` prints it of one's own.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from fractions import Fraction

from services.stats.core import adjusting, margins
from services.stats.core.spec import SUBJECTS, Column, Spec, Subject, Table, budget

DAY = timedelta(days=1)
_GRAINS: Mapping[str, str] = {
    "week_part": "each part of a week that lies in one month",
    "month": "each month",
    "quarter": "each quarter",
}
_COLUMNS: Mapping[Column, str] = {
    "area": "area",
    "category": "category",
    "took": "how long until a unit had seen it",
    "outcome": "how it ended",
}
_ONE: Mapping[Subject, str] = {"reports": "report", "incidents": "recorded incident"}
# Of a month's final edition: most months have so many week-parts.
_WEEKS = 5


def facts(spec: Spec) -> Iterator[str]:
    """The lines, as Markdown."""
    yield f"Of the spec `{spec.id}`; its clock is that of {spec.zone}."
    yield ""
    yield "| table | published for | cells | closes after | scale | ε | 95 % of figures are within |"
    yield "|---|---|---|---|---|---|---|"
    for table in spec.tables:
        yield _row(table)
    for subject in SUBJECTS:
        yield ""
        yield from _subject(spec, subject)


def _row(table: Table) -> str:
    by = " and ".join(_COLUMNS[column] for column in table.columns)
    cells = " × ".join(str(len(codes)) for codes in table.codes)
    within = margins.of_one(table.scale) // 10
    return (
        f"| `{table.id}` | {_GRAINS[table.grain]}, by {by} | {cells} | {_time(table.closes_after)} "
        f"| {table.scale} | {table.cost} | ± {within} |"
    )


def _subject(spec: Spec, subject: Subject) -> Iterator[str]:
    costs = [table.cost for table in spec.tables if table.subject == subject]
    whole = budget(spec, subject)
    one = _ONE[subject]
    yield (
        f"**One {one}** counts in one cell of each of its tables, once. All of them together spend "
        f"ε = {' + '.join(map(str, costs))} = {whole} ({_short(whole)}) on it, in its whole life."
    )
    yield ""
    yield (
        f"- Suppose somebody knows everything but whether one {one} was made, and holds both for equally "
        f"likely. After everything that we publish, for ever, they guess right at most {_right(whole)} times "
        "in 100. By the toss of a coin it is 50."
    )
    yield (
        f'- Whoever says "it was made", and is wrong in only 1 of 100 cases in which it was not, says so in '
        f"at most {_found(whole)} of 100 cases in which it was."
    )
    month = spec.table(f"{subject}.month")
    bounds = adjusting.margins(month, spec.table(f"{subject}.week_part"), _WEEKS)
    names = adjusting.names_of(month)
    yield (
        f"- In the final edition of a month of {_WEEKS} week-parts, 95 % of all figures lie within "
        f"± {_tenths(bounds[names.month])} of the count for one area and category, "
        f"± {_tenths(bounds[names.area])} for an area, ± {_tenths(bounds[names.category])} for a category "
        f"and ± {_tenths(bounds[names.city])} for all of it."
    )


def _time(after: timedelta) -> str:
    return f"{after // DAY} days" if after % DAY == timedelta() else f"{after // timedelta(hours=1)} hours"


def _short(cost: Fraction) -> str:
    """Three digits, rounded up: what is spent is never told too small."""
    return f"{math.ceil(cost * 1000) / 1000:.3f}"


def _right(cost: Fraction) -> int:
    """In a hundred guesses: e^ε/(1 + e^ε), rounded up."""
    return math.ceil(100 / (1 + math.exp(-cost)))


def _found(cost: Fraction) -> str:
    """In a hundred, at one false alarm in a hundred: e^ε, rounded up."""
    return f"{math.ceil(10 * math.exp(cost)) / 10:.1f}"


def _tenths(bound: int) -> str:
    return f"{bound / 10:g}"
