"""Which picture formats there are, how their files are named, and how large a picture they can hold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from sr_batch.errors import PhotoOutOfReach, UnwritablePhoto
from sr_batch.sizes import Size

__all__ = [
    "JXL_STARTS",
    "PhotoFormat",
    "Sequence",
    "Size",
    "check_sequence",
    "check_size",
    "pillow_formats",
]

UNLIMITED = 2**31 - 1
AVIF_MAX_PIXELS = 16384**2  # what decoders built on libavif accept
SNIFFED_BYTES = 64  # enough for the first box of HEIC, AVIF and JPEG XL files
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")


class PhotoFormat(Enum):
    """Pillow's name, file suffixes (the first is the usual one), and the longest side in pixels that can be written.

    A longest side of 0: read, but not written.
    """

    PNG = ("PNG", (".png", ".apng"), UNLIMITED)
    JPEG = ("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), 65500)  # libjpeg's limit
    WEBP = ("WEBP", (".webp",), 16383)  # 14 bits in the container
    TIFF = ("TIFF", (".tif", ".tiff"), UNLIMITED)
    AVIF = ("AVIF", (".avif",), 65536)  # 16 bits in AV1's sequence header
    BMP = ("BMP", (".bmp", ".dib"), 0)
    GIF = ("GIF", (".gif",), 0)
    JPEG2000 = ("JPEG2000", (".jp2", ".j2k", ".jpx", ".j2c"), 0)
    HEIC = ("HEIF", (".heic", ".heif", ".hif"), 0)
    JXL = ("JXL", (".jxl",), 0)

    def __init__(self, pillow_name: str, suffixes: tuple[str, ...], max_side: int) -> None:
        self.pillow_name = pillow_name
        self.suffixes = suffixes
        self.max_side = max_side

    @property
    def is_written(self) -> bool:
        return self.max_side > 0

    @property
    def depths(self) -> tuple[np.dtype[Any], ...]:
        """Of channels that its files keep, as we write them, the deepest last."""
        depths: dict[PhotoFormat, tuple[type, ...]] = {
            PhotoFormat.PNG: (np.uint8, np.uint16),
            PhotoFormat.TIFF: (np.uint8, np.uint16, np.float32),
        }
        return tuple(np.dtype(depth) for depth in depths.get(self, (np.uint8,)))

    @property
    def holds_animations(self) -> bool:
        """As we write them."""
        return self in (PhotoFormat.PNG, PhotoFormat.WEBP, PhotoFormat.AVIF)

    @property
    def holds_pages(self) -> bool:
        return self is PhotoFormat.TIFF

    @property
    def keeps_grey(self) -> bool:
        """WebP and AVIF files are RGB when they are read back."""
        return self in (PhotoFormat.PNG, PhotoFormat.JPEG, PhotoFormat.TIFF)

    @classmethod
    def of(cls, path: Path) -> PhotoFormat | None:
        """The format that a file's name means, or None."""
        suffix = path.suffix.lower()
        return next((kind for kind in cls if suffix in kind.suffixes), None)


@dataclass(frozen=True)
class Sequence:
    """Says that a file holds several pictures: the frames of an animation, or the pages of a document."""

    count: int
    is_animation: bool  # frames of one size, one after the other; else pages, each a picture of its own
    plays: int = 0  # of an animation; 0: for ever
    pixels: int = 0  # of all pictures together


def check_sequence(sequence: Sequence, kind: PhotoFormat) -> None:
    """Raise UnwritablePhoto if a format does not hold such a sequence: to be asked before any inference."""
    if sequence.is_animation and not kind.holds_animations:
        raise UnwritablePhoto(
            f"is an animation of {sequence.count} frames, and {kind.name} holds one picture; use --format png or webp"
        )
    if not sequence.is_animation and not kind.holds_pages:
        raise UnwritablePhoto(f"has {sequence.count} pages, and {kind.name} holds one; use --format tiff")


def check_size(size: Size, kind: PhotoFormat) -> None:
    """Raise UnwritablePhoto if a result of this size does not fit the format: to be asked before any inference."""
    if max(size.height, size.width) > kind.max_side:
        raise UnwritablePhoto(
            f"the result of {size} does not fit {kind.name} (longest side {kind.max_side}); use --format png"
        )
    if kind is PhotoFormat.AVIF and size.pixels > AVIF_MAX_PIXELS:
        raise UnwritablePhoto(f"the result of {size} has more pixels than AVIF viewers open; use --format png")


def pillow_formats(path: Path) -> tuple[str, ...]:
    """Pillow's plugins that may open this file; those of HEIC and JPEG XL are loaded if the file's content asks for it.

    JPEG's plugin opens MPO too: a JPEG with a second picture, as some phones write it. Raises OSError, and
    PhotoOutOfReach where an optional package is missing.
    """
    with path.open("rb") as file:
        start = file.read(SNIFFED_BYTES)
    if start[4:8] == b"ftyp" and b"avif" not in start and start[8:12] in HEIC_BRANDS:
        _load_heic()
        return (PhotoFormat.HEIC.pillow_name,)
    if start.startswith(JXL_STARTS):
        _load_jxl()
        return (PhotoFormat.JXL.pillow_name,)
    return tuple(kind.pillow_name for kind in PhotoFormat if kind not in (PhotoFormat.HEIC, PhotoFormat.JXL))


def _load_heic() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise PhotoOutOfReach("HEIC pictures need one more package: pip install 'sr-toolkit[heic]'") from error
    pillow_heif.register_heif_opener()


def _load_jxl() -> None:
    try:
        import pillow_jxl  # noqa: F401 - registers itself with Pillow
    except ImportError as error:
        raise PhotoOutOfReach("JPEG XL pictures need one more package: pip install 'sr-toolkit[jxl]'") from error
