"""What one person sends that nobody else does: each thing has a mark, by which it is found again."""

import random
import secrets
import string
import struct
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Network
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from services.tips import receipts
from tests.photos import encoded, picture
from tests.searching import Needle, of_address, of_bytes, of_hashes, of_number, of_text

# Within Oakwood, and within one square of the grid on which a public place is rounded.
LATITUDE, LONGITUDE = 52.0500, 5.6000
GRID_HALF = 0.0004
MARK_CHARACTERS = 14
# Of a degree: with fewer, two places in one square of the grid could begin alike.
DIGITS = 12
_CHANCE = random.SystemRandom()


class Person:
    """Somebody with an address, a browser and something to tell. `needles` is all that must not be found."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.needles: list[Needle] = []
        self.v4 = IPv4Address(
            _CHANCE.randrange(int(IPv4Address("198.18.0.0")), int(IPv4Address("198.20.0.0")))
        )
        self.v6 = IPv6Network("2001:db8::/32")[_CHANCE.getrandbits(96)]
        for name, address in (("IPv4 address", self.v4), ("IPv6 address", self.v6)):
            self.needles += of_address(self._name(name), address)
        self._trace, self._span = secrets.token_bytes(16), secrets.token_bytes(8)
        self.needles += of_bytes(self._name("traceparent"), self._trace)
        self.needles += of_bytes(self._name("traceparent"), self._span)
        self._headers = {
            "User-Agent": f"Mozilla/5.0 (X11; {self.text('user agent', hashed=True)}) Gecko/20100101",
            "traceparent": f"00-{self._trace.hex()}-{self._span.hex()}-01",
            "tracestate": f"town={self.text('tracestate')}",
            "baggage": f"user={self.text('baggage')}",
            "Referer": f"https://{self.text('referer')}.example/search?q={self.text('referer query')}",
            "Origin": f"https://{self.text('origin')}.example",
            "Cookie": f"session={self.text('cookie')}; consent=1",
            "Accept-Language": f"nl-x-{self.text('language')[:8]};q=0.9, tlh;q=0.1",
            "X-Request-ID": self.text("request id"),
            "Sec-CH-UA-Model": f'"{self.text("model of the phone")}"',
            "If-None-Match": f'"{self.text("entity tag")}"',
        }

    def _name(self, what: str) -> str:
        return f"{self.who}: {what}"

    def text(self, what: str, *, hashed: bool = False) -> str:
        """A new mark. `hashed`: so few are likely that a hash without a key could be found again."""
        rest = "".join(_CHANCE.choices(string.ascii_lowercase + string.digits, k=MARK_CHARACTERS - 1))
        mark = _CHANCE.choice(string.ascii_lowercase) + rest
        self.needles += of_text(self._name(what), mark)
        if hashed:
            self.needles += of_hashes(self._name(what), mark)
        return mark

    def headers(self) -> dict[str, str]:
        """What a browser and the proxy before the service say: one address in some headers, the other in
        others, as each kind of proxy does."""
        first, second = _CHANCE.sample([str(self.v4), str(self.v6)], 2)
        return self._headers | {
            "X-Forwarded-For": first,
            "Forwarded": f'for="[{second}]";proto=https',
            "X-Real-IP": second,
            "CF-Connecting-IP": first,
            "True-Client-IP": second,
        }

    def key(self, what: str) -> str:
        """An Idempotency-Key."""
        key = f"{self.text(what)}{secrets.token_urlsafe(8)}"
        self.needles += of_hashes(self._name(what), key)
        return key

    def email(self, what: str) -> str:
        address = f"{self.text(what)}@resident.example"
        self.needles += of_hashes(self._name(what), address)
        return address

    def phone(self) -> str:
        number = f"+316{_CHANCE.randrange(10**9, 10**10)}"
        for written in (number, number[1:]):
            self.needles += [*of_text(self._name("phone"), written), *of_hashes(self._name("phone"), written)]
        return number

    def point(self, what: str = "place") -> dict[str, float]:
        """A place, far too exact, all in one square of the public grid."""
        found = {}
        for axis, middle in (("latitude", LATITUDE), ("longitude", LONGITUDE)):
            found[axis] = round(middle + _CHANCE.uniform(-GRID_HALF, GRID_HALF), DIGITS)
            self.needles += of_number(self._name(what), found[axis], DIGITS)
        return found

    def moment(self, before: datetime) -> str:
        """When it happened: a minute of the last days."""
        at = before - timedelta(minutes=_CHANCE.randrange(3 * 24 * 60, 9 * 24 * 60))
        text = at.strftime("%Y-%m-%dT%H:%M")
        self.needles += of_text(self._name("when it happened"), text)
        return text

    def receipt(self, what: str, shown: str) -> str:
        """Makes a mark of a receipt as it is shown; returns it."""
        plain = shown.replace("-", "")
        bits = 0
        for character in plain[:20]:
            bits = bits << 5 | receipts.ALPHABET.index(character)
        name = self._name(what)
        for written in (shown, plain, plain[:20]):
            self.needles += [*of_text(name, written), *of_hashes(name, written)]
        for shift in (0, 4):
            self.needles += of_bytes(name, (bits << shift).to_bytes(13, "big"), f"bits, {shift}")
        return shown

    def wrong_receipt(self) -> str:
        """One that could be right."""
        data = "".join(_CHANCE.choices(receipts.ALPHABET, k=receipts.DATA_CHARACTERS))
        return self.receipt("wrong receipt", receipts.shown(data))

    def photo(self, what: str, width: int = 640, height: int = 480) -> bytes:
        """A JPEG with a mark in every place that a JPEG has for something besides its pixels."""

        def mark(where: str) -> str:
            return self.text(f"{what}, {where}")

        # Odd and not by five: a fraction of ten million that cannot be cut down.
        seconds = [_CHANCE.randrange(10**8, 6 * 10**8, 10) + 3 for _ in range(2)]
        for numerator in seconds:
            for order in "<>":
                packed = struct.pack(f"{order}II", numerator, 10**7)
                self.needles += of_bytes(self._name(f"{what}, GPS"), packed)
        north, east = (
            degrees + minutes / 60 + numerator / 10**7 / 3600
            for degrees, minutes, numerator in ((52, 3, seconds[0]), (5, 36, seconds[1]))
        )
        self.needles += of_number(self._name(f"{what}, GPS"), north, DIGITS)
        self.needles += of_number(self._name(f"{what}, GPS"), east, DIGITS)
        exif = Image.Exif()
        for tag in (0x010E, 0x010F, 0x0110, 0x013B, 0x8298):
            exif[tag] = mark(f"EXIF {tag:#06x}")
        exif[0x8769] = {
            0x9003: "2026:11:19 23:47:12",
            0x9286: b"ASCII\0\0\0" + mark("user comment").encode(),
            0x927C: b"MakerNote\0" + mark("maker note").encode(),
            0xA420: mark("unique id"),
            0xA431: mark("serial number"),
        }
        north_dms, east_dms = (
            (degrees, minutes, IFDRational(numerator, 10**7))
            for degrees, minutes, numerator in ((52, 3, seconds[0]), (5, 36, seconds[1]))
        )
        exif[0x8825] = {1: "N", 2: north_dms, 3: "E", 4: east_dms, 27: mark("GPS method").encode()}
        xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><i>{mark("XMP")}</i></x:xmpmeta>'.encode()
        whole = encoded(
            picture(width, height), exif=exif.tobytes(), xmp=xmp, comment=mark("comment").encode()
        )
        thumbnail = encoded(picture(96, 64), comment=mark("thumbnail").encode())
        more = _segment(0xE0, b"JFXX\0\x10" + thumbnail)
        more += _segment(0xED, b"Photoshop 3.0\0" + mark("IPTC").encode())
        more += _segment(0xE2, b"MPF\0" + mark("MPF").encode())
        return whole[:2] + more + whole[2:] + mark("behind its end").encode()


def report(person: Person, kind: str, category: str, now: datetime, **more: Any) -> dict[str, Any]:
    """A report in which everything that can be written is marked."""
    return {
        "kind": kind,
        "category": category,
        "description": f"Bij de gracht, achter nummer 14: {person.text('words', hashed=True)}. Elke nacht.",
        "happened": {"from": person.moment(now)},
        "language": "nl",
    } | more


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data
