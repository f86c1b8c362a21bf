"""Webhook subscriptions: who is told what, by which secret, and what follows from an attempt."""

import base64
import hashlib
import hmac
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from services.notify.core.clocks import written
from shared.cloudevents import Envelope
from shared.events import Event, IssueChanged, IssueGone, StatisticsReleased

Type = Literal["IssueChanged", "StatisticsReleased"]
TYPES: tuple[Type, ...] = ("IssueChanged", "StatisticsReleased")
# Releases are one chain: the key under which all of them go in order.
RELEASES = "releases"
SECRET_PREFIX = "whsec_"  # noqa: S105 - the standard's mark of a secret, not one


@dataclass(frozen=True, slots=True)
class Filter:
    """What of the issues a subscriber wants: every condition holds when it is empty or has the issue's value;
    of areas those of each area set that is named."""

    categories: frozenset[str] = frozenset()
    areas: Mapping[str, frozenset[str]] = field(default_factory=dict)
    statuses: frozenset[str] = frozenset()

    def passes(self, issue: IssueChanged) -> bool:
        """Whether the state of an issue is wanted."""
        return (
            (not self.categories or issue.category in self.categories)
            and (not self.statuses or issue.status in self.statuses)
            and all(issue.areas.get(area_set) in wanted for area_set, wanted in self.areas.items())
        )


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who is told of events of a type."""

    id: uuid.UUID
    type: Type
    filter: Filter


class Standing(NamedTuple):
    """How far a public issue was read."""

    version: int
    gone: bool


class NewDelivery(NamedTuple):
    """What has to go to a subscriber, as queries_subscriptions.insert_deliveries takes it. `data` is the
    event's JSON; None for a tombstone."""

    id: uuid.UUID
    subscription_id: uuid.UUID
    key: str
    type: str
    at: datetime
    data: str | None


# By subscription and issue, whether the last state that was sent passes the filter; without an entry the
# subscriber knows nothing of the issue.
Told = dict[tuple[uuid.UUID, uuid.UUID], bool]


@dataclass
class Follows:
    """What follows from a batch: rows in the order in which they must go, how far issues were read then, who
    was told of which, and which issues are gone."""

    known: dict[uuid.UUID, Standing]
    told: Told
    rows: list[NewDelivery] = field(default_factory=list)
    gone: list[uuid.UUID] = field(default_factory=list)


def delivery_id(subscription_id: uuid.UUID, event_id: uuid.UUID) -> uuid.UUID:
    """The webhook-id: the same whenever this event goes to this subscriber, also in a restored database."""
    return uuid.uuid5(subscription_id, str(event_id))


def follow(
    subscriptions: Sequence[Subscription],
    known: Mapping[uuid.UUID, Standing],
    told: Told,
    envelopes: Iterable[Envelope[Event]],
) -> Follows:
    """What the changes of issues lead to, in their order.

    An issue that leaves a filter is sent once more, as it is: the subscriber sees why it leaves, and is told
    of its end too. What is no newer than what was read changes nothing.
    """
    found = Follows(dict(known), dict(told))
    ours = [one for one in subscriptions if one.type == "IssueChanged"]
    for envelope in envelopes:
        event = envelope.event
        if isinstance(event, IssueGone):
            _gone(found, ours, envelope, event)
        elif isinstance(event, IssueChanged):
            _changed(found, ours, envelope, event)
    return found


def _changed(
    found: Follows, subscriptions: Sequence[Subscription], envelope: Envelope[Event], issue: IssueChanged
) -> None:
    standing = found.known.get(issue.issue_id)
    if standing and (standing.gone or issue.version <= standing.version):
        return
    found.known[issue.issue_id] = Standing(issue.version, gone=False)
    data = issue.model_dump_json()
    for one in subscriptions:
        place = one.id, issue.issue_id
        passes = one.filter.passes(issue)
        if passes or found.told.get(place):
            found.rows.append(_row(one, envelope, issue.key, data))
            found.told[place] = passes


def _gone(
    found: Follows, subscriptions: Sequence[Subscription], envelope: Envelope[Event], issue: IssueGone
) -> None:
    standing = found.known.get(issue.issue_id, Standing(0, gone=False))
    if standing.gone:
        return
    found.known[issue.issue_id] = Standing(standing.version, gone=True)
    found.gone.append(issue.issue_id)
    # Nobody is sent a state of what is gone.
    found.rows = [row for row in found.rows if row.key != issue.key]
    for one in subscriptions:
        if (one.id, issue.issue_id) in found.told:
            found.rows.append(_row(one, envelope, issue.key, None))
    for place in [place for place in found.told if place[1] == issue.issue_id]:
        del found.told[place]


def releases(
    subscriptions: Sequence[Subscription], envelopes: Iterable[Envelope[Event]], new: set[uuid.UUID]
) -> list[NewDelivery]:
    """What has to go of the releases that are new, each once, in their order."""
    first: dict[uuid.UUID, Envelope[Event]] = {}
    for envelope in envelopes:
        if isinstance(envelope.event, StatisticsReleased) and envelope.event.release_id in new:
            first.setdefault(envelope.event.release_id, envelope)
    return [
        _row(one, envelope, RELEASES, envelope.event.model_dump_json())
        for envelope in first.values()
        for one in subscriptions
        if one.type == "StatisticsReleased"
    ]


def _row(one: Subscription, envelope: Envelope[Event], key: str, data: str | None) -> NewDelivery:
    row_id = delivery_id(one.id, envelope.id)
    return NewDelivery(row_id, one.id, key, envelope.event.type, envelope.time, data)


def secret(master: str, subscription_id: uuid.UUID, generation: int) -> str:
    """The secret of a subscription's generation, in the standard's form; it is stored nowhere."""
    about = f"ibuurt subscription {subscription_id} {generation}"
    key = hmac.digest(master.encode(), about.encode(), hashlib.sha256)
    return SECRET_PREFIX + base64.b64encode(key).decode()


def secrets_in_use(
    master: str, subscription_id: uuid.UUID, generation: int, previous_until: datetime | None, now: datetime
) -> tuple[str, ...]:
    """The secrets that sign now, the newest first."""
    both = previous_until is not None and now < previous_until and generation > 1
    numbers = (generation, generation - 1) if both else (generation,)
    return tuple(secret(master, subscription_id, number) for number in numbers)


@dataclass(frozen=True, slots=True)
class Due:
    """One delivery that a worker holds until `leased_until`, and what it needs to know of the subscriber."""

    id: uuid.UUID
    subscription_id: uuid.UUID
    name: str
    url: str
    generation: int
    previous_until: datetime | None
    key: str
    type: str
    at: datetime
    data: str | None
    attempts: int
    leased_until: datetime

    @property
    def superseded(self) -> bool:
        """Whether its issue was gone meanwhile: nothing is sent any more."""
        return self.data is None and self.type != IssueGone.type


def body(due: Due) -> str:
    """What is sent: type, time and the event's own JSON, untouched."""
    data = due.data if due.data is not None else f'{{"issue_id":"{due.key}"}}'
    at = written(due.at)
    return f'{{"type":"{due.type}","timestamp":"{at}","data":{data}}}'
