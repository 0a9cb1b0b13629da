from __future__ import annotations

import numpy as np
import pytest

from sr_batch.errors import WrongPixels
from sr_batch.guard import Guard
from sr_batch.upscale import Counts
from tests.conftest import random_pixels
from tests.sr_batch.stubs import Pixels, enlarge, repeat_4x


def _float(pixels: Pixels) -> Pixels:
    return (pixels / np.float32(255)).astype(np.float32)


@pytest.mark.parametrize("deep", [False, True])
def test_what_is_right_is_passed_on_untouched_and_costs_no_second_run(deep: bool) -> None:
    window: Pixels = _float(random_pixels(64, 64)) if deep else random_pixels(64, 64)
    result, counts = enlarge(window), Counts()
    assert Guard(repeat_4x).checked(window, result, counts) is result
    assert counts.redone == 0


@pytest.mark.parametrize("fault", ["nan", "inf", "black", "inverted", "one channel off"])
def test_what_cannot_be_right_is_replaced_by_fp32s_result(fault: str) -> None:
    window = _float(random_pixels(64, 64) // 2)
    result = enlarge(window).copy()
    match fault:
        case "nan":
            result[100, 100, 1] = np.nan
        case "inf":
            result[0, 0, 0] = np.inf
        case "black":
            result[:] = 0
        case "inverted":
            result = 1 - result
        case "one channel off":
            result[..., 2] = result[..., 2] + np.float32(0.2)
    counts = Counts()
    assert np.array_equal(Guard(repeat_4x).checked(window, result, counts), enlarge(window))
    assert counts.redone == 1


def test_a_dark_picture_may_be_black() -> None:
    window = np.full((64, 64, 3), 3, dtype=np.uint8)
    counts = Counts()
    assert Guard(repeat_4x).checked(window, np.zeros((256, 256, 3), dtype=np.uint8), counts).max() == 0
    assert counts.redone == 0


def test_a_model_that_shifts_colours_in_exact_arithmetic_is_told_once_and_used() -> None:
    """A network for effects: its pictures are its own, and no tile is computed twice for it after the first."""
    window, told, counts = random_pixels(64, 64), list[str](), Counts()
    guard = Guard(lambda batches: (255 - enlarge(batch) // 2 for batch in batches), told.append)
    for _ in range(3):
        result = 255 - enlarge(window) // 2
        assert guard.checked(window, result, counts) is result
    assert counts.redone == 1
    assert len(told) == 1 and "changes mean colours" in told[0]


def test_a_window_that_fails_in_fp32_too_is_refused_with_the_fix() -> None:
    window = random_pixels(64, 64)
    guard = Guard(lambda batches: (enlarge(batch) * 0 for batch in batches))
    with pytest.raises(WrongPixels, match="another with -n"):
        guard.checked(window, enlarge(window) * np.uint8(0), Counts())
