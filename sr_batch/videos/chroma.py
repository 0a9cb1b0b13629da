"""Chroma at half the resolution: enlarged to that of luma and shrunk again, about the positions where it was sampled.

A factor is 1 or 2; a position is that of a sample from the first of its 2 luma samples: 0 (on it), 0.5 (between the
two) or 1. Everything is float32, and a picture is continued by its border.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["enlarge", "enlarge_rows", "neighbours", "shrink_columns", "shrink_rows"]

Floats = NDArray[np.float32]
# Half-way between samples by the cubic that cv2.resize uses too (Keys, a = -0.75), so both axes look alike.
HALF_WAY = np.array([-0.09375, 0.59375, 0.59375, -0.09375], np.float32)
REACH = 2  # samples beside a sample that its surroundings depend on
BETWEEN = 0.5
PAIR, AROUND = np.array([[0.5, 0.5]], np.float32), np.array([[0.25, 0.5, 0.25]], np.float32)


def enlarge(plane: Floats, size: tuple[int, int], factors: tuple[int, int], position: tuple[float, float]) -> Floats:
    """A plane [ceil(h / down), ceil(w / right)] at the full size (h, w), by cubic interpolation."""
    for axis in (1, 0):  # along the rows first, while there are few of them
        if factors[axis] == 2:
            plane = _enlarge_axis(plane, axis, position[axis])
    return np.ascontiguousarray(plane[: size[0], : size[1]])


def enlarge_rows(
    plane: NDArray[np.uint8 | np.uint16],
    rows: range,
    columns: int,
    factors: tuple[int, int],
    position: tuple[float, float],
) -> Floats:
    """Some rows of `enlarge` of the whole plane: [len(rows), columns]. The first row is even, or the factor is 1."""
    down = factors[0]
    begin = max(0, rows.start // down - REACH) if down == 2 else rows.start
    end = min(plane.shape[0], -(-rows.stop // down) + REACH) if down == 2 else rows.stop
    above = rows.start - begin * down
    part = plane[begin:end].astype(np.float32)
    return enlarge(part, (above + len(rows), columns), factors, position)[above:]


def _enlarge_axis(plane: Floats, axis: int, position: float) -> Floats:
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


def neighbours(factor: int, position: float) -> tuple[int, int]:
    """How many samples before, and after, its 2 a shrunk sample depends on."""
    if factor == 1 or position == BETWEEN:
        return 0, 0
    return (1, 0) if position == 0 else (0, 1)


def shrink_rows(rows: Floats, position: float, out: Floats) -> int:
    """Each 2 rows as one: [before + 2n + after, ...] -> [n, ...], see `neighbours`. Returns the multiple that
    `out` is of them.

    Between two samples: their mean. On a sample: it and its neighbours as 1:2:1, which is the mean of two such means.
    """
    if position == BETWEEN:
        np.add(rows[0::2], rows[1::2], out=out)
        return 2
    # From the row before a sample on: it is the first of its 2, or the second.
    before, on, after = rows[0:-1:2], rows[1::2], rows[2::2]
    np.add(on, on, out=out)
    np.add(out, before, out=out)
    np.add(out, after, out=out)
    return 4


def shrink_columns(plane: Floats, position: float, full: Floats, out: Floats) -> None:
    """Each 2 samples of a row as one, by the same means: [h, w] -> [h, ceil(w / 2)]. `full`: [h, w], overwritten."""
    kernel = PAIR if position == BETWEEN else AROUND
    # The sample lies on or beside the first of its 2, so that is where the kernel is put.
    anchor = 1 if position == 0 else 0
    cv2.filter2D(plane, -1, kernel, dst=full, anchor=(anchor, 0), borderType=cv2.BORDER_REPLICATE)
    np.copyto(out, full[:, ::2])
