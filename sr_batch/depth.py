"""How deep a channel is: uint8, uint16 or float32, and the only place where values go from one to another.

A photo's arrays keep the depth of its file. The engine takes uint8 as it is and everything deeper as float32 in
[0, 1], so what is deep is converted window by window on its way in, and rounded once on its way out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EnginePixels", "Pixels", "bits_of", "for_engine", "full_scale", "to_depth"]

Pixels = NDArray[np.uint8 | np.uint16 | np.float32]  # of photos
EnginePixels = NDArray[np.uint8 | np.float32]


def full_scale(depth: np.dtype[Any]) -> float:
    """The value of white, and of full opacity: 255, 65535, or 1 for floats."""
    return float(np.iinfo(depth).max) if depth.kind == "u" else 1.0


def bits_of(depth: np.dtype[Any]) -> int:
    return 8 * depth.itemsize


def for_engine(pixels: Pixels) -> EnginePixels:
    """uint8 as it is, anything deeper as float32 in [0, 1]: what decides between the pixel and the float door."""
    for_pixel_door = pixels.dtype == np.uint8
    result: EnginePixels = pixels if for_pixel_door else to_depth(pixels, np.dtype(np.float32))  # type: ignore[assignment]
    return result


def to_depth(pixels: Pixels, depth: np.dtype[Any]) -> Pixels:
    """The same picture in another depth, rounded to nearest and clamped; the same array where nothing changes."""
    if pixels.dtype == depth:
        return pixels
    factor = np.float32(full_scale(depth) / full_scale(pixels.dtype))
    scaled: NDArray[np.float32] = pixels * factor
    if depth.kind == "f":
        return scaled
    top = np.float32(full_scale(depth))
    rounded: Pixels = np.clip(scaled + np.float32(0.5), 0, top).astype(depth)
    return rounded
