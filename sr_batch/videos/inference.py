"""Frames through the engine: one continuous stream of tiles over all of them, so the engine never waits between two.

A frame whose pixels are those of the frame before is not computed again: its result is the same array.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sr_batch.tiles import Tile, TilePlan

__all__ = ["upscale_frames"]

T = TypeVar("T")
Pixels = NDArray[Any]  # uint8, or float32 in [0, 1]; all of one dtype
Stream = Callable[[Iterable[Pixels]], Generator[Pixels]]

# Repeats that may wait behind a frame in work. A longer run of them ends the engine's stream instead, so that they
# come out at once: a still picture of an hour must not keep the encoder waiting for an hour.
REPEATS_WAITING = 8


@dataclass(frozen=True, slots=True)
class _Pending(Generic[T]):
    """A frame whose result is to come."""

    item: T
    repeat: bool


def upscale_frames(
    frames: Iterable[tuple[T, Pixels | None]], stream: Stream, plan: TilePlan, scale: int, batch: int = 1
) -> Iterator[tuple[T, Pixels]]:
    """Each item with its upscaled picture [scale·h, scale·w, 3], in order; pictures belong to whoever gets them.

    `frames`: items with their RGB pictures [h, w, 3], all of the plan's size; None: the same as the one before, whose
    result is given out again (the same array: do not write to it). Up to `batch` tiles, also of different frames, go
    in one call.
    """
    coming = iter(frames)
    latest: Pixels | None = None
    ended = False
    while not ended:
        pending: deque[_Pending[T]] = deque()
        feed = _Feed(coming, pending, plan, batch)
        with closing(stream(feed)) as results:
            for picture in _pictures(_tiles(results), plan, scale):
                yield from _repeats(pending, latest)
                latest = picture
                yield pending.popleft().item, picture
                yield from _repeats(pending, latest)
        yield from _repeats(pending, latest)
        ended = feed.exhausted


def _repeats(pending: deque[_Pending[T]], latest: Pixels | None) -> Iterator[tuple[T, Pixels]]:
    """The repeats at the head of what is pending."""
    while pending and pending[0].repeat:
        assert latest is not None  # the first frame of all is none
        yield pending.popleft().item, latest


class _Feed(Generic[T]):
    """The batches of one engine stream. It ends with the frames, or when many repeats are waiting."""

    def __init__(
        self, coming: Iterator[tuple[T, Pixels | None]], pending: deque[_Pending[T]], plan: TilePlan, batch: int
    ) -> None:
        self._coming, self._pending, self._plan, self._batch = coming, pending, plan, batch
        self.exhausted = False

    def __iter__(self) -> Iterator[Pixels]:
        tiles = self._tiles()
        while group := list(islice(tiles, self._batch)):
            yield np.stack(group)

    def _tiles(self) -> Iterator[Pixels]:
        repeats = 0
        for item, rgb in self._coming:
            self._pending.append(_Pending(item, repeat=rgb is None))
            if rgb is not None:
                repeats = 0
                yield from (_window(rgb, tile) for tile in self._plan)
            elif (repeats := repeats + 1) >= REPEATS_WAITING:
                return
        self.exhausted = True


def _tiles(results: Iterable[Pixels]) -> Iterator[Pixels]:
    for result in results:
        yield from result


def _pictures(results: Iterator[Pixels], plan: TilePlan, scale: int) -> Iterator[Pixels]:
    """Whole pictures from the results of their tiles."""
    height, width = plan.rows[-1].keep_stop * scale, plan.columns[-1].keep_stop * scale
    while True:
        picture: Pixels | None = None
        for tile in plan:
            result = next(results, None)
            if result is None:
                assert picture is None  # a stream gives a result for each tile
                return
            if picture is None:
                picture = np.empty((height, width, 3), dtype=result.dtype)
            core = result[tile.rows.core_in_result(scale), tile.columns.core_in_result(scale)]
            picture[tile.rows.core_in_output(scale), tile.columns.core_in_output(scale)] = core
        assert picture is not None
        yield picture


def _window(image: Pixels, tile: Tile) -> Pixels:
    return image[tile.rows.window(), tile.columns.window()]
