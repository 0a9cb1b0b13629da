"""LR pictures are pure functions of the pixels and the random numbers."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sr_train.degrade import SUBSAMPLINGS, Degradation, degrade, shrink, through_jpeg
from sr_train.metrics import Pixels
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
    clean = shrink(hr, 4)
    made = [degrade(hr, 4, Degradation.PHOTO, np.random.default_rng(seed)) for seed in range(100)]
    changed = [lr for lr in made if (lr != clean).any()]
    assert max(np.abs(lr - clean.astype(float)).mean() for lr in changed) < 15
    assert len({lr.tobytes() for lr in changed}) == len(changed)


def test_two_photos_in_five_are_clean() -> None:
    """Which ones follows from the random numbers alone, so that other parts of a picture are clean with it."""
    first, second = picture(96, 96, 1), picture(48, 80, 2)

    def clean(hr: Pixels) -> list[int]:
        return [
            seed
            for seed in range(200)
            if (degrade(hr, 4, Degradation.PHOTO, np.random.default_rng(seed)) == shrink(hr, 4)).all()
        ]

    assert 60 < len(clean(first)) < 100 and clean(first) == clean(second)


def test_half_of_the_others_have_the_blocks_of_a_jpeg_as_it_was_saved() -> None:
    """Blocks of 8x8 pixels bend a ramp at their edges more than inside."""
    ramp = np.linspace(0, 255, 512)
    hr = np.repeat((ramp[:, None, None] * 0.5 + ramp[None, :, None] * 0.5), 3, axis=2).astype(np.uint8)
    clean, edges = shrink(hr, 4), np.isin(np.arange(1, 127) % 8, (0, 7))

    def is_blocky(lr: Pixels) -> bool:
        steps = np.abs(np.diff(lr.astype(float), n=2, axis=1)).mean(axis=(0, 2))
        return bool(steps[edges].mean() > 1.2 * steps[~edges].mean())

    made = [degrade(hr, 4, Degradation.PHOTO, np.random.default_rng(seed)) for seed in range(100)]
    others = [lr for lr in made if (lr != clean).any()]
    assert len(others) / 4 < sum(map(is_blocky, others)) < len(others) * 3 / 4


def test_what_is_made_of_a_part_is_alike_in_blur_noise_and_quality() -> None:
    """Of flat grey only noise is left, and what saving makes of it: its deviation tells one seed from another."""

    def deviation(seed: int, side: int) -> float:
        grey = np.full((side, side, 3), 128, np.uint8)
        return float(degrade(grey, 4, Degradation.PHOTO, np.random.default_rng(seed)).std())

    whole, part = ([deviation(seed, side) for seed in range(60)] for side in (320, 256))
    assert np.abs(np.subtract(whole, part)).mean() < 0.1 * np.std(whole)


def test_half_of_the_jpegs_have_their_colour_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    stripes = Image.fromarray(np.tile(np.array([[220, 60, 60], [60, 131, 60]], np.uint8), (32, 16, 1)))  # equally light
    contrast = {one: np.asarray(through_jpeg(stripes, 95, one))[..., 0].std() for one in SUBSAMPLINGS}
    assert contrast["4:4:4"] > 70 and contrast["4:2:0"] < 20
    saved: list[list[str]] = []

    def noted(image: Image.Image, quality: int, subsampling: str) -> Image.Image:
        saved[-1].append(subsampling)
        return through_jpeg(image, quality, subsampling)

    monkeypatch.setattr("sr_train.degrade.through_jpeg", noted)
    for seed in range(200):
        saved.append([])
        degrade(picture(48, 48, 1), 4, Degradation.PHOTO, np.random.default_rng(seed))
    jpegs = [one for one in saved if one]
    assert all(len(set(one)) == 1 for one in jpegs)  # of one picture alike
    assert len(jpegs) / 3 < sum(one[0] == "4:4:4" for one in jpegs) < len(jpegs) * 2 / 3
