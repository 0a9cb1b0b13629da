"""LR pixels that lie elsewhere, and what differs between the pictures that are made of them."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch

from sr_train.degrade import Degradation, shrink
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


def test_photos_of_shifted_parts_show_them_each_with_its_own_traces() -> None:
    hr = hr_to_tensor(torch.from_numpy(np.stack([picture(64, 48, 1)] * 2)))
    shift = Shift(2, 3, 4)
    photos = shift.lr_of(hr, Degradation.PHOTO, 5)
    assert photos.shape == (2, 3, 15, 11)
    torch.testing.assert_close((photos * 255).round() / 255, photos)

    def squared(a: torch.Tensor, b: torch.Tensor) -> float:
        return (a - b).square().mean().item()

    here, elsewhere = shift.lr_of(hr), Shift(0, 0, 4).lr_of(hr)
    assert 0 < squared(photos, here) < squared(photos, elsewhere) / 2
    assert not torch.equal(photos[0], photos[1])


def test_photos_of_one_seed_have_the_same_traces_wherever_they_begin() -> None:
    grey = torch.zeros(2, 3, 64, 48)
    first = Shift(0, 1, 4).lr_of(grey, Degradation.PHOTO, 5)
    assert first.std() > 0
    assert torch.equal(Shift(3, 2, 4).lr_of(grey, Degradation.PHOTO, 5), first)
    assert not torch.equal(Shift(3, 2, 4).lr_of(grey, Degradation.PHOTO, 6), first)


def test_variance_is_of_what_differs_finely() -> None:
    """Of two: half of the square. A gradient and a change of colour are none; a wave of 16 pixels is a thousandth."""
    view = torch.zeros(1, 3, 44, 60)
    assert variance([view, view + 0.1 + torch.linspace(-0.2, 0.2, 60)]).item() < 1e-12

    def of_wave(period: int) -> float:
        return variance([view, view + torch.cos(2 * math.pi / period * torch.arange(60))]).item()

    assert of_wave(2) == pytest.approx(1 / 2, rel=1e-4)
    assert of_wave(16) < 0.002 * of_wave(2)


@pytest.mark.parametrize("count", [1, 3, 15])
def test_shifts_differ_from_each_other_and_from_none_and_follow_torchs_seed(count: int) -> None:
    torch.manual_seed(1)
    drawn = [Shift.random(4, count) for _ in range(200)]
    for shifts in drawn:
        assert len({(shift.down, shift.across) for shift in shifts} - {(0, 0)}) == count
    assert len({(shift.down, shift.across) for shifts in drawn for shift in shifts}) == 15
    torch.manual_seed(1)
    assert Shift.random(4, count) == drawn[0]


def test_each_pattern_of_the_lr_grid_keeps_a_fifth_of_its_power_in_the_mean_of_four() -> None:
    """|mean of exp(2πi(m·down + n·across) / 4)|², over draws: no pattern is spared."""
    torch.manual_seed(2)
    power = dict.fromkeys(((m, n) for m in range(4) for n in range(4)), 0.0)
    for _ in range(3000):
        places = [(0, 0), *((shift.down, shift.across) for shift in Shift.random(4, 3))]
        for m, n in power:
            waves = [cmath.exp(2j * math.pi * (m * down + n * across) / 4) for down, across in places]
            power[m, n] += abs(sum(waves) / 4) ** 2 / 3000
    assert power.pop((0, 0)) == pytest.approx(1)
    assert all(share == pytest.approx(1 / 5, abs=0.03) for share in power.values())


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
