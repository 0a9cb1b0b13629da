"""PSNR and SSIM against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sr_train.metrics import luma, mean, psnr, score, ssim


def test_luma_of_black_and_white_is_studio_range() -> None:
    ends = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    assert luma(ends)[0].tolist() == pytest.approx([16, 235], abs=1e-3)


def test_psnr_of_one_grey_level() -> None:
    black = np.zeros((4, 4))
    assert psnr(black, black + 1) == pytest.approx(20 * math.log10(255))
    assert psnr(black, black) == math.inf


def test_ssim_of_equal_planes_is_one_and_of_two_constants_is_their_brightness_term() -> None:
    ramp = np.add.outer(np.arange(16.0), np.arange(16.0))
    assert ssim(ramp, ramp) == pytest.approx(1)
    c1 = (0.01 * 255) ** 2
    flat = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)
    assert ssim(np.full((12, 12), 100.0), np.full((12, 12), 120.0)) == pytest.approx(flat)


def test_score_leaves_the_border_out() -> None:
    reference = np.full((24, 24, 3), 100, np.uint8)
    result = reference.copy()
    result[:4] = 0
    assert score(result, reference, 4).psnr_rgb == math.inf
    assert math.isfinite(score(result, reference, 0).psnr_rgb)


def test_mean_is_over_pictures() -> None:
    grey = np.full((24, 24, 3), 100, np.uint8)
    scores = [score(grey + np.uint8(d), grey, 0) for d in (1, 2)]
    assert mean(scores).psnr_rgb == pytest.approx((scores[0].psnr_rgb + scores[1].psnr_rgb) / 2)
