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


def test_photo_is_mild_and_varies() -> None:
    hr = picture(96, 96, 1)
    clean = shrink(hr, 4).astype(float)
    made = [degrade(hr, 4, Degradation.PHOTO, np.random.default_rng(seed)) for seed in range(12)]
    errors = [np.abs(lr - clean).mean() for lr in made]
    assert max(errors) < 12 and min(errors) > 0
    assert len({lr.tobytes() for lr in made}) == len(made)
