"""RGB arrays into the planes of a frame, for some strips of rows: what `colour.from_rgb` is made of.

Buffers are made once for all strips, and every step writes into one of them or into the planes.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sr_batch.depth import Pixels, full_scale
from sr_batch.videos.chroma import neighbours, shrink_columns, shrink_rows
from sr_batch.videos.matrices import Affine, from_rgb_matrix
from sr_batch.videos.picture import Colour, Samples
from sr_batch.videos.planes import Plane
from sr_batch.videos.strips import Strips

__all__ = ["fill_plane", "fill_rgb", "fill_yuv"]

Floats = NDArray[np.float32]


def fill_yuv(planes: list[Plane], rgb: Pixels, samples: Samples, colour: Colour, strips: Strips) -> None:
    """Y, and Cb and Cr unless `samples.grey`, of RGB [h, w, 3]; neutral chroma where the colour is monochrome."""
    matrix = from_rgb_matrix(colour, samples.depth, full_scale(rgb.dtype))
    width = rgb.shape[1]
    with_chroma = not samples.grey and not colour.monochrome
    down = samples.subsampling[0] if with_chroma else 1
    before, after = neighbours(down, colour.siting.shift[0])
    longest = len(strips[0])
    floats = np.empty((before + longest + longest % down + after, width, 3), np.float32)
    luma = np.empty((longest, width), np.float32)
    chroma = _Chroma(longest, width, samples, colour, matrix) if with_chroma else None
    for rows in strips:
        end = rows.stop + len(rows) % down + after
        part = floats[: end - rows.start + before]
        _load(rgb, rows.start - before, end, part)
        bright = luma[: len(rows)]
        cv2.transform(part[before : before + len(rows)], matrix[:1], dst=bright)
        _store(bright, planes[0][rows.start : rows.stop], samples.depth)
        if chroma is not None:
            chroma.fill(planes[1:], part, rows)
        elif not samples.grey:
            for plane in planes[1:]:
                plane[_chroma_rows(rows, samples)] = 2 ** (samples.depth - 1)


class _Chroma:
    """Cb and Cr of strips, with the buffers that this takes."""

    def __init__(self, longest: int, width: int, samples: Samples, colour: Colour, matrix: Affine) -> None:
        down, right = samples.subsampling
        rows = -(-longest // down)
        self._samples, self._position = samples, colour.siting.shift
        self._matrix = matrix[1:].copy()
        self._few = np.empty((rows, width, 3), np.float32) if down == 2 else None
        self._wide = np.empty((2 if right == 2 else 1, rows, width), np.float32)
        self._small = np.empty((rows, -(-width // right)), np.float32) if right == 2 else None

    def fill(self, planes: list[Plane], part: Floats, rows: range) -> None:
        """`part`: the strip's rows as floats, with those beside it that its chroma depends on."""
        at = _chroma_rows(rows, self._samples)
        count = at.stop - at.start
        few, weight = part, 1
        if self._few is not None:
            few = self._few[:count]
            weight = shrink_rows(part, self._position[0], few)
        wide, other = self._wide[0, :count], self._wide[-1, :count]
        for plane, factors in zip(planes, self._matrix, strict=True):
            cv2.transform(few, factors[None] / (weight, weight, weight, 1), dst=wide)
            codes = wide
            if self._small is not None:
                codes = self._small[:count]
                shrink_columns(wide, self._position[1], other, codes)
            _store(codes, plane[at], self._samples.depth)


def _chroma_rows(rows: range, samples: Samples) -> slice:
    down = samples.subsampling[0]
    return slice(rows.start // down, -(-rows.stop // down))


def fill_rgb(planes: list[Plane], rgb: Pixels, depth: int, strips: Strips) -> None:
    """G, B, R."""
    for plane, channel in zip(planes, (1, 2, 0), strict=True):
        fill_plane(plane, rgb[..., channel], depth, strips)


def fill_plane(plane: Plane, values: Pixels | None, depth: int, strips: Strips) -> None:
    """Full-range codes of values [h, w]; None: all of them opaque."""
    if values is None or (values.dtype == np.uint8 and depth == 8):
        top = 2**depth - 1
        for rows in strips:
            plane[rows.start : rows.stop] = top if values is None else values[rows.start : rows.stop]
        return
    floats = np.empty((len(strips[0]), plane.shape[1]), np.float32)
    for rows in strips:
        part = floats[: len(rows)]
        _load(values, rows.start, rows.stop, part)
        np.multiply(part, np.float32((2**depth - 1) / full_scale(values.dtype)), out=part)
        _store(part, plane[rows.start : rows.stop], depth)


def _load(pixels: Pixels, start: int, stop: int, out: Floats) -> None:
    """Rows `start` to `stop` as floats; beyond the edge the picture is continued by its border."""
    height = len(pixels)
    first, last = max(0, start), min(height, stop)
    inside = out[first - start : last - start]
    if pixels.dtype == np.float32:
        np.clip(pixels[first:last], np.float32(0), np.float32(1), out=inside)
    else:
        np.copyto(inside, pixels[first:last])
    out[: first - start] = out[first - start]
    out[last - start :] = out[last - start - 1]


def _store(values: Floats, plane: NDArray[Any], depth: int) -> None:
    """Codes, rounded to the nearest and held within the depth. Values are at least -0.5, and are changed."""
    if plane.dtype == np.uint8:
        cv2.convertScaleAbs(values, dst=plane)
        return
    np.add(values, np.float32(0.5), out=values)
    np.minimum(values, np.float32(2**depth - 1), out=values)
    np.copyto(plane, values, casting="unsafe")
