"""Photos for the tests and the bench: real files of every kind, and what a JPEG is made of."""

import io
import random
import struct
import zlib
from typing import Any

import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener(decode_threads=1)

# In metadata, so that what keeps them is noticed.
MARK = "Zwanenburgwal-73"
QUARTERS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (250, 250, 250)}
# What all of a stored JPEG's segments may be: no APP1 (EXIF, XMP), APP2 (ICC) or COM.
START, END, JFIF, SCAN = 0xD8, 0xD9, 0xE0, 0xDA
PLAIN = {START, END, JFIF, SCAN, 0xDB, 0xC0, 0xC4}


def picture(width: int = 320, height: int = 240) -> Image.Image:
    """Four quarters: red, green, then blue, white."""
    image = Image.new("RGB", (width, height))
    for place, colour in enumerate(QUARTERS.values()):
        x, y = place % 2 * width // 2, place // 2 * height // 2
        image.paste(colour, (x, y, x + width // 2, y + height // 2))
    return image


def noise(width: int, height: int) -> Image.Image:
    """About as hard to encode as a real photo; always the same."""
    chance = random.Random(73)
    coarse = Image.frombytes("L", (width // 8, height // 8), chance.randbytes((width // 8) * (height // 8)))
    fine = Image.frombytes("L", (width, height), chance.randbytes(width * height))
    return Image.blend(coarse.resize((width, height)), fine, 0.15).convert("RGB")


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The image as a file of that kind."""
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def tags(orientation: int = 1) -> Image.Exif:
    """EXIF as a phone writes it: a place, an owner, an orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = MARK
    exif[0xA430] = MARK
    exif[0x8825] = {1: "N", 2: (52.0, 2.0, 44.05), 3: "E", 4: (5.0, 36.0, 4.4), 29: "2026:11:12"}
    return exif


def shown(jpeg: bytes) -> list[str]:
    """The colours of the four quarters of a JPEG."""
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.format == "JPEG"
        assert image.mode == "RGB"
        width, height = image.size
        return [
            _named(image.getpixel((width * x // 4, height * y // 4)))
            for x, y in ((1, 1), (3, 1), (1, 3), (3, 3))
        ]


def size(jpeg: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(jpeg)) as image:
        return image.size


def segments(jpeg: bytes) -> list[int]:
    """The markers of a JPEG in their order. AssertionError where anything stands between or behind them."""
    found, at = [], 0
    while at < len(jpeg):
        assert jpeg[at] == 0xFF, f"no marker at {at}"
        marker = jpeg[at + 1]
        found.append(marker)
        at += 2
        if marker not in {START, END}:
            at += struct.unpack(">H", jpeg[at : at + 2])[0]
        if marker == SCAN:
            while not (jpeg[at] == 0xFF and jpeg[at + 1] != 0 and not 0xD0 <= jpeg[at + 1] <= 0xD7):
                at += 1
    return found


def png(width: int, height: int, pixels: bytes, *more: bytes) -> bytes:
    """A PNG of 8 bits of grey written by hand: its header may say anything."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *more, chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _named(pixel: Any) -> str:
    return min(QUARTERS, key=lambda name: sum(abs(a - b) for a, b in zip(QUARTERS[name], pixel, strict=True)))
