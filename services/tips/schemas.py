"""What residents get to read, as the OpenAPI document shows it. Times are UTC; a tip's are whole hours."""

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.tips.core.acts import Act


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Named(_Answer):
    """A unit."""

    id: str
    name: str


class Why(_Answer):
    """A reason's code, and its text where the municipality has one."""

    code: str
    text: str | None


class TimelineEntry(_Answer):
    """A step: what happened, in a code and in plain words, when, by whom and why. Who passes it on gives its
    own reason; the step after says why the next unit has it."""

    status: str
    text: str
    at: datetime
    unit: Named | None
    reason: Why | None
    day: date | None = None


class Explained(_Answer):
    """Who is responsible, by when and why, as sentences."""

    who: str
    by_when: str
    why: str | None
    before: str | None = Field(description="who had it last, and why no more; null for the first unit")


class PublicView(_Answer):
    """What everybody can read: the issue's page, and the text there, which a unit has given or approved."""

    page: str
    text: str | None
    text_by: Literal["unit", "resident"] | None


class ErasureWaits(_Answer):
    """Why a report is to be erased, and the last day on which something keeps it."""

    reason: Literal["resident", "retention", "spam", "lost"]
    until: date


class ReportView(_Answer):
    """A report as its sender sees it."""

    kind: Literal["tip", "issue"]
    category: str
    language: str
    areas: dict[str, str]
    status: str
    text: str = Field(description="the status in plain words")
    accepted_at: datetime
    unit: Named | None
    reason: Why | None
    acknowledge_by: datetime | None
    answer_by: datetime | None = Field(description="null where the category promises no answer")
    resolve_by: datetime | None
    explained: Explained | None = Field(description="null once nobody works on it")
    question_open: bool = Field(description="the unit asked something and has no answer yet")
    unread: int = Field(description="messages of the unit that were not read yet")
    erasure_waits: ErasureWaits | None = Field(description="it is to be erased, and not yet: `text` says why")
    possible: list[Act] = Field(description="what can be done now")
    reopen_until: datetime | None
    public: PublicView | None = Field(description="null where nothing of it is public")
    kept_until: date | None = Field(
        description="the words are destroyed on this day; what is still open then is kept once more, to"
        " another day; null while something keeps them, and once they are erased"
    )
    timeline: list[TimelineEntry]


class ReportAnswer(_Answer):
    report: ReportView


class MessageView(_Answer):
    """One message; `number` is its place in the conversation."""

    number: int
    sender: Literal["resident", "unit"]
    unit: Named | None
    text: str
    photos: list[str] = Field(description="ids of the photos that belong to it")
    asks: bool = Field(description="the unit wants an answer")
    at: datetime


class MessageAnswer(_Answer):
    message: MessageView


class Conversation(_Answer):
    messages: list[MessageView]
    question_open: bool


class RatingView(_Answer):
    satisfied: bool
    stars: int | None


class RatingAnswer(_Answer):
    rating: RatingView


class SentTo(_Answer):
    """Who was sent words, last when, and what became of that copy."""

    reader: str
    sent_at: datetime
    state: Literal["waiting", "confirmed", "cannot"]
    answered_at: datetime | None


class ReadBy(_Answer):
    """Who read words here."""

    reader: str
    purpose: str
    at: datetime


class MadePublic(_Answer):
    """Who let a text about it be read by everybody."""

    by: str
    at: datetime


class CertificateView(_Answer):
    """What was destroyed, when, and who had been sent words; never the words."""

    erased_at: datetime
    reason: Literal["resident", "retention", "spam", "lost"]
    destroyed: dict[str, int] = Field(description="a number for each sort of what there was")
    backups_until: datetime | None = Field(
        description="until then a backup that has what was destroyed can be opened, with the key that it was"
        " under; null where none can"
    )
    sent_to: list[SentTo]
    read_by: list[ReadBy]
    made_public: list[MadePublic]
    certificate_until: datetime = Field(description="until then the receipt leads to this certificate")


class CertificateAnswer(_Answer):
    certificate: CertificateView


class LogLine(_Answer):
    """Who did what with the words, when and why, as codes: a unit, or what a person is, never who."""

    at: datetime
    act: str
    reader: str
    service: str
    purpose: str


class Hold(_Answer):
    """The law has the words kept until the end of this day; why is not told here."""

    until: date


class Export(_Answer):
    """Everything that is held about one report. What is erased is null or empty."""

    format: Literal["ibuurt.export.v1"]
    report: ReportView
    words: dict[str, Any] | None = Field(description="what was sent, as it was sent")
    messages: list[MessageView]
    photos: list[str] = Field(description="where each photo is to be had, with the same receipt")
    email: Literal["none", "unconfirmed", "confirmed"] = Field(description="e-mail about news")
    email_address: str | None = Field(description="where it goes; null where none is asked for")
    public: dict[str, Any] | None = Field(description="what everybody can read, as in GET /v1/issues/ID")
    hold: Hold | None
    rating: RatingView | None
    log: list[LogLine]
    certificate: CertificateView | None


class ExportAnswer(_Answer):
    export: Export


class UnitMessageView(_Answer):
    """One message, as units read it."""

    message_id: str
    number: int
    sender: Literal["resident", "unit"]
    unit: str | None
    text: str
    photos: list[str]
    not_an_emergency: bool = Field(description="the resident says that there is no danger now")
    asks: bool
    at: datetime


class UnitMessageAnswer(_Answer):
    message: UnitMessageView
    report_version: int = Field(
        description="the report's version when it was stored, or now if it was before"
    )
    question_open: bool = Field(description="a unit asked something and has no answer yet")


class UnitConversation(_Answer):
    messages: list[UnitMessageView]


class Words(_Answer):
    """What a resident wrote, and what there is of the report besides."""

    report_id: UUID
    kind: Literal["tip", "issue"]
    category: str
    language: str
    areas: dict[str, str]
    description: str
    location: dict[str, Any] | None = Field(description="as it was sent")
    happened: dict[str, Any] | None
    answers: dict[str, Any]
    contact: dict[str, Any] | None
    photos: list[str] = Field(description="ids of the photos that belong to it")
    not_an_emergency: bool
    accepted_at: datetime


class PublicTextAnswer(_Answer):
    """What everybody may read of an issue's words from now on."""

    report_id: UUID
    public_text: str | None


class SpamMark(_Answer):
    """Whether a report is taken for spam, and the last day (UTC) on which that can be taken back."""

    status: Literal["marked", "unmarked", "erased"]
    until: date | None


class ConfirmationView(_Answer):
    """What is known of a destination's copy."""

    destination: str
    state: Literal["confirmed", "cannot"]
    at: datetime
