"""The spec: what is published of which periods, with how much noise. It is public, and for its version fixed.

A report enters each table once in its whole life, and so does an incident those of its own: what is spent of
one is the sum of 1/scale over the tables of its subject, in exact fractions, and never more than 1.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from itertools import product
from typing import Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from services.stats.core.periods import Grain, period
from shared.errors import Refusal
from shared.events import Took
from shared.municipality import Municipality

Subject = Literal["reports", "incidents"]
Column = Literal["area", "category", "took", "outcome"]
SUBJECTS: tuple[Subject, ...] = get_args(Subject)
LICENSE = "CC0-1.0"
OUTCOMES = ("in_time", "late", "refused", "withdrawn", "open")
# What a value counts as that a column does not have: nothing ever vanishes.
FALLBACK: Mapping[Column, str] = {
    "area": "unknown",
    "category": "other",
    "took": "later",
    "outcome": "open",
}


class Table(BaseModel):
    """One table: its periods begin at `since`, and close so many hours after they end. `codes` are the values
    of each column, in their order; the cells are all combinations, whether anything is in them or not."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    subject: Subject
    grain: Grain
    scale: int
    since: date
    closes_hours: int
    columns: tuple[Column, ...]
    codes: tuple[tuple[str, ...], ...]

    @property
    def closes_after(self) -> timedelta:
        return timedelta(hours=self.closes_hours)

    @property
    def cost(self) -> Fraction:
        """What one report or incident spends here, once."""
        return Fraction(1, self.scale)

    def cells(self) -> list[tuple[str, ...]]:
        """Every cell, in the order in which noise and counts are kept."""
        return list(product(*self.codes))


class Spec(BaseModel):
    """All tables of one version of a municipality's `statistics.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    zone: str
    # Of what is downloaded, by its SPDX identifier: its files are kept for ever.
    license: str = LICENSE
    tables: tuple[Table, ...]

    @property
    def tz(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    def table(self, table_id: str) -> Table:
        return next(table for table in self.tables if table.id == table_id)

    def digest(self) -> str:
        """By which a changed spec is told from the one that was published."""
        # As it was before there was a license: what a database has kept by then is no other spec.
        exclude = {"license"} if self.license == LICENSE else None
        return hashlib.sha256(self.model_dump_json(exclude=exclude).encode()).hexdigest()


def spec_of(town: Municipality) -> Spec:
    """The spec that a municipality's folder asks for. Raises Refusal as `check`."""
    asked = town.statistics
    areas = _with((*town.area_sets[town.primary_area_set].areas,), FALLBACK["area"])
    categories = _with(tuple(town.categories), FALLBACK["category"])
    crimes = _with(tuple(crime.id for crime in asked.incidents.categories), FALLBACK["category"])
    reports, incidents = asked.reports, asked.incidents

    def of_reports(name: str, grain: Grain, scale: int, hours: int, **codes: tuple[str, ...]) -> Table:
        return _table("reports", name, grain, scale, reports.since, hours, codes)

    def of_incidents(name: str, grain: Grain, scale: int, **codes: tuple[str, ...]) -> Table:
        hours = incidents.closes_days * 24
        return _table("incidents", name, grain, scale, incidents.since, hours, codes)

    close, horizon = reports.closes_hours, reports.horizon_days * 24
    spec = Spec(
        id=f"{town.slug}-{asked.version}",
        zone=town.zone,
        license=asked.license,
        tables=(
            of_reports("week_part", "week_part", reports.week_part, close, area=areas),
            of_reports("month", "month", reports.month, close, area=areas, category=categories),
            of_reports("took", "quarter", reports.took, horizon, area=areas, took=get_args(Took)),
            of_reports("outcome", "quarter", reports.outcome, horizon, category=categories, outcome=OUTCOMES),
            of_incidents("week_part", "week_part", incidents.week_part, area=areas),
            of_incidents("month", "month", incidents.month, area=areas, category=crimes),
        ),
    )
    check(spec)
    return spec


def _table(
    subject: Subject,
    name: str,
    grain: Grain,
    scale: int,
    since: date,
    hours: int,
    codes: Mapping[str, tuple[str, ...]],
) -> Table:
    return Table(
        id=f"{subject}.{name}",
        subject=subject,
        grain=grain,
        scale=scale,
        since=since,
        closes_hours=hours,
        columns=tuple(codes),
        codes=tuple(codes.values()),
    )


def _with(codes: tuple[str, ...], fallback: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*codes, fallback)))


def check(spec: Spec) -> None:
    """Raise Refusal for a table without noise, and where a report or an incident would spend more than 1."""
    for table in spec.tables:
        if table.scale < 1:
            raise Refusal(
                f"table {table.id} has the scale {table.scale}: its counts would be published as they are; "
                "write a whole number of at least 1 in statistics.toml"
            )
    for subject in SUBJECTS:
        spent = budget(spec, subject)
        if spent > 1:
            raise Refusal(
                f"the tables of {subject} spend {spent} on one of them, which is more than 1; write larger "
                "scales in statistics.toml, until their 1/scale add up to 1 or less"
            )


def budget(spec: Spec, subject: Subject) -> Fraction:
    """What all tables together spend on one report or incident, in its whole life."""
    return sum((table.cost for table in spec.tables if table.subject == subject), Fraction(0))


class Debit(NamedTuple):
    """What the release of one period of a table has spent."""

    table: str
    begin: date
    cost: Fraction


def overspent(debits: Iterable[Debit]) -> tuple[Subject, date, Fraction] | None:
    """The first subject and quarter in which more than 1 was spent on one report or incident; None if none.

    One counts in one period of each table, and all of them lie in one quarter.
    """
    dearest: dict[tuple[Subject, date], dict[str, Fraction]] = {}
    for debit in debits:
        subject: Subject = "incidents" if debit.table.startswith("incidents.") else "reports"
        tables = dearest.setdefault((subject, period("quarter", debit.begin).begin), {})
        tables[debit.table] = max(tables.get(debit.table, Fraction(0)), debit.cost)
    for (subject, quarter), tables in sorted(dearest.items()):
        if (spent := sum(tables.values(), Fraction(0))) > 1:
            return subject, quarter, spent
    return None


class Group(NamedTuple):
    """How many there are of one kind, as the rows tell it."""

    area: str | None
    category: str | None
    took: str | None
    outcome: str | None
    number: int


def tally(table: Table, groups: Sequence[Group]) -> list[int]:
    """The count of each cell of a table, in their order. What a column does not know counts by its name for
    that, so that the counts add up to all that there is."""
    known = [frozenset(codes) for codes in table.codes]
    counts: Counter[tuple[str, ...]] = Counter()
    for group in groups:
        cell = []
        for column, codes in zip(table.columns, known, strict=True):
            value = getattr(group, column)
            cell.append(value if value in codes else FALLBACK[column])
        counts[tuple(cell)] += group.number
    return [counts[cell] for cell in table.cells()]
