"""What a municipality consists of. Each description is what the mend of a mistake tells to write."""

import re
import zoneinfo
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

LOCAL_HOSTS = ("localhost", "127.0.0.1")
LONGEST_WAIT_MINUTES = 30


def wrong(problem: str, mend: str) -> PydanticCustomError:
    """A mistake with its own mend, to be raised by a validator."""
    return PydanticCustomError("wrong", "{problem}", {"problem": problem, "mend": mend})


def _one_line(text: str) -> str:
    if not text.strip():
        raise wrong("the text is empty", "write the words that a resident reads")
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text):
        raise wrong("the text holds a line break or another control character", "write it on one line")
    return text


def _different(values: tuple[str, ...]) -> tuple[str, ...]:
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
Hours = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


class _Part(BaseModel):
    """Frozen; an unknown key is refused. Equal and hashed by what it holds and by its id."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class _Identified(_Part):
    id: Id

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.id))


class Targets(_Part):
    """The clock of a category, in plain hours."""

    acknowledge_hours: Hours = Field(description="hours as a number above 0, such as 24")
    resolve_hours: Hours = Field(description="hours as a number above 0, such as 72")

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


class Category(_Identified):
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


class Webhook(_Part):
    """A signed HTTP call. The signing secret is not in the folder.

    `acknowledged_field` is the dotted name of the field of the receiver's JSON answer that means that
    somebody there has seen the report; without it a 2xx answer means delivered and nothing more.
    """

    kind: Literal["webhook"] = Field(description='"webhook"')
    url: str = Field(description='an address such as "https://unit.example/reports"')
    acknowledged_field: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$",
        description='a dotted name such as "case.seen"',
    )

    @field_validator("url")
    @classmethod
    def _reachable_and_safe(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if host is None or parts.scheme not in ("http", "https") or not re.fullmatch(r"[!-~]+", url):
            raise wrong(
                "this is no http or https address", 'write one such as "https://unit.example/reports"'
            )
        if parts.scheme == "http" and host not in LOCAL_HOSTS:
            raise wrong("a report would travel without encryption", "write https:// (http only to localhost)")
        if "@" in parts.netloc:
            raise wrong(
                "the address holds a user name or a password", "take it out: secrets are not kept here"
            )
        return url


class Unit(_Identified):
    """Who is responsible, and the ways to reach them."""

    names: Texts
    channels: tuple[Webhook, ...] = Field(min_length=1, description="at least one [[units.channels]]")


def _values(description: str) -> Any:
    return Field(default=None, min_length=1, description=f"a list of at least one value: {description}")


class When(_Part):
    """Conditions of a rule: all of those that are given must hold; one holds when any value fits."""

    category: Annotated[tuple[Id, ...], AfterValidator(_different)] | None = _values("ids of categories")
    kind: Annotated[tuple[Literal["tip", "issue"], ...], AfterValidator(_different)] | None = _values(
        '"tip", "issue"'
    )
    urgency: Annotated[tuple[Literal["normal", "urgent"], ...], AfterValidator(_different)] | None = _values(
        '"normal", "urgent"'
    )
    source: Annotated[tuple[Id, ...], AfterValidator(_different)] | None = _values("ids of sources")
    language: Annotated[tuple[Language, ...], AfterValidator(_different)] | None = _values("language tags")
    area: (
        Mapping[Id, Annotated[tuple[AreaId, ...], Field(min_length=1), AfterValidator(_different)]] | None
    ) = Field(default=None, min_length=1, description='lists of areas per area set: {district = ["centre"]}')

    def conditions(self) -> dict[str, frozenset[str]]:
        """The conditions that are given, by their path under `when`, such as `area.district`."""
        plain = {
            name: frozenset(values)
            for name in ("category", "kind", "urgency", "source", "language")
            if (values := getattr(self, name)) is not None
        }
        return plain | {f"area.{set_id}": frozenset(ids) for set_id, ids in (self.area or {}).items()}


class Rule(_Identified):
    """One step of the routing: the first rule whose conditions hold decides; the last has none."""

    unit: Id = Field(description="the id of a unit")
    reason: Id = Field(description="a code of reasons.toml")
    when: When | None = Field(default=None, description='conditions such as {category = ["street_light"]}')


class Area(_Part):
    """A place that is counted and routed by. `geometry` is GeoJSON's, WGS 84, [longitude, latitude]."""

    id: AreaId
    names: Texts
    geometry: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash(self.id)


class AreaSet(_Identified):
    """Areas of one sort, in the order of their file: where two touch, the first one has the place."""

    names: Texts
    file: str
    areas: Mapping[str, Area]


class Header(_Part):
    """municipality.toml, without its area sets."""

    slug: str = Field(
        pattern=r"^[a-z][a-z0-9-]{0,39}$", description="a lower-case letter, then up to 39 of a-z 0-9 -"
    )
    names: Texts
    languages: Annotated[tuple[Language, ...], AfterValidator(_different)] = Field(
        min_length=1, description='a list of language tags, the default first: ["nl", "en"]'
    )
    zone: str = Field(description='an IANA time zone such as "Europe/Amsterdam"')
    emergency_number: str = Field(pattern=r"^\+?[0-9][0-9 ]{1,15}$", description='digits such as "112"')
    # How long after it was resolved or refused a resident may say that it is not solved.
    reopen_days: Annotated[int, Strict()] = Field(14, ge=0, le=365, description="whole days, 0 to 365")

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        if zone not in zoneinfo.available_timezones():
            raise wrong(f"{zone!r} is no IANA time zone", 'write one such as "Europe/Amsterdam"')
        return zone


class ReasonFile(_Part):
    """reasons.toml: what a resident reads about why a report went where it went."""

    reasons: Mapping[Id, Texts] = Field(
        min_length=1,
        description="a table per code, such as [reasons.street_works] with one text per language",
    )


class Municipality(Header):
    """The whole folder, read and checked. `version` is the hash of its files that events carry."""

    area_sets: Mapping[str, AreaSet]
    categories: Mapping[str, Category]
    units: Mapping[str, Unit]
    rules: tuple[Rule, ...]
    reasons: Mapping[str, Texts]
    version: str = Field(pattern=r"^[0-9a-f]{16}$")

    @property
    def tz(self) -> zoneinfo.ZoneInfo:
        """The time zone that times are shown in."""
        return zoneinfo.ZoneInfo(self.zone)

    @property
    def primary_area_set(self) -> str:
        """The id of the first area set, which statistics use."""
        return next(iter(self.area_sets))

    def text(self, texts: Mapping[str, str], language: str) -> str:
        """The text in `language`, or in the municipality's default language where it has not that one."""
        return texts.get(language, texts[self.languages[0]])

    def __hash__(self) -> int:
        return hash((self.slug, self.version))
