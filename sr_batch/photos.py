"""Photos in and out: files become 8-bit arrays and bands of rows become files.

    file ──probe──▶ Header ──read_photo──▶ Photo (RGB array + what must come back)
    bands ──open_writer──▶ file (PNG streamed; JPEG, WebP, TIFF gathered by Pillow)

Pillow's errors are translated here and nowhere else.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from sr_batch.errors import UnreadablePhoto, UnwritablePhoto
from sr_batch.png import PngWriter

__all__ = ["Header", "Photo", "PhotoFormat", "Writer", "open_writer", "probe", "read_photo", "use_own_limits"]

Pixels = NDArray[np.uint8]


class PhotoFormat(Enum):
    """A format that is written: Pillow's name, file suffixes (the first is the usual one), longest side in pixels."""

    PNG = ("PNG", (".png",), 2**31 - 1)
    JPEG = ("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), 65500)  # libjpeg's limit
    WEBP = ("WEBP", (".webp",), 16383)  # 14 bits in the container
    TIFF = ("TIFF", (".tif", ".tiff"), 2**31 - 1)

    def __init__(self, pillow_name: str, suffixes: tuple[str, ...], max_side: int) -> None:
        self.pillow_name = pillow_name
        self.suffixes = suffixes
        self.max_side = max_side

    @classmethod
    def of(cls, path: Path) -> PhotoFormat | None:
        """The format that a file's name means, or None."""
        return next((kind for kind in cls if path.suffix.lower() in kind.suffixes), None)


# Pillow plugins that are let in. JPEG's opens MPO too: a JPEG with a second picture, as some phones write it.
READ_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
MAX_PIXELS = 500_000_000  # input; more is a decompression bomb or needs streaming, which this release has not
EXIF_ORIENTATION = 0x0112
TIFF_BITS_PER_SAMPLE = 258
EXIF_SUBFOLDERS = (0x8769, 0x8825)  # Exif, GPS
# TIFF tags that describe how the old file stored its pixels; everything else in EXIF describes the photo.
STRUCTURAL_TAGS = {*range(254, 270), 273, 274, 277, 278, 279, 284, 317, *range(320, 324), 324, 325, 330, 338, 339, 347,
                   513, 514, *range(529, 533), 700, 33723, 34377, 34675}  # fmt: skip
JPEG_MAX_EXIF = 65533 - 6  # one APP1 segment, less "Exif\0\0"
TIFF_MAX_BYTES = 2**32 - 2**20  # classic TIFF has 32-bit offsets


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded."""

    height: int  # as displayed: after EXIF orientation
    width: int


@dataclass(frozen=True)
class Photo:
    """A decoded photo: what the network gets, and what must come out with it."""

    rgb: Pixels  # [h, w, 3], as displayed
    grey: bool  # the file has one colour channel, and so shall its result
    alpha: Pixels | None  # [h, w]
    icc: bytes | None  # profile, kept as it is
    exif: bytes | None  # from the TIFF header on; orientation 1
    warnings: tuple[str, ...] = field(default=())  # what could not be kept, for the report


class Writer(Protocol):
    """Takes the output's rows, top down."""

    def write(self, rows: Pixels) -> None:
        """The next uint8 [rows, scale·w, 3] RGB rows of the output."""

    def finish(self) -> None:
        """All rows were given: complete the file's content."""


def use_own_limits() -> None:
    """Tell Pillow, for the whole process, that size limits are checked here, and to keep its warnings to itself.

    For command lines: Pillow would refuse 180 MP, and print its doubts about EXIF with source lines.
    """
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module="PIL")


def probe(path: Path) -> Header:
    """Read a photo's header. Raises UnreadablePhoto when it is not a photo that can be upscaled."""
    with _open(path) as image:
        turned = image.getexif().get(EXIF_ORIENTATION, 1) >= 5
        return Header(*((image.width, image.height) if turned else (image.height, image.width)))


def read_photo(path: Path) -> Photo:
    """Decode a photo to 8-bit RGB, turned as its EXIF orientation says. Raises UnreadablePhoto with the reason."""
    with _open(path) as image:
        lost = _what_is_lost(image, path)
        icc = image.info.get("icc_profile") if image.mode != "CMYK" else None  # it would not describe RGB
        exif = _clean_exif(image, lost)
        upright = _reduce_depth(ImageOps.exif_transpose(image))
        grey = upright.mode in ("L", "LA", "La", "1")
        has_alpha = upright.has_transparency_data
        rgba = upright.convert(("LA" if grey else "RGBA") if has_alpha else ("L" if grey else "RGB"))
        alpha = np.asarray(rgba.getchannel("A")) if has_alpha else None
        rgb = np.asarray(rgba.convert("RGB"))
    return Photo(rgb, grey, alpha, icc, exif, tuple(lost))


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """An opened, not yet decoded file; whatever Pillow raises in the block becomes UnreadablePhoto."""
    try:
        if path.stat().st_size == 0:
            raise UnreadablePhoto("the file is empty (0 bytes)")
        with Image.open(path, formats=READ_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadablePhoto(
                    f"{image.width}x{image.height} pixels are more than this release takes ({MAX_PIXELS // 10**6} MP)"
                )
            yield image
    except UnreadablePhoto:
        raise
    except UnidentifiedImageError as error:
        raise UnreadablePhoto("not a PNG, JPEG, WebP or TIFF picture, whatever its name says") from error
    except MemoryError as error:
        raise UnreadablePhoto("too large for this machine's memory") from error
    except OSError as error:
        raise UnreadablePhoto(f"cannot be read ({error.strerror or error})") from error
    except Exception as error:  # damaged files raise SyntaxError, ValueError, struct.error and more in Pillow's plugins
        raise UnreadablePhoto(f"damaged, cannot be decoded ({error})") from error


def _what_is_lost(image: Image.Image, path: Path) -> list[str]:
    """One sentence for each thing that this release does not carry over."""
    lost = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise UnreadablePhoto(f"has {frames} frames or pages; this release upscales single pictures only")
    bits = _bits_per_channel(image, path)
    if bits > 8:
        lost.append(f"{bits} bits a channel became 8")
    if image.mode == "CMYK":
        lost.append("CMYK became RGB without its profile")
    return lost


def _bits_per_channel(image: Image.Image, path: Path) -> int:
    """From the header, never from the values; Pillow opens 16-bit RGB as 8-bit without a word."""
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24]  # IHDR's bit depth
    if isinstance(image, TiffImageFile):
        return max(map(int, image.tag_v2.get(TIFF_BITS_PER_SAMPLE, (8,))))
    return 8


def _reduce_depth(image: Image.Image) -> Image.Image:
    """16-bit grey to 8-bit by rounding; Pillow's own conversion would clip it. Other deep modes are refused."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnreadablePhoto("32-bit and float pictures are not upscaled in this release")
    return image


def _clean_exif(image: Image.Image, lost: list[str]) -> bytes | None:
    """The photo's EXIF without orientation (it is applied) and without what described the old file's storage."""
    try:
        old, new = image.getexif(), Image.Exif()
        for tag, value in old.items():
            if tag not in STRUCTURAL_TAGS and tag not in EXIF_SUBFOLDERS:
                new[tag] = value
        for folder in EXIF_SUBFOLDERS:
            new.get_ifd(folder).update(old.get_ifd(folder))
            if new.get_ifd(folder):
                new[folder] = new.get_ifd(folder)
        return new.tobytes().removeprefix(b"Exif\0\0") if len(new) else None
    except Exception as error:  # EXIF is written by thousands of programs; the photo matters more
        lost.append(f"its EXIF is damaged and was left out ({error})")
        return None


def open_writer(file: IO[bytes], kind: PhotoFormat, photo: Photo, scale: int, quality: int) -> Writer:
    """A writer for the output of `photo`, `scale` times as large, into an open binary file.

    Grey stays grey; alpha is upscaled by Lanczos and put back (JPEG has none: the photo lies on white there).
    `quality`: 1 to 100, for JPEG and WebP. The file is the caller's to flush and close.
    """
    rows = _Rows(photo, scale, keep_alpha=kind is not PhotoFormat.JPEG)
    if kind is PhotoFormat.PNG:
        height, width = photo.rgb.shape[0] * scale, photo.rgb.shape[1] * scale
        return _Composed(rows, PngWriter(file, height, width, rows.channels, photo.icc, photo.exif))
    return _Composed(rows, _PillowWriter(file, kind, photo, scale, rows.channels, quality))


def check_size(header: Header, kind: PhotoFormat, scale: int) -> None:
    """Raise UnwritablePhoto if the output would not fit the format: before any inference."""
    height, width = header.height * scale, header.width * scale
    if max(height, width) > kind.max_side:
        raise UnwritablePhoto(
            f"the result of {width}x{height} does not fit {kind.name} (longest side {kind.max_side}); use --format png"
        )
    if kind is PhotoFormat.TIFF and height * width * 4 > TIFF_MAX_BYTES:
        raise UnwritablePhoto(f"the result of {width}x{height} does not fit a TIFF of 4 GB; use --format png")


class _Rows:
    """RGB rows of the output turned into the channels that its file keeps."""

    def __init__(self, photo: Photo, scale: int, *, keep_alpha: bool) -> None:
        self._grey = photo.grey
        self._keep_alpha = keep_alpha
        self._alpha: Pixels | None = None
        self._next_row = 0
        if photo.alpha is not None:
            size = (photo.alpha.shape[1] * scale, photo.alpha.shape[0] * scale)
            self._alpha = np.asarray(Image.fromarray(photo.alpha).resize(size, Image.Resampling.LANCZOS))
        self.channels = (1 if photo.grey else 3) + (1 if self._alpha is not None and keep_alpha else 0)

    def convert(self, rgb: Pixels) -> Pixels:
        rows = np.asarray(Image.fromarray(rgb).convert("L"))[:, :, None] if self._grey else rgb
        if self._alpha is not None:
            alpha = self._alpha[self._next_row : self._next_row + len(rows), :, None]
            self._next_row += len(rows)
            if self._keep_alpha:
                return np.concatenate([rows, alpha], axis=2)
            on_white = rows.astype(np.uint32) * alpha + 255 * (255 - alpha.astype(np.uint32))
            return ((on_white + 127) // 255).astype(np.uint8)
        return rows


class _Composed:
    """A Writer: rows are converted, then handed to the file's own writer."""

    def __init__(self, rows: _Rows, inner: Writer) -> None:
        self._rows, self._inner = rows, inner

    def write(self, rows: Pixels) -> None:
        self._inner.write(self._rows.convert(rows))

    def finish(self) -> None:
        self._inner.finish()


class _PillowWriter:
    """Gathers the rows in one Pillow image (4 bytes a pixel for RGB) and encodes it at the end."""

    def __init__(
        self, file: IO[bytes], kind: PhotoFormat, photo: Photo, scale: int, channels: int, quality: int
    ) -> None:
        size = (photo.rgb.shape[1] * scale, photo.rgb.shape[0] * scale)
        self._image = Image.new(("L", "LA", "RGB", "RGBA")[channels - 1], size)
        self._file, self._kind, self._quality = file, kind, quality
        self._icc, self._exif = photo.icc, photo.exif
        self._next_row = 0

    def write(self, rows: Pixels) -> None:
        band = Image.fromarray(rows[:, :, 0] if rows.shape[2] == 1 else rows)
        self._image.paste(band, (0, self._next_row))
        self._next_row += len(rows)

    def finish(self) -> None:
        options: dict[str, object] = {"icc_profile": self._icc} if self._icc else {}
        if self._exif and (self._kind is not PhotoFormat.JPEG or len(self._exif) <= JPEG_MAX_EXIF):
            options["exif"] = b"Exif\0\0" + self._exif
        match self._kind:
            case PhotoFormat.JPEG:
                options |= {"quality": self._quality, "subsampling": "4:4:4"}
            case PhotoFormat.WEBP:
                options |= {"quality": self._quality, "method": 2}
            case PhotoFormat.TIFF:
                # Pillow cannot write EXIF's sub-folders (date, place) into a compressed TIFF: then not to lose them
                # is worth the space.
                options |= {} if self._exif else {"compression": "tiff_adobe_deflate"}
        try:
            self._image.save(self._file, self._kind.pillow_name, **options)
        except (ValueError, struct.error) as error:
            raise UnwritablePhoto(f"Pillow cannot write it as {self._kind.name} ({error})") from error
