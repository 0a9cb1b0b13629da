"""LR pixels that lie elsewhere, and what differs between the pictures that are made of them."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch

from sr_train.degrade import shrink
from sr_train.pixels import hr_to_tensor
from sr_train.shift import Shift, high_pass, inside, variance
from tests.sr_train.conftest import picture


@pytest.mark.parametrize(("down", "across"), [(0, 1), (3, 0), (2, 3)])
def test_shift_takes_the_lr_picture_that_begins_later(down: int, across: int) -> None:
    pixels = picture(64, 48, 1)
    lr = Shift(down, across, 4).lr_of(hr_to_tensor(torch.from_numpy(pixels)[None]))
    wanted = shrink(np.ascontiguousarray(pixels[down : down + 60, across : across + 44]), 4)
    levels = (lr[0].permute(1, 2, 0) * 255).round().numpy()
    assert levels.shape == wanted.shape and np.abs(levels - wanted).max() <= 1


def test_variance_is_of_what_differs_finely() -> None:
    """Of two: half of the square. A gradient and a change of colour are none; a wave of 16 pixels is a thousandth."""
    view = torch.zeros(1, 3, 44, 60)
    assert variance([view, view + 0.1 + torch.linspace(-0.2, 0.2, 60)]).item() < 1e-12

    def of_wave(period: int) -> float:
        return variance([view, view + torch.cos(2 * math.pi / period * torch.arange(60))]).item()

    assert of_wave(2) == pytest.approx(1 / 2, rel=1e-4)
    assert of_wave(16) < 0.002 * of_wave(2)


@pytest.mark.parametrize("count", [1, 2])
def test_shifts_differ_both_ways_from_each_other_and_from_none_and_follow_torchs_seed(count: int) -> None:
    torch.manual_seed(1)
    drawn = [Shift.random(4, count) for _ in range(100)]
    for shifts in drawn:
        assert len({shift.down for shift in shifts} - {0}) == len({shift.across for shift in shifts} - {0}) == count
    assert {(shift.down, shift.across) for shifts in drawn for shift in shifts} == {
        (down, across) for down in (1, 2, 3) for across in (1, 2, 3)
    }
    torch.manual_seed(1)
    assert Shift.random(4, count) == drawn[0]


def test_three_shifts_cancel_patterns_along_rows_and_columns_or_along_diagonals() -> None:
    """exp(2πi(m·down + n·across) / 4) over all four pictures is 0: for m or n alone, or for both at once."""
    torch.manual_seed(2)
    kinds = set()
    for _ in range(100):
        places = [(0, 0), *((shift.down, shift.across) for shift in Shift.random(4, 3))]
        gone = {
            (m, n)
            for m in range(4)
            for n in range(4)
            if abs(sum(cmath.exp(2j * math.pi * (m * down + n * across) / 4) for down, across in places)) < 1e-9
        }
        halves = {(0, 1), (1, 0), (0, 3), (3, 0), (1, 1), (1, 3), (3, 1), (3, 3)} <= gone
        permuted = {(0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (3, 0)} <= gone
        assert halves or permuted
        kinds.add(halves)
    assert kinds == {True, False}


def test_what_all_shifts_show_is_the_same_place() -> None:
    torch.manual_seed(0)
    whole = torch.rand(1, 3, 24, 20)
    for shift in Shift.random(4, 3):
        assert torch.equal(shift.inside(shift.part(whole)), inside(whole, 4))


@pytest.mark.parametrize(("period", "kept"), [(2, 1), (4, 1 / 2), (16, 1 / 26.3)])
def test_high_pass_keeps_of_a_wave_what_it_says(period: int, kept: float) -> None:
    wave = torch.cos(2 * math.pi / period * torch.arange(64)).expand(1, 3, 8, 64)
    found = high_pass(wave)
    assert found.shape == (1, 3, 6, 62)
    torch.testing.assert_close(found, kept * wave[..., 1:-1, 1:-1], rtol=0.01, atol=1e-6)


def test_high_pass_is_as_exact_under_autocast() -> None:
    """A hundredth of the blurred values is what remains of a fine wave: half precision would drown it."""
    picture = torch.rand(1, 3, 24, 24)
    with torch.autocast("cpu", torch.bfloat16):
        inside = high_pass(picture)
    torch.testing.assert_close(inside, high_pass(picture), rtol=0, atol=0)
