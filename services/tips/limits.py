"""How often one network may do a thing, without storing who it was.

An address lives as a keyed hash in memory: the key is random, in no file, and another every day (UTC), when
all that was counted is forgotten too. IPv6 counts by /56, which one customer may have: by /64 there would be
256 allowances in it. An address that many share (an office, the onion service's own, a proxy that says
nothing) has a wider allowance; the municipality's own systems have none.
"""

import hashlib
import ipaddress
import math
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

from fastapi import Request

from shared.web import Problem

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What is remembered at most; the one that was least lately seen is forgotten first.
BUCKETS_MOST = 100_000
IPV6_PREFIX = 56
# Photos of one network that are on their way or being decoded: a phone sends one after another, and whoever
# sends slowly must not hold the few places for all.
OPEN_UPLOADS = 3
OPEN_AGAIN_SECONDS = 10
# What an address that many share may do, against what one network may.
SHARED_TIMES = 20


@dataclass(frozen=True)
class Allowance:
    """So many at once, and so many an hour after that."""

    at_once: int
    an_hour: float


# Each is far above what a household or a street on one address does, and far below what a machine can.
ALLOWANCES = {
    "reports": Allowance(at_once=20, an_hour=60),
    # Wrong receipts.
    "receipts": Allowance(at_once=20, an_hour=60),
    # E-mails that ask whether somebody wants e-mail: they may go to a stranger.
    "emails": Allowance(at_once=3, an_hour=6),
    # The same to one address, whoever asks: by an address that many share a stranger could be flooded.
    "emails_to_one": Allowance(at_once=3, an_hour=1 / 4),
    # "This is mine too".
    "supports": Allowance(at_once=20, an_hour=60),
    # The same of one issue: a household, and hardly more in the rest of the day.
    "supports_of_one": Allowance(at_once=3, an_hour=1 / 8),
    "photos": Allowance(at_once=40, an_hour=120),
    # Whatever is done with a receipt, right or wrong: a page that is open asks now and then.
    "reading": Allowance(at_once=240, an_hour=7_200),
}


class Limits:
    """Counts by network. `clock` gives the time in UTC, `monotonic` seconds that only rise."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        *,
        proxies: Sequence[Network] = (),
        shared: Sequence[Network] = (),
        unlimited: Sequence[Network] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._proxies = tuple(proxies)
        self._shared = (*shared, *proxies)
        self._unlimited = tuple(unlimited)
        self._monotonic = monotonic
        self._day: date | None = None
        self._key = b""
        # What is left of an allowance, and when that was so.
        self._left: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self._open: Counter[bytes] = Counter()

    def take(self, request: Request, what: str, about: bytes = b"") -> None:
        """Take one of the allowance, which a network has for each thing that it is `about`. Raises Problem
        429 where none is left."""
        self._look(request, what, take=1, about=about)

    def took(self, request: Request, what: str, about: bytes = b"") -> bool:
        """Take one of the allowance; False where none was left."""
        try:
            self.take(request, what, about)
        except Problem:
            return False
        return True

    def take_of_all(self, request: Request, what: str, about: bytes) -> None:
        """Take one of the allowance that all networks have together for the thing that it is `about`. Raises
        Problem 429 where none is left."""
        if self._counted(request)[1] != math.inf:
            self._look_into(self._bucket(None, what, about), ALLOWANCES[what], 1, 1)

    def check(self, request: Request, what: str) -> None:
        """Raise Problem 429 where nothing of the allowance is left; takes nothing."""
        self._look(request, what, take=0)

    def is_shared(self, request: Request) -> bool:
        """Whether it comes from an address that many share."""
        return self._counted(request)[1] == SHARED_TIMES

    @contextmanager
    def uploading(self, request: Request) -> Iterator[None]:
        """Hold one of the uploads that a network may have open. Raises Problem 429 where all are."""
        address, times = self._counted(request)
        bucket = self._bucket(address, "uploading")
        if self._open[bucket] >= OPEN_UPLOADS * times:
            raise _too_many(OPEN_AGAIN_SECONDS)
        self._open[bucket] += 1
        try:
            yield
        finally:
            self._open[bucket] -= 1
            if not self._open[bucket]:
                del self._open[bucket]

    def _counted(self, request: Request) -> tuple[Address | None, float]:
        """Whose request it is, and how many times the usual he may do."""
        address = client_address(request, self._proxies)
        if address is not None and _within(address, self._unlimited):
            return address, math.inf
        return address, SHARED_TIMES if address is None or _within(address, self._shared) else 1

    def _look(self, request: Request, what: str, take: int, about: bytes = b"") -> None:
        address, times = self._counted(request)
        if times != math.inf:
            self._look_into(self._bucket(address, what, about), ALLOWANCES[what], times, take)

    def _look_into(self, bucket: bytes, allowance: Allowance, times: float, take: int) -> None:
        most, rate = allowance.at_once * times, allowance.an_hour * times / 3_600
        now = self._monotonic()
        left, since = self._left.get(bucket, (float(most), now))
        left = min(float(most), left + (now - since) * rate)
        if left < 1:
            raise _too_many(math.ceil((1 - left) / rate))
        if take:
            self._left[bucket] = left - take, now
            self._left.move_to_end(bucket)
            if len(self._left) > BUCKETS_MOST:
                self._left.popitem(last=False)

    def _bucket(self, address: Address | None, what: str, about: bytes = b"") -> bytes:
        today = self._clock().date()
        if today != self._day:
            self._day, self._key = today, os.urandom(32)
            self._left.clear()
        network = b"" if address is None else _network(address)
        thing = b"\0".join((what.encode(), network, about))
        return hashlib.blake2b(thing, key=self._key, digest_size=16).digest()


def client_address(request: Request, proxies: Sequence[Network]) -> Address | None:
    """Whose request it is: who connected, or, behind proxies that are trusted, the last address in
    X-Forwarded-For that is none of theirs. None where there is no address."""
    address = _address(request.client.host if request.client else "")
    if address is None or not _within(address, proxies):
        return address
    forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    for named in reversed(forwarded):
        found = _address(named.strip())
        if found is None:
            return address
        address = found
        if not _within(address, proxies):
            return address
    return address


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _network(address: Address) -> bytes:
    if isinstance(address, ipaddress.IPv6Address):
        return address.packed[: IPV6_PREFIX // 8]
    return address.packed


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _too_many(seconds: int) -> Problem:
    return Problem(
        429,
        "too-many",
        "Too many from your network",
        f"Try again in {seconds} seconds. Nothing was stored of this request, nor who you are.",
        headers={"Retry-After": str(seconds)},
    )
