"""Webhook subscriptions: real HTTP subscribers, real workers, a real PostgreSQL; events as the consumer hands
them over."""

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from deploy.local.processes import free_port
from services.notify import queries_subscriptions as queries
from services.notify.core.deliveries import Delivered, Failed
from services.notify.core.subscriptions import Due
from services.notify.subscription_commands import lines
from shared.cloudevents import Envelope, to_value
from shared.events import Event
from tests.conftest import MakeDatabase
from tests.integration.notify_harness import Answer, first, plain
from tests.integration.subscription_harness import (
    Subscriptions,
    changed,
    gone,
    released,
    running_subscriptions,
    versions,
)
from tests.spine import until

A, B, C = (uuid.UUID(int=number) for number in (1, 2, 3))


@pytest_asyncio.fixture
async def subs(database: MakeDatabase) -> AsyncIterator[Subscriptions]:
    """Subscriptions on a database of their own; a test starts the workers."""
    async with running_subscriptions(await database("notify")) as running:
        yield running


async def hang(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


def sometimes(share: float, seed: int) -> Answer:
    """Fails that share of the calls: 503, 400, a redirect, or a connection that breaks."""
    dice = random.Random(seed)

    async def answer(request: web.Request) -> web.StreamResponse:
        if dice.random() >= share:
            return web.Response()
        how = dice.choice((503, 400, 307, 0))
        if not how:
            assert request.transport
            request.transport.close()
        return web.Response(status=how or 500, headers={"Location": "/elsewhere"})

    return answer


async def test_an_event_comes_as_it_stands_on_its_topic_and_is_signed(subs: Subscriptions) -> None:
    """The same bytes in `data`, the event's type and time; the library verifies it with the secret."""
    await subs.subscribe()
    await subs.subscribe("open-data", "StatisticsReleased")
    event, end, release = changed(A), gone(B), released(1)
    await subs.apply(changed(B), event, release)
    await subs.apply(end)
    subs.work()
    await subs.settled()
    by_type = {(call.name, call.body["type"]): call for call in subs.calls}
    assert set(by_type) == {
        ("parks", "ibuurt.IssueChanged.v1"),
        ("parks", "ibuurt.IssueGone.v1"),
        ("open-data", "ibuurt.StatisticsReleased.v1"),
    }
    for call, given in (
        (by_type["parks", "ibuurt.IssueChanged.v1"], event),
        (by_type["open-data", "ibuurt.StatisticsReleased.v1"], release),
    ):
        value = to_value(given.event)
        assert value
        assert value.decode() in call.raw
        assert call.data == json.loads(value)
        assert datetime.fromisoformat(call.body["timestamp"]) == given.time
        assert call.body["timestamp"].endswith("Z")
    assert by_type["parks", "ibuurt.IssueGone.v1"].data == {"issue_id": str(B)}
    assert {call.signed_by for call in subs.calls} == {(1,)}
    assert len({call.webhook_id for call in subs.calls}) == len(subs.calls)


async def test_only_what_passes_every_filter_comes(subs: Subscriptions) -> None:
    """Categories, areas of each set, statuses; one that is empty takes all."""
    district = {"district": frozenset({"oakwood", "centre"})}
    await subs.subscribe("all")
    await subs.subscribe("category", categories=frozenset({"noise", "graffiti"}))
    await subs.subscribe("area", areas=district)
    await subs.subscribe("status", statuses=frozenset({"resolved"}))
    await subs.subscribe("every", categories=frozenset({"noise"}), areas=district)
    await subs.subscribe("release", "StatisticsReleased")
    told: dict[str, set[int]] = {}
    given: list[dict[str, Any]] = [
        {"category": "noise", "areas": {"district": "centre"}},
        {"category": "noise", "areas": {"district": "harbour"}},
        {"category": "noise", "areas": {}},
        {"category": "graffiti", "status": "resolved"},
        {"category": "street_light"},
    ]
    for number, facts in enumerate(given):
        await subs.apply(changed(uuid.UUID(int=number), 1, **facts))
    subs.work()
    await subs.settled()
    for call in subs.calls:
        told.setdefault(call.name, set()).add(uuid.UUID(call.data["issue_id"]).int)
    assert told == {
        "all": {0, 1, 2, 3, 4},
        "category": {0, 1, 2, 3},
        "area": {0, 3, 4},
        "status": {3},
        "every": {0},
    }


async def test_an_issue_that_leaves_the_filter_is_sent_once_more(subs: Subscriptions) -> None:
    """With the state by which it leaves; then not until it passes again, but its end is told. Whoever never
    had it is told nothing."""
    await subs.subscribe("open", statuses=frozenset({"routed", "acknowledged"}))
    await subs.subscribe("noise", categories=frozenset({"noise"}))
    statuses = ["routed", "acknowledged", "resolved", "resolved", "routed", "resolved", "refused"]
    for version, status in enumerate(statuses, start=1):
        await subs.apply(changed(A, version, status=status))
    subs.work()
    await subs.settled()
    assert versions(subs.of("open"), A) == [1, 2, 3, 5, 6]
    await subs.apply(gone(A))
    await subs.settled()
    assert versions(subs.of("open"), A) == [1, 2, 3, 5, 6, 0]
    assert subs.of("noise") == []


async def test_what_was_applied_before_makes_no_second_row(subs: Subscriptions) -> None:
    """The same batch again, before and after it has gone; older states, and a state that comes after the
    tombstone, as `consumer read-again` and `dead-letters replay` have them."""
    await subs.subscribe()
    await subs.subscribe("open-data", "StatisticsReleased")
    batch = [changed(A, 1), changed(A, 2), changed(B), released(1), gone(B)]
    await subs.apply(*batch)
    before = [(row["id"], row["position"]) for row in await subs.waiting()]
    assert len(before) == 4
    await subs.apply(*batch)
    for one in batch:
        await subs.apply(one)
    assert [(row["id"], row["position"]) for row in await subs.waiting()] == before
    subs.work()
    await subs.settled()
    await subs.apply(*batch, changed(B, 9), changed(A, 1))
    assert await subs.waiting() == []
    assert len(subs.calls) == 4
    await subs.apply(changed(A, 3))
    assert [call.version for call in await subs.seen(5)][4:] == [3]


async def test_the_tombstone_takes_what_waits_along(subs: Subscriptions) -> None:
    """No state of an issue stays here, or is sent, once it is gone; the word goes to whoever had any."""
    await subs.subscribe()
    await subs.apply(changed(A, 1), changed(B, 1))
    await subs.apply(changed(A, 2))
    await subs.apply(gone(A))
    rows = [(row["key"], row["type"], row["data"] is None) for row in await subs.waiting()]
    assert rows == [(str(B), "ibuurt.IssueChanged.v1", False), (str(A), "ibuurt.IssueGone.v1", True)]
    subs.work()
    await subs.settled()
    assert (versions(subs.calls, A), versions(subs.calls, B)) == ([0], [1])
    assert await subs.rows("SELECT FROM subscription_issue WHERE issue_id = $1", A) == []


async def test_a_state_under_way_when_its_issue_is_gone_ends_before_the_word(subs: Subscriptions) -> None:
    """The word waits for that call; it failed, and the state is not sent again."""
    release = asyncio.Event()

    async def slow(_request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(status=503)

    await subs.subscribe()
    subs.answers["parks"] = first(slow, plain())
    await subs.apply(changed(A, 1))
    subs.work()
    await subs.seen(1)
    await subs.apply(gone(A))
    await asyncio.sleep(0.3)
    assert versions(subs.calls, A) == [1]
    assert [row["data"] for row in await subs.waiting()] == [None, None]
    release.set()
    await subs.settled()
    assert versions(subs.calls, A) == [1, 0]


@pytest.mark.parametrize("seed", range(3))
async def test_of_each_key_the_order_is_kept_whatever_fails(subs: Subscriptions, seed: int) -> None:
    """Two workers, ten issues of twelve states, two subscribers that fail four calls of ten: each state
    comes, and before its successor; what came twice has one id. Releases as well."""
    await subs.subscribe("parks")
    await subs.subscribe("roads")
    await subs.subscribe("open-data", "StatisticsReleased")
    for number, name in enumerate(subs.ids):
        subs.answers[name] = sometimes(0.4, 10 * seed + number)
    issues = [uuid.UUID(int=number) for number in range(10)]
    subs.work(base=0.01, cap=0.03)
    subs.work(base=0.01, cap=0.03)
    for version in range(1, 13):
        await subs.apply(*(changed(one, version) for one in issues), released(version))
    await subs.settled(seconds=40)
    for name in ("parks", "roads"):
        for issue in issues:
            assert sorted(set(versions(subs.of(name), issue))) == list(range(1, 13))
            assert versions(subs.of(name), issue) == sorted(versions(subs.of(name), issue))
    numbers = [call.data["number"] for call in subs.of("open-data")]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 13))
    ids = {(call.name, call.webhook_id) for call in subs.calls}
    assert len(ids) == 2 * 10 * 12 + 12
    assert len({(call.name, json.dumps(call.data)) for call in subs.calls}) == len(ids)
    assert subs.elsewhere == 0


@pytest.mark.parametrize("seed", range(2))
async def test_nothing_of_an_issue_comes_after_the_word_that_it_is_gone(
    subs: Subscriptions, seed: int
) -> None:
    """Forty issues end at random moments while two workers call a subscriber that is slow now and then, and
    fails four calls of ten: it stores each state before the next, and the word last."""
    dice, fails = random.Random(seed), sometimes(0.4, seed)
    stored: dict[str, list[int]] = {}

    async def store(request: web.Request) -> web.StreamResponse:
        data = (await request.json())["data"]
        await asyncio.sleep(dice.random() * 0.05)
        answer = await fails(request)
        # Also where it fails to say so: the answer is lost, the state is not.
        stored.setdefault(data["issue_id"], []).append(data.get("version", 0))
        return answer

    await subs.subscribe()
    subs.answers["parks"] = store
    issues = [uuid.UUID(int=number) for number in range(40)]
    subs.work(base=0.01, cap=0.03, per_subscription=16)
    subs.work(base=0.01, cap=0.03, per_subscription=16)
    for version in range(1, 9):
        await subs.apply(*(changed(one, version) for one in issues))
        await asyncio.sleep(dice.random() * 0.05)
    for issue in dice.sample(issues, len(issues)):
        await subs.apply(gone(issue))
    await subs.settled(seconds=40)
    for issue in issues:
        told = stored[str(issue)]
        states = [version for version in told if version]
        assert states == sorted(states)
        assert told == states + [0] * (len(told) - len(states))
        assert told[-1] == 0


async def test_while_one_key_waits_the_others_go(subs: Subscriptions) -> None:
    """The subscriber refuses one issue for ever (a 422 says that it works): its later states wait behind,
    every other issue arrives at once."""

    async def picky(request: web.Request) -> web.StreamResponse:
        return web.Response(status=422 if (await request.json())["data"]["issue_id"] == str(A) else 200)

    await subs.subscribe()
    subs.answers["parks"] = picky
    await subs.apply(changed(A, 1), changed(A, 2), *(changed(uuid.uuid4()) for _ in range(20)))
    subs.work()
    await until(lambda: len({call.data["issue_id"] for call in subs.calls}) == 21)
    await asyncio.sleep(0.5)
    assert set(versions(subs.calls, A)) == {1}
    assert [row["last_failure"] for row in await subs.waiting()] == ["http_422", None]
    assert (await subs.listed("parks")).disabled_at is None
    assert subs.metric("subscription_circuit_open", subscription="parks") == 0


async def test_a_subscriber_that_hangs_or_is_dead_holds_up_no_other(
    subs: Subscriptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty events for each of the two are due before twenty for a third, which arrive at once; the dead one
    is asked with one call at a time."""
    monkeypatch.setattr("services.notify.leasing.DRAIN_SECONDS", 0.1)
    await subs.subscribe("hangs")
    await subs.subscribe("dead", port=free_port())
    await subs.apply(*(changed(uuid.uuid4()) for _ in range(40)))
    await subs.subscribe("well")
    subs.answers["hangs"] = hang
    await subs.apply(*(changed(uuid.uuid4()) for _ in range(20)))
    begun = time.monotonic()
    subs.work(concurrency=12, per_subscription=4, base=0.5, cap=1)
    await subs.seen(20, "well")
    assert time.monotonic() - begun < 2
    assert len(subs.of("hangs")) == 4
    await until(lambda: subs.metric("subscription_circuit_open", subscription="dead") == 1)
    assert len(await subs.waiting("dead")) == 60
    await subs.stop()


async def test_whatever_is_no_two_hundred_is_tried_again_under_the_same_id(subs: Subscriptions) -> None:
    """Redirects are not followed."""
    refusals = (301, 302, 303, 307, 308, 400, 401, 404, 410, 429, 500, 503)

    def away(status: int) -> Answer:
        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": "/elsewhere"})

        return answer

    await subs.subscribe()
    subs.answers["parks"] = first(*map(away, refusals), plain(204))
    await subs.apply(changed(A))
    subs.work(base=0.01, cap=0.02)
    await subs.settled()
    assert len(subs.calls) == len(refusals) + 1
    assert len({call.webhook_id for call in subs.calls}) == 1
    assert subs.elsewhere == 0
    assert subs.metric("subscription_deliveries_total", result="open") == len(refusals)
    assert subs.metric("subscription_deliveries_total", result="done") == 1


async def test_a_call_that_hangs_ends_and_an_endless_answer_is_left(subs: Subscriptions) -> None:
    """A hanging one is tried again; of a 2xx without end no more than 64 KiB is read, and it is delivered."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 10_000)
            sent += 10_000

    await subs.subscribe()
    subs.answers["parks"] = first(hang, endless)
    await subs.apply(changed(A))
    begun = time.monotonic()
    subs.work(call=0.4)
    await subs.settled()
    assert 0.4 <= time.monotonic() - begun < 3
    assert len(subs.calls) == 2
    after = sent
    await asyncio.sleep(0.2)
    assert sent == after < 20_000_000


async def test_after_days_of_nothing_but_failures_it_is_disabled_and_says_so(
    subs: Subscriptions, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a minute before; with a line at level error that names the mend, a metric, and in the list. What
    happens meanwhile is kept; enabled again, everything comes, in order."""
    monkeypatch.setattr("services.notify.subscription_worker.GAUGE_SECONDS", 0.05)
    await subs.subscribe()
    await subs.subscribe("well")
    subs.answers["parks"] = plain(503)
    await subs.apply(changed(A, 1), changed(B, 1))
    subs.work()
    await subs.seen(3, "parks")
    # Well, once, in between: what counts begins anew.
    subs.clock.ahead = timedelta(days=3)
    subs.answers["parks"] = first(plain(200), plain(503))
    await until(lambda: subs.metric("subscription_deliveries_total", result="done") >= 3)
    await subs.apply(changed(A, 2))
    for days in (3.01, 7.9):
        subs.clock.ahead = timedelta(days=days)
        count = len(subs.of("parks"))
        await subs.seen(count + 3, "parks")
    assert (await subs.listed("parks")).disabled_at is None
    subs.clock.ahead = timedelta(days=8.1)
    await until(lambda: subs.metric("subscriptions_disabled", why="failing") == 1)
    listed = await subs.listed("parks")
    assert listed.disabled_at
    assert timedelta() <= subs.clock() - listed.disabled_at < timedelta(minutes=1)
    assert listed.disabled_why == "failing"
    assert listed.last_failure == "http_503"
    lines = [line for line in "".join(capfd.readouterr()).splitlines() if "subscription_disabled" in line]
    assert len(lines) == 1
    assert "error" in lines[0]
    assert "subscriptions enable parks --by NAME" in lines[0]
    assert "gis@" not in lines[0]

    await asyncio.sleep(0.3)
    count = len(subs.of("parks"))
    await subs.apply(changed(A, 3), changed(C, 1))
    await asyncio.sleep(0.5)
    assert len(subs.of("parks")) == count
    assert len(subs.of("well")) == 5
    subs.answers["parks"] = plain()
    async with subs.pool.acquire() as connection:
        await queries.enable(connection, subs.ids["parks"], subs.clock())
    await subs.settled("parks")
    after = subs.of("parks")[count:]
    told = subs.of("parks")
    for issue, states in ((A, [1, 2, 3]), (B, [1]), (C, [1])):
        assert sorted(set(versions(told, issue))) == states
        assert versions(told, issue) == sorted(versions(told, issue))
    assert versions(after, A)[-2:] == [2, 3]
    await until(lambda: subs.metric("subscriptions_disabled", why="failing") == 0)
    assert (await subs.listed("parks")).failing_since is None


async def test_what_is_refused_for_ever_is_set_aside_and_its_issue_goes_on(
    subs: Subscriptions, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many refusals in so long, and not before; said in the log without the contact, listed and
    counted. Enabled, it goes again, after what came later. A system that is away refuses nothing."""
    monkeypatch.setattr("services.notify.subscription_worker.GAUGE_SECONDS", 0.05)
    await subs.subscribe()
    refused = 410

    async def choosing(request: web.Request) -> web.StreamResponse:
        return web.Response(status=refused if '"version":1,' in await request.text() else 200)

    async def refused_so_often(least: int, most: int = 1_000_000) -> None:
        async with asyncio.timeout(10):
            while not least <= (await subs.waiting())[0]["refusals"] <= most:  # noqa: ASYNC110 - asked there
                await asyncio.sleep(0.02)

    subs.answers["parks"] = choosing
    await subs.apply(changed(A, 1), changed(A, 2), changed(B, 2))
    subs.work(aside_refusals=3)
    await refused_so_often(6)
    assert versions(subs.of(), A) == [1] * len(versions(subs.of(), A))
    subs.clock.ahead = timedelta(hours=25)
    refused = 503
    await refused_so_often(0, 0)
    # A day anew, of refusals alone, in which it takes another one.
    refused = 410
    await refused_so_often(6)
    await subs.apply(changed(C, 2))
    await until(lambda: 2 in versions(subs.of(), C))
    assert (await subs.listed("parks")).set_aside == 0
    subs.clock.ahead = timedelta(hours=50)
    await until(lambda: 2 in versions(subs.of(), A))
    await until(lambda: subs.metric("subscription_deliveries_set_aside") == 1)
    await until(lambda: subs.metric("subscription_deliveries_open") == 0)
    listed = await subs.listed("parks")
    assert (listed.open, listed.set_aside, listed.refusal) == (0, 1, "http_410")
    assert (
        f"    1 SET ASIDE since {listed.set_aside_since:%Y-%m-%d %H:%M} UTC, which it refused (http_410)"
        in ("\n".join(lines([listed], subs.clock())))
    )
    (line,) = [one for one in "".join(capfd.readouterr()).splitlines() if "event_set_aside" in one]
    assert "subscriptions enable parks --by NAME" in line
    assert "gis@" not in line

    refused = 200
    async with subs.pool.acquire() as connection:
        await queries.enable(connection, subs.ids["parks"], subs.clock())
    await subs.settled()
    assert versions(subs.of(), A)[-2:] == [2, 1]


async def test_a_system_that_refuses_everything_loses_no_order(subs: Subscriptions) -> None:
    """Where nothing else is taken it is not this event: nothing is set aside, and later it is disabled."""
    await subs.subscribe()
    subs.answers["parks"] = plain(401)
    await subs.apply(changed(A, 1), changed(A, 2), changed(B, 1))
    subs.work(aside_refusals=3)
    for hours in (0, 25, 50):
        subs.clock.ahead = timedelta(hours=hours)
        await subs.seen(len(subs.of()) + 6)
    assert (await subs.listed("parks")).set_aside == 0
    subs.answers["parks"] = plain()
    await subs.settled()
    assert [one for one in versions(subs.of(), A) if one == 2] == [2]


async def test_a_worker_that_stood_still_sends_nothing_late(subs: Subscriptions) -> None:
    """Its lease leaves no time for a call: whoever has the row by now may be further."""
    await subs.subscribe()
    await subs.apply(changed(A))
    subs.work(lease=0.4, call=0.5)
    await asyncio.sleep(0.8)
    assert subs.calls == []
    assert [row["attempts"] for row in await subs.waiting()] == [0]


async def test_a_zombies_failure_undoes_nothing_and_its_success_is_one(subs: Subscriptions) -> None:
    """Two workers hold the same row, one of them longer than its lease."""
    release = asyncio.Event()
    outcome: Delivered | Failed = Failed("http_503", unit_up=False)

    async def late(due: Due) -> Delivered | Failed:
        subs.calls.append(None)  # type: ignore[arg-type] # only counted
        await release.wait()
        return outcome

    await subs.subscribe()
    await subs.apply(changed(A))
    subs.work(send=late, lease=0.3, call=0.1)
    await until(lambda: len(subs.calls) == 1)
    await asyncio.sleep(0.4)
    subs.work(send=late, lease=30)
    await until(lambda: len(subs.calls) == 2)
    (before,) = await subs.waiting()
    release.set()
    await until(lambda: subs.metric("subscription_deliveries_total", result="late") == 1)
    await until(lambda: subs.metric("subscription_deliveries_total", result="open") >= 1)
    (after,) = await subs.waiting()
    assert (before["attempts"], before["leased"]) == (0, True)
    assert after["attempts"] == subs.metric("subscription_deliveries_total", result="open")
    outcome = Delivered()
    await subs.settled()


async def test_after_a_rotation_both_secrets_sign_for_a_while(subs: Subscriptions) -> None:
    """Then only the new one."""
    subscription_id = await subs.subscribe()
    until_then = datetime.now(UTC) + timedelta(seconds=1.5)
    async with subs.pool.acquire() as connection:
        assert await queries.next_generation(connection, subscription_id, until_then) == 2
    subs.work()
    await subs.apply(changed(A, 1))
    await subs.seen(1)
    await asyncio.sleep(1.6)
    await subs.apply(changed(A, 2))
    await subs.seen(2)
    assert [call.signed_by for call in subs.calls] == [(1, 2), (2,)]


async def test_what_a_clock_that_was_ahead_has_put_off_goes_when_it_is_right_again(
    subs: Subscriptions,
) -> None:
    """Not in an hour; and the days of failure are counted from now, not from then."""
    await subs.subscribe()
    subs.answers["parks"] = first(plain(503), plain())
    subs.clock.ahead = timedelta(hours=1)
    await subs.apply(changed(A))
    subs.work(cap=0.05)
    await until(lambda: subs.metric("subscription_deliveries_total", result="open") == 1)
    await subs.stop()
    subs.clock.ahead = timedelta()
    subs.work(cap=0.05)
    await subs.settled(seconds=5)


async def test_what_one_worker_calls_another_whose_clock_is_behind_leaves_to_it(subs: Subscriptions) -> None:
    """Its lease seems to end later than any does, by as much as clocks may be apart: that is no reason to
    call again beside it."""
    answer = asyncio.Event()

    async def slow(_request: web.Request) -> web.StreamResponse:
        await answer.wait()
        return web.Response()

    await subs.subscribe()
    subs.answers["parks"] = slow
    await subs.apply(changed(A))
    subs.work(lease=5.0, call=4.0)
    await subs.seen(1)
    subs.clock.ahead = timedelta(seconds=-8)
    subs.work(lease=5.0, call=4.0)
    await asyncio.sleep(1)
    answer.set()
    await subs.settled()
    assert len(subs.calls) == 1


async def test_it_is_removed_with_all_that_waits_for_it(subs: Subscriptions) -> None:
    """Also while events come: the consumer's batch is applied before it or after, never set aside."""
    subscription_id = await subs.subscribe()
    await subs.subscribe("roads")

    async def remove() -> None:
        async with subs.pool.acquire() as connection:
            await queries.remove(connection, subscription_id)

    async with subs.pool.acquire() as connection, connection.transaction():
        assert len(await queries.subscriptions(connection)) == 2
        removing = asyncio.create_task(remove())
        await asyncio.sleep(0.2)
        assert not removing.done()
        await subs.subscribers.apply(connection, [changed(A)])
    await removing
    assert [row["name"] for row in await subs.waiting()] == ["roads"]
    assert len(await subs.rows("SELECT FROM subscription_issue")) == 1


async def test_an_event_that_is_applied_again_after_a_restore_has_the_same_id(
    subs: Subscriptions, database: MakeDatabase
) -> None:
    """The database of before: the subscriber that has it passes over it."""
    subscription_id = await subs.subscribe()
    event: Envelope[Event] = changed(A)
    await subs.apply(event)
    (row,) = await subs.waiting()
    async with running_subscriptions(await database("notify")) as restored:
        async with restored.pool.acquire() as connection:
            (listed,) = [await subs.listed("parks")]
            added = queries.Added(*(getattr(listed, name) for name in queries.Added._fields))
            assert added.id == subscription_id
            await queries.insert_subscription(connection, added)
        await restored.apply(event)
        (again,) = await restored.waiting()
    assert again["id"] == row["id"]


async def test_it_goes_the_moment_it_is_committed(subs: Subscriptions) -> None:
    """Woken, the worker does not wait for its next look, 200 ms later."""
    await subs.subscribe()
    worker = subs.work()
    waited = []
    for version in range(1, 8):
        await subs.apply(changed(A, version))
        begun = time.monotonic()
        worker.wake()
        waited.append((await subs.seen(version))[-1].at - begun)
        await asyncio.sleep(0.03)
    assert sorted(waited)[3] < 0.1, waited
