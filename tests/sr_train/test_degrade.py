"""LR pictures are pure functions of the pixels and the random numbers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sr_train.degrade import Degradation, degrade, shrink
from tests.sr_train.conftest import picture


def test_bicubic_is_pillows_antialiased_resize() -> None:
    hr = picture(64, 48, 0)
    expected = np.asarray(Image.fromarray(hr).resize((12, 16), Image.Resampling.BICUBIC))
    assert (shrink(hr, 4) == expected).all()


@pytest.mark.parametrize("degradation", Degradation)
def test_same_numbers_same_picture(degradation: Degradation) -> None:
    hr = picture(96, 96, 1)
    first, second = (degrade(hr, 4, degradation, np.random.default_rng(7)) for _ in range(2))
    assert (first == second).all() and first.shape == (24, 24, 3) and first.dtype == np.uint8


@pytest.mark.parametrize("degradation", Degradation)
def test_what_lies_beyond_the_context_changes_nothing(degradation: Degradation) -> None:
    around, crop = 48, 24  # LR pixels
    side, seen = 4 * (2 * around + crop), slice(around, around + crop)
    hr = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    other, kept = 255 - hr, slice(4 * (around - degradation.context), side - 4 * (around - degradation.context))
    other[kept, kept] = hr[kept, kept]
    for seed in range(60):
        first, second = (degrade(pixels, 4, degradation, np.random.default_rng(seed)) for pixels in (hr, other))
        assert (first[seen, seen] == second[seen, seen]).all()


def test_photo_is_mild_and_varies() -> None:
    hr = picture(96, 96, 1)
    clean = shrink(hr, 4).astype(float)
    made = [degrade(hr, 4, Degradation.PHOTO, np.random.default_rng(seed)) for seed in range(12)]
    errors = [np.abs(lr - clean).mean() for lr in made]
    assert max(errors) < 12 and min(errors) > 0
    assert len({lr.tobytes() for lr in made}) == len(made)


def test_half_of_the_photos_have_the_blocks_of_a_jpeg_as_it_was_saved() -> None:
    """Blocks of 8x8 pixels bend a ramp at their edges more than inside."""
    ramp = np.linspace(0, 255, 512)
    hr = np.repeat((ramp[:, None, None] * 0.5 + ramp[None, :, None] * 0.5), 3, axis=2).astype(np.uint8)

    def blockiness(seed: int) -> float:
        lr = degrade(hr, 4, Degradation.PHOTO, np.random.default_rng(seed)).astype(float)
        steps = np.abs(np.diff(lr, n=2, axis=1)).mean(axis=(0, 2))
        edges = np.isin(np.arange(1, 127) % 8, (0, 7))
        return float(steps[edges].mean() / steps[~edges].mean())

    blocky = sum(blockiness(seed) > 1.2 for seed in range(60))
    assert 15 < blocky < 45
