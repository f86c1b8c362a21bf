"""What others send, as strict models: an unknown field is refused, and no refusal repeats a value."""

import json
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

DESCRIPTION_CHARACTERS = 10_000
ADDRESS_CHARACTERS = 300


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "Leave out the character U+0000")
    return text


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# Latitude and longitude have the same limits, so that swapped ones come as far as the check that says so.
Degrees = Annotated[float, Field(ge=-180, le=180)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Point(_Body):
    """WGS 84 degrees."""

    latitude: Degrees
    longitude: Degrees


class Location(_Body):
    """Exactly one of the three; `area` names an area per area set."""

    point: Point | None = None
    area: Annotated[dict[Name, Name], Field(min_length=1)] | None = None
    address: (
        Annotated[
            str,
            StringConstraints(strip_whitespace=True, min_length=1, max_length=ADDRESS_CHARACTERS),
            AfterValidator(_without_nul),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(place is not None for place in (self.point, self.area, self.address)) != 1:
            raise PydanticCustomError("one_place", "Give exactly one of point, area and address")
        return self


class NewReport(_Body):
    """What a resident sends. Without `language` the municipality's first one is taken."""

    kind: Literal["issue", "tip"]
    category: Name
    description: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=DESCRIPTION_CHARACTERS),
        AfterValidator(_without_nul),
    ]
    location: Location
    language: Name | None = None

    def canonical(self) -> bytes:
        """The same bytes for the same content, however it was written."""
        return json.dumps(self.model_dump(), sort_keys=True).encode()


class EmailAddress(_Body):
    """Where news may be sent."""

    address: Annotated[
        str, StringConstraints(max_length=254, pattern=r"^[!-?A-~]{1,64}@[A-Za-z0-9.-]{1,190}$")
    ]


class Reading(_Body):
    """Who reads a report's words and why, as codes: the log of readings holds nobody's sentences."""

    purpose: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    reader: Annotated[
        str, StringConstraints(pattern=r"^[a-z]{1,20}:[A-Za-z0-9_.@-]{1,64}( via [a-z0-9_-]{1,40})?$")
    ]
