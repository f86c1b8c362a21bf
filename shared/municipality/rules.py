"""Rules of the routing, and the conditions under which they hold."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from shared.municipality.parts import AreaId, Id, Identified, Language, Part, different


def _values(description: str) -> Any:
    return Field(default=None, min_length=1, description=f"a list of at least one value: {description}")


class When(Part):
    """Conditions of a rule: all of those that are given must hold; one holds when any value fits."""

    category: Annotated[tuple[Id, ...], AfterValidator(different)] | None = _values("ids of categories")
    kind: Annotated[tuple[Literal["tip", "issue"], ...], AfterValidator(different)] | None = _values(
        '"tip", "issue"'
    )
    urgency: Annotated[tuple[Literal["normal", "urgent"], ...], AfterValidator(different)] | None = _values(
        '"normal", "urgent"'
    )
    source: Annotated[tuple[Id, ...], AfterValidator(different)] | None = _values("ids of sources")
    language: Annotated[tuple[Language, ...], AfterValidator(different)] | None = _values("language tags")
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
            for name in ("category", "kind", "urgency", "source", "language")
            if (values := getattr(self, name)) is not None
        }
        areas = {f"area.{set_id}": frozenset(ids) for set_id, ids in (self.area or {}).items()}
        answers = {f"answers.{question}": frozenset(ids) for question, ids in (self.answers or {}).items()}
        return plain | areas | answers


class Rule(Identified):
    """One step of the routing: the first rule whose conditions hold decides; the last has none."""

    unit: Id = Field(description="the id of a unit")
    reason: Id = Field(description="a code of reasons.toml")
    when: When | None = Field(default=None, description='conditions such as {category = ["street_light"]}')
