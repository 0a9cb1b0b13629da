"""The upscale loop: one image through an engine, tile by tile, given out as bands of finished rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sr_batch.depth import EnginePixels, Pixels, for_engine, to_depth
from sr_batch.tiles import Tile, TilePlan

__all__ = ["Band", "upscale"]

Stream = Callable[[Iterable[NDArray[Any]]], Generator[NDArray[Any]]]  # Doors.stream, Engine.stream, or a stand-in


@dataclass(frozen=True)
class Band:
    """Finished rows of the output, from `top` (in output pixels) down. Belongs to whoever gets it."""

    top: int
    pixels: Pixels  # [rows, scale·w, 3], as deep as the image


def upscale(
    image: Pixels,
    stream: Stream,
    plan: TilePlan,
    scale: int,
    batch: int = 1,
    advanced: Callable[[int], None] = lambda _: None,
) -> Generator[Band]:
    """Run [h, w, 3] RGB through `stream` and yield the [scale·h, scale·w, 3] output in bands, top down.

    The output is as deep as the image: uint8, uint16 or float32 in [0, 1]. The stream gets uint8 batches of an 8-bit
    image, else float32 ones, and gives the same back.
    The plan must be for this image. Up to `batch` tiles go in one call; all tiles of a plan have the same shape.
    `advanced` is told after each tile how many pixels of the image it was.
    Holds one band and the engine's results in flight; what the stream raises passes through.
    """
    width = image.shape[1]
    tiles = iter(plan)
    band = np.empty((0, 0, 3), dtype=image.dtype)
    with closing(stream(_batches(image, plan, batch))) as results:
        for result in results:
            for pixels, tile in zip(result, islice(tiles, len(result)), strict=True):
                if tile.columns.keep_start == 0:
                    rows = (tile.rows.keep_stop - tile.rows.keep_start) * scale
                    band = np.empty((rows, width * scale, 3), dtype=image.dtype)
                core = pixels[tile.rows.core_in_result(scale), tile.columns.core_in_result(scale)]
                band[:, tile.columns.core_in_output(scale)] = to_depth(core, image.dtype)
                advanced(core.shape[0] * core.shape[1] // scale**2)
                if tile.columns.keep_stop == width:
                    yield Band(tile.rows.keep_start * scale, band)


def _batches(image: Pixels, plan: TilePlan, batch: int) -> Iterator[EnginePixels]:
    tiles = iter(plan)
    while group := list(islice(tiles, batch)):
        yield np.stack([for_engine(_window(image, tile)) for tile in group])


def _window(image: Pixels, tile: Tile) -> Pixels:
    return image[tile.rows.window(), tile.columns.window()]
