"""What the parts of a municipality's folder have in common: ids, texts, and how a mistake is told."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError


def wrong(problem: str, mend: str) -> PydanticCustomError:
    """A mistake with its own mend, to be raised by a validator."""
    return PydanticCustomError("wrong", "{problem}", {"problem": problem, "mend": mend})


def _one_line(text: str) -> str:
    if not text.strip():
        raise wrong("the text is empty", "write the words that a resident reads")
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text):
        raise wrong("the text holds a line break or another control character", "write it on one line")
    return text


def different(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise wrong("a value stands in the list twice", "name each value once")
    return values


Id = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="a lower-case letter, then up to 39 of a-z 0-9 _"),
]
AreaId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$",
        description="1 to 40 of A-Z a-z 0-9 _ . -, beginning with a letter or digit",
    ),
]
Language = Annotated[
    str, Field(pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$", description='a language tag such as "nl" or "nl-BE"')
]
Text = Annotated[str, AfterValidator(_one_line)]
Texts = Annotated[
    Mapping[str, Text], Field(description='one text per language, such as {nl = "Park", en = "Park"}')
]
Flag = Annotated[bool, Strict()]
# Of work: two years by day and night, nearly ten of a usual week.
LONGEST_HOURS = 20_000
Hours = Annotated[float, Field(gt=0, le=LONGEST_HOURS, allow_inf_nan=False, strict=True)]


class Part(BaseModel):
    """Frozen; an unknown key is refused. Equal and hashed by what it holds and by its id."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Identified(Part):
    id: Id

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.id))
