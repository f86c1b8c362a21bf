"""What a municipality consists of. Each description is what the mend of a mistake tells to write."""

import zoneinfo
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    Strict,
    ValidationInfo,
    field_validator,
)

from shared.municipality.channels import Address, Channel, ChannelKind, Extent, Leaves, Webhook
from shared.municipality.hours import Holidays, OpeningHours, Week, week_of
from shared.municipality.parts import (
    LONGEST_HOURS,
    AreaId,
    Flag,
    Hours,
    Id,
    Identified,
    Language,
    Part,
    Texts,
    different,
    wrong,
)
from shared.municipality.phrases import NUMBER, Wording
from shared.municipality.questions import QUESTIONS_PER_CATEGORY, Question
from shared.municipality.rules import Rule
from shared.municipality.statistics import Statistics

LONGEST_WAIT_MINUTES = 30


class Targets(Part):
    """The clock of a category, in hours in which the unit works."""

    acknowledge_hours: Hours = Field(description="hours as a number above 0 and up to 20000, such as 24")
    resolve_hours: Hours = Field(description="hours as a number above 0 and up to 20000, such as 72")
    # By when the resident hears something: a question, a day, or how it ended. Without: no such promise.
    answer_hours: Hours | None = Field(
        None, description="hours as a number above 0 and up to 20000, such as 48"
    )

    @field_validator("answer_hours")
    @classmethod
    def _before_resolving(cls, hours: float | None, info: ValidationInfo) -> float | None:
        if hours is not None and hours > info.data.get("resolve_hours", hours):
            raise wrong(
                "the time to answer is longer than the time to resolve",
                "write at most as many hours as resolve_hours",
            )
        return hours

    @field_validator("resolve_hours")
    @classmethod
    def _after_acknowledging(cls, hours: float, info: ValidationInfo) -> float:
        if hours < info.data.get("acknowledge_hours", 0):
            raise wrong(
                "the time to resolve is shorter than the time to acknowledge",
                "write at least as many hours as acknowledge_hours",
            )
        return hours


def _usual_wait(data: dict[str, Any]) -> int:
    return LONGEST_WAIT_MINUTES if data.get("kind") == "tip" and not data.get("urgent") else 0


class Category(Identified):
    """What a report is about. `kind` decides what may ever become public: a tip never does."""

    kind: Literal["tip", "issue"] = Field(description='"tip" or "issue"')
    public: Flag = Field(description="true or false")
    urgent: Flag = Field(description="true or false")
    regime: Literal["gdpr", "led"] = Field(description='"gdpr" or "led"')
    names: Texts
    targets: Targets = Field(description="{acknowledge_hours = 24, resolve_hours = 72}")
    # Words are kept until so many days after the end of the month in which they came (UTC).
    retention_days: Annotated[int, Strict()] = Field(
        365, ge=1, le=36_500, description="whole days, 1 to 36500"
    )
    public_text: Literal["none", "summary", "words"] = Field(
        "none", description='"none", "summary" or "words"'
    )
    # How near another public issue must be to be shown as a possible duplicate; 0 for never.
    duplicates_metres: Annotated[int, Strict()] = Field(
        50, ge=0, le=1_000, description="whole metres, 0 to 1000"
    )
    delivery_wait_minutes: Annotated[int, Strict()] = Field(
        default_factory=_usual_wait,
        ge=0,
        le=LONGEST_WAIT_MINUTES,
        description=f"the longest random wait before delivery: whole minutes, 0 to {LONGEST_WAIT_MINUTES}",
    )

    questions: tuple[Question, ...] = Field(
        (),
        max_length=QUESTIONS_PER_CATEGORY,
        description=f"at most {QUESTIONS_PER_CATEGORY} questions, each a table with id, kind and names",
    )
    # Whether a resident may leave a name, an e-mail address and a telephone number.
    contact: Flag = Field(False, description="true or false")
    # Whether choosing it means danger now: the resident is told to call before anything is stored.
    danger: Flag = Field(False, description="true or false")

    # How much of a report may leave by each kind of channel.
    leaves: Leaves = Field(Leaves(), description='such as {webhook = "words", email = "notice"}')

    @field_validator("leaves")
    @classmethod
    def _nothing_in_clear(cls, leaves: Leaves, info: ValidationInfo) -> Leaves:
        # E-mail lies readable on every server that it passes, and in mailboxes that many people share.
        if leaves.email in ("words", "codes") and info.data.get("kind") == "tip":
            raise wrong(
                "neither words nor codes of a tip ever leave by e-mail",
                'write email = "notice", or leave it out',
            )
        if leaves.email == "words" and info.data.get("regime") == "led":
            raise wrong(
                "words never leave by e-mail where offences are prevented or detected",
                'write email = "codes" or email = "notice"',
            )
        return leaves

    def leaving(self, kind: ChannelKind) -> Extent:
        """How much of a report of this category may leave by a kind of channel."""
        return self.leaves.by(kind, tip=self.kind == "tip")

    @field_validator("contact")
    @classmethod
    def _tips_are_anonymous(cls, contact: bool, info: ValidationInfo) -> bool:
        if contact and info.data.get("kind") == "tip":
            raise wrong("a tip is anonymous", "write contact = false, or make it an issue")
        return contact

    @field_validator("public")
    @classmethod
    def _tips_stay_private(cls, public: bool, info: ValidationInfo) -> bool:
        if public and info.data.get("kind") == "tip":
            raise wrong("a tip is never published", "write public = false, or make it an issue")
        return public

    @field_validator("public_text")
    @classmethod
    def _only_of_public_issues(cls, public_text: str, info: ValidationInfo) -> str:
        if public_text != "none" and not info.data.get("public", True):
            raise wrong("only a public category has a public text", 'write "none", or public = true')
        return public_text

    @field_validator("delivery_wait_minutes")
    @classmethod
    def _issues_go_at_once(cls, minutes: int, info: ValidationInfo) -> int:
        if minutes > 0 and info.data.get("kind") == "issue":
            raise wrong(
                "an issue is delivered at once: only a tip's sender needs the wait", "leave the key out"
            )
        return minutes


class Unit(Identified):
    """Who is responsible, and the ways to reach them."""

    names: Texts
    # Without any: always, by day and night, also on holidays.
    hours: OpeningHours = ()
    channels: tuple[Channel, ...] = Field(min_length=1, description="at least one [[units.channels]]")
    # What is used where one of the channels is given up.
    fallback: tuple[Channel, ...] = Field((), description="a list of [[units.fallback]], or nothing")
    # Where its digest goes in the morning: open reports of public categories, never anything of a tip.
    digest: Address | None = Field(None, description='an address such as "team@town.example"')

    @field_validator("fallback")
    @classmethod
    def _other_ways(cls, fallback: tuple[Channel, ...], info: ValidationInfo) -> tuple[Channel, ...]:
        if any(one in info.data.get("channels", ()) for one in fallback):
            raise wrong(
                "what is used when a channel is given up is that channel again",
                "name another way, or take it out",
            )
        return fallback

    @property
    def webhooks(self) -> tuple[Webhook, ...]:
        """All its webhooks; they have one signing secret."""
        return tuple(one for one in (*self.channels, *self.fallback) if isinstance(one, Webhook))

    @property
    def has_email(self) -> bool:
        """Whether anything of it is an e-mail address."""
        return self.digest is not None or any(one.kind == "email" for one in (*self.channels, *self.fallback))

    @property
    def week(self) -> Week:
        """When it works."""
        return week_of(self.hours)


class Area(Part):
    """A place that is counted and routed by. `geometry` is GeoJSON's, WGS 84, [longitude, latitude]."""

    id: AreaId
    names: Texts
    geometry: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash(self.id)


class AreaSet(Identified):
    """Areas of one sort, in the order of their file: where two touch, the first one has the place."""

    names: Texts
    file: str
    areas: Mapping[str, Area]


class Level(Part):
    """Who is told that a target was missed, and when."""

    after_hours: Annotated[float, Strict()] = Field(
        ge=0,
        le=LONGEST_HOURS,
        description="working hours after the target's end: a number from 0 on, up to 20000, such as 24.0",
    )
    # Besides the unit that has the report.
    unit: Id | None = Field(None, description="the id of a unit that is told as well")


class Clocks(Part):
    """When a unit is reminded, and who is told of what is late."""

    remind_at: Annotated[float, Strict()] = Field(
        0.75, gt=0, lt=1, description="the part of a target's time after which the unit is reminded: 0.75"
    )
    levels: tuple[Level, ...] = Field(
        (Level(after_hours=0.0),),
        min_length=1,
        max_length=9,
        description='one to nine levels, such as [{after_hours = 0.0}, {after_hours = 24.0, unit = "desk"}]',
    )

    @field_validator("levels")
    @classmethod
    def _later_and_later(cls, levels: tuple[Level, ...]) -> tuple[Level, ...]:
        hours = [one.after_hours for one in levels]
        if hours != sorted(set(hours)):
            raise wrong("a level comes no later than the one before", "give each level more after_hours")
        return levels


class Header(Part):
    """municipality.toml, without its area sets."""

    slug: str = Field(
        pattern=r"^[a-z][a-z0-9-]{0,39}$", description="a lower-case letter, then up to 39 of a-z 0-9 -"
    )
    names: Texts
    languages: Annotated[tuple[Language, ...], AfterValidator(different)] = Field(
        min_length=1, description='a list of language tags, the default first: ["nl", "en"]'
    )
    zone: str = Field(description='an IANA time zone such as "Europe/Amsterdam"')
    emergency_number: str = Field(pattern=r"^\+?[0-9][0-9 ]{1,15}$", description='digits such as "112"')
    # What a resident reads before sending: what is asked and kept, by whom, and where all of it is told.
    privacy_notice: Texts
    # How long after it was resolved or refused a resident may say that it is not solved.
    reopen_days: Annotated[int, Strict()] = Field(14, ge=0, le=365, description="whole days, 0 to 365")
    # On which units with hours do not work.
    holidays: Holidays | None = Field(None, description='such as {country = "NL"}')
    clocks: Clocks = Field(Clocks(), description="a table [clocks] with remind_at and levels")

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        if zone not in zoneinfo.available_timezones():
            raise wrong(f"{zone!r} is no IANA time zone", 'write one such as "Europe/Amsterdam"')
        return zone


class ReasonFile(Part):
    """reasons.toml: what a resident reads about why a report went where it went, why a unit says that it is
    not responsible, and how it was solved. A code stands in one of the three."""

    reasons: Mapping[Id, Texts] = Field(
        min_length=1,
        description="a table per code, such as [reasons.street_works] with one text per language",
    )
    refusals: Mapping[Id, Texts] = Field(
        min_length=1,
        description="a table per code, such as [refusals.private_ground] with one text per language",
    )
    outcomes: Mapping[Id, Texts] = Field(
        min_length=1, description="a table per code, such as [outcomes.done] with one text per language"
    )


class Municipality(Header):
    """The whole folder, read and checked. `version` is the hash of its files that events carry."""

    area_sets: Mapping[str, AreaSet]
    categories: Mapping[str, Category]
    units: Mapping[str, Unit]
    rules: tuple[Rule, ...]
    reasons: Mapping[str, Texts]
    refusals: Mapping[str, Texts]
    outcomes: Mapping[str, Texts]
    # What a resident in danger now is told; {number} stands for the emergency number.
    emergency_text: Texts
    emergency_wording: Wording
    statistics: Statistics
    version: str = Field(pattern=r"^[0-9a-f]{16}$")

    @property
    def tz(self) -> zoneinfo.ZoneInfo:
        """The time zone that times are shown in."""
        return zoneinfo.ZoneInfo(self.zone)

    @property
    def primary_area_set(self) -> str:
        """The id of the first area set, which statistics use."""
        return next(iter(self.area_sets))

    def answers_read(self, category: str) -> frozenset[str]:
        """The questions whose answers some rule reads for reports of a category."""
        return frozenset(
            question
            for rule in self.rules
            if rule.when and rule.when.answers and category in (rule.when.category or ())
            for question in rule.when.answers
        )

    def said(self, code: str) -> Mapping[str, str] | None:
        """The texts of a reason, a refusal or an outcome; None for a code that the folder no longer has."""
        return self.reasons.get(code) or self.refusals.get(code) or self.outcomes.get(code)

    def text(self, texts: Mapping[str, str], language: str) -> str:
        """The text in `language`, or in the municipality's default language where it has not that one."""
        return texts.get(language, texts[self.languages[0]])

    def danger_text(self, language: str) -> str:
        """What a resident in danger now is told."""
        return self.text(self.emergency_text, language).replace(NUMBER, self.emergency_number)

    def __hash__(self) -> int:
        return hash((self.slug, self.version))
