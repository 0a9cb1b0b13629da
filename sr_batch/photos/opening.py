"""A photo's file, opened but not decoded: how many pictures are in it, how large they are, what reads each of them.

Errors of Pillow, tifffile and imagecodecs are translated here and nowhere else on the way in.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sr_batch.errors import PhotoOutOfReach, UnreadablePhoto
from sr_batch.photos.deep import is_read_by_tifffile, png_depth
from sr_batch.photos.formats import PhotoFormat, Sequence, Size, pillow_formats
from sr_batch.photos.jpeg2000 import Jp2Facts, read_jp2
from sr_batch.photos.jpegxl import JxlFacts, read_jxl
from sr_batch.photos.metadata import PHOTOSHOP_IPTC
from sr_batch.photos.png_words import png_without_pixels
from sr_batch.photos.reasons import lacks_its_end, reason_of
from sr_batch.photos.tiff import TIFF_XMP, is_tiff
from sr_batch.photos.xmp import xmp_orientation

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

__all__ = ["EXIF_ORIENTATION", "UPRIGHT_FORMATS", "Source", "open_source", "use_own_limits"]

EXIF_ORIENTATION = 0x0112
UPRIGHT_FORMATS = {"TIFF", "HEIF", "JXL"}  # their plugins turn the picture themselves and give its size as displayed
SINGLE_PICTURES = {"MPO", "HEIF"}  # further pictures in the file are previews, depth maps, other views
SMALLER_COPY, MASK = 1, 4  # bits of TIFF's NewSubfileType: pages that are no pictures of their own
MAX_SAMPLES = 16  # channels of a TIFF
HEAD_BYTES = 4096  # AVIF's item properties come first
AVIF_CODE_POINTS = b"colrnclx"  # box, and the kind of it that has numbers
AVIF_BITS = b"pixi"  # box: version and flags (4 bytes), number of channels, bits of each


@dataclass(frozen=True)
class Source:
    """An open file."""

    path: Path
    image: Image.Image | None  # as Pillow sees it; None where it is not needed
    pages: tuple[TiffPage, ...] = ()  # of a TIFF: those that are pictures
    first: int = 0  # Pillow's number of the first picture
    facts: JxlFacts | Jp2Facts | None = None  # what Pillow does not say
    doubts: tuple[str, ...] = ()  # sentences: what may be missing of it

    @property
    def count(self) -> int:
        """Of the pictures: frames or pages."""
        if self.pages:
            return len(self.pages)
        if self.image is None:
            return 1
        return 1 if self.image.format in SINGLE_PICTURES else int(getattr(self.image, "n_frames", 1)) - self.first

    @property
    def sequence(self) -> Sequence | None:
        """What several pictures are; None for one."""
        if self.count == 1:
            return None
        if self.pages:
            return Sequence(self.count, False, pixels=sum(self.size(index).pixels for index in range(self.count)))
        assert self.image is not None
        plays = self.image.info.get("loop")
        if self.image.format == "GIF":  # it says how often the animation is repeated, as browsers read it
            plays = 1 if plays is None else plays + 1 if plays else 0
        return Sequence(self.count, True, plays or 0, self.count * self.size(0).pixels)

    def size(self, index: int) -> Size:
        """Of a picture, as displayed."""
        if self.pages:
            page = self.pages[index]
            size, turned = Size(page.imagelength, page.imagewidth), self.orientation(index) >= 5
        elif isinstance(self.facts, JxlFacts):
            return self.facts.size
        else:
            assert self.image is not None
            size = Size(self.image.height, self.image.width)
            turned = self.image.format not in UPRIGHT_FORMATS and self.orientation(index) >= 5
        return Size(size.width, size.height) if turned else size

    def orientation(self, index: int) -> int:
        """EXIF's and TIFF's, where they say none XMP's: 1 to 8; 1 where nothing sensible is said."""
        if self.pages:
            tags = self.pages[index].tags
            tag, xmp = tags.get(EXIF_ORIENTATION), tags.get(TIFF_XMP)
            value = tag.value if tag is not None else xmp_orientation(xmp.value if xmp is not None else None)
        elif isinstance(self.facts, JxlFacts):
            value = self.facts.orientation
        else:
            assert self.image is not None
            value = self._exif.get(EXIF_ORIENTATION, 1)
        return value if isinstance(value, int) and 1 <= value <= 8 else 1

    def bits(self, index: int) -> int:
        """A channel, from the header, never from the values: Pillow opens deeper pictures as 8-bit without a word."""
        if self.pages:
            return int(self.pages[index].bitspersample)
        if self.facts is not None:
            return self.facts.bits
        assert self.image is not None
        with self.path.open("rb") as file:
            start = file.read(HEAD_BYTES)
        match self.image.format:
            case "PNG":
                return png_depth(start) or 8
            case "AVIF":
                bits = start[start.find(AVIF_BITS) + 9 :] if AVIF_BITS in start else b""
                return bits[0] if bits else 8
            case "HEIF":
                return int(self.image.info.get("bit_depth", 8))
        return 16 if self.image.mode.startswith("I;16") else 8

    def code_points(self) -> tuple[int, int] | None:
        """Of an AVIF or HEIC: the numbers of its primaries and its transfer curve, by ITU-T H.273."""
        image = self.image
        if image is not None and image.format == "AVIF":
            with self.path.open("rb") as file:
                start = file.read(HEAD_BYTES)
            place = start.find(AVIF_CODE_POINTS)
            found = start[place + len(AVIF_CODE_POINTS) :][:4] if place >= 0 else b""
            return struct.unpack(">HH", found) if len(found) == 4 else None
        nclx = image.info.get("nclx_profile") if image is not None and image.format == "HEIF" else None
        return (nclx["color_primaries"], nclx["transfer_characteristics"]) if isinstance(nclx, dict) else None

    def channels(self, index: int) -> int:
        """Of the arrays that the picture is decoded to: 3, or 4 if there may be transparency."""
        if self.pages:
            return 4 if self.pages[index].extrasamples else 3
        return 4 if self.image is None or self.image.has_transparency_data else 3

    def depth(self, index: int) -> np.dtype[Any]:
        """Of the arrays that the picture is decoded to."""
        if self.pages:
            page = self.pages[index]
            if page.dtype is None or not is_read_by_tifffile(page):
                return np.dtype(np.uint8)
            deep = np.uint16 if page.dtype != np.uint8 else np.uint8
            return np.dtype(np.float32 if page.dtype.kind == "f" else deep)
        if self.bits(index) <= 8 or self.count > 1:
            return np.dtype(np.uint8)
        return np.dtype(np.float32 if isinstance(self.facts, JxlFacts) and self.facts.is_float else np.uint16)

    @cached_property
    def _exif(self) -> Image.Exif:
        """Without decoding: a PNG's may stand behind its pixels, so Pillow would decode it to look."""
        assert self.image is not None
        if self.image.format != "PNG" or not {"exif", "Raw profile type exif"}.isdisjoint(self.image.info):
            return self.image.getexif()
        with Image.open(io.BytesIO(png_without_pixels(self.path)), formats=["PNG"]) as words:
            return words.getexif()


def use_own_limits() -> None:
    """Tell Pillow and tifffile, for the whole process, that size limits are checked here, and to keep their doubts.

    For command lines: Pillow would refuse 180 MP, and print its warnings about EXIF with source lines.
    """
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)


@contextmanager
def open_source(path: Path, max_pixels: int, *, pixels: bool = True) -> Iterator[Source]:
    """An opened, not yet decoded file; whatever the libraries raise in the block becomes UnreadablePhoto.

    Without `pixels` only to be asked what its header says.
    """
    try:
        if path.stat().st_size == 0:
            raise UnreadablePhoto("the file is empty (0 bytes)")
        with ExitStack() as stack, path.open("rb") as file:
            if is_tiff(file.read(4)):
                source = _open_tiff(path, stack)
            elif pillow_formats(path) == (PhotoFormat.JXL.pillow_name,):
                source = _open_jxl(path, max_pixels, stack if pixels else None)
            else:
                source = _open_image(path, stack)
            _check_limit(source, max_pixels)
            yield source
    except UnreadablePhoto:
        raise
    except MemoryError as error:
        raise PhotoOutOfReach("too large for this machine's memory") from error
    except Exception as error:  # damaged files raise SyntaxError, ValueError, struct.error and more in the libraries
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not Pillow's
            raise PhotoOutOfReach(f"cannot be read ({error.strerror})") from error
        try:
            reason = reason_of(error, path)
        except OSError as gone:
            raise PhotoOutOfReach(f"cannot be read ({gone.strerror})") from error
        raise UnreadablePhoto(reason) from error


def _open_image(path: Path, stack: ExitStack) -> Source:
    """What Pillow knows by itself, but TIFF."""
    image = stack.enter_context(Image.open(path, formats=pillow_formats(path)))
    if image.format == PhotoFormat.GIF.pillow_name and lacks_its_end(path):
        return Source(path, image, doubts=("the file is cut off: frames may be missing at its end",))
    if image.format != PhotoFormat.JPEG2000.pillow_name:
        return Source(path, image, first=1 if getattr(image, "default_image", False) else 0)
    with path.open("rb") as file:
        facts = read_jp2(file)
    packets = {"icc_profile": facts.icc, "exif": facts.exif, "xmp": facts.xmp}
    image.info |= {name: packet for name, packet in packets.items() if packet}
    image.info |= {"photoshop": {PHOTOSHOP_IPTC: facts.iptc}} if facts.iptc else {}
    return Source(path, image, facts=facts)


def _open_jxl(path: Path, max_pixels: int, stack: ExitStack | None) -> Source:
    """Without a stack only by its header: its plugin for Pillow decodes as it opens."""
    with path.open("rb") as file:
        facts = read_jxl(file)
    source = Source(path, None, facts=facts)
    _check_limit(source, max_pixels)
    if stack is None:
        return source
    image = stack.enter_context(Image.open(path, formats=[PhotoFormat.JXL.pillow_name]))
    image.info |= {name: packet for name, packet in (("exif", facts.exif), ("xmp", facts.xmp)) if packet}
    return replace(source, image=image)


def _open_tiff(path: Path, stack: ExitStack) -> Source:
    from tifffile import TiffFile, TiffPage

    tiff: TiffFile = stack.enter_context(TiffFile(path))
    pages = tuple(
        page for page in tiff.pages if isinstance(page, TiffPage) and not page.subfiletype & (SMALLER_COPY | MASK)
    )
    if not pages:
        raise UnreadablePhoto("there is no picture in this TIFF")
    for page in pages:
        if page.imagedepth != 1 or not 0 < page.samplesperpixel <= MAX_SAMPLES:
            raise UnreadablePhoto(
                f"damaged, or no photo: {page.imagedepth} layers of {page.samplesperpixel} channels; "
                "only flat pictures are upscaled"
            )
    needs_pillow = not all(is_read_by_tifffile(page) for page in pages)
    image = stack.enter_context(Image.open(path, formats=["TIFF"])) if needs_pillow else None
    return Source(path, image, pages, doubts=_lost_pages(tiff))


def _lost_pages(tiff: TiffFile) -> tuple[str, ...]:
    """A sentence where the last page that was found says that another one follows: tifffile stops there in silence."""
    last, form, file = tiff.pages[-1], tiff.tiff, tiff.filehandle
    file.seek(last.offset)
    count = int.from_bytes(file.read(form.tagnosize), "big" if form.byteorder == ">" else "little")
    file.seek(last.offset + form.tagnosize + count * form.tagsize)
    if not any(file.read(form.offsetsize)):
        return ()
    return (f"pages may be missing: what should follow page {len(tiff.pages)} cannot be found",)


def _check_limit(source: Source, max_pixels: int) -> None:
    largest = max((source.size(index) for index in range(len(source.pages) or 1)), key=lambda size: size.pixels)
    if largest.pixels > max_pixels:
        raise PhotoOutOfReach(
            f"{largest} pixels are more than the limit of {max_pixels / 10**6:g} MP; "
            "if the file can be trusted, raise it with --max-pixels"
        )
    if largest.pixels == 0:
        raise UnreadablePhoto(f"damaged: {largest} pixels by its header")
