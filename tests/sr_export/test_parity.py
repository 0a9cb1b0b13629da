from __future__ import annotations

import math

import numpy as np
import pytest

from sr_export.parity import compare


def test_figures_of_a_known_difference() -> None:
    reference = np.full((1, 2, 2, 1), 100, dtype=np.uint8)
    result = np.array([100, 101, 98, 100], dtype=np.uint8).reshape(1, 2, 2, 1)
    difference = compare(result, reference)
    assert difference.max_levels == 2
    assert difference.share_above_one == 0.25
    assert difference.psnr_db == pytest.approx(10 * math.log10(255**2 / ((1 + 4) / 4)))


def test_equal_pictures_pass_and_dark_ones_do_not() -> None:
    picture = np.full((1, 8, 8, 3), 200, dtype=np.uint8)
    assert compare(picture, picture).passes_gate()
    assert not compare(np.zeros_like(picture), picture).passes_gate()


def test_one_pixel_far_off_fails_the_gate_whatever_the_psnr() -> None:
    reference = np.full((1, 1000, 1000, 1), 100, dtype=np.uint8)
    result = reference.copy()
    result[0, 0, 0, 0] = 105
    assert compare(result, reference).psnr_db > 90
    assert not compare(result, reference).passes_gate()


def test_two_shapes_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(np.zeros((1, 2), np.uint8), np.zeros((2, 1), np.uint8))
