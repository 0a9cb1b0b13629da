"""How near an image is to its original: PSNR and SSIM, on Y and on RGB, of 8-bit pictures.

The reading, the one of the field's tables:

    HR          8-bit RGB (grey becomes RGB), cropped at the right and bottom to a multiple of the scale
    LR          HR shrunk by Pillow's antialiased BICUBIC, 8 bit
    Y           BT.601 studio range, [16, 235], not rounded
    compared    without a border of 4 pixels on each side; the mean over a set is the mean over its images

Check of the reading: bicubic gives 28.43 dB / 0.811 on Set5 and 26.09 dB / 0.705 on Set14. PSNR over RGB is lower
than over Y by about 1.8 dB: the two are never to be compared with each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SSIM_TAPS", "Pixels", "Plane", "Scores", "luma", "mean", "psnr", "score", "ssim"]

Pixels = NDArray[np.uint8]  # HWC RGB
Plane = NDArray[np.float64]  # HW

PEAK = 255.0  # grey levels: the L of SSIM, the peak of PSNR
BT601_STUDIO = np.array([65.481, 128.553, 24.966]) / 255  # Y = 16 + these · RGB, RGB in [0, 255]
SSIM_TAPS, SSIM_SIGMA = 11, 1.5  # pixels
SSIM_C1, SSIM_C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


@dataclass(frozen=True)
class Scores:
    """How near one image is to its HR original, or the mean of such scores."""

    psnr_y: float  # dB
    ssim_y: float  # at most 1
    psnr_rgb: float  # dB

    def __str__(self) -> str:
        return f"{self.psnr_y:.2f} | {self.ssim_y:.4f} | {self.psnr_rgb:.2f}"


def luma(pixels: Pixels) -> Plane:
    """uint8 HWC RGB -> float64 HW: Y of BT.601 in studio range, [16, 235], not rounded."""
    return pixels.astype(np.float64) @ BT601_STUDIO + 16


def psnr(result: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Peak signal-to-noise ratio in dB of arrays of one shape on a scale of 255; infinite for equal ones."""
    mse = float(np.mean((result - reference) ** 2))
    return 10 * math.log10(PEAK**2 / mse) if mse else math.inf


def ssim(result: Plane, reference: Plane) -> float:
    """Mean structural similarity of two float64 HW planes on a scale of 255 (Wang et al. 2004).

    Gaussian window of 11x11 pixels, sigma 1.5; only windows that lie inside count, so each side must have 11 pixels.
    """
    mean_a, mean_b = _smooth(result), _smooth(reference)
    variance_a = _smooth(result**2) - mean_a**2
    variance_b = _smooth(reference**2) - mean_b**2
    covariance = _smooth(result * reference) - mean_a * mean_b
    brightness = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variance_a + variance_b + SSIM_C2)
    return float(np.mean(brightness * structure))


def _smooth(plane: Plane) -> Plane:
    """HW -> (H-10)(W-10): SSIM's Gaussian window along columns, then along rows, without padding."""
    offsets = np.arange(SSIM_TAPS) - SSIM_TAPS // 2
    kernel = np.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    kernel /= kernel.sum()
    height, width = (side - SSIM_TAPS + 1 for side in plane.shape)
    columns = sum((tap * plane[i : i + height] for i, tap in enumerate(kernel)), np.zeros(()))
    return sum((tap * columns[:, i : i + width] for i, tap in enumerate(kernel)), np.zeros(()))


def score(result: Pixels, reference: Pixels, border: int) -> Scores:
    """Compare two uint8 HWC RGB images of one size, without `border` pixels on each side."""
    height, width = reference.shape[:2]
    inside = (slice(border, height - border), slice(border, width - border))
    result, reference = result[inside], reference[inside]
    result_luma, reference_luma = luma(result), luma(reference)
    return Scores(
        psnr(result_luma, reference_luma),
        ssim(result_luma, reference_luma),
        psnr(result.astype(np.float64), reference.astype(np.float64)),
    )


def mean(scores: Sequence[Scores]) -> Scores:
    """The mean of each score over at least one image."""
    return Scores(*np.mean([astuple(one) for one in scores], axis=0).tolist())
