"""LR pixels that lie elsewhere, and what differs between the pictures that are made of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sr_train.degrade import shrink
from sr_train.pixels import hr_to_tensor
from sr_train.shift import Shift, high_pass
from tests.sr_train.conftest import picture


@pytest.mark.parametrize(("down", "across"), [(0, 1), (3, 0), (2, 3)])
def test_shift_takes_the_lr_picture_that_begins_later(down: int, across: int) -> None:
    pixels = picture(64, 48, 1)
    lr = Shift(down, across, 4).lr_of(hr_to_tensor(torch.from_numpy(pixels)[None]))
    wanted = shrink(np.ascontiguousarray(pixels[down : down + 60, across : across + 44]), 4)
    levels = (lr[0].permute(1, 2, 0) * 255).round().numpy()
    assert levels.shape == wanted.shape and np.abs(levels - wanted).max() <= 1


def test_shift_loss_sees_what_is_tied_to_the_lr_grid_only() -> None:
    torch.manual_seed(0)
    hr = torch.rand(2, 3, 48, 64) * 2 - 1
    grid = torch.tensor([0.1, -0.1, 0.0, 0.0]).repeat(16)
    for across in (1, 2, 3):
        shift = Shift(2, across, 4)
        later = hr[..., 2:46, across : across + 60]
        assert shift.loss(hr, later).item() == 0
        assert shift.loss(hr + grid, later + grid[:60]).item() > 0.002


def test_shift_loss_lets_coarser_differences_be() -> None:
    """A gradient and a change of colour are none; a wave of 16 pixels counts a thousandth of one of 2."""
    shift, picture = Shift(0, 1, 4), torch.zeros(1, 3, 48, 64)
    later = picture[..., :44, 1:61]
    ramp = torch.linspace(-0.2, 0.2, 60)
    assert shift.loss(picture, later + 0.1 + ramp).item() < 1e-12

    def of_wave(period: int) -> float:
        return shift.loss(picture, later + torch.cos(2 * math.pi / period * torch.arange(60))).item()

    assert of_wave(2) == pytest.approx(1, rel=1e-4)
    assert of_wave(16) < 0.002 * of_wave(2)


def test_shift_loss_sees_a_pattern_along_the_border_only() -> None:
    shift, plain = Shift(1, 1, 4), torch.zeros(1, 3, 48, 64)
    rows = plain.clone()
    rows[..., 41:45, :] = torch.tensor([0.1, -0.1]).repeat(32)
    assert shift.loss(rows, plain[..., :44, :60]).item() > 1e-4


def test_shifts_move_both_ways_and_follow_torchs_seed() -> None:
    torch.manual_seed(1)
    found = [Shift.random(4) for _ in range(300)]
    assert {(each.down, each.across) for each in found} == {(y, x) for y in (1, 2, 3) for x in (1, 2, 3)}
    torch.manual_seed(1)
    assert Shift.random(4) == found[0]


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
