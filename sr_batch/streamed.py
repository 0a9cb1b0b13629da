"""A picture that is decoded while it is cut into tiles: what is held of it is a row of tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sr_batch.depth import Pixels, to_depth

__all__ = ["Rows", "StreamedPixels"]

# The next `count` rows of a picture, [count, w, 3], from row `top` on; the first call has 0, each further one goes on
# where the one before ended.
Rows = Callable[[int, int], Pixels]

BAND_BYTES = 8 << 20  # of rows that are read at a time when all are looked at


class StreamedPixels:
    """[h, w, 3] RGB of which windows are taken as of an array: `pixels[rows, columns]`, both slices.

    Windows must come top down: none may begin above the one before. Not for several threads at a time.
    """

    def __init__(self, height: int, width: int, depth: np.dtype[Any], begin: Callable[[], Rows]) -> None:
        """`begin` starts to read the picture from its top, as often as it is called."""
        self.shape, self.dtype = (height, width, 3), depth
        self._begin = begin
        self._rows: Rows | None = None
        self._top = self._bottom = 0  # of the rows that are held
        self._held: Pixels = np.empty((0, width, 3), dtype=depth)

    @property
    def nbytes(self) -> int:
        """Held now."""
        return self._held.nbytes

    def __getitem__(self, window: tuple[slice, slice]) -> Pixels:
        """[rows, columns, 3]; belongs to this. Raises what reading raises."""
        rows, columns = window
        start, stop, _ = rows.indices(self.shape[0])
        assert self._top <= start <= self._bottom, "windows come top down"
        if stop > self._bottom:
            self._rows = self._rows or self._begin()
            following = self._rows(self._bottom, stop - self._bottom)
            self._held = np.concatenate([self._held[start - self._top :], following])
            self._top, self._bottom = start, stop
        return self._held[start - self._top : stop - self._top, columns]

    def converted(self, depth: np.dtype[Any]) -> StreamedPixels:
        """The same picture in another depth."""

        def begin() -> Rows:
            rows = self._begin()
            return lambda top, count: to_depth(rows(top, count), depth)

        return StreamedPixels(*self.shape[:2], depth, begin)

    def bands(self) -> Iterator[Pixels]:
        """All rows, top down, read anew."""
        rows, top = self._begin(), 0
        height, width, _ = self.shape
        step = max(1, BAND_BYTES // (width * 3 * self.dtype.itemsize))
        while top < height:
            count = min(step, height - top)
            yield rows(top, count)
            top += count

    def sampled(self, step: int) -> Pixels:
        """What `[::step, ::step]` is of an array, read anew."""
        top, found = 0, []
        for band in self.bands():
            found.append(band[-top % step :: step, ::step].copy())
            top += len(band)
        return np.concatenate(found)

    def part(self, rows: slice, columns: slice) -> Pixels:
        """Any window, read anew."""
        top, found = 0, []
        for band in self.bands():
            found.append(band[max(0, rows.start - top) : max(0, rows.stop - top), columns].copy())
            top += len(band)
            if top >= rows.stop:
                break
        return np.concatenate(found)
