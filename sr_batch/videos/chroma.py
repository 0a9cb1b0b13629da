"""Chroma at half the resolution: enlarged to that of luma and shrunk again, about the positions where it was sampled.

Arrays are [rows, columns] or [rows, columns, channels]; a factor is 1 or 2; a position is that of a sample from the
first of its 2 luma samples: 0 (on it), 0.5 (between the two) or 1.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["enlarge", "shrink"]

Array = NDArray[Any]  # uint8 or float32
# Half-way between samples by the cubic that cv2.resize uses too (Keys, a = -0.75), so both axes look alike.
HALF_WAY = np.array([-0.09375, 0.59375, 0.59375, -0.09375], np.float32)
BETWEEN = 0.5


def enlarge(
    plane: NDArray[np.float32], size: tuple[int, int], factors: tuple[int, int], position: tuple[float, float]
) -> NDArray[np.float32]:
    """A float32 plane [ceil(h / down), ceil(w / right)] at the full size (h, w), by cubic interpolation."""
    for axis in (1, 0):  # along the rows first, while there are few of them
        if factors[axis] == 2:
            plane = _enlarge_axis(plane, axis, position[axis])
    return np.ascontiguousarray(plane[: size[0], : size[1]])


def _enlarge_axis(plane: NDArray[np.float32], axis: int, position: float) -> NDArray[np.float32]:
    rows, columns = plane.shape
    if position == BETWEEN:
        target = (2 * columns, rows) if axis == 1 else (columns, 2 * rows)
        return np.asarray(cv2.resize(plane, target, interpolation=cv2.INTER_CUBIC), np.float32)
    out = np.empty((rows, 2 * columns) if axis == 1 else (2 * rows, columns), np.float32)
    on, between = (slice(0, None, 2), slice(1, None, 2)) if position == 0 else (slice(1, None, 2), slice(0, None, 2))
    # The kernel's second tap is on the sample: between it and the next one, or the one before and it.
    kernel = HALF_WAY[None] if axis == 1 else HALF_WAY[:, None]
    anchor = 1 if position == 0 else 2
    where = (anchor, 0) if axis == 1 else (0, anchor)
    half_way = cv2.filter2D(plane, -1, kernel, anchor=where, borderType=cv2.BORDER_REPLICATE)
    if axis == 1:
        out[:, on], out[:, between] = plane, half_way
    else:
        out[on], out[between] = plane, half_way
    return out


def shrink(picture: Array, factors: tuple[int, int], position: tuple[float, float]) -> NDArray[np.float32]:
    """A picture [h, w, c] as float32 at [ceil(h / down), ceil(w / right), c].

    Between two samples: their mean. On a sample: it and its neighbours as 1:2:1, which is the mean of two such means.
    """
    down, right = factors
    height, width = picture.shape[:2]
    if height % down or width % right:
        picture = cv2.copyMakeBorder(picture, 0, height % down, 0, width % right, cv2.BORDER_REPLICATE)
    means = [
        _mean(picture, factors, (row_shift, column_shift))
        for row_shift in _shifts(down, position[0])
        for column_shift in _shifts(right, position[1])
    ]
    # uint8 means are rounded; they are added as float32, so that nothing more is.
    total = means[0].astype(np.float32) if len(means) == 1 else cv2.add(means[0], means[1], dtype=cv2.CV_32F)
    for mean in means[2:]:
        total = cv2.add(total, mean, dtype=cv2.CV_32F)
    if len(means) > 1:
        total *= np.float32(1 / len(means))
    return np.asarray(total, np.float32)


def _shifts(factor: int, position: float) -> tuple[int, ...]:
    """Where the blocks of 2 start whose means are averaged."""
    if factor == 1 or position == BETWEEN:
        return (0,)
    return (-1, 0) if position == 0 else (0, 1)


def _mean(picture: Array, factors: tuple[int, int], shifts: tuple[int, int]) -> Array:
    """Means of blocks that start `shifts` beside the grid; beyond the edge the picture is continued by its border."""
    for axis in (0, 1):
        if shifts[axis]:
            picture = _shifted(picture, axis, shifts[axis])
    if factors == (1, 1):
        return picture
    rows, columns = picture.shape[:2]
    return cv2.resize(picture, (columns // factors[1], rows // factors[0]), interpolation=cv2.INTER_AREA)


def _shifted(picture: Array, axis: int, shift: int) -> Array:
    """Of the same size, moved by one sample along an axis."""
    before, after = (1, 0) if shift < 0 else (0, 1)
    inside = [slice(None), slice(None)]
    inside[axis] = slice(0, -1) if shift < 0 else slice(1, None)
    border = (before, after, 0, 0) if axis == 0 else (0, 0, before, after)
    return cv2.copyMakeBorder(picture[tuple(inside)], *border, cv2.BORDER_REPLICATE)
