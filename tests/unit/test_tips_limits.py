"""Limits by network: who counts together, how much, and that nothing tells who it was."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from services.tips import limits
from services.tips.http.photos import MAX_UPLOADS
from services.tips.limits import (
    ALLOWANCES,
    BUCKETS_MOST,
    OPEN_UPLOADS,
    SHARED_TIMES,
    Limits,
    client_address,
)
from shared.web import Problem

NOON = datetime(2026, 11, 12, 12, 0, tzinfo=UTC)
REPORTS = ALLOWANCES["reports"]


class Time:
    """Both clocks of a test."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def request(host: str | None, *forwarded: str) -> Request:
    """A request of that peer, with X-Forwarded-For lines."""
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    client = (host, 4711) if host is not None else None
    return Request({"type": "http", "client": client, "headers": headers})


def made(time: Time, **given: Any) -> Limits:
    return Limits(time.now, monotonic=time.monotonic, **given)


def taken(counting: Limits, host: str, *forwarded: str, most: int = 10_000) -> int:
    """How many it may take at once."""
    for number in range(most):
        try:
            counting.take(request(host, *forwarded), "reports")
        except Problem:
            return number
    return most


def test_a_network_may_so_many_at_once_and_so_many_an_hour() -> None:
    """And is told after how many seconds it may again, which is then so."""
    time = Time()
    counting = made(time)
    assert taken(counting, "192.0.2.1") == REPORTS.at_once
    with pytest.raises(Problem) as refused:
        counting.take(request("192.0.2.1"), "reports")
    assert (refused.value.status, refused.value.body["type"]) == (429, "urn:ibuurt:problem:too-many")
    assert refused.value.headers
    time.seconds += int(refused.value.headers["Retry-After"])
    assert taken(counting, "192.0.2.1") == 1
    time.seconds += 3_600
    assert taken(counting, "192.0.2.1") == min(REPORTS.an_hour, REPORTS.at_once)


def test_others_are_not_held_up() -> None:
    """Another address, and another thing of the same address, have their own."""
    counting = made(Time())
    taken(counting, "192.0.2.1")
    counting.take(request("192.0.2.2"), "reports")
    counting.take(request("192.0.2.1"), "photos")


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", True),
        ("2001:db8:0:1::1", "2001:db8:0:ff::1", True),
        ("2001:db8:0:1::1", "2001:db8:0:101::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.3", False),
    ],
)
def test_an_ipv6_network_is_56_bits_and_an_ipv4_address_one(one: str, other: str, together: bool) -> None:
    """A customer may have a whole /56, and cannot get more by changing the rest."""
    counting = made(Time())
    taken(counting, one)
    assert (taken(counting, other) == 0) is together


def test_what_one_network_has_waiting_of_photos_leaves_room_for_the_town() -> None:
    """An upload is kept for two hours where many wait: a network's fill no more than a third by then."""
    time = Time()
    counting, sent = made(time), 0
    for _ in range(2 * 60):
        with suppress(Problem):
            while True:
                counting.take(request("192.0.2.1"), "photos")
                sent += 1
        time.seconds += 60
    assert ALLOWANCES["photos"].at_once <= sent <= MAX_UPLOADS / 3


def test_a_shared_address_has_a_wider_allowance() -> None:
    """An office, or the onion service's own address; so has who has no address at all."""
    counting = made(Time(), shared=[ip_network("198.51.100.0/24")])
    assert taken(counting, "198.51.100.7") == SHARED_TIMES * REPORTS.at_once
    assert taken(counting, "") == SHARED_TIMES * REPORTS.at_once


def test_a_proxy_that_names_nobody_is_shared_by_all_behind_it() -> None:
    """A proxy that was set up without the header must not shut a whole town out."""
    counting = made(Time(), proxies=[ip_network("10.0.0.2/32")])
    assert taken(counting, "10.0.0.2") == SHARED_TIMES * REPORTS.at_once
    assert taken(counting, "10.0.0.2", "192.0.2.1") == REPORTS.at_once


def test_the_municipalitys_own_systems_have_no_limit() -> None:
    """Such as the desk that types in what people say by telephone."""
    counting = made(Time(), unlimited=[ip_network("192.0.2.0/24")])
    assert taken(counting, "192.0.2.1", most=5_000) == 5_000


def test_looking_takes_nothing() -> None:
    """A right receipt may be sent for ever; only wrong ones are taken."""
    counting = made(Time())
    for _ in range(10 * REPORTS.at_once):
        counting.check(request("192.0.2.1"), "reports")
    taken(counting, "192.0.2.1")
    with pytest.raises(Problem):
        counting.check(request("192.0.2.1"), "reports")


@pytest.mark.parametrize(
    ("peer", "forwarded", "whose"),
    [
        ("203.0.113.5", ["192.0.2.9"], "203.0.113.5"),
        ("10.0.0.2", ["192.0.2.9"], "192.0.2.9"),
        ("10.0.0.2", ["6.6.6.6, 192.0.2.9"], "192.0.2.9"),
        ("10.0.0.2", ["6.6.6.6", "192.0.2.9, 10.0.0.3"], "192.0.2.9"),
        ("10.0.0.2", ["no address"], "10.0.0.2"),
        ("10.0.0.2", [], "10.0.0.2"),
        ("10.0.0.2", ["2001:db8::7"], "2001:db8::7"),
    ],
)
def test_a_header_is_believed_of_trusted_proxies_alone(
    peer: str, forwarded: Sequence[str], whose: str
) -> None:
    """Whoever connects himself may write what he likes into it; so may he in front of what a proxy adds."""
    found = client_address(request(peer, *forwarded), [ip_network("10.0.0.0/8")])
    assert str(found) == whose


def test_every_day_has_another_key_and_begins_anew() -> None:
    """Nothing of yesterday can be linked with today, not even by this process."""
    time = Time()
    counting = made(time)
    taken(counting, "192.0.2.1")
    yesterday = set(counting._left)
    time.seconds += 13 * 3_600
    counting.take(request("192.0.2.1"), "reports")
    assert set(counting._left).isdisjoint(yesterday)
    assert len(counting._left) == 1


def test_no_address_is_kept() -> None:
    """Only hashes under a key that another process does not have."""
    one, other = made(Time()), made(Time())
    for counting in (one, other):
        counting.take(request("192.0.2.77"), "reports")
    assert set(one._left).isdisjoint(other._left)
    assert bytes([192, 0, 2, 77]) not in b"".join(one._left)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was least lately seen is forgotten first."""
    monkeypatch.setattr(limits, "BUCKETS_MOST", 100)
    assert BUCKETS_MOST >= 100
    counting = made(Time())
    for number in range(1_000):
        counting.take(request(f"2001:db8:{number:x}::1"), "reports")
    assert len(counting._left) == 100


@given(pauses=st.lists(st.floats(0, 600), max_size=60))
def test_nobody_gets_more_than_the_allowance_over_any_time(pauses: Sequence[float]) -> None:
    """At most so many at once, and the hourly rate beside."""
    time, count = Time(), 0
    counting = made(time)
    for pause in pauses:
        time.seconds += pause
        count += taken(counting, "192.0.2.1", most=3)
    assert count <= REPORTS.at_once + time.seconds * REPORTS.an_hour / 3_600 + 1


def test_a_network_has_few_uploads_open_and_others_have_theirs() -> None:
    """One that ends makes room, however it ends; an office has more, and our own systems as many as they
    like."""
    shared, own = [ip_network("198.51.100.0/24")], [ip_network("203.0.113.0/24")]
    counting = made(Time(), shared=shared, unlimited=own)
    for host, most in (("192.0.2.1", 1), ("192.0.2.2", 1), ("198.51.100.7", SHARED_TIMES)):
        with ExitStack() as held:
            for _ in range(OPEN_UPLOADS * most):
                held.enter_context(counting.uploading(request(host)))
            with pytest.raises(Problem) as refused, counting.uploading(request(host)):
                pass
            assert (refused.value.status, bool(refused.value.headers)) == (429, True)
        with suppress(ZeroDivisionError), counting.uploading(request(host)):
            raise ZeroDivisionError
        with counting.uploading(request(host)):
            pass
    with ExitStack() as held:
        for _ in range(1_000):
            held.enter_context(counting.uploading(request("203.0.113.9")))
    assert not counting._open
