"""The contract: every event, the topic it goes to, its key and its version, in one place.

An event is a fact without words: nothing that somebody wrote, no address, no contact, no place of a tip.
How it is written on Kafka is shared/cloudevents.py.
Writers are strict (an unknown or wrongly typed field cannot be written); readers are tolerant (an unknown
field is ignored). Adding an optional field is compatible; anything else is a new version beside the old.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    WithJsonSchema,
    model_serializer,
)

DAY_MS = 86_400_000
MAX_VALUE_BYTES = 16_384


@dataclass(frozen=True)
class Topic:
    """A topic as the deployment makes it. `writer` is the one service that may write to it; `outsiders` says
    whether other municipal systems may read it."""

    name: str
    writer: str
    numbered: bool = True
    partitions: int = 12
    settings: Mapping[str, str] = field(default_factory=dict)
    outsiders: bool = False

    def dead_letters(self, group: str) -> str:
        """The topic that takes what `group` could not read here."""
        return f"{self.name}.dlt.{group}"


REPORTS = Topic("ibuurt.reports.v1", "tips", settings={"retention.ms": str(90 * DAY_MS)})
DISPATCHES = Topic("ibuurt.dispatches.v1", "notify", settings={"retention.ms": str(90 * DAY_MS)})
ISSUES = Topic(
    "ibuurt.issues.v1",
    "tips",
    settings={
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": str(7 * DAY_MS),
        "max.compaction.lag.ms": str(8 * DAY_MS),
        "delete.retention.ms": str(30 * DAY_MS),
    },
    outsiders=True,
)
INCIDENTS = Topic(
    "ibuurt.incidents.v1",
    "police",
    numbered=False,
    settings={"message.timestamp.type": "LogAppendTime", "retention.ms": str(90 * DAY_MS)},
)
STATISTICS = Topic(
    "ibuurt.statistics.v1", "stats", partitions=1, settings={"retention.ms": "-1"}, outsiders=True
)

# A topic's name and one of its partitions.
Place = tuple[str, int]
TOPICS = {topic.name: topic for topic in (REPORTS, DISPATCHES, ISSUES, INCIDENTS, STATISTICS)}
SUBSCRIPTIONS: Mapping[str, tuple[Topic, ...]] = {
    "tips": (DISPATCHES,),
    "notify": (REPORTS, ISSUES, STATISTICS),
    # Its own releases too: what is on the topic is what was published.
    "stats": (REPORTS, DISPATCHES, INCIDENTS, STATISTICS),
}
# A dead letter is larger than its record, by the headers that say why.
DEAD_LETTER_BYTES = 2_097_152
DEAD_LETTER_SETTINGS = {"retention.ms": str(14 * DAY_MS), "max.message.bytes": str(DEAD_LETTER_BYTES)}
# As long as an event of a report can be read again: from its topic, or set aside from its last day on.
READABLE_DAYS = 1 + sum(
    int(kept["retention.ms"]) // DAY_MS for kept in (REPORTS.settings, DEAD_LETTER_SETTINGS)
)


def numbered_topics(writer: str) -> list[Topic]:
    """The topics that a service writes by its outbox and relay."""
    return [topic for topic in TOPICS.values() if topic.writer == writer and topic.numbered]


def dead_letter_topics(groups: Iterable[str] = SUBSCRIPTIONS) -> list[Topic]:
    """The topics that take what these groups cannot read; the group is its writer."""
    return [
        Topic(topic.dead_letters(group), group, False, topic.partitions, DEAD_LETTER_SETTINGS)
        for group in groups
        for topic in SUBSCRIPTIONS.get(group, ())
    ]


def all_topics() -> list[Topic]:
    """Every topic that the deployment makes, dead-letter topics included."""
    return [*TOPICS.values(), *dead_letter_topics()]


def hour_of(moment: datetime) -> datetime:
    """The hour a moment lies in, UTC: a tip's time is never finer."""
    at = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return at.replace(minute=0, second=0, microsecond=0)


def utc(moment: datetime) -> datetime:
    """The moment in UTC. Raises ValueError for one without a zone, or outside the years 1 to 9999 in UTC."""
    if moment.tzinfo is None:
        raise ValueError("a time needs its zone; write it in UTC, such as 2026-01-31T12:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time lies outside the years 1 to 9999; write one in UTC") from None


def _whole_hour(moment: datetime) -> datetime:
    if hour_of(moment) != moment:
        raise ValueError("the time must be cut to the hour")
    return moment


Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Moment = Annotated[datetime, AfterValidator(utc)]
Hour = Annotated[
    datetime,
    AfterValidator(utc),
    AfterValidator(_whole_hour),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": ":00:00Z$"}),
]
Areas = dict[Code, Code]
Page = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]{1,300}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/=_-]{16,128}$")]
Kind = Literal["tip", "issue"]
Urgency = Literal["normal", "urgent"]
Regime = Literal["gdpr", "led"]
Took = Literal["1h", "4h", "24h", "72h", "7d", "later"]
Status = Literal["accepted", "routed", "acknowledged", "planned", "resolved", "refused", "withdrawn"]
Version = Annotated[int, Field(ge=1)]


def time_of(kind: Kind, moment: datetime) -> datetime:
    """The moment as it may be kept of a report of that kind: a tip's is cut to the hour."""
    return hour_of(moment) if kind == "tip" else moment


class Event(BaseModel):
    """What happened, about one key of one topic. `type` is the CloudEvents type, its version at the end;
    `keyed_by` names the field that is the record's key; its value has no more than `max_bytes`. `unknown` is
    what a reader does with members that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    topic: ClassVar[Topic]
    type: ClassVar[str]
    keyed_by: ClassVar[str]
    max_bytes: ClassVar[int] = MAX_VALUE_BYTES
    unknown: ClassVar[Literal["ignore", "allow"]] = "ignore"

    @property
    def key(self) -> str:
        """The record's key and ce_subject."""
        return str(getattr(self, self.keyed_by))

    @property
    def coarse(self) -> bool:
        """Whether the event's time must be cut to the hour."""
        return False


class ReportEvent(Event):
    """Something about one report, written by `tips` or `notify`; `version` counts its writer's events."""

    keyed_by = "report_id"
    report_id: uuid.UUID
    kind: Kind
    version: Version

    @property
    def coarse(self) -> bool:
        return self.kind == "tip"


class ReportAccepted(ReportEvent):
    """A resident's report is stored; `areas` maps each area set to the area the place lies in, if known."""

    topic = REPORTS
    type = "ibuurt.ReportAccepted.v1"
    category: Code
    areas: Areas
    hour: Hour
    regime: Regime
    urgency: Urgency
    source: Code
    language: Code
    municipality_version: Code
    answers: dict[Code, Code | tuple[Code, ...]] = Field(default_factory=dict)


class ReportRecategorised(ReportEvent):
    """The report has another category; its kind stays."""

    topic = REPORTS
    type = "ibuurt.ReportRecategorised.v1"
    category: Code
    regime: Regime
    urgency: Urgency


class ReportSupplemented(ReportEvent):
    """The resident added words or photos."""

    topic = REPORTS
    type = "ibuurt.ReportSupplemented.v1"


class ReportAnswered(ReportEvent):
    """The resident replied to the unit's question."""

    topic = REPORTS
    type = "ibuurt.ReportAnswered.v1"


class ReportReopened(ReportEvent):
    """The resident says that it is not solved."""

    topic = REPORTS
    type = "ibuurt.ReportReopened.v1"


class ReportWithdrawn(ReportEvent):
    """The resident took the report back."""

    topic = REPORTS
    type = "ibuurt.ReportWithdrawn.v1"


class ReportErased(ReportEvent):
    """The report's words are gone."""

    topic = REPORTS
    type = "ibuurt.ReportErased.v1"
    reason: Literal["resident", "retention", "spam", "lost"]


# The reason of a ReportRouted that no rule of the folder chose: another unit named this one.
NAMED_BY_UNIT = "named_by_unit"
# The reason of a ReportHandedOver whose unit is in the folder no more, and of a ReportEscalated where only a
# person can say who has it then.
UNIT_LEFT = "unit_left"


class ReportRouted(ReportEvent):
    """A unit is responsible, chosen by a rule; due times follow the category's targets, `answer_by` where it
    promises an answer."""

    topic = DISPATCHES
    type = "ibuurt.ReportRouted.v1"
    unit: Code
    rule: Code
    rules_version: Code
    reason: Code
    acknowledge_by: Moment
    resolve_by: Moment
    answer_by: Moment | None = None


class ReportDelivered(ReportEvent):
    """The unit's system took the report."""

    topic = DISPATCHES
    type = "ibuurt.ReportDelivered.v1"
    unit: Code
    channel: Code


class DeliveryFailed(ReportEvent):
    """A channel gave up; a person has to look."""

    topic = DISPATCHES
    type = "ibuurt.DeliveryFailed.v1"
    unit: Code
    channel: Code
    reason: Code
    attempts: Annotated[int, Field(ge=1)]


class ReportAcknowledged(ReportEvent):
    """The unit has seen the report; `took` is the bucket of the time since it was accepted."""

    topic = DISPATCHES
    type = "ibuurt.ReportAcknowledged.v1"
    unit: Code
    by: Code
    took: Took


class ReportAnswerAsked(ReportEvent):
    """The unit asked the resident something; the question itself is in `tips`."""

    topic = DISPATCHES
    type = "ibuurt.ReportAnswerAsked.v1"
    unit: Code


class ReportPlanned(ReportEvent):
    """The unit set a day for the work."""

    topic = DISPATCHES
    type = "ibuurt.ReportPlanned.v1"
    unit: Code
    day: date


class ReportResolved(ReportEvent):
    """The unit is done; `outcome` is a code."""

    topic = DISPATCHES
    type = "ibuurt.ReportResolved.v1"
    unit: Code
    outcome: Code
    in_time: bool


class ReportRefused(ReportEvent):
    """The unit says that it is not responsible."""

    topic = DISPATCHES
    type = "ibuurt.ReportRefused.v1"
    unit: Code
    reason: Code


class ReportHandedOver(ReportEvent):
    """The report moved on from one unit to another."""

    topic = DISPATCHES
    type = "ibuurt.ReportHandedOver.v1"
    unit: Code
    to_unit: Code
    reason: Code


class ReportEscalated(ReportEvent):
    """A target was missed; the next level is told."""

    topic = DISPATCHES
    type = "ibuurt.ReportEscalated.v1"
    unit: Code
    level: Annotated[int, Field(ge=1)]
    reason: Code


class IssueChanged(Event):
    """The whole public state of one issue of a public category. Its id is not the report's."""

    topic = ISSUES
    type = "ibuurt.IssueChanged.v1"
    keyed_by = "issue_id"
    issue_id: uuid.UUID = Field(description="random; the same for the whole life of the issue")
    version: Version = Field(description="rises with every change of this issue")
    category: Code = Field(description="a category of the municipality")
    areas: Areas = Field(description="by area set, the area that the place lies in")
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = Field(None, description="rounded; WGS 84")
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = Field(None, description="rounded; WGS 84")
    status: Status
    page: Page = Field(description="the issue's page for people")


class IssueGone(Event):
    """The issue is erased or no longer public. On Kafka it is a tombstone: a record without a value."""

    topic = ISSUES
    type = "ibuurt.IssueGone.v1"
    keyed_by = "issue_id"
    issue_id: uuid.UUID


class IncidentRecorded(Event):
    """An offence in the police's records."""

    topic = INCIDENTS
    type = "ibuurt.IncidentRecorded.v1"
    keyed_by = "incident_id"
    incident_id: uuid.UUID = Field(description="the same whenever this incident is sent again")
    category: Code = Field(description="an offence category of the municipality")
    areas: Areas = Field(description="by area set, the area that the place lies in")
    hour: Hour = Field(description="when it happened, cut to the hour, UTC")


class _AsRead(BaseModel):
    """What is written as it was read: with members that are not known, without those that were not there. So
    it has the digest that its writer gave it, whichever version that was."""

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        there = self.model_fields_set
        return {name: told for name, told in write(self).items() if name in there} | (self.model_extra or {})


class ReleasedCell(_AsRead):
    """One published figure: a count with its noise, so it may be negative."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    table: Code
    cell: tuple[Code, ...] = Field(description="the row and column of the table, as codes")
    value: int = Field(description="may be negative; do not cut it at 0")
    tenths: int | None = Field(
        None, description="of a final edition: the same in tenths, which add up exactly where tables meet"
    )


class StatisticsReleased(Event, _AsRead):
    """One closed period's figures, chained to the release before and signed (Ed25519); hexadecimal hashes."""

    topic = STATISTICS
    type = "ibuurt.StatisticsReleased.v1"
    keyed_by = "release_id"
    unknown = "allow"
    # The cells of a large city; Kafka takes a record of a million bytes.
    max_bytes = 900_000
    release_id: uuid.UUID
    number: Annotated[int, Field(ge=1)] = Field(description="the place in the chain of releases")
    spec: Code = Field(description="how the figures were made; it names tables, scales and thresholds")
    period: Code
    state: Literal["released", "withheld"]
    cells: tuple[ReleasedCell, ...]
    previous: Code = Field(description="the digest of the release before")
    digest: Code
    signing_key: Code
    signature: Signature
    table: Code | None = Field(None, description="the table that this is the period of")
    edition: Literal["first", "final"] = Field(
        "first", description="final: a month's first editions made to agree with one another; they stay"
    )
    reason: Literal["incomplete"] | None = Field(None, description="why it is withheld")
    scale: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="of the noise: the release has spent 1/scale of each report; none: nothing",
    )
    margins: dict[Code, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict,
        description="by table, in tenths: in 95 % of all cells the count lies within so much of the value",
    )


EVENT_TYPES: Mapping[str, type[Event]] = {
    event.type: event
    for event in (
        ReportAccepted,
        ReportRecategorised,
        ReportSupplemented,
        ReportAnswered,
        ReportReopened,
        ReportWithdrawn,
        ReportErased,
        ReportRouted,
        ReportDelivered,
        DeliveryFailed,
        ReportAcknowledged,
        ReportAnswerAsked,
        ReportPlanned,
        ReportResolved,
        ReportRefused,
        ReportHandedOver,
        ReportEscalated,
        IssueChanged,
        IssueGone,
        IncidentRecorded,
        StatisticsReleased,
    )
}


def is_compacted(topic: Topic) -> bool:
    """Whether of each key only the newest record is sure to stay."""
    return "compact" in topic.settings.get("cleanup.policy", "")
