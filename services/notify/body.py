"""What others send, as strict models: an unknown field is refused, and no refusal repeats a value."""

import uuid
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.notify.core.acts import Act

# As tips takes a message.
TEXT_CHARACTERS = 5_000
Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Actor = Annotated[str, StringConstraints(pattern=r"^[a-z]{1,20}:[A-Za-z0-9_.@-]{1,64}$")]
WrittenDay = Annotated[date, Field(strict=False)]


class Doing(BaseModel):
    """What is done with a report. `refuse` and `hand_over` have a `reason`, `resolve` an `outcome`, `plan` a
    `day` such as 2026-01-31, `ask` a `text`. `to_unit` is whom it is for; a unit that refuses may leave it
    out. `text` goes to the resident."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    action: Literal["acknowledge", "ask", "plan", "resolve", "refuse", "hand_over"]
    reason: Code | None = None
    to_unit: Code | None = None
    outcome: Code | None = None
    day: WrittenDay | None = None
    text: (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TEXT_CHARACTERS)]
        | None
    ) = None

    def act(self, via: str) -> Act:
        """It as an act that came by `via`."""
        writes = self.text is not None
        return Act(self.action, via, self.reason or "", self.to_unit, self.outcome or "", self.day, writes)


class NewAct(Doing):
    """What somebody of a unit does with a report. `act_id` is random, and the same when it is sent again;
    `by` is who it is, as a code such as officer:k.jansen, which stands in the history."""

    act_id: uuid.UUID
    unit: Code
    by: Actor


class Inbound(BaseModel):
    """What a partner's system says, as Standard Webhooks has it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    type: Literal["ibuurt.act", "ibuurt.erased"]


class InboundAct(Inbound):
    """It does something with a report."""

    class Data(Doing):
        report_id: uuid.UUID

    data: Data


class InboundErased(Inbound):
    """It says what became of its copy of a report that was erased."""

    class Data(BaseModel):
        model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
        report_id: uuid.UUID
        erased: bool

    data: Data
