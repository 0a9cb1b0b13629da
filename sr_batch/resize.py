"""From the size that the network gives to the size that is wanted: antialiased, band by band.

Lanczos with three lobes, widened by the factor when shrinking (Pillow's), which is what keeps fine detail from
turning into moiré. Deeper than 8 bits, each channel is computed in float32 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sr_batch.depth import Pixels, full_scale
from sr_batch.photos.formats import Size

__all__ = ["BandResizer", "resize", "resize_bands"]

LOBES = 3  # of Lanczos: input pixels on each side of an output pixel that it looks at, when nothing is shrunk

Box = tuple[float, float, float, float]  # left, top, right, bottom in input pixels, as Pillow has it


def resize(pixels: Pixels, size: Size) -> Pixels:
    """[h, w] or [h, w, channels] in any depth -> the same in this size."""
    height, width = pixels.shape[:2]
    return _resize(pixels, (0, 0, width, height), size)


def resize_bands(bands: Iterable[Pixels], source: Size, target: Size) -> Iterator[Pixels]:
    """Bands [rows, source.width, channels] of a picture, top down, become bands of the same picture in another size."""
    resizer = BandResizer(source, target)
    for band in bands:
        yield from resizer.add(band)


class BandResizer:
    """Takes a picture's bands one by one, top down, and gives those of the same picture in another size.

    Equal to `resize` of the whole but for the last bit of the arithmetic. Holds the rows of one band and those that
    its neighbours look at. Bands pass untouched where both sizes are the same.
    """

    def __init__(self, source: Size, target: Size) -> None:
        self._source, self._target = source, target
        self._step = source.height / target.height  # input rows to an output row
        self._reach = LOBES * max(self._step, 1)  # input rows above and below an output row's centre
        self._held: list[Pixels] = []
        self._top = self._bottom = self._done = 0  # input rows that are held, output rows that are given out

    def add(self, band: Pixels) -> Iterator[Pixels]:
        """The next rows [rows, source.width, channels]; what they complete."""
        source, target, step, reach = self._source, self._target, self._step, self._reach
        if source == target:
            yield band
            return
        self._held.append(band)
        self._bottom += len(band)
        ready = target.height if self._bottom == source.height else math.floor((self._bottom - reach) / step - 0.5)
        if ready <= self._done:
            return
        rows = self._held[0] if len(self._held) == 1 else np.concatenate(self._held)
        box = (0, self._done * step - self._top, source.width, min(ready * step - self._top, len(rows)))
        yield _resize(rows, box, Size(ready - self._done, target.width))
        self._done = ready
        unused = max(0, math.floor((ready + 0.5) * step - reach) - 1 - self._top)
        self._held, self._top = [rows[unused:].copy()], self._top + unused  # a copy: the rest of the rows goes


def _resize(pixels: Pixels, box: Box, size: Size) -> Pixels:
    """The part `box` of an array in this size; pixels around the box are looked at where there are any."""
    if pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] == 3):
        return np.asarray(_lanczos(Image.fromarray(pixels), box, size))
    result: Pixels = np.empty((size.height, size.width, *pixels.shape[2:]), dtype=pixels.dtype)
    for channel in np.ndindex(pixels.shape[2:]):
        plane = pixels[(..., *channel)].astype(np.float32)
        large = np.asarray(_lanczos(Image.fromarray(plane), box, size))
        result[(..., *channel)] = _within(large, pixels.dtype)
    return result


def _lanczos(image: Image.Image, box: Box, size: Size) -> Image.Image:
    """First all columns, then all rows: Pillow's own order depends on the sizes, and a band's are not the picture's.

    In 8 bits the order shows: what the first direction overshoots is cut off before the second.
    """
    left, top, right, bottom = box
    columns = image.resize((size.width, image.height), Image.Resampling.LANCZOS, (left, 0, right, image.height))
    return columns.resize((size.width, size.height), Image.Resampling.LANCZOS, (0, top, size.width, bottom))


def _within(plane: NDArray[np.float32], depth: np.dtype[np.uint8 | np.uint16 | np.float32]) -> Pixels:
    """Lanczos overshoots at edges: clamped to the depth's range, integers rounded."""
    clamped = np.clip(plane, 0, full_scale(depth))
    return (np.rint(clamped) if depth.kind == "u" else clamped).astype(depth)
