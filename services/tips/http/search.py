"""What a reader of public issues may ask for, as the query of a URL."""

import re
from typing import Annotated
from urllib.parse import urlencode

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from services.tips.core.asked import (
    CURSOR_CHARACTERS,
    After,
    Asked,
    Box,
    Word,
    cursor_of,
    read_cursor,
    words_of,
)
from shared.events import Code, Status, utc
from shared.municipality import Municipality
from shared.web import Problem

PAGE_ISSUES = 50
MOST_ISSUES = 200
MOST_VALUES = 20
TEXT_CHARACTERS = 100
_NUMBER = r"-?[0-9]{1,3}(\.[0-9]{1,20})?"


def _written_out(text: object) -> object:
    # Pydantic reads a number as seconds, or as milliseconds where it is large.
    if not isinstance(text, str) or not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt]", text, re.ASCII):
        raise PydanticCustomError("written_out", "Give a time with its zone, such as 2026-01-31T22:00:00Z")
    return text


class Search(BaseModel):
    """The filters of a list of issues. All that are given must hold; of one that is repeated, any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    box: Annotated[str, StringConstraints(pattern=rf"^{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}$")] | None = (
        Field(None, description="minLon,minLat,maxLon,maxLat in degrees (WGS 84), such as 5.5,52.0,5.7,52.1")
    )
    area: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}:[A-Za-z0-9_.-]{1,64}$")] | None = (
        Field(None, description="set:area, such as district:oakwood")
    )
    category: list[Code] = Field([], max_length=MOST_VALUES, description="codes of categories; any of them")
    status: list[Status] = Field([], max_length=MOST_VALUES, description="any of them")
    since: Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(utc)] | None = Field(
        None, description="changed then or later; a change may become public some minutes after its time"
    )
    text: Annotated[str, StringConstraints(min_length=2, max_length=TEXT_CHARACTERS)] | None = Field(
        None,
        description="beginnings of words in the public text or the category's name, in any language; all of "
        "them must be there",
    )
    cursor: (
        Annotated[
            str,
            StringConstraints(
                pattern=rf"^[A-Za-z0-9_-]{{{CURSOR_CHARACTERS}}}$",
                min_length=CURSOR_CHARACTERS,
                max_length=CURSOR_CHARACTERS,
            ),
        ]
        | None
    ) = Field(None, description="from `next` of the page before")
    limit: int = Field(PAGE_ISSUES, ge=1, le=MOST_ISSUES, description="issues on a page")

    def asked(self, municipality: Municipality) -> Asked:
        """The filters, read. Raises Problem 422."""
        set_id, _, area_id = (self.area or "").partition(":")
        return Asked(
            box=self._box(),
            area=(set_id, area_id) if self.area else None,
            categories=self.category,
            statuses=self.status,
            since=self.since,
            words=self._words(municipality),
        )

    def after(self) -> After | None:
        """Where the page begins. Raises Problem 422."""
        try:
            return read_cursor(self.cursor) if self.cursor else None
        except ValueError:
            raise _not_so("cursor", "take `next` as it was given, or begin without a cursor") from None

    def query(self, after: After | None = None) -> str:
        """The query of a URL that asks the same, from the first page or from another on."""
        given = self.model_dump(mode="json", exclude={"cursor"}, exclude_defaults=True)
        if after:
            given["cursor"] = cursor_of(after)
        return f"?{urlencode(given, doseq=True)}" if given else ""

    def _box(self) -> Box | None:
        if not self.box:
            return None
        west, south, east, north = map(float, self.box.split(","))
        if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
            raise _not_so("box", "give minLon,minLat,maxLon,maxLat, in this order, within the globe")
        return Box(west, south, east, north)

    def _words(self, municipality: Municipality) -> list[Word]:
        found = words_of(self.text, municipality) if self.text else []
        if self.text and not found:
            raise _not_so("text", "give at least one word of letters or digits")
        return found


def _not_so(name: str, mend: str) -> Problem:
    return Problem(
        422,
        "invalid-request",
        "Not as described",
        "Mend the fields named in `errors`.",
        errors=[(f"/query/{name}", mend)],
    )
