"""What is published is fixed and public, and what it spends of one report is proved in exact fractions."""

from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.stats.core.spec import (
    OUTCOMES,
    SUBJECTS,
    Debit,
    Group,
    Spec,
    budget,
    check,
    overspent,
    spec_of,
    tally,
)
from shared import municipality
from shared.errors import Refusal
from tests.stats_town import AREAS, CATEGORIES, SPEC

TOWNS = Path(__file__).parents[2] / "deploy/municipalities"
OCTOBER = date(2026, 10, 1)


def scaled(**scales: int) -> Spec:
    """The town's spec with other scales, by table."""
    tables = (
        table.model_copy(update={"scale": scales.get(table.id.replace(".", "_"), table.scale)})
        for table in SPEC.tables
    )
    return SPEC.model_copy(update={"tables": tuple(tables)})


@pytest.mark.parametrize("name", ["ibuurt", "boston"])
def test_what_is_shipped_spends_what_privacy_allows(name: str) -> None:
    """The four tables of reports together 69/70, exactly; in floating-point numbers about .986."""
    spec = spec_of(municipality.read(TOWNS / name))
    assert budget(spec, "reports") == Fraction(69, 70)
    assert budget(spec, "incidents") == Fraction(7, 10)
    assert spec.id == f"{name}-1"
    assert all("unknown" in table.codes[0] or table.columns[0] != "area" for table in spec.tables)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (scaled(reports_took=0), "table reports.took has the scale 0: its counts would be published"),
        (scaled(incidents_month=-2), "table incidents.month has the scale -2"),
        (scaled(reports_took=6), "the tables of reports spend 106/105 on one of them"),
        (scaled(incidents_month=1), "the tables of incidents spend 6/5 on one of them"),
    ],
)
def test_a_spec_without_noise_or_above_its_budget_is_refused(spec: Spec, words: str) -> None:
    """By as little as it may be above."""
    with pytest.raises(Refusal) as refusal:
        check(spec)
    assert words in str(refusal.value)
    check(SPEC)


def test_a_budget_of_one_is_not_above_it_by_rounding() -> None:
    """1/2 + 1/5 + 3/20 + 3/20 comes to 1.0000000000000002 in floating-point numbers."""
    spent = scaled(reports_month=3, reports_week_part=3, reports_took=6, reports_outcome=6)
    assert budget(spent, "reports") == 1
    check(spent)


@pytest.mark.parametrize("field", ["scale", "since", "closes_hours", "codes", "id"])
def test_a_change_of_anything_is_another_spec(field: str) -> None:
    """Or a promise could be changed without a word."""
    changes = {
        "scale": 6,
        "since": date(2026, 1, 1),
        "closes_hours": 47,
        "codes": ((*AREAS, "new"),),
        "id": "x",
    }
    table = SPEC.tables[0].model_copy(update={field: changes[field]})
    changed = SPEC.model_copy(update={"tables": (table, *SPEC.tables[1:])})
    assert changed.digest() != SPEC.digest()
    assert Spec.model_validate_json(SPEC.model_dump_json()).digest() == SPEC.digest()


def _debits(*tables: str, begin: date = OCTOBER) -> list[Debit]:
    return [Debit(table, begin, SPEC.table(table).cost) for table in tables]


def test_what_is_spent_is_added_up_over_the_tables_in_which_one_report_counts() -> None:
    """It is in one period of each: however many periods a table has, they cost no more than one of them."""
    reports = [table.id for table in SPEC.tables if table.subject == "reports"]
    year = [
        Debit(one.table, OCTOBER + timedelta(days=day), one.cost)
        for one in _debits(*reports)
        for day in range(0, 365, 7)
    ]
    assert overspent(year) is None
    more = Debit("reports.day", OCTOBER + timedelta(days=40), Fraction(1, 50))
    assert overspent([*year, more]) == ("reports", OCTOBER, Fraction(69, 70) + Fraction(1, 50))
    # Incidents are others, and so is what counts in another quarter.
    assert overspent([*year, more._replace(table="incidents.day")]) is None
    assert overspent([*_debits(*reports), more._replace(begin=date(2027, 1, 1))]) is None


GROUPS = st.lists(
    st.builds(
        Group,
        st.sampled_from([*AREAS, "atlantis", None]),
        st.sampled_from([*CATEGORIES, "moon_landing"]),
        st.sampled_from(["1h", "later", None]),
        st.sampled_from(OUTCOMES),
        st.integers(1, 9),
    ),
    max_size=12,
)


@given(GROUPS)
def test_every_table_counts_every_report_once(groups: list[Group]) -> None:
    """Each enters each table once, which is what the budget is reckoned by; what the spec does not know
    counts by its name for that."""
    for table in SPEC.tables:
        if table.subject == "reports":
            counts = tally(table, groups)
            assert sum(counts) == sum(group.number for group in groups)
            assert len(counts) == len(table.cells())


def test_what_the_spec_does_not_know_is_unknown_or_other() -> None:
    """A category that came later, an area of an older folder, a report that nobody acknowledged."""
    group = Group("atlantis", "moon_landing", None, "open", 1)
    for table in SPEC.tables:
        filled = [cell for cell, count in zip(table.cells(), tally(table, [group]), strict=True) if count]
        names = {"area": "unknown", "category": "other", "took": "later", "outcome": "open"}
        assert filled == [tuple(names[column] for column in table.columns)]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_cells_do_not_depend_on_what_was_counted(subject: str) -> None:
    """An empty cell is published like any other: that one appears would tell of the first report there."""
    for table in SPEC.tables:
        if table.subject == subject:
            assert len(tally(table, [])) == len(table.cells())
            assert set(tally(table, [])) == {0}
