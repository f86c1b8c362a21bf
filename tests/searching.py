"""Looks for marks in bytes: as they are, and as any program might have written them.

A mark is what somebody sent and nothing else in the world has. Its forms are made once; then any number of
them is looked for in one pass. What is compressed is unpacked and searched as well.
"""

import base64
import bz2
import codecs
import hashlib
import json
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple
from urllib.parse import quote

import cramjam
import numpy as np

# What is shorter stands in random bytes by chance.
SHORTEST = 8
UNPACKED_BYTES = 8 * 2**20
DEEPEST = 2
_HASH_BITS, _HASH_FACTOR = 24, np.uint64(0x9E3779B97F4A7C15)
_HASHES = ("md5", "sha1", "sha256", "sha512", "blake2b")


class Found(NamedTuple):
    """A mark, and the form that it has there."""

    mark: str
    form: str


class Needle(NamedTuple):
    """One form of a mark. `exact`: its capitals count. `spread`: also with zeros between its bytes."""

    found: Found
    text: bytes
    exact: bool = False
    spread: bool = False


def of_text(mark: str, text: str) -> Iterator[Needle]:
    """A text: plain (UTF-8, -16, -32, any capitals), backwards, and escaped or encoded in any usual way."""
    raw = text.encode()
    written = {
        "plain": raw,
        "backwards": text[::-1].encode(),
        "hexadecimal": raw.hex().encode(),
        "percent": quote(text, safe="").encode(),
        "percent throughout": b"".join(b"%%%02x" % byte for byte in raw),
        "JSON": json.dumps(text)[1:-1].encode(),
        "JSON throughout": "".join(f"\\u{ord(one):04x}" for one in text).encode(),
        "octal": b"".join(b"\\%03o" % byte for byte in raw),
        "escaped bytes": b"".join(b"\\x%02x" % byte for byte in raw),
        "quoted-printable": b"".join(b"=%02x" % byte for byte in raw),
        "HTML": "".join(f"&#{ord(one)};" for one in text).encode(),
        "HTML, hexadecimal": "".join(f"&#x{ord(one):x};" for one in text).encode(),
        "rot13": codecs.encode(text, "rot13").encode(),
    }
    for form, needle in written.items():
        if form == "plain" or needle != raw:
            yield Needle(Found(mark, form), needle.lower(), spread=form == "plain")
    yield from _base64(mark, raw)


def of_bytes(mark: str, raw: bytes, form: str = "bytes") -> Iterator[Needle]:
    """Bytes: as they are, hexadecimal (as PostgreSQL dumps a bytea), and base 64."""
    yield Needle(Found(mark, form), raw, exact=True)
    yield Needle(Found(mark, f"{form}, hexadecimal"), raw.hex().encode())
    yield from _base64(mark, raw, f"{form}, base 64")


def of_hashes(mark: str, value: str | bytes) -> Iterator[Needle]:
    """What anybody can find again who tries likely values: hashes without a key, also cut to 8 bytes."""
    raw = value.encode() if isinstance(value, str) else value
    for name in _HASHES:
        digest = hashlib.new(name, raw, usedforsecurity=False).digest()
        yield Needle(Found(mark, name), digest[:8], exact=True)
        yield Needle(Found(mark, f"{name}, hexadecimal"), digest[:8].hex().encode())
        yield Needle(Found(mark, f"{name}, base 64"), base64.b64encode(digest)[:10], exact=True)
        yield Needle(Found(mark, f"{name}, base 64"), base64.urlsafe_b64encode(digest)[:10], exact=True)


def of_address(mark: str, address: IPv4Address | IPv6Address) -> Iterator[Needle]:
    """An address: written, packed, as a number, hashed; of IPv6 its networks as well."""
    yield from of_text(mark, str(address))
    yield from of_hashes(mark, str(address))
    yield from of_hashes(mark, address.packed)
    yield Needle(Found(mark, "number"), str(int(address)).encode())
    if isinstance(address, IPv4Address):
        yield from of_bytes(mark, b"\0" * 10 + b"\xff\xff" + address.packed, "as IPv6")
        # 4 bytes alone stand in random bytes by chance. PostgreSQL's inet has family and length before them.
        yield from of_bytes(mark, b"\x02\x20" + address.packed, "inet")
        yield Needle(Found(mark, "backwards for DNS"), address.reverse_pointer.encode())
    else:
        yield from of_text(mark, address.exploded)
        yield from of_text(mark, address.exploded[:19])
        yield from of_bytes(mark, address.packed, "packed")
        yield from of_bytes(mark, address.packed[:8], "packed /64")
        for length in (7, 8):
            yield from of_hashes(mark, address.packed[:length])


def of_number(mark: str, number: float, digits: int) -> Iterator[Needle]:
    """A number with so many digits after the point: written, without its point, and as eight bytes."""
    text = f"{number:.{digits}f}"
    yield from of_text(mark, text)
    yield Needle(Found(mark, "two digits less"), text[:-2].encode())
    yield Needle(Found(mark, "without its point"), text.replace(".", "").encode())
    for order in "<>":
        yield from of_bytes(mark, struct.pack(f"{order}d", number), f"double {order}")


class Searcher:
    """Looks for all needles at once."""

    def __init__(self, needles: Iterable[Needle]) -> None:
        self.needles = list(dict.fromkeys(needles))
        self._exact = _Finder(one for one in self.needles if one.exact)
        self._lower = _Finder(one for one in self.needles if not one.exact)
        self._spread = _Finder(one for one in self.needles if one.spread)

    def look(self, data: bytes, depth: int = 0) -> set[Found]:
        """Every mark in the bytes, and in what is compressed in them."""
        found = self._exact.find(data)
        lower = data.lower()
        found |= self._lower.find(lower)
        if b"\0" in lower:
            spread = self._spread.find(lower.replace(b"\0", b"")) - found
            found |= {Found(one.mark, f"{one.form}, zeros between") for one in spread}
        if depth < DEEPEST:
            for kind, unpacked in _unpacked(data):
                found |= {Found(one.mark, f"{one.form}, in {kind}") for one in self.look(unpacked, depth + 1)}
        return found


class _Finder:
    """Finds needles of 8 bytes and more by their first 8, all places at once, and the few shorter ones one
    after another."""

    def __init__(self, needles: Iterable[Needle]) -> None:
        self._by_head: dict[int, list[Needle]] = {}
        self._short: list[Needle] = []
        for needle in needles:
            if len(needle.text) < 6:
                raise ValueError(f"{needle.found} is too short to be told from chance")
            if len(needle.text) < SHORTEST:
                self._short.append(needle)
            else:
                self._by_head.setdefault(int.from_bytes(needle.text[:8], "little"), []).append(needle)
        self._heads = np.array(sorted(self._by_head), dtype="<u8")
        self._maybe = np.zeros(2**_HASH_BITS, dtype=bool)
        self._maybe[_hashed(self._heads)] = True

    def find(self, data: bytes) -> set[Found]:
        found = {needle.found for needle in self._short if needle.text in data}
        for offset in range(min(8, max(0, len(data) - 7))):
            words = np.frombuffer(data, "<u8", (len(data) - offset) // 8, offset)
            for place in np.flatnonzero(self._maybe[_hashed(words)]).tolist():
                at = place * 8 + offset
                for needle in self._by_head.get(int(words[place]), ()):
                    if data.startswith(needle.text, at):
                        found.add(needle.found)
        return found


def _hashed(words: Any) -> Any:
    return (words * _HASH_FACTOR) >> np.uint64(64 - _HASH_BITS)


def _base64(mark: str, raw: bytes, form: str = "base 64") -> Iterator[Needle]:
    """At each of the three places that it may have in what was encoded, without the characters that its
    neighbours take part in."""
    for before in range(3):
        whole = b"\0" * before + raw
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(whole).rstrip(b"=")
            first, last = -(-before * 8 // 6), len(whole) * 8 // 6
            yield Needle(Found(mark, form), text[first:last], exact=True)


def _streamed(make: Callable[[], Any]) -> Callable[[memoryview], bytes]:
    return lambda data: bytes(make().decompress(data, UNPACKED_BYTES))


def _framed(codec: Any) -> Callable[[memoryview], bytes]:
    def unpack(data: memoryview) -> bytes:
        room = bytearray(UNPACKED_BYTES)
        try:
            return bytes(room[: codec.decompress_into(bytes(data), room)])
        except cramjam.DecompressionError:
            # What stands behind it is no frame; what came before is there.
            return bytes(room.rstrip(b"\0"))

    return unpack


_PACKED: tuple[tuple[str, bytes, Callable[[memoryview], bytes]], ...] = (
    ("gzip", rb"\x1f\x8b\x08", _streamed(lambda: zlib.decompressobj(31))),
    ("zlib", rb"\x78[\x01\x5e\x9c\xda]", _streamed(zlib.decompressobj)),
    ("bzip2", rb"BZh[1-9]1AY&SY", _streamed(bz2.BZ2Decompressor)),
    ("xz", rb"\xfd7zXZ\0", _streamed(lzma.LZMADecompressor)),
    ("zstd", rb"\x28\xb5\x2f\xfd", _framed(cramjam.zstd)),
    ("lz4", rb"\x04\x22\x4d\x18", _framed(cramjam.lz4)),
    ("snappy", rb"\xff\x06\x00\x00sNaPpY", _framed(cramjam.snappy)),
)


def _unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What is compressed somewhere in the bytes; what only looks so gives nothing."""
    whole = memoryview(data)
    for kind, begin, unpack in _PACKED:
        for match in re.finditer(begin, data):
            try:
                unpacked = unpack(whole[match.start() : match.start() + UNPACKED_BYTES])
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
                continue
            if len(unpacked) >= SHORTEST:
                yield kind, unpacked
