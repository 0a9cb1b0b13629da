"""The smallest safe halo, measured on real images; and the reach of a network that we did not build.

The halo derived from the layers (Generator.halo) is exact but wide: the outermost pixels weigh next to nothing. Here
a model runs on real photo crops, whole and cut, and the smallest halo is taken whose error stays small.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["measure_halo", "measure_reach", "probe_crops"]

Floats = NDArray[np.floating[Any]]
RunFloat = Callable[[NDArray[np.float32]], Floats]  # the float door: NCHW RGB [0, 1] -> NCHW RGB [0, 1]

CANDIDATES = (4, 8, 12, 16, 20, 24, 32, 40, 48)  # LR pixels
# Largest error allowed on the probe crops, in grey levels of 255. The promise is half a level on any image; the crops
# are few, so half of that is asked of them.
ERROR_LIMIT_LEVELS = 0.25
REACH_SIDE = 192  # LR pixels: side of the random image on which an unknown network's reach is looked for


def probe_crops() -> NDArray[np.uint8]:
    """Three crops of real photos: uint8 [3, 96, 96, 3] RGB. Sources in probe.md."""
    with files("sr_export").joinpath("probe.png").open("rb") as file, Image.open(file) as image:
        strip = np.asarray(image.convert("RGB"))
    side = strip.shape[0]
    return np.stack([strip[:, left : left + side] for left in range(0, strip.shape[1], side)])


def measure_halo(run: RunFloat, scale: int, reach: int | None) -> int | None:
    """The smallest halo in LR pixels whose error stays below ERROR_LIMIT_LEVELS on the probe crops.

    Each crop is run whole, and cut in the middle with a halo, once along columns and once along rows; the parts that a
    tile would keep are compared. Never more than `reach`, if that is known. None: no candidate was good enough.
    """
    images = probe_crops().astype(np.float32).transpose(0, 3, 1, 2) / np.float32(255)
    directions = [images, _turn(images)]
    whole = [_run_each(run, turned) for turned in directions]
    middle = images.shape[2] // 2
    for halo in CANDIDATES:
        if reach is not None and halo >= reach:
            return reach
        if halo >= middle:
            break
        error = 0.0
        for turned, expected in zip(directions, whole, strict=True):
            cut = _run_each(run, np.ascontiguousarray(turned[:, :, middle - halo :]))
            kept = np.clip(cut[:, :, halo * scale :], 0, 1) - np.clip(expected[:, :, middle * scale :], 0, 1)
            error = max(error, float(np.abs(kept).max()) * 255)
        if error < ERROR_LIMIT_LEVELS:
            return halo
    return None


def measure_reach(run: RunFloat, scale: int) -> int | None:
    """How many LR pixels away an output pixel sees, found by changing the left half of a random image.

    Counts every bit that changes, so it is a lower bound only where a far pixel's weight vanishes in rounding. None:
    the change was seen as far as the image goes (an attention or normalisation over the whole image, for example).
    """
    random = np.random.default_rng(0)
    image = random.random((1, 3, 64, REACH_SIDE), dtype=np.float32)
    changed = image.copy()
    middle = REACH_SIDE // 2
    changed[..., :middle] = random.random((1, 3, 64, middle), dtype=np.float32)
    differs = (run(image) != run(changed)).any(axis=(0, 1, 2))
    last = int(np.flatnonzero(differs).max(initial=0))
    reach = last // scale - (middle - 1)
    return None if last >= (REACH_SIDE - 1) * scale else max(reach, 0)


def _run_each(run: RunFloat, images: NDArray[np.float32]) -> Floats:
    """One image at a time: models with a fixed batch of 1 are welcome."""
    return np.concatenate([run(image[None]) for image in images])


def _turn(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(images.transpose(0, 1, 3, 2))
