"""What residents send to a report that is there, and units by `notify`, as strict models."""

import uuid
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from services.tips.body import WRITTEN, Name, Photos, _Body, _words
from services.tips.core.conversation import MESSAGE_CHARACTERS
from shared.events import Moment

MessageText = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MESSAGE_CHARACTERS),
    AfterValidator(_words),
    WRITTEN,
]
PURPOSE = r"^[a-z][a-z0-9_]{0,39}$"
READER = r"^[a-z]{1,20}:[A-Za-z0-9_.@-]{1,64}( via [a-z0-9_-]{1,40})?$"


def _whole(number: object) -> object:
    # In JSON 4.0 is the integer 4, and JSON Schema says so.
    return int(number) if isinstance(number, float) and number.is_integer() else number


class NewMessage(_Body):
    """What a resident writes to the unit. With `not_an_emergency` it is taken although its words tell of
    danger now."""

    text: MessageText
    photos: Photos = Field(default_factory=list)
    not_an_emergency: bool = False


class NewReopening(_Body):
    """That it is not solved; the text becomes a message to the unit, and `not_an_emergency` is as there."""

    text: MessageText | None = None
    not_an_emergency: bool = False


class NewRating(_Body):
    """What the resident thinks of how it went; stars from 1 to 5 may be left out."""

    satisfied: bool
    stars: Annotated[int, Field(ge=1, le=5), BeforeValidator(_whole)] | None = None


class UnitMessage(_Body):
    """What a unit writes to the resident; `message_id` is the same when it is sent again. `by` is who wrote
    it, as a code, for the log; the resident sees the unit."""

    message_id: uuid.UUID
    unit: Name
    by: Annotated[str, StringConstraints(pattern=READER)] | None = None
    text: MessageText
    photos: Photos = Field(default_factory=list)
    asks: bool


class Spam(_Body):
    """Who says so, as a code. The same decision again changes nothing, even if it has been taken back."""

    decision_id: uuid.UUID
    by: Annotated[str, StringConstraints(pattern=READER)]


class Confirmed(_Body):
    """What a destination says of its copy, and when."""

    state: Literal["confirmed", "cannot"]
    at: Moment
