"""Deliveries: what has to go where, what an attempt's end means, and what follows."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from services.notify.core.clocks import backoff
from shared.events import Kind, time_of
from shared.municipality import Category, Channel, ChannelKind, Extent, Unit

# What a delivery is about.
About = Literal["route", "message", "withdrawn", "erased", "notice", "digest"]
# What falls due meanwhile goes with the same notice.
NOTICE_WAIT = timedelta(minutes=5)
_NOT_SEEN = ("", "0", "false", "no", "null")

State = Literal["open", "done", "dead", "cancelled"]


# What names of channels begin with that are used where another is given up.
FALLBACK = "fallback."
# The way of a unit's digest, which is no channel of reports.
DIGEST = "email.digest"
# What calls go to that is no unit's own system; no unit has such an id.
MAIL, DESK = "@smtp", "@desk"


def channels(unit: Unit) -> Mapping[str, Channel]:
    """The unit's channels by name: its kind, and from the second of a kind on its number, as webhook.2."""
    return _named(unit.channels)


def fallbacks(unit: Unit) -> Mapping[str, Channel]:
    """What is used where one of the unit's channels is given up, by name, as fallback.email."""
    return {FALLBACK + name: channel for name, channel in _named(unit.fallback).items()}


def _named(listed: Iterable[Channel]) -> dict[str, Channel]:
    named: dict[str, Channel] = {}
    counts: dict[str, int] = {}
    for channel in listed:
        counts[channel.kind] = counts.get(channel.kind, 0) + 1
        number = counts[channel.kind]
        named[channel.kind if number == 1 else f"{channel.kind}.{number}"] = channel
    return named


def kind_of(channel: str) -> str:
    """The kind of the channel of a name."""
    return channel.removeprefix(FALLBACK).partition(".")[0]


def party(unit: str, way: str) -> str:
    """A unit that acts or reads by a way, as histories and the log of tips name it."""
    return f"unit:{unit} via {way}"


def delivery_id(report_id: uuid.UUID, unit: str, channel: str, step: str) -> uuid.UUID:
    """The idempotency key of a delivery: the same for ever, even in a database that was restored."""
    return uuid.uuid5(report_id, f"{unit}/{channel}/{step}")


def cause(delivery_id: uuid.UUID, revived: int) -> uuid.UUID:
    """What the ids of a delivery's events derive from: another one each time that it is revived, since it may
    be given up once more."""
    return uuid.uuid5(delivery_id, f"revived/{revived}") if revived else delivery_id


def digest_id(unit: str, day: date) -> uuid.UUID:
    """The idempotency key of a unit's digest of a day."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"urn:ibuurt:digest:{unit}:{day}")


def first_due(kind: Kind, wait_minutes: int, now: datetime, chance: float) -> datetime:
    """When what has just been routed is due: after a random part of the wait, or at once. An urgent tip is
    due since the hour began: its row would tell its minute for as long as its unit is away."""
    if wait_minutes:
        return now + timedelta(minutes=wait_minutes * chance)
    return time_of(kind, now)


# The failures of which what was called may have been away: what was given up for one of them is revived when
# something else is taken there. So often: who takes everything but this will not take it the next time.
AWAY = r"^((smtp_)?(timeout|disconnected|refused|dns|tls|malformed)|http_(408|429|5\d\d)|smtp_[45]\d\d)$"
REVIVED_MOST = 3


# As queries.insert_deliveries takes it: id, report, unit, channel, step, when it is due.
NewDelivery = tuple[uuid.UUID, uuid.UUID, str, str, str, datetime]


def route_step(turn: int) -> str:
    """The step of the delivery of a report that came to a unit, by its turn."""
    return _step("route", turn)


def turn_of(step: str) -> int:
    """The turn that the step of a report's delivery is of, as `route_step` writes it."""
    return int(step.partition(".")[2] or 1)


def _step(about: About, number: int) -> str:
    return about if number == 1 else f"{about}.{number}"


def level_of(category: Category | None, kind: Kind, channel: str) -> Extent:
    """How much of a report may leave by the channel of that name; the least for a category that has left the
    folder, of which that is not known. A tip is one whatever its category has become: none leaves by
    e-mail."""
    way: ChannelKind = "email" if kind_of(channel) == "email" else "webhook"
    if category is None or (way == "email" and kind == "tip"):
        return "notice"
    return category.leaving(way)


def about_of(step: str) -> About:
    """What the delivery of a step is about."""
    about: Any = step.partition(".")[0]
    return about  # type: ignore[no-any-return] # rows have no other


def deliveries_of(
    report_id: uuid.UUID, unit: str, names: Iterable[str], step: str, due_at: datetime
) -> list[NewDelivery]:
    """What goes when something has happened to a report: one delivery for each of the unit's channels, which
    are `names`."""
    return [(delivery_id(report_id, unit, name, step), report_id, unit, name, step, due_at) for name in names]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery that a worker holds until `leased_until`, and what it needs to know of the report. A
    notice or digest is of no report: its `report_id` is its own id, and all else of the report is empty.
    `destination` is what its call goes to: the unit's own system, MAIL or DESK.
    """

    id: uuid.UUID
    report_id: uuid.UUID
    unit: str
    channel: str
    destination: str
    step: str
    attempts: int
    revived: int
    due_at: datetime
    leased_until: datetime
    kind: Kind
    category: str
    areas: Mapping[str, str]
    language: str
    accepted_at: datetime
    acknowledge_by: datetime
    resolve_by: datetime


@dataclass(frozen=True, slots=True)
class Delivered:
    """What was called took it; `acknowledged` when its answer says that somebody has seen it, `words` where
    words of the report went with it. `erased` is what it says of its copy, where it was asked. `tips_asked`
    is whether words were fetched for it."""

    acknowledged: bool = False
    words: bool = False
    erased: bool | None = None
    tips_asked: bool = True


@dataclass(frozen=True, slots=True)
class Failed:
    """Not delivered, with a code. `unit_up` is whether what was called works, the unit's system or the mail
    server, None where it was not called, or said something of one address alone. An attempt does not count
    while tips is not up, nor where it has `no_words` to give until an operator mends them: such a delivery is
    never given up. `for_good` where it makes no sense to try again."""

    reason: str
    unit_up: bool | None = None
    tips_up: bool = True
    no_words: bool = False
    for_good: bool = False
    tips_asked: bool = True


@dataclass(frozen=True, slots=True)
class Gone:
    """The words were erased, or there is nothing to tell any more; `tips_asked` where that is what tips
    says."""

    tips_asked: bool = True


Outcome = Delivered | Failed | Gone


@dataclass(frozen=True, slots=True)
class Retrying:
    """How failed deliveries are tried again; waits in seconds."""

    base: float
    cap: float
    max_attempts: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a delivery becomes. `lease` is set where only the holder of that lease may say so."""

    state: State
    attempts: int
    next_attempt_at: datetime | None = None
    lease: datetime | None = None
    failure: str | None = None
    words: bool = False


def settle(
    delivery: Delivery, outcome: Outcome, retrying: Retrying, now: datetime, chance: float
) -> Settlement:
    """That the unit has it, or that the words are gone, is a fact whoever says it; a failure counts only
    from the worker that holds the lease, or a stopped one could undo what the next one did."""
    if isinstance(outcome, Delivered):
        return Settlement("done", delivery.attempts + 1, words=outcome.words)
    if isinstance(outcome, Gone):
        return Settlement("cancelled", delivery.attempts, failure="erased")
    counts = outcome.tips_up and not outcome.no_words
    attempts = delivery.attempts + (1 if counts else 0)
    # What a notice has to tell is gathered when it goes: it waits for as long as its unit is away.
    tried = attempts >= retrying.max_attempts and about_of(delivery.step) != "notice"
    if counts and (outcome.for_good or tried):
        return Settlement("dead", attempts, lease=delivery.leased_until, failure=outcome.reason)
    tries = retrying.max_attempts if outcome.no_words else max(1, attempts)
    wait = backoff(tries, retrying.base, retrying.cap, chance)
    again = now + timedelta(seconds=wait)
    return Settlement("open", attempts, again, delivery.leased_until, outcome.reason)


def says_acknowledged(answer: object, field: str | None) -> bool:
    """Whether the field, a dotted name, of a JSON answer means that somebody has seen the report."""
    if field is None:
        return False
    for name in field.split("."):
        if not isinstance(answer, dict):
            return False
        answer = answer.get(name)
    if isinstance(answer, str):
        return answer.strip().lower() not in _NOT_SEEN
    return bool(answer)
