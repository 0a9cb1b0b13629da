"""RGB to Y, Cb, Cr and back as numbers: ITU-T H.273, section 8.3."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from sr_batch.videos.picture import Colour, Matrix

__all__ = ["LUMA_WEIGHTS", "Affine", "from_rgb_matrix", "grey_to_rgb_matrix", "to_rgb_matrix"]

Affine = NDArray[np.float64]  # [rows, n + 1]: n factors and a constant

# Kr, Kb of H.273, table 4. Constant-luminance BT.2020 is converted as BT.2020, there and back, as players do.
LUMA_WEIGHTS: dict[int, tuple[float, float]] = {
    Matrix.BT709: (0.2126, 0.0722),
    Matrix.FCC: (0.30, 0.11),
    Matrix.BT470BG: (0.299, 0.114),
    Matrix.SMPTE170M: (0.299, 0.114),
    Matrix.SMPTE240M: (0.212, 0.087),
    Matrix.BT2020: (0.2627, 0.0593),
    Matrix.BT2020_CONSTANT: (0.2627, 0.0593),
}


@cache
def from_rgb_matrix(colour: Colour, depth: int, white: float) -> Affine:
    """[3, 4]: RGB, white being `white`, to codes of Y, Cb, Cr."""
    red, blue = LUMA_WEIGHTS[colour.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    cb = (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - blue))
    cr = (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - red))
    black, luma_length, neutral, chroma_length = _code_scale(colour.full_range, depth)
    factors = np.stack([luma * luma_length, cb * chroma_length, cr * chroma_length]) / white
    return np.column_stack([factors, [black, neutral, neutral]])


@cache
def to_rgb_matrix(colour: Colour, depth: int, white: float) -> Affine:
    """[3, 4]: the inverse of `from_rgb_matrix`."""
    forward = from_rgb_matrix(colour, depth, white)
    inverse = np.linalg.inv(forward[:, :3])
    return np.column_stack([inverse, -inverse @ forward[:, 3]])


@cache
def grey_to_rgb_matrix(colour: Colour, depth: int, white: float) -> Affine:
    """[3, 2]: a grey code to three equal components."""
    black, length, _, _ = _code_scale(colour.full_range, depth)
    return np.tile([[white / length, -black * white / length]], (3, 1))


def _code_scale(full_range: bool, depth: int) -> tuple[float, float, float, float]:
    """H.273, equations 20 to 31: black and length of luma, neutral and length of chroma, in codes of this depth."""
    neutral = float(2 ** (depth - 1))
    if full_range:
        return 0.0, 2.0**depth - 1, neutral, 2.0**depth - 1
    step = 2.0 ** (depth - 8)
    return 16 * step, 219 * step, neutral, 224 * step
