"""Large photos decoded row by row, through libvips: PNG, JPEG and TIFF, exactly as they are when decoded whole.

What cannot be had top down is decoded whole: turned and interlaced pictures, transparency (whose hidden colours come
from anywhere), palettes, CMYK, floats, several pictures in a file, and all other formats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sr_batch.depth import Pixels
from sr_batch.errors import PhotoOutOfReach, UnreadablePhoto
from sr_batch.photos.deep import MIN_IS_BLACK, RGB, png_depth
from sr_batch.photos.formats import Size
from sr_batch.photos.opening import Source

if TYPE_CHECKING:
    from tifffile import TiffPage

__all__ = ["StreamedFile", "streamed_file"]

WHOLE_PIXELS = 32_000_000  # a smaller picture is decoded whole: 96 MB, more than twice that while it is decoded
FORMATS = {"PNG": "png", "JPEG": "jpeg", "MPO": "jpeg", "TIFF": "tiff"}  # Pillow's names, libvips'
DEPTHS = {"uchar": np.dtype(np.uint8), "ushort": np.dtype(np.uint16)}  # libvips' names
TIFF_COMPRESSIONS = {1, 5, 8, 32946, 32773}  # none, LZW, deflate (two numbers), PackBits: what every libtiff knows
PNG_HEAD_BYTES = 33


@dataclass(frozen=True)
class StreamedFile:
    """A picture that can be read top down, upright and without transparency."""

    path: Path
    loader: str  # libvips' name of its format
    size: Size
    channels: int  # 1 (grey) or 3 (RGB)
    depth: np.dtype[Any]

    def begin(self) -> Callable[[int, int], Pixels]:
        """A reader that gives the next rows, [count, w] for grey, else [count, w, 3]; see sr_batch.streamed.Rows.

        Raises UnreadablePhoto, as the reader does.
        """
        import pyvips

        width, channels = self.size.width, self.channels
        image = self._open()
        region = pyvips.Region.new(image)

        def rows(top: int, count: int) -> Pixels:
            try:
                content = region.fetch(0, top, width, count)
            except pyvips.Error as error:
                raise self._damage(error) from error
            shape = (count, width) if channels == 1 else (count, width, channels)
            return np.frombuffer(content, dtype=self.depth).reshape(shape)

        return rows

    def is_what_it_says(self) -> bool:
        """Whether libvips is there and sees the same picture."""
        try:
            image = self._open()
        except (ImportError, UnreadablePhoto):
            return False
        found = Size(image.height, image.width), image.bands, DEPTHS.get(image.format)
        return found == (self.size, self.channels, self.depth)

    def _open(self) -> Any:
        import pyvips

        pyvips.cache_set_max(0)  # else a file that was changed is the one from before
        load = getattr(pyvips.Image, f"{self.loader}load")
        try:
            return load(str(self.path), access="sequential", fail_on="error")
        except pyvips.Error as error:
            raise self._damage(error) from error

    def _damage(self, error: Exception) -> UnreadablePhoto:
        if not self.path.exists():
            return PhotoOutOfReach("is no longer there")
        reason = " ".join(str(getattr(error, "detail", "") or error).split())
        return UnreadablePhoto(f"damaged, cannot be decoded ({reason})")


def streamed_file(source: Source) -> StreamedFile | None:
    """The picture of a file, if it is large and can be read top down; None: it is to be decoded whole."""
    size = source.size(0)
    if size.pixels <= WHOLE_PIXELS or source.count > 1 or source.orientation(0) != 1:
        return None
    kind = _kind_of_tiff(source.pages[0]) if source.pages else _kind(source)
    if kind is None:
        return None
    name, channels, depth = kind
    file = StreamedFile(source.path, name, size, channels, depth)
    return file if file.is_what_it_says() else None


def _kind(source: Source) -> tuple[str, int, np.dtype[Any]] | None:
    """libvips' name of the format, channels and depth."""
    image = source.image
    if image is None:
        return None
    name = FORMATS.get(image.format or "")
    channels = {"L": 1, "RGB": 3, "I;16": 1}.get(image.mode)
    if name is None or channels is None or image.has_transparency_data or image.info.get("interlace"):
        return None
    with source.path.open("rb") as file:
        bits = png_depth(file.read(PNG_HEAD_BYTES)) or 8
    return (name, channels, np.dtype(f"u{bits // 8}")) if bits in (8, 16) else None


def _kind_of_tiff(page: TiffPage) -> tuple[str, int, np.dtype[Any]] | None:
    channels = {MIN_IS_BLACK: 1, RGB: 3}.get(int(page.photometric))
    is_plain = page.samplesperpixel == channels and page.planarconfig == 1 and int(page.fillorder) == 1
    if channels is None or not is_plain or int(page.compression) not in TIFF_COMPRESSIONS:
        return None
    if page.dtype not in (np.uint8, np.uint16) or page.bitspersample not in (8, 16) or page.index != 0:
        return None
    return "tiff", channels, np.dtype(f"u{page.bitspersample // 8}")
