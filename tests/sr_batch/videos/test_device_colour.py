"""The conversion of frames that stay on a GPU, on tensors of the CPU: the same colours as the usual path's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sr_batch.videos.colour import Raster, from_rgb, to_rgb
from sr_batch.videos.device_colour import planes_to_rgb, rgb_to_planes
from sr_batch.videos.picture import ChromaSiting, Colour
from sr_batch.videos.planes import planes_of
from tests.sr_batch.videos.clips import frame_of
from tests.sr_batch.videos.test_colour import colour_of
from tests.sr_batch.videos.test_encoding import picture_of

SIZE = (246, 70)
FORMATS = {8: "yuv420p", 10: "yuv420p10le"}


def random_planes(depth: int) -> list[NDArray[Any]]:
    """Mostly colours that RGB has, some beyond."""
    random, step = np.random.default_rng(depth), 2 ** (depth - 8)
    luma = random.integers(16 * step, 236 * step, SIZE)
    chroma = [random.integers(90 * step, 166 * step, (SIZE[0] // 2, SIZE[1] // 2)) for _ in range(2)]
    return [luma, *chroma]


def semi_planar(planes: list[NDArray[Any]], depth: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As nv12, or p010le, whose 10 bits are the highest."""
    kind = np.uint8 if depth == 8 else np.uint16
    luma, chroma = ((plane << (0 if depth == 8 else 6)).astype(kind) for plane in (planes[0], np.stack(planes[1:], 2)))
    return torch.from_numpy(luma), torch.from_numpy(chroma)


def colours() -> list[Colour]:
    found = [colour_of(matrix, full) for matrix, full in [(1, False), (6, True), (9, False), (7, False)]]
    return found + [Colour(1, False, 1, 1, siting) for siting in ChromaSiting]


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("colour", colours(), ids=lambda c: f"{c.matrix}-{c.full_range}-{c.siting}")
def test_decoded_planes_become_the_same_rgb(depth: int, colour: Colour) -> None:
    planes = random_planes(depth)
    usual = to_rgb(frame_of(planes, FORMATS[depth]), picture_of(FORMATS[depth], colour)).rgb
    found = planes_to_rgb(*semi_planar(planes, depth), colour).numpy()
    if depth == 8:
        assert np.abs(usual.astype(int) - found.astype(int)).max() <= 1
        assert (usual != found).mean() < 0.001  # both round the same numbers: only ties may differ
    else:
        white = 1.0 if usual.dtype == np.float32 else 65535.0
        assert np.abs(usual.astype(float) / white - found).max() <= 1e-5 + (0 if white == 1 else 0.5 / white)


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("colour", colours(), ids=lambda c: f"{c.matrix}-{c.full_range}-{c.siting}")
def test_rgb_becomes_the_same_planes(depth: int, colour: Colour) -> None:
    random = np.random.default_rng(1)
    rgb = random.integers(0, 256, (*SIZE, 3), np.uint8) if depth == 8 else random.random((*SIZE, 3), np.float32)
    usual = planes_of(from_rgb(Raster(rgb), FORMATS[depth], colour))
    luma, chroma = (plane.to(torch.int32).numpy() for plane in rgb_to_planes(torch.from_numpy(rgb), colour))
    assert luma.shape == SIZE
    assert chroma.shape == (SIZE[0] // 2, SIZE[1] // 2, 2)
    found = [plane if depth == 8 else plane >> 6 for plane in (luma, chroma[..., 0], chroma[..., 1])]
    for one, other in zip(usual, found, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
        assert (one != other).mean() < 0.02


@pytest.mark.parametrize("depth", [8, 10])
def test_luma_survives_there_and_back_on_the_device(depth: int) -> None:
    colour = colour_of(1, False)
    step = 2 ** (depth - 8)
    luma = np.linspace(40 * step, 200 * step, SIZE[0] * SIZE[1]).astype(int).reshape(SIZE)
    chroma = [np.full((SIZE[0] // 2, SIZE[1] // 2), 120 * step), np.full((SIZE[0] // 2, SIZE[1] // 2), 140 * step)]
    planes = semi_planar([luma, *chroma], depth)
    again = rgb_to_planes(planes_to_rgb(*planes, colour), colour)
    for before, after in zip(planes, again, strict=True):
        difference = (before.to(torch.int32) - after.to(torch.int32)).abs().max().item()
        assert difference <= (1 if depth == 8 else 0)
