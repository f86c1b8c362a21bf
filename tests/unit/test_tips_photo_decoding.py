"""What a photo becomes, in the real process that decodes it: pixels encoded anew, or a named refusal."""

import asyncio
import contextlib
import io
import os
import signal
import zipfile
import zlib
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from services.tips.photos import LARGEST_EDGE, MAX_PIXELS, Fault, decoders
from services.tips.photos.decoders import Busy, Decoders, Undecodable
from tests.photos import MARK, PLAIN, chunk, encoded, noise, picture, png, segments, shown, size, tags

KINDS = ("JPEG", "PNG", "WEBP", "HEIF")
ORIGINALS = {kind: encoded(noise(64, 48), kind, exif=tags(6)) for kind in KINDS}
UPRIGHT = ["red", "green", "blue", "white"]


async def made(photo: bytes) -> bytes:
    """The JPEG that it becomes."""
    return await Decoders().jpeg_of(photo)


async def fault(photo: bytes) -> Fault:
    with pytest.raises(Undecodable) as refused:
        await made(photo)
    return refused.value.fault


def assert_clean(jpeg: bytes) -> None:
    """No segment but those that pixels need, nothing behind them, no mark."""
    assert set(segments(jpeg)) <= PLAIN
    assert MARK.encode() not in jpeg
    assert b"Exif" not in jpeg


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_becomes_a_plain_jpeg_of_the_same_picture(kind: str) -> None:
    """Whatever it was, and with a phone's metadata in it."""
    jpeg = await made(encoded(picture(), kind, exif=tags()))
    assert shown(jpeg) == UPRIGHT
    assert size(jpeg) == (320, 240)
    assert_clean(jpeg)


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_every_orientation_is_applied_to_the_pixels(orientation: int) -> None:
    """The tag goes, so the picture itself must stand upright."""
    turns = Image.Transpose
    # What undoes each: the camera's sensor saw the picture so.
    seen = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_90,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_270,
    }
    image = picture().transpose(seen[orientation]) if orientation > 1 else picture()
    jpeg = await made(encoded(image, exif=tags(orientation)))
    assert shown(jpeg) == UPRIGHT
    assert size(jpeg) == (320, 240)
    assert_clean(jpeg)


async def test_a_heics_exif_does_not_turn_it() -> None:
    """HEIC has a rotation of its own, which the decoder applies: with the tag it would be turned twice."""
    assert shown(await made(encoded(picture(), "HEIF", exif=tags(6)))) == UPRIGHT


async def test_no_metadata_of_any_kind_are_left() -> None:
    """EXIF with a place and a thumbnail, XMP, a comment, a profile, text chunks, a second picture."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = f"<x:xmpmeta>{MARK}</x:xmpmeta>".encode()
    text = chunk(b"tEXt", b"Comment\0" + MARK.encode())
    whole = encoded(picture(), "PNG")
    files = [
        encoded(picture(), exif=tags(), comment=MARK.encode(), xmp=xmp, icc_profile=profile, dpi=(73, 73)),
        encoded(picture(), comment=MARK.encode()),
        encoded(picture(), "MPO", save_all=True, append_images=[noise(64, 64)], exif=tags()),
        encoded(picture(), "WEBP", exif=tags(), xmp=xmp, icc_profile=profile),
        encoded(picture(), "HEIF", exif=tags(), xmp=xmp, icc_profile=profile),
        whole[:33] + text + whole[33:],
    ]
    for file in files:
        assert MARK.encode() in file
        jpeg = await made(file)
        assert_clean(jpeg)
        assert shown(jpeg) == UPRIGHT


@pytest.mark.parametrize(
    ("photo", "largest"),
    [
        (picture(4000, 3000), (LARGEST_EDGE, LARGEST_EDGE * 3 // 4)),
        (picture(400, 6000), (171, LARGEST_EDGE)),
        (picture(2, 2), (2, 2)),
        (picture(1, 5000), (1, LARGEST_EDGE)),
    ],
    ids=["12 megapixels", "tall", "tiny", "a line"],
)
async def test_a_photo_is_shrunk_to_the_largest_edge(photo: Image.Image, largest: tuple[int, int]) -> None:
    """And never enlarged."""
    assert size(await made(encoded(photo))) == largest


MODES = {
    "CMYK": (encoded(picture().convert("CMYK")), UPRIGHT),
    "grey": (encoded(Image.new("L", (40, 40), 250)), ["white"] * 4),
    "16 bits of grey": (encoded(Image.new("I;16", (40, 40), 64_000), "PNG"), ["white"] * 4),
    "black and white": (encoded(Image.new("1", (40, 40), 1), "PNG"), ["white"] * 4),
    "a palette": (encoded(picture().quantize(16), "PNG"), UPRIGHT),
    "a palette with alpha": (encoded(picture().quantize(16), "PNG", transparency=b"\0" * 16), ["white"] * 4),
    "alpha": (encoded(Image.new("RGBA", (40, 40), (220, 30, 30, 0)), "PNG"), ["white"] * 4),
    "grey with alpha": (encoded(Image.new("LA", (40, 40), (0, 0)), "PNG"), ["white"] * 4),
    "a transparent colour": (
        encoded(Image.new("RGB", (40, 40), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        ["white"] * 4,
    ),
    "progressive": (encoded(picture(), progressive=True), UPRIGHT),
    "WebP with alpha": (encoded(Image.new("RGBA", (40, 40), (0, 0, 0, 0)), "WEBP"), ["white"] * 4),
    "an animated WebP": (
        encoded(picture(), "WEBP", save_all=True, append_images=[noise(320, 240)]),
        UPRIGHT,
    ),
    "an animated PNG": (encoded(picture(), "PNG", save_all=True, append_images=[noise(320, 240)]), UPRIGHT),
    "a broken profile": (encoded(picture(), icc_profile=b"no profile"), UPRIGHT),
    "a profile of another colour space": (
        encoded(picture(), icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()),
        UPRIGHT,
    ),
    "broken EXIF": (encoded(picture(), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"), UPRIGHT),
    "JPEG with a ZIP behind it": (encoded(picture()) + b"PK\x03\x04" + MARK.encode() * 50, UPRIGHT),
    "PNG with HTML behind it": (
        encoded(picture(), "PNG") + f"<script>{MARK}</script>".encode(),
        UPRIGHT,
    ),
}


@pytest.mark.parametrize("name", MODES)
async def test_every_way_to_write_pixels_becomes_rgb_on_white(name: str) -> None:
    """Also what phones do not write: the first frame, without transparency, whatever stands around it."""
    photo, colours = MODES[name]
    jpeg = await made(photo)
    assert shown(jpeg) == colours
    assert_clean(jpeg)


async def test_wide_colours_come_out_as_the_same_colours_in_srgb() -> None:
    """A phone's profile goes, so its numbers must be those of sRGB."""
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, blue = swapped.index(b"rXYZ"), swapped.index(b"bXYZ")
    profile = bytearray(swapped)
    # A profile in which red and blue have changed places.
    profile[red + 4 : red + 12], profile[blue + 4 : blue + 12] = (
        swapped[blue + 4 : blue + 12],
        swapped[red + 4 : red + 12],
    )
    jpeg = await made(encoded(picture(), icc_profile=bytes(profile)))
    assert shown(jpeg) == ["blue", "green", "red", "white"]


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("photo.jpg", encoded(picture()))
    return file.getvalue()


STRANGE = {
    "nothing": b"",
    "text": b"hello",
    "HTML": b"<html><img src=photo.jpg></html>",
    "PDF": b"%PDF-1.7",
    "ZIP": zipped(),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "GIF": encoded(picture().quantize(8), "GIF"),
    "TIFF": encoded(picture(), "TIFF"),
    "BMP": encoded(picture(), "BMP"),
    "AVIF": encoded(picture(), "AVIF"),
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "a multipart form": b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + encoded(picture()),
}


@pytest.mark.parametrize("name", STRANGE)
async def test_what_is_none_of_the_four_kinds_is_no_photo(name: str) -> None:
    """By its content, and whatever Pillow could read besides."""
    assert await fault(STRANGE[name]) == Fault.NOT_A_PHOTO


BROKEN = {
    "half a JPEG": encoded(noise(320, 240))[:5000],
    "a JPEG's first bytes": encoded(picture())[:20],
    "half a PNG": encoded(noise(320, 240), "PNG")[:20_000],
    "half a WebP": encoded(noise(320, 240), "WEBP", quality=90)[:2000],
    "half a HEIC": encoded(noise(320, 240), "HEIF")[:2000],
    "a PNG with a byte too many": encoded(picture(), "PNG").replace(b"IDAT", b"IDAT\0", 1),
    "a PNG with a wrong byte": encoded(picture(), "PNG").replace(b"IDATx", b"IDATy", 1),
    "a PNG without pixels": png(100, 100, b""),
    "a PNG with a text bomb": png(
        10, 10, zlib.compress(b"\0" * 110), chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 80_000_000))
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_damaged_is_refused_as_broken(name: str) -> None:
    """Not half a photo with grey below it."""
    assert await fault(BROKEN[name]) == Fault.BROKEN


def bombs() -> dict[str, bytes]:
    largest = 2**31 - 1
    extended = b"\x10\0\0\0\0\0\0\0" + (16_382).to_bytes(3, "little") * 2
    jpeg = encoded(picture())
    start = jpeg.index(b"\xff\xc0")
    return {
        "PNG, the largest": png(largest, largest, zlib.compress(b"\0")),
        "PNG, deflated zeros": png(30_000, 30_000, zlib.compress(b"\0" * 30_001 * 1000, 9)),
        "PNG, just too large": png(MAX_PIXELS // 8_000 + 1, 8_000, zlib.compress(b"\0")),
        "JPEG": jpeg[: start + 5] + b"\xff\xff\xff\xff" + jpeg[start + 9 :],
        "WebP": b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0" + extended[:4] + extended[8:],
    }


@pytest.mark.parametrize("name", bombs())
async def test_a_bomb_is_refused_by_its_header(name: str) -> None:
    """Before a pixel is decoded, however small the file."""
    assert await fault(bombs()[name]) == Fault.TOO_MANY_PIXELS


async def test_the_most_pixels_that_may_be_are_decoded() -> None:
    """A JPEG straight from a large sensor, and what needs the most memory of all: transparent pixels."""
    width = 8_000
    assert size(await made(encoded(picture(width, MAX_PIXELS // width)))) == (LARGEST_EDGE, LARGEST_EDGE)


def decoding() -> list[psutil.Process]:
    """The processes that decode: whatever else was started here, a server of another test, is let alone."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "services.tips.photos.decoding" in child.cmdline():
                found.append(child)
    return found


async def first_process() -> psutil.Process:
    """The process that decodes, once there is one."""
    while not (found := decoding()):  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)
    return found[0]


async def test_a_process_that_comes_to_no_end_is_ended_and_its_photo_may_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine was too busy, which is no fault of the photo; the next one is decoded as ever."""
    doing = Decoders()
    monkeypatch.setattr(decoders, "DECODE_SECONDS", 1.5)
    stopped = asyncio.create_task(doing.jpeg_of(encoded(noise(2000, 2000))))
    found = await first_process()
    found.suspend()
    with pytest.raises(Busy):
        await stopped
    assert not found.is_running()
    monkeypatch.setattr(decoders, "DECODE_SECONDS", 40)
    assert shown(await doing.jpeg_of(encoded(picture()))) == UPRIGHT


async def test_a_process_that_dies_refuses_only_its_photo() -> None:
    """Killed in the middle, as where memory is short."""
    doing = Decoders()
    working = asyncio.create_task(doing.jpeg_of(encoded(noise(2000, 2000))))
    found = await first_process()
    found.send_signal(signal.SIGKILL)
    with pytest.raises(Undecodable):
        await working
    assert shown(await doing.jpeg_of(encoded(picture()))) == UPRIGHT


async def test_no_more_processes_than_half_of_the_processors_work_at_a_time() -> None:
    """However many photos come; no more bodies than there are places are in memory."""
    doing, most, ended = Decoders(), 0, False

    async def watch() -> None:
        nonlocal most
        while not ended:
            most = max(most, len(decoding()))
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(doing.jpeg_of(encoded(picture())) for _ in range(6)))
    ended = True
    await watching
    assert most == decoders.PROCESSES


async def test_who_waits_too_long_for_a_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once where too many wait already, and after the patience otherwise; the places come free again."""
    doing, patience = Decoders(), 0.2
    monkeypatch.setattr(decoders, "PATIENCE_SECONDS", patience)
    async with AsyncExitStack() as places:
        for _ in range(decoders.PLACES):
            await places.enter_async_context(doing.place())
        monkeypatch.setattr(decoders, "WAITING", 1)
        first, second = (asyncio.create_task(places.enter_async_context(doing.place())) for _ in range(2))
        for late, waited in ((second, False), (first, True)):
            with pytest.raises(Busy):
                await late
            assert first.done() == waited
    async with doing.place():
        pass


async def test_the_process_has_nothing_but_its_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret in its environment, no file to open, no core to leave."""
    monkeypatch.setenv("IBUURT_RECEIPT_PEPPER", "p" * 32)
    working = asyncio.create_task(made(encoded(noise(3000, 3000))))
    process = await first_process()
    limits: dict[str, str] = {}
    while limits.get("Max open files") != "0" and not working.done():
        await asyncio.sleep(0)
        limits = _limits(process.pid)
        environment = _read(process.pid, "environ")
    await working
    assert "PYTHONPATH" in environment
    assert "PEPPER" not in environment
    assert limits["Max open files"] == limits["Max file size"] == limits["Max core file size"] == "0"


def _read(pid: int, what: str) -> str:
    try:
        return Path(f"/proc/{pid}/{what}").read_text()
    except OSError:
        return ""


def _limits(pid: int) -> dict[str, str]:
    return {line[:26].strip(): line[26:].split()[0] for line in _read(pid, "limits").splitlines()}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(KINDS), st.data())
def test_whatever_is_changed_in_a_file_it_is_a_clean_jpeg_or_a_named_refusal(
    kind: str, data: st.DataObject
) -> None:
    """Bytes overwritten, cut out, doubled or put in, at any place of a real file with a place in its EXIF."""
    file = bytearray(ORIGINALS[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(file) - 1))
        length = data.draw(st.integers(0, 40))
        what = data.draw(st.sampled_from(("overwrite", "cut", "double", "put", "end")))
        if what == "overwrite":
            file[at : at + length] = data.draw(st.binary(min_size=length, max_size=length))
        elif what == "cut":
            del file[at : at + length]
        elif what == "double":
            file[at:at] = file[at : at + length]
        elif what == "put":
            file[at:at] = data.draw(st.binary(max_size=40))
        else:
            del file[max(at, 1) :]
        file = file or bytearray(b"\0")
    try:
        jpeg = asyncio.run(made(bytes(file)))
    except Undecodable:
        return
    assert set(segments(jpeg)) <= PLAIN
    assert max(size(jpeg)) <= LARGEST_EDGE


async def test_one_photo_of_12_megapixels_is_decoded_within_200_megabytes() -> None:
    """The most that its process ever has, by the system's account."""
    working = asyncio.create_task(made(encoded(noise(4000, 3000), quality=92)))
    most = 0
    while not working.done():
        for child in decoding():
            most = max(most, _peak(child.pid) if _started(child.pid) else 0)
        await asyncio.sleep(0.002)
    await working
    print(f"{most / 1024:.0f} MB")
    assert 20 * 1024 < most < 200 * 1024


def _started(pid: int) -> bool:
    """Whether it runs its own program: until then it is a copy of this process, with its memory."""
    command = _read(pid, "cmdline")
    return bool(command) and command != _read(os.getpid(), "cmdline")


def _peak(pid: int) -> int:
    """The process's largest resident size so far, in KiB."""
    lines = _read(pid, "status").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
