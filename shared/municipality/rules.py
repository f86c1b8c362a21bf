"""Rules of the routing, and the conditions under which they hold."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field

from shared.municipality.hours import Weekday
from shared.municipality.parts import AreaId, Id, Identified, Language, Part, different, wrong

HOLIDAY = "holiday"
# By which way a report may have come in, as tips says it of each.
Source = Literal["api"]
SOURCES: tuple[Source, ...] = get_args(Source)
_HOURS = re.compile(r"([01]\d|2[0-3])-([01]\d|2[0-4])", re.ASCII)


def _values(description: str) -> Any:
    return Field(default=None, min_length=1, description=f"a list of at least one value: {description}")


def hours_of(ranges: tuple[str, ...]) -> frozenset[str]:
    """The hours of the day in ranges such as `17-24`, whose end is not included, as `17`, `18`, … `23`."""
    return frozenset(f"{hour:02d}" for one in ranges for hour in range(int(one[:2]), int(one[3:])))


def _range(one: str) -> str:
    found = _HOURS.fullmatch(one)
    if not found or int(found[1]) >= int(found[2]):
        raise wrong(
            f"{one!r} are no hours of a day",
            'write whole hours such as "08-17"; over midnight two: "22-24", "00-06"',
        )
    return one


class When(Part):
    """Conditions of a rule: all of those that are given must hold; one holds when any value fits."""

    category: Annotated[tuple[Id, ...], AfterValidator(different)] | None = _values("ids of categories")
    kind: Annotated[tuple[Literal["tip", "issue"], ...], AfterValidator(different)] | None = _values(
        '"tip", "issue"'
    )
    urgency: Annotated[tuple[Literal["normal", "urgent"], ...], AfterValidator(different)] | None = _values(
        '"normal", "urgent"'
    )
    source: Annotated[tuple[Source, ...], AfterValidator(different)] | None = _values(
        ", ".join(f'"{one}"' for one in SOURCES)
    )
    language: Annotated[tuple[Language, ...], AfterValidator(different)] | None = _values("language tags")
    # When it was sent, by the municipality's clock. On a holiday it is that and no day of the week.
    day: (
        Annotated[
            tuple[Literal[Weekday, "holiday"], ...],
            AfterValidator(different),
        ]
        | None
    ) = _values('"mon" to "sun", "holiday"')
    hour: Annotated[tuple[Annotated[str, AfterValidator(_range)], ...], AfterValidator(different)] | None = (
        _values('whole hours of the day, such as "08-17"')
    )
    area: (
        Mapping[Id, Annotated[tuple[AreaId, ...], Field(min_length=1), AfterValidator(different)]] | None
    ) = Field(default=None, min_length=1, description='lists of areas per area set: {district = ["centre"]}')

    answers: Mapping[Id, Annotated[tuple[Id, ...], Field(min_length=1), AfterValidator(different)]] | None = (
        Field(default=None, min_length=1, description='lists of options per question: {colour = ["red"]}')
    )

    def conditions(self) -> dict[str, frozenset[str]]:
        """The conditions that are given, by their path under `when`, such as `area.district` or
        `answers.colour`."""
        plain = {
            name: frozenset(values)
            for name in ("category", "kind", "urgency", "source", "language", "day")
            if (values := getattr(self, name)) is not None
        }
        if self.hour:
            plain["hour"] = hours_of(self.hour)
        areas = {f"area.{set_id}": frozenset(ids) for set_id, ids in (self.area or {}).items()}
        answers = {f"answers.{question}": frozenset(ids) for question, ids in (self.answers or {}).items()}
        return plain | areas | answers


class Rule(Identified):
    """One step of the routing: the first rule whose conditions hold decides; the last has none."""

    unit: Id = Field(description="the id of a unit")
    reason: Id = Field(description="a code of reasons.toml")
    when: When | None = Field(default=None, description='conditions such as {category = ["street_light"]}')

    def conditions(self) -> dict[str, frozenset[str]]:
        """Its conditions as `When.conditions` has them; none where it takes every report."""
        return self.when.conditions() if self.when else {}
