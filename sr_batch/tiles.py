"""Tiles: which windows of an image the engine runs, and which pixels of each result are kept. Integers only.

A *window* is what the engine sees; its *core* is the part whose result is kept. Windows lie inside the image, so at
the image's border the network pads as it does for the whole image. Wherever a core ends inside the image, its window
goes on for at least `halo` pixels. All windows of an image have the same size. Every pixel is in exactly one core.

Nothing here knows an engine, and sizes are (height, width) of the input image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from sr_train.errors import UsageError

__all__ = ["Span", "Tile", "TilePlan", "plan_tiles"]


@dataclass(frozen=True)
class Span:
    """One window along one axis, in input pixels of the whole image: 0 <= start <= keep_start < keep_stop <= stop."""

    start: int  # of the window
    stop: int
    keep_start: int  # of the core
    keep_stop: int

    def window(self) -> slice:
        """Of the input image."""
        return slice(self.start, self.stop)

    def core_in_result(self, scale: int) -> slice:
        """The kept part of the engine's result for this window."""
        return slice((self.keep_start - self.start) * scale, (self.keep_stop - self.start) * scale)

    def core_in_output(self, scale: int) -> slice:
        """Where the kept part lies in the whole output."""
        return slice(self.keep_start * scale, self.keep_stop * scale)


@dataclass(frozen=True)
class Tile:
    rows: Span
    columns: Span

    def core_pixels(self) -> int:
        """Input pixels whose result is kept."""
        return (self.rows.keep_stop - self.rows.keep_start) * (self.columns.keep_stop - self.columns.keep_start)


@dataclass(frozen=True)
class TilePlan:
    """The tiles of one image, row by row."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def __iter__(self) -> Iterator[Tile]:
        return (Tile(row, column) for row in self.rows for column in self.columns)

    def computed_pixels(self) -> int:
        """Input pixels that the engine runs, halos included."""
        return sum(row.stop - row.start for row in self.rows) * sum(c.stop - c.start for c in self.columns)


def plan_tiles(
    height: int, width: int, tile: int, halo: int, fixed: bool = False, most_rows: int | None = None
) -> TilePlan:
    """Cut an image of height x width into windows of at most `tile` pixels a side, with `halo` pixels around cores.

    A side that is no longer than `tile` is not cut. `fixed`: windows of cut sides are exactly `tile` long, for engines
    that are fastest at one size; they overlap by more. `most_rows`: of a core, if the windows may be lower than `tile`
    for it; not below a core as high as both halos. Raises UsageError when `tile` leaves no core.
    """
    rows = tile if fixed or most_rows is None else min(tile, max(most_rows, 2 * halo) + 2 * halo)
    return TilePlan(_cut(height, rows, halo, fixed), _cut(width, tile, halo, fixed))


def _cut(length: int, tile: int, halo: int, fixed: bool) -> tuple[Span, ...]:
    """Cut evenly by count: the fewest windows, all of the same size (the smallest, or `tile`), cores ending
    mid-overlap."""
    assert length >= 1 and halo >= 0
    if length <= tile:
        return (Span(0, length, 0, length),)
    if tile <= 2 * halo:
        raise UsageError(
            f"a tile of {tile} pixels is all halo ({halo} on each side); use --tile {4 * max(halo, 1)} or more"
        )
    count = -(-(length - 2 * halo) // (tile - 2 * halo))
    size = tile if fixed else -(-(length + (count - 1) * 2 * halo) // count)
    # The starts spread evenly from 0 to length - size; no step is longer than size - 2 * halo, because
    # length - size <= (count - 1) * (size - 2 * halo) and the right side is a whole number of such steps.
    starts = [index * (length - size) // (count - 1) for index in range(count)]
    cuts = [0, *((following + start + size) // 2 for start, following in pairwise(starts)), length]
    return tuple(
        Span(start, start + size, keep_start, keep_stop)
        for start, (keep_start, keep_stop) in zip(starts, pairwise(cuts), strict=True)
    )
