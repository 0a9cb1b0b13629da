"""What a report shows of a picture: a part of it at full size, before and after, and the whole of it, small.

The part is cut while the result's rows go by, so that no result is ever held, or decoded again, for the report.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sr_batch.depth import Pixels as DeepPixels
from sr_batch.photos import IccChoice, Photo, ReadOptions, Size, probe, read_photo
from sr_batch.photos.colour import to_srgb
from sr_batch.resize import resize
from sr_batch.streamed import StreamedPixels
from sr_batch.upscale import Band

__all__ = ["Glimpse", "Look", "Part", "glimpse_of_files"]

Pixels = NDArray[np.uint8]

THUMBNAIL_SIDE = 160  # pixels, the longer one
QUALITY = 82  # of the embedded WebP pictures; the results themselves are what they are
SURVEY_SIDE = 400  # about so many samples a side are looked at to find the liveliest part
LARGEST_DECODED = 64_000_000  # pixels of a finished result that is decoded to be looked at: 256 MB in Pillow


@dataclass(frozen=True)
class Part:
    """A rectangle of a photo, in its pixels."""

    top: int
    left: int
    height: int
    width: int

    def window(self, scale: float = 1) -> tuple[slice, slice]:
        """Its rows and columns in a picture `scale` times as large."""
        rows = slice(round(self.top * scale), round((self.top + self.height) * scale))
        return rows, slice(round(self.left * scale), round((self.left + self.width) * scale))


@dataclass(frozen=True)
class Glimpse:
    """WebP files for a page, in sRGB."""

    photo: Size
    part: Part
    before: bytes  # the part of the photo, at the photo's own size
    after: bytes  # the same part of the result
    shown: Size  # of `after`
    thumbnail: bytes  # the whole photo


class Look:
    """Gathers the rows of the result that the part needs, as they come. Not for several threads at a time."""

    def __init__(self, photo: Photo, width: int, window: Size) -> None:
        """`width`: of the picture whose rows will be added, in pixels; at most `window` of it is shown."""
        scale = width / photo.size.width
        sides = ((window.height, photo.size.height), (window.width, photo.size.width))
        self._size, self._width = photo.size, width
        self._part = _liveliest(photo.pixels, *(min(max(1, math.floor(most / scale)), side) for most, side in sides))
        self._rows, self._columns = self._part.window(scale)
        inside = self._part.window()
        self._before = _bytes(_part(photo.pixels, inside))
        self._alpha = None if photo.alpha is None else _bytes(photo.alpha[inside])
        self._icc = None if photo.grey else photo.icc
        step = max(1, min(photo.size.height, photo.size.width) // (4 * THUMBNAIL_SIDE))
        self._whole = _bytes(_sampled(photo.pixels, step))
        self._bands: list[Pixels] = []

    def add(self, band: Band) -> None:
        """Take what is needed of the next rows."""
        start, stop = self._rows.start - band.top, self._rows.stop - band.top
        if stop > 0 and start < band.pixels.shape[0]:
            self._bands.append(_bytes(band.pixels[max(0, start) : stop, self._columns]))

    def glimpse(self, width: int | None = None) -> Glimpse:
        """The pictures; all rows must have been added. Takes some 50 ms.

        `width`: the file's, where it has another size than what was drawn: the part is resized as the file was.
        """
        after = np.concatenate(self._bands)
        if width is not None and width != self._width:
            factor = width / self._width
            sides = (max(1, round(side * factor)) for side in after.shape[:2])
            after = _bytes(resize(after, Size(*sides)))
        thumbnail = self._picture(self._whole, None)
        thumbnail.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
        before_file = _webp(self._picture(self._before, self._alpha), lossless=True)
        after_file = _webp(self._picture(after, self._alpha))
        shown = Size(after.shape[0], after.shape[1])
        return Glimpse(self._size, self._part, before_file, after_file, shown, _webp(thumbnail))

    def _picture(self, pixels: Pixels, alpha: Pixels | None) -> Image.Image:
        image = Image.fromarray(pixels)
        image = to_srgb(image, self._icc) or image
        if alpha is not None and alpha.min() < 255:
            image.putalpha(Image.fromarray(alpha).resize(image.size, Image.Resampling.BICUBIC))
        return image


def glimpse_of_files(source: Path, result: Path, window: Size) -> Glimpse | None:
    """Of a result that an earlier run made; None where it is too large to be decoded for this.

    Raises UnreadablePhoto.
    """
    size = probe(result)
    if size.pixels > LARGEST_DECODED:
        return None
    options = ReadOptions(IccChoice.SRGB, strip=True)
    look = Look(read_photo(source, options), size.width, window)
    look.add(Band(0, read_photo(result, options).rgb))
    return look.glimpse()


def _sampled(pixels: DeepPixels | StreamedPixels, step: int) -> NDArray[Any]:
    return pixels.sampled(step) if isinstance(pixels, StreamedPixels) else pixels[::step, ::step]


def _part(pixels: DeepPixels | StreamedPixels, inside: tuple[slice, slice]) -> NDArray[Any]:
    return pixels.part(*inside) if isinstance(pixels, StreamedPixels) else pixels[inside]


def _liveliest(rgb: DeepPixels | StreamedPixels, height: int, width: int) -> Part:
    """The part of this size where neighbouring pixels differ most: there an upscaler has the most to do."""
    step = max(1, min(rgb.shape[:2]) // SURVEY_SIDE)
    grey = _sampled(rgb, step).astype(np.float32).mean(axis=2)
    change = np.zeros(grey.shape, np.float64)
    change[:, 1:] += np.abs(np.diff(grey, axis=1))
    change[1:] += np.abs(np.diff(grey, axis=0))
    rows, columns = max(1, height // step), max(1, width // step)
    total = np.pad(change.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return Part(min(int(top) * step, rgb.shape[0] - height), min(int(left) * step, rgb.shape[1] - width), height, width)


def _bytes(pixels: NDArray[Any]) -> Pixels:
    """A copy as uint8: 16-bit and float [0, 1] values are reduced, for showing only."""
    if pixels.dtype == np.uint8:
        return pixels.copy()
    peak = 1.0 if np.issubdtype(pixels.dtype, np.floating) else float(np.iinfo(pixels.dtype).max)
    result: Pixels = np.rint(np.clip(pixels / peak, 0, 1) * 255).astype(np.uint8)
    return result


def _webp(image: Image.Image, *, lossless: bool = False) -> bytes:
    """`lossless` for what a browser enlarges: traces of compression would be enlarged too, and look like its own."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, lossless=lossless)
    return file.getvalue()
