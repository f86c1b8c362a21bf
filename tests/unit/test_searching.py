"""The searcher of the canary test finds what it is to find: each form is planted, and found again."""

import base64
import bz2
import gzip
import hashlib
import json
import lzma
import os
import struct
import uuid
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from ipaddress import ip_address
from urllib.parse import quote

import cramjam
import pytest

from tests.searching import (
    Needle,
    Searcher,
    of_address,
    of_bytes,
    of_hashes,
    of_number,
    of_text,
)
from tests.telling_times import CROCKFORD, POSTGRES_EPOCH, Window

TEXT = "Zwårte büs k7q9"
RAW = TEXT.encode()
NOISE = os.urandom(5_000)
V4, V6 = ip_address("203.0.113.77"), ip_address("2001:db8:73:9a::b7")

PLANTED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "plain": ("text", lambda: RAW),
    "capitals": ("text", lambda: b"ZWaRTE PLAIN Q2X8V"),
    "UTF-16": ("text", lambda: "Zwarte plain q2x8v".encode("utf-16-le")),
    "UTF-16, big end first": ("text", lambda: "Zwarte plain q2x8v".encode("utf-16-be")),
    "UTF-32": ("text", lambda: "Zwarte plain q2x8v".encode("utf-32")),
    "hexadecimal": ("text", lambda: RAW.hex().upper().encode()),
    "as a bytea": ("text", lambda: b"\\x00ff" + RAW.hex().encode()),
    "percent": ("text", lambda: quote(TEXT).encode()),
    "JSON": ("text", lambda: json.dumps(TEXT).encode()),
    "JSON throughout": ("text", lambda: "".join(f"\\u{ord(one):04X}" for one in TEXT).encode()),
    "base 64": ("text", lambda: base64.b64encode(RAW)),
    "base 64, one on": ("text", lambda: base64.b64encode(b"?" + RAW + b"more")),
    "base 64, two on": ("text", lambda: base64.b64encode(b"??" + RAW + b"more")),
    "base 64 for URLs": ("text", lambda: base64.urlsafe_b64encode(b"\xff\xfe\xff" + RAW)),
    "backwards": ("text", lambda: TEXT[::-1].encode()),
    "gzip": ("text", lambda: gzip.compress(b"before " + RAW)),
    "zlib": ("text", lambda: zlib.compress(RAW * 3, 9)),
    "bzip2": ("text", lambda: bz2.compress(RAW)),
    "xz": ("text", lambda: lzma.compress(RAW)),
    "zstd": ("text", lambda: bytes(cramjam.zstd.compress(RAW * 9))),
    "lz4": ("text", lambda: bytes(cramjam.lz4.compress(RAW * 9))),
    "snappy": ("text", lambda: bytes(cramjam.snappy.compress(RAW * 9))),
    "gzip in gzip": ("text", lambda: gzip.compress(gzip.compress(RAW))),
    "hexadecimal in gzip": ("text", lambda: gzip.compress(RAW.hex().encode())),
    "a number's digits": ("place", lambda: b"[52.0512345]"),
    "a number's first digits": ("place", lambda: b"52.05123"),
    "a double": ("place", lambda: struct.pack(">d", 52.0512345)),
    "an address": ("v4", lambda: b"for=203.0.113.77;"),
    "an address as a number": ("v4", lambda: b"3405803853"),
    "an address as inet": ("v4", lambda: b"\x02\x20" + V4.packed),
    "an address as IPv6": ("v4", lambda: b"\0" * 10 + b"\xff\xff" + V4.packed),
    "a hash of an address": ("v4", lambda: hashlib.sha256(b"203.0.113.77").hexdigest()[:20].encode()),
    "a hash as bytes": ("v4", lambda: hashlib.md5(V4.packed, usedforsecurity=False).digest()),
    "an IPv6 address": ("v6", lambda: b"2001:DB8:73:9A::B7"),
    "an IPv6 address in full": ("v6", lambda: V6.exploded.encode()),
    "an IPv6 address packed": ("v6", lambda: V6.packed),
    "an IPv6 network": ("v6", lambda: V6.packed[:8]),
    "a hash of an e-mail address": (
        "mail",
        lambda: base64.b64encode(hashlib.sha1(b"a@b.example", usedforsecurity=False).digest()),
    ),
    "key bytes": ("key", lambda: bytes(range(100, 120))),
    "key bytes in base 64": ("key", lambda: base64.b64encode(b"?" + bytes(range(100, 120)))),
}


def needles() -> list[Needle]:
    return [
        *of_text("text", TEXT),
        *of_text("text", "Zwarte plain q2x8v"),
        *of_number("place", 52.0512345, 7),
        *of_address("v4", V4),
        *of_address("v6", V6),
        *of_hashes("mail", "a@b.example"),
        *of_bytes("key", bytes(range(100, 120))),
    ]


SEARCHER = Searcher(needles())


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("offset", [0, 3])
def test_what_is_planted_is_found(name: str, offset: int) -> None:
    """Each form, between random bytes, wherever it begins."""
    mark, planted = PLANTED[name]
    data = NOISE[: 1000 + offset] + planted() + NOISE[1000:]
    assert {found.mark for found in SEARCHER.look(data)} == {mark}


def test_nothing_is_found_where_nothing_is() -> None:
    """In a megabyte of random bytes, in zeros, in nothing."""
    for data in (os.urandom(2**20), b"\0" * 10_000, b"", b"short"):
        assert SEARCHER.look(data) == set()


def test_a_mark_that_could_be_chance_is_refused() -> None:
    """Five bytes stand in a hundred megabytes of random ones."""
    with pytest.raises(ValueError, match="too short"):
        Searcher(of_bytes("four", b"\xcb\x00\x71\x4d"))


AT = datetime(2026, 11, 26, 13, 37, 11, 123456, tzinfo=UTC)
SECONDS = AT.timestamp()
WINDOW = Window(SECONDS - 5, SECONDS + 5)
MILLISECONDS = int(SECONDS * 1_000)


def _ulid(milliseconds: int) -> str:
    return "".join(CROCKFORD[milliseconds >> 5 * place & 31] for place in reversed(range(10))) + "Z" * 16


def _uuid1(moment: float) -> uuid.UUID:
    ticks = int(moment * 10_000_000) + 0x01B21DD213814000
    return uuid.UUID(
        fields=(ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0xFFF | 0x1000, 128, 1, 73)
    )


MOMENTS = {
    "ISO": AT.isoformat().encode(),
    "with a space": str(AT).encode(),
    "to the minute": b"2026-11-26 13:37",
    "basic": AT.strftime("%Y%m%dT%H%M%SZ").encode(),
    "in mail": format_datetime(AT).encode(),
    "in a log of requests": AT.strftime("[%d/%b/%Y:%H:%M:%S +0000]").encode(),
    "in Kafka's log": AT.strftime("[%Y-%m-%d %H:%M:%S,123]").encode(),
    "seconds": f'"at": {int(SECONDS)},'.encode(),
    "seconds with a fraction": f" {SECONDS} ".encode(),
    "milliseconds": f" {MILLISECONDS} ".encode(),
    "microseconds": f" {int(SECONDS * 1_000_000)} ".encode(),
    "nanoseconds": f" {int(SECONDS * 1_000_000)}000 ".encode(),
    "Prometheus": f"x_created {SECONDS:.16e}".encode(),
    "eight bytes of milliseconds": struct.pack(">q", MILLISECONDS),
    "eight bytes of milliseconds, little end first": struct.pack("<q", MILLISECONDS),
    "eight bytes of microseconds": struct.pack(">q", int(SECONDS * 1_000_000)),
    "PostgreSQL": struct.pack("<q", int((SECONDS - POSTGRES_EPOCH) * 1_000_000)),
    "PostgreSQL, on the wire": struct.pack(">q", int((SECONDS - POSTGRES_EPOCH) * 1_000_000)),
    "a double": struct.pack("<d", SECONDS),
    "a uuid of version 1": str(_uuid1(SECONDS)).encode(),
    "a uuid of version 7": str(uuid.UUID(int=MILLISECONDS << 80 | 7 << 76 | 1 << 63 | 73)).encode(),
    "a ulid": _ulid(MILLISECONDS).encode(),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_a_moment_is_found_however_it_is_written(name: str) -> None:
    """Between other bytes; and not when the window is an hour later."""
    data = b"x" * 13 + b" " + MOMENTS[name] + b" " + b"x" * 11
    assert WINDOW.look(data)
    assert not Window(SECONDS + 3_600, SECONDS + 3_610).look(data)


def test_hours_and_random_bytes_tell_no_moment() -> None:
    """What is cut to the hour, ids of version 4, a megabyte of noise."""
    hour = AT.replace(minute=0, second=0, microsecond=0)
    text = f"{hour.isoformat()} {int(hour.timestamp() * 1000)} {uuid.uuid4()}".encode()
    assert WINDOW.look(text + struct.pack(">q", int(hour.timestamp() * 1000)) + os.urandom(2**20)) == []
