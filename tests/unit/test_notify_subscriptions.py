"""Who is told what of public events: pure decisions."""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from services.notify.core.subscriptions import (
    Due,
    Filter,
    Standing,
    Subscription,
    Told,
    body,
    delivery_id,
    follow,
    secret,
    secrets_in_use,
)
from services.notify.subscription_commands import lines
from shared.cloudevents import Envelope, to_value
from shared.events import Event, IssueChanged, IssueGone
from tests.golden.expected import EXPECTED

NOW = datetime(2026, 11, 12, 13, 37, 11, 123456, tzinfo=UTC)
MASTER = "m" * 40
ISSUES = [uuid.UUID(int=number) for number in range(3)]
OPEN = Subscription(uuid.UUID(int=100), "IssueChanged", Filter(statuses=frozenset({"routed"})))
ALL = Subscription(uuid.UUID(int=101), "IssueChanged", Filter())
OTHER = Subscription(uuid.UUID(int=102), "StatisticsReleased", Filter())


def said(issue: int, version: int, status: str) -> Envelope[Event]:
    """The state of an issue; gone without a status."""
    event: Any = IssueGone(issue_id=ISSUES[issue])
    if status:
        event = IssueChanged(
            issue_id=ISSUES[issue],
            version=version,
            category="light",
            areas={},
            status=status,  # type: ignore[arg-type] # drawn from those that there are
            page="http://a/b",
        )
    return Envelope.of(event, id=uuid.uuid4(), source="/test/tips", now=NOW)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, Envelope[Event]]]:
    """What tips says of three issues, in its order: states by rising versions, and perhaps an end."""
    versions, ended, found = [0, 0, 0], set[int](), list[tuple[int, Envelope[Event]]]()
    for issue in draw(st.lists(st.integers(0, 2), max_size=15)):
        if issue in ended:
            continue
        status = draw(st.sampled_from(["routed", "resolved", ""]))
        versions[issue] += 1
        ended |= set() if status else {issue}
        found.append((issue, said(issue, versions[issue], status)))
    return found


@given(histories(), st.data())
def test_in_whatever_batches_and_repeats_a_subscriber_has_at_last_what_is_true(
    history: list[tuple[int, Envelope[Event]]], data: st.DataObject
) -> None:
    """Batches of any size, each applied again now and then, and older ones at any time: of each issue the
    states in order, each once. Whoever has a copy has the newest state or knows that it is gone, unless the
    copy fails the filter, and then it says so."""
    known: dict[uuid.UUID, Standing] = {}
    told: Told = {}
    rows: list[Any] = []

    def apply(batch: list[Envelope[Event]]) -> None:
        nonlocal known, told
        found = follow([ALL, OPEN, OTHER], known, told, batch)
        keys = {str(one) for one in found.gone}
        rows[:] = [row for row in rows if row.key not in keys] + found.rows
        known, told = found.known, found.told

    envelopes = [envelope for _, envelope in history]
    position = 0
    while position < len(envelopes):
        size = data.draw(st.integers(1, 4))
        apply(envelopes[position : position + size])
        position += size
        first = data.draw(st.integers(0, position))
        before = list(rows)
        apply(envelopes[first:position])
        assert rows == before
    assert {row.subscription_id for row in rows} <= {ALL.id, OPEN.id}
    assert len({row.id for row in rows}) == len(rows)
    for number, issue in enumerate(ISSUES):
        states = [envelope.event for which, envelope in history if which == number]
        for subscription in (ALL, OPEN):
            mine = [row for row in rows if (row.key, row.subscription_id) == (str(issue), subscription.id)]
            versions = [json.loads(row.data)["version"] for row in mine if row.data]
            assert versions == sorted(set(versions))
            if not states:
                assert mine == []
            elif isinstance(states[-1], IssueGone):
                # Its states are dropped where they wait; whoever had one is told.
                passed = [one for one in states if isinstance(one, IssueChanged)]
                assert [row.data for row in mine] == [None] * any(map(subscription.filter.passes, passed))
            else:
                last = [one for one in states if isinstance(one, IssueChanged)]
                passing = [subscription.filter.passes(one) for one in last]
                expected = [
                    one.version
                    for one, now, then in zip(last, passing, [False, *passing], strict=False)
                    if now or then
                ]
                assert versions == expected


def test_an_id_is_of_the_subscription_and_the_event() -> None:
    """The same for ever; another for another subscriber."""
    event_id = uuid.UUID(int=7)
    assert delivery_id(ALL.id, event_id) == uuid.UUID("9822a8f4-c7bb-534e-a9be-d3f98fdca60e")
    assert delivery_id(OPEN.id, event_id) != delivery_id(ALL.id, event_id)


def test_a_secret_follows_from_subscription_and_generation() -> None:
    """32 bytes in the standard's form; no two alike; another master, another secret."""
    made = {
        secret(master, subscription.id, generation)
        for master in (MASTER, "n" * 40)
        for subscription in (ALL, OPEN)
        for generation in (1, 2)
    }
    assert len(made) == 8
    for one in made:
        assert len(base64.b64decode(one.removeprefix("whsec_"), validate=True)) == 32
    Webhook(secret(MASTER, ALL.id, 1))


def test_the_secret_before_signs_until_its_time_is_over() -> None:
    """And none before the first."""
    both = (secret(MASTER, ALL.id, 2), secret(MASTER, ALL.id, 1))
    assert secrets_in_use(MASTER, ALL.id, 2, NOW, NOW - timedelta(seconds=1)) == both
    assert secrets_in_use(MASTER, ALL.id, 2, NOW, NOW) == both[:1]
    assert secrets_in_use(MASTER, ALL.id, 2, None, NOW) == both[:1]
    assert secrets_in_use(MASTER, ALL.id, 1, NOW, NOW - timedelta(1)) == both[1:]


def test_a_body_has_the_events_own_bytes() -> None:
    """For each kind of event; of a tombstone the id."""

    def due(envelope: Envelope[Any], data: str | None) -> Due:
        of = (ALL.id, ALL.id, "parks", "https://a.b", 1, None, envelope.event.key, envelope.event.type)
        return Due(*of, envelope.time, data, 0, NOW)

    for name in ("IssueChanged.v1", "StatisticsReleased.v1"):
        envelope = EXPECTED[name]
        value = to_value(envelope.event)
        assert value
        one = due(envelope, value.decode())
        assert f'"data":{value.decode()}}}' in body(one)
        assert json.loads(body(one)) == {
            "type": f"ibuurt.{name}",
            "timestamp": envelope.time.isoformat().replace("+00:00", "Z"),
            "data": json.loads(value),
        }
        assert due(envelope, None).superseded
    gone = EXPECTED["IssueGone.v1"]
    told = json.loads(body(due(gone, None)))
    assert told["data"] == {"issue_id": gone.event.key}
    assert told["type"] == "ibuurt.IssueGone.v1"
    assert not due(gone, None).superseded


def test_a_list_of_none_says_how_to_make_one() -> None:
    """In one line."""
    assert lines([], NOW) == ["there are no subscriptions; `subscriptions add` makes one"]
