"""The worst tile as a picture: fp32 | INT8 | their difference, amplified around grey."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["AMPLIFICATION", "worst_tile_picture"]

Pixels = NDArray[np.uint8]
AMPLIFICATION = 16  # one grey level of difference becomes sixteen
GAP = 8  # pixels between the three


def worst_tile_picture(fp32: Pixels, int8: Pixels) -> Image.Image:
    """Two uint8 HWC pictures of one size, side by side with (int8 - fp32) * 16 + 128."""
    difference = (int8.astype(np.int32) - fp32) * AMPLIFICATION + 128
    gap = np.full((fp32.shape[0], GAP, 3), 255, np.uint8)
    parts = [fp32, gap, int8, gap, np.clip(difference, 0, 255).astype(np.uint8)]
    return Image.fromarray(np.concatenate(parts, axis=1))
