"""The process that decodes one photo: its bytes come on standard input, the JPEG leaves on standard output.

It exits with a Fault where there is no new JPEG. It can open no file and no connection and write no file, has
little memory and time, and sees nothing but this one photo: what a hostile file does to it ends with it.
"""

import ctypes
import importlib
import resource
import signal
import sys
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pi_heif
from PIL import Image, ImageCms, UnidentifiedImageError

from services.tips.photos import LARGEST_EDGE, MAX_PIXELS, QUALITY, Fault
from shared import cores

__all__ = ["Refused", "jpeg_of"]

FORMATS = ("JPEG", "PNG", "WEBP", "HEIF")
MEMORY_BYTES = 2**30
CPU_SECONDS = 10
_ORIENTATION = 0x0112
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PR_SET_PDEATHSIG = 1

# What Pillow imports when it needs it: no file can be opened by then.
Image.preinit()
for _needed in ("JpegPresets", "MpoImagePlugin", "TiffImagePlugin", "WebPImagePlugin"):
    importlib.import_module(f"PIL.{_needed}")
# Pillow raises at twice this number, and only warns below.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.simplefilter("ignore")
# An embedded thumbnail may show something else than its photo.
pi_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)


class Refused(Exception):  # noqa: N818 - an outcome
    """There is no photo to be made of this."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.name)
        self.fault = fault


def jpeg_of(data: bytes) -> bytes:
    """A JPEG of the photo's pixels: its first frame, upright, on white, in sRGB, within LARGEST_EDGE, and
    without any metadata. The kind goes by content. Raises Refused."""
    try:
        with _opened(data) as image:
            # Only a JPEG's: decoded at a half, a quarter or an eighth, as long as it stays large enough.
            image.draft("RGB", (LARGEST_EDGE, LARGEST_EDGE))
            # Before anything else asks for it: an image that failed to load once looks whole, and is black.
            image.load()
            turned = _TURNED.get(_orientation(image))
            profile = image.info.get("icc_profile")
            flat = _flat(image)
            flat.thumbnail((LARGEST_EDGE, LARGEST_EDGE), Image.Resampling.HAMMING, reducing_gap=None)
        flat = _srgb(flat, profile)
        if turned is not None:
            flat = flat.transpose(turned)
        # Pillow would write the comment that stands there.
        flat.info.clear()
        written = BytesIO()
        flat.save(written, "JPEG", quality=QUALITY)
        return written.getvalue()
    except Refused:
        raise
    except MemoryError:
        raise Refused(Fault.TOO_MANY_PIXELS) from None
    except Exception:  # noqa: BLE001 - a decoder may raise anything
        raise Refused(Fault.BROKEN) from None


def _opened(data: bytes) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise Refused(Fault.TOO_MANY_PIXELS) from None
    except UnidentifiedImageError:
        looked_like_one = any(Image.OPEN[kind][1](data[:16]) for kind in FORMATS)  # type: ignore[misc]
        raise Refused(Fault.BROKEN if looked_like_one else Fault.NOT_A_PHOTO) from None


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - a photo whose metadata are broken is a photo
        return 1


def _flat(image: Image.Image) -> Image.Image:
    """The decoded pixels without transparency: L, RGB or CMYK."""
    if image.mode.startswith("I"):
        # 16 bits of grey. Pillow cuts off what is above 255 instead of scaling it.
        return image.convert("I").point([value >> 8 for value in range(2**16)], "L")
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        flat = Image.new("RGB", whole.size, "white")
        flat.paste(whole, mask=whole)
        return flat
    return image if image.mode in {"L", "RGB", "CMYK"} else image.convert("RGB")


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """In sRGB; a profile that cannot be used is left out."""
    if profile:
        try:
            given = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, given, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
        else:
            return converted or image
    return image.convert("RGB")


def _confine() -> None:
    """Give up whatever this process does not need for one photo."""
    # Where memory is short, this photo goes and not the service.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    cores.leave_none()
    # No life after the service's.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for which, limit in (
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
    ):
        resource.setrlimit(which, (limit, limit))


def main() -> None:
    _confine()
    try:
        jpeg = jpeg_of(sys.stdin.buffer.read())
    except Refused as refused:
        sys.exit(refused.fault)
    sys.stdout.buffer.write(jpeg)


if __name__ == "__main__":
    main()
