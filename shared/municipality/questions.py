"""What a category asks a resident besides the description."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, field_validator, model_validator

from shared.municipality.parts import Flag, Identified, Texts, wrong

QUESTIONS_PER_CATEGORY = 10
OPTIONS_PER_QUESTION = 30
ANSWER_CHARACTERS = 1_000
USUAL_CHARACTERS = 300
# Every whole number up to here is exact wherever JSON is read.
LARGEST_NUMBER = 1_000_000_000

Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]
_NUMBER = f"a number from -{LARGEST_NUMBER} to {LARGEST_NUMBER}, such as 10"
# The keys that only some kinds of question have.
_OF_KINDS: Mapping[str, tuple[str, ...]] = {
    "options": ("choice", "choices"),
    "min": ("number",),
    "max": ("number",),
    "max_characters": ("text",),
}


class Option(Identified):
    """One answer to choose."""

    names: Texts


class Question(Identified):
    """A question and the form of its answer: a text, a number from `min` to `max`, a date, one of the
    options, or several of them."""

    kind: Literal["text", "number", "date", "choice", "choices"] = Field(
        description='"text", "number", "date", "choice" or "choices"'
    )
    names: Texts = Field(description='the question per language: {nl = "Welke kleur?", en = "Which colour?"}')
    required: Flag = Field(False, description="true or false")
    options: tuple[Option, ...] = Field(
        (),
        max_length=OPTIONS_PER_QUESTION,
        description=f'2 to {OPTIONS_PER_QUESTION} options, each {{id = "red", names = {{nl = "Rood", ...}}}}',
    )
    min: Number | None = Field(None, description=_NUMBER)
    max: Number | None = Field(None, description=_NUMBER)
    max_characters: Annotated[int, Strict()] | None = Field(
        None, ge=1, le=ANSWER_CHARACTERS, description=f"whole characters, 1 to {ANSWER_CHARACTERS}"
    )

    @field_validator("options")
    @classmethod
    def _all_different(cls, options: tuple[Option, ...]) -> tuple[Option, ...]:
        if len({one.id for one in options}) < len(options):
            raise wrong("an id stands in the options twice", "give each option an id of its own")
        return options

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        for key, kinds in _OF_KINDS.items():
            if self.kind not in kinds and key in self.model_fields_set:
                raise wrong(f"a question of kind {self.kind!r} has no {key}", f"leave {key} out")
        if self.kind in ("choice", "choices") and len(self.options) < 2:
            raise wrong("there is nothing to choose from", "write at least two options")
        if self.kind == "number" and (self.min is None or self.max is None or self.min > self.max):
            raise wrong("a number needs its limits", "write min and max, min not above max")
        return self

    @property
    def characters(self) -> int:
        """How long the answer to a text may be."""
        return self.max_characters or USUAL_CHARACTERS

    @property
    def option_ids(self) -> frozenset[str]:
        return frozenset(option.id for option in self.options)


def claimed(entry: Any) -> dict[str, frozenset[str]]:
    """The choice questions of a category as it is written, right or wrong, each with the ids of its
    options: what rules may refer to."""
    return {
        question["id"]: frozenset(
            option["id"] for option in _tables(question.get("options")) if isinstance(option.get("id"), str)
        )
        for question in _tables(entry.get("questions") if isinstance(entry, dict) else None)
        if isinstance(question.get("id"), str) and question.get("kind") in ("choice", "choices")
    }


def _tables(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
