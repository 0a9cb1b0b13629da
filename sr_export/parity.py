"""Parity: how far one form's pictures are from another's, and the gate that `precision=auto` asks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Difference", "compare"]

# The gate for fp16 and bf16 (design): a form passes if it is this close to fp32 on real photos.
MIN_PSNR_DB = 50.0
MAX_LEVELS = 4


@dataclass(frozen=True)
class Difference:
    """Between two sets of uint8 pictures, over all pixels and channels."""

    max_levels: int  # largest difference, grey levels
    psnr_db: float  # 10·log10(255² / MSE); infinite when equal
    share_above_one: float  # of values that differ by more than one level, in [0, 1]

    def passes_gate(self) -> bool:
        """Close enough to fp32 to be chosen without being asked for."""
        return self.psnr_db >= MIN_PSNR_DB and self.max_levels <= MAX_LEVELS

    def __str__(self) -> str:
        return (
            f"PSNR {self.psnr_db:.1f} dB, largest difference {self.max_levels} levels, "
            f"{self.share_above_one:.3%} off by more than one"
        )


def compare(result: NDArray[np.uint8 | np.float32], reference: NDArray[np.uint8 | np.float32]) -> Difference:
    """The difference between uint8 arrays of one shape. Raises ValueError for two shapes, and for floats."""
    if any(array.dtype != np.uint8 for array in (result, reference)):
        raise ValueError(f"pictures of {result.dtype} and {reference.dtype} are not compared in levels")
    if result.shape != reference.shape:
        raise ValueError(f"pictures of {result.shape} and {reference.shape} cannot be compared")
    off = np.abs(result.astype(np.int16) - reference)
    mse = float(np.mean(off.astype(np.float64) ** 2))
    psnr = 10 * math.log10(255**2 / mse) if mse else math.inf
    return Difference(int(off.max(initial=0)), psnr, float((off > 1).mean()))
