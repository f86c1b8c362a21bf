"""What others send, as strict models: an unknown field is refused, and no refusal repeats a value."""

import json
import re
import uuid
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from services.tips.photos import MAX_PHOTOS

DESCRIPTION_CHARACTERS = 10_000
ADDRESS_CHARACTERS = 300
CONTACT_NAME_CHARACTERS = 100
EMAIL_CHARACTERS = 254
PHONE_CHARACTERS = 30
# When something happened, and dates that are asked for.
EARLIEST_YEAR, LATEST_YEAR = 1900, 2199
SUMMARY_CHARACTERS = 1_000


# Controls, marks that set the direction, and what has no width: of these alone nobody can read anything.
_UNSEEN = (
    r"\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202f\u205f-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0"
)
_SEEN = re.compile(rf"[^\s{_UNSEEN}]")


def _words(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "Leave out the character U+0000")
    if not _SEEN.search(text):
        raise PydanticCustomError("unseen", "Write something that can be read")
    return text


def _one_line(text: str) -> str:
    if any(char < " " or char == "\x7f" for char in text):
        raise PydanticCustomError("one_line", "Write it on one line, without control characters")
    return text


def _visible(text: str) -> str:
    # An address with a character that nobody sees leads to somebody else, or nowhere.
    if not text.isprintable():
        raise PydanticCustomError("visible", "Leave out characters that cannot be seen")
    return text


def _when(text: str) -> str:
    if moment_of(text) is None:
        raise PydanticCustomError(
            "when",
            "Write a day such as 2026-01-31, or a day and a time such as 2026-01-31T22:00, in the"
            f" municipality's time, from {EARLIEST_YEAR} to {LATEST_YEAR}",
        )
    return text


def day_of(text: str) -> date | None:
    """The day that is written as 2026-01-31, or None."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if EARLIEST_YEAR <= day.year <= LATEST_YEAR else None


def moment_of(text: str) -> datetime | None:
    """The begin of a day that is written as 2026-01-31, or a minute, as 2026-01-31T22:00; None where it is
    neither. Without a zone: it is the municipality's."""
    day, separator, time = text.partition("T")
    if (found := day_of(day)) is None or not re.fullmatch(
        r"([01][0-9]|2[0-3]):[0-5][0-9]" if separator else "", time
    ):
        return None
    hour, minute = (int(part) for part in time.split(":")) if separator else (0, 0)
    return datetime(found.year, found.month, found.day, hour, minute)  # noqa: DTZ001 - see above


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# What the checks above and below refuse, as the OpenAPI document says it.
WRITTEN = Field(json_schema_extra={"pattern": rf"^[^\u0000]*[^\s{_UNSEEN}][^\u0000]*$"})
ON_ONE_LINE = Field(
    json_schema_extra={"pattern": r"^[^\u0000-\u001f\u007f]*[^\s\u0000-\u001f\u007f][^\u0000-\u001f\u007f]*$"}
)


def _given(name: str, type_: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": type_}}}


# Latitude and longitude have the same limits, so that swapped ones come as far as the check that says so.
Degrees = Annotated[float, Field(ge=-180, le=180)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
# A person or a part of a unit, as a code, and the way by which they read.
Reader = Annotated[
    str, StringConstraints(pattern=r"^[a-z]{1,20}:[A-Za-z0-9_.@-]{1,64}( via [a-z0-9_-]{1,40})?$")
]


class Point(_Body):
    """WGS 84 degrees."""

    latitude: Degrees
    longitude: Degrees


class Location(_Body):
    """Exactly one of the three; `area` names an area per area set."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [_given("point", "object"), _given("area", "object"), _given("address", "string")]
        }
    )
    point: Point | None = None
    area: Annotated[dict[Name, Name], Field(min_length=1)] | None = None
    address: (
        Annotated[
            str,
            StringConstraints(strip_whitespace=True, min_length=1, max_length=ADDRESS_CHARACTERS),
            AfterValidator(_words),
            WRITTEN,
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(place is not None for place in (self.point, self.area, self.address)) != 1:
            raise PydanticCustomError("one_place", "Give exactly one of point, area and address")
        return self


When = Annotated[
    str,
    AfterValidator(_when),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
            "(T([01][0-9]|2[0-3]):[0-5][0-9])?$",
        }
    ),
]


class Happened(_Body):
    """When it happened, in the municipality's time: a day (2026-01-31) or a minute (2026-01-31T22:00), and
    where it lasted until when."""

    begin: When = Field(alias="from")
    end: When | None = Field(None, alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        begin, end = moment_of(self.begin), moment_of(self.end or self.begin)
        # A whole day as the end lasts until its midnight.
        if begin and end and (begin.date() > end.date() or (begin > end and "T" in (self.end or ""))):
            raise PydanticCustomError("in_order", "Give a `to` that is not before `from`")
        return self


def _line(characters: int) -> StringConstraints:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=characters)


class Contact(_Body):
    """How a resident wants to be reached: at least one of the three."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [_given("name", "string"), _given("email", "string"), _given("phone", "string")]
        }
    )
    name: Annotated[str, _line(CONTACT_NAME_CHARACTERS), AfterValidator(_one_line), ON_ONE_LINE] | None = None
    email: (
        Annotated[
            str,
            _line(EMAIL_CHARACTERS),
            StringConstraints(
                pattern=r'^[^\s@<>",;:\\()\[\]]{1,64}@[^\s@<>",;:\\()\[\]]+\.[^\s@<>",;:\\()\[\].]+$'
            ),
            AfterValidator(_visible),
        ]
        | None
    ) = None
    phone: (
        Annotated[
            str,
            _line(PHONE_CHARACTERS),
            StringConstraints(pattern=r"^\+?[0-9(][0-9 ()./-]{4,}$"),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.name is None and self.email is None and self.phone is None:
            raise PydanticCustomError("no_contact", "Give a name, an email or a phone, or leave contact out")
        return self


Answer = str | int | float | list[str]
Answers = Annotated[
    dict[Name, JsonValue],
    WithJsonSchema(
        {
            "type": "object",
            "description": "By the id of a question: a text, a number, a date (2026-01-31), the id of an"
            " option, or a list of such ids. GET /v1/form tells the questions of each category.",
            "additionalProperties": {
                "anyOf": [
                    {"type": "string"},
                    {"type": "number"},
                    {"type": "array", "items": {"type": "string"}},
                ]
            },
        }
    ),
]


# The ids that uploads of photos were answered with.
Photos = Annotated[list[uuid.UUID], Field(max_length=MAX_PHOTOS)]


class NewReport(_Body):
    """What a resident sends. Without `language` the municipality's first one is taken. With
    `not_an_emergency` a report is taken although its words or its category tell of danger now."""

    kind: Literal["issue", "tip"]
    category: Name
    description: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=DESCRIPTION_CHARACTERS),
        AfterValidator(_words),
        WRITTEN,
    ]
    location: Location | None = None
    happened: Happened | None = None
    answers: Answers = Field(default_factory=dict)
    contact: Contact | None = None
    photos: Photos = Field(default_factory=list)
    language: Name | None = None
    not_an_emergency: bool = False

    def canonical(self) -> bytes:
        """The same bytes for the same content, however it was written."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True).encode()

    def words(self, answers: Mapping[str, Answer]) -> dict[str, Any]:
        """What is sealed: all that the resident wrote, without what was left out. `answers` as they were
        checked."""
        written = self.model_dump(
            by_alias=True,
            exclude_none=True,
            include={"description", "location", "happened", "contact", "not_an_emergency"},
        )
        return written | {"answers": dict(answers), "photos": [str(one) for one in self.photos]}


_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"


class EmailAddress(_Body):
    """Where news may be sent."""

    # What RFC 5321 calls a dot-string and a domain: all else a mail program may read otherwise than we do.
    address: Annotated[
        str,
        StringConstraints(
            max_length=254, pattern=rf"^{_ATOM}(\.{_ATOM}){{0,30}}@({_LABEL}\.){{1,20}}{_LABEL}$"
        ),
    ]


class Reading(_Body):
    """Who reads a report's words and why, as codes: the log of readings holds nobody's sentences."""

    purpose: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    reader: Reader


class PublicText(_Body):
    """Either `text`, a summary that the unit wrote, or `approve`, with the SHA-256 of the words that were
    read (`description`, in UTF-8, hexadecimal). null and false take a public text back. `by` is who decided.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "required": ["text"],
                    "properties": {"approve": {"type": "null"}, "digest": {"type": "null"}},
                },
                {
                    "required": ["approve", "digest"],
                    "properties": {"approve": {"const": True}, "digest": {"type": "string"}, "text": False},
                },
                {
                    "required": ["approve"],
                    "properties": {"approve": {"const": False}, "digest": {"type": "null"}, "text": False},
                },
            ]
        }
    )
    by: Reader
    text: (
        Annotated[
            str,
            StringConstraints(strip_whitespace=True, min_length=1, max_length=SUMMARY_CHARACTERS),
            AfterValidator(_words),
            WRITTEN,
        ]
        | None
    ) = None
    approve: bool | None = None
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if ("text" in self.model_fields_set) == (self.approve is not None):
            raise PydanticCustomError("one_of", "Give exactly one of text and approve")
        if (self.digest is not None) != (self.approve is True):
            raise PydanticCustomError("digest", "Give digest with approve true, and only then")
        return self
