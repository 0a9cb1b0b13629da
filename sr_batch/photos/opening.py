"""A photo's file, opened but not decoded: how many pictures are in it, how large they are, what reads each of them.

Errors of Pillow, tifffile and imagecodecs are translated here and nowhere else on the way in.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from sr_batch.errors import PhotoOutOfReach, UnreadablePhoto
from sr_batch.photos.deep import is_deep_tiff_page
from sr_batch.photos.formats import Sequence, Size, pillow_formats
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


@dataclass(frozen=True)
class Source:
    """An open file."""

    path: Path
    image: Image.Image | None  # as Pillow sees it; None where it is not needed
    pages: tuple[TiffPage, ...] = ()  # of a TIFF: those that are pictures
    first: int = 0  # Pillow's number of the first picture

    @property
    def count(self) -> int:
        """Of the pictures: frames or pages."""
        if self.pages:
            return len(self.pages)
        assert self.image is not None
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
        else:
            assert self.image is not None
            value = self.image.getexif().get(EXIF_ORIENTATION, 1)
        return value if isinstance(value, int) and 1 <= value <= 8 else 1


def use_own_limits() -> None:
    """Tell Pillow and tifffile, for the whole process, that size limits are checked here, and to keep their doubts.

    For command lines: Pillow would refuse 180 MP, and print its warnings about EXIF with source lines.
    """
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)


@contextmanager
def open_source(path: Path, max_pixels: int) -> Iterator[Source]:
    """An opened, not yet decoded file; whatever the libraries raise in the block becomes UnreadablePhoto."""
    try:
        if path.stat().st_size == 0:
            raise UnreadablePhoto("the file is empty (0 bytes)")
        with ExitStack() as stack, path.open("rb") as file:
            if is_tiff(file.read(4)):
                source = _open_tiff(path, stack)
            else:
                image = stack.enter_context(Image.open(path, formats=pillow_formats(path)))
                source = Source(path, image, first=1 if getattr(image, "default_image", False) else 0)
            _check_limit(source, max_pixels)
            yield source
    except UnreadablePhoto:
        raise
    except UnidentifiedImageError as error:
        raise UnreadablePhoto("damaged, or not a picture of a known format, whatever its name says") from error
    except MemoryError as error:
        raise PhotoOutOfReach("too large for this machine's memory") from error
    except OSError as error:
        if error.errno is not None:  # the system's, not Pillow's
            raise PhotoOutOfReach(f"cannot be read ({error.strerror})") from error
        raise UnreadablePhoto(f"cannot be read ({_one_line(error)})") from error
    except Exception as error:  # damaged files raise SyntaxError, ValueError, struct.error and more in the libraries
        raise UnreadablePhoto(f"damaged, cannot be decoded ({_one_line(error)})") from error


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
    needs_pillow = not all(is_deep_tiff_page(page) for page in pages)
    image = stack.enter_context(Image.open(path, formats=["TIFF"])) if needs_pillow else None
    return Source(path, image, pages)


def _check_limit(source: Source, max_pixels: int) -> None:
    largest = max((source.size(index) for index in range(len(source.pages) or 1)), key=lambda size: size.pixels)
    if largest.pixels > max_pixels:
        raise PhotoOutOfReach(
            f"{largest} pixels are more than the limit of {max_pixels / 10**6:g} MP; "
            "if the file can be trusted, raise it with --max-pixels"
        )
    if largest.pixels == 0:
        raise UnreadablePhoto(f"damaged: {largest} pixels by its header")


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
