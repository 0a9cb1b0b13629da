from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sr_batch.depth import full_scale
from sr_batch.photos import PhotoFormat, Size, WriteOptions, open_writer, read_photo
from sr_batch.photos.transparency import LanczosAlpha, bleed, enlarge_alpha
from tests.conftest import random_pixels

Pixels = NDArray[np.uint8]


def _disc(side: int, radius: float) -> Pixels:
    """An antialiased disc, uint8 [side, side]."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    disc: Pixels = (np.clip(radius - np.hypot(x, y) + 0.5, 0, 1) * 255).round().astype(np.uint8)
    return disc


def _smooth(large: NDArray[Any]) -> Pixels:
    """Each pixel the mean of its 5x5 neighbours: what a network may do at an edge."""
    padded = np.pad(large.astype(float), ((2, 2), (2, 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(0, 1))
    mean: Pixels = windows.mean(axis=(-1, -2)).round().astype(np.uint8)
    return mean


@pytest.mark.parametrize("under", [(0, 0, 0), (255, 255, 255), (0, 255, 0)])
def test_no_halo_of_the_hidden_colour_shows_at_an_edge(tmp_path: Path, under: tuple[int, int, int]) -> None:
    """An orange disc over transparency of another colour, put on its own orange: nothing but orange may be seen."""
    alpha, orange = _disc(32, 10), (240, 140, 20)
    rgb = np.full((32, 32, 3), under, dtype=np.uint8)
    rgb[alpha > 0] = orange
    Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "disc.png")
    photo = read_photo(tmp_path / "disc.png")
    file = io.BytesIO()
    writer = open_writer(file, PhotoFormat.PNG, photo, photo.size.times(4), WriteOptions())
    writer.write(_smooth(photo.rgb.repeat(4, 0).repeat(4, 1)))
    writer.finish()
    with Image.open(io.BytesIO(file.getvalue())) as result:
        seen = Image.alpha_composite(Image.new("RGBA", result.size, (*orange, 255)), result.convert("RGBA"))
    assert np.abs(np.asarray(seen)[..., :3].astype(int) - orange).max() <= 1


def test_bleeding_leaves_what_is_visible_as_it_is() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    alpha = np.random.default_rng(1).integers(0, 3, (20, 30), dtype=np.uint8)
    filled = bleed(rgb, alpha)
    assert np.array_equal(filled[alpha > 0], rgb[alpha > 0])


def test_hidden_pixels_take_the_colour_of_the_nearest_visible_one() -> None:
    rgb = np.zeros((1, 7, 3), dtype=np.uint8)
    rgb[0, 0], rgb[0, 6] = (10, 20, 30), (200, 100, 50)
    alpha = np.array([[255, 0, 0, 0, 0, 0, 9]], dtype=np.uint8)
    assert [tuple(map(int, pixel)) for pixel in bleed(rgb, alpha)[0, [1, 2, 4, 5]]] == [
        (10, 20, 30),
        (10, 20, 30),
        (200, 100, 50),
        (200, 100, 50),
    ]


@pytest.mark.parametrize("value", [0, 255])
def test_an_even_alpha_changes_nothing(value: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    alpha = np.full((5, 5), value, dtype=np.uint8)
    assert np.array_equal(bleed(rgb, alpha), rgb)
    assert (enlarge_alpha(alpha, Size(20, 20)) == value).all()


@given(st.integers(0, 2**32 - 1))
def test_fully_opaque_and_fully_transparent_areas_are_exact(seed: int) -> None:
    """A pixel whose eight neighbours are as opaque as itself is so in all of its sixteen."""
    random = np.random.default_rng(seed)
    alpha = np.where(random.random((12, 12)) < 0.5, 0, 255).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    large = enlarge_alpha(alpha, Size(192, 192))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(alpha, 1, mode="edge"), (3, 3))
    lowest, highest = windows.min(axis=(-1, -2)), windows.max(axis=(-1, -2))
    for value in (0, 255):
        even = ((lowest == value) & (highest == value)).repeat(4, 0).repeat(4, 1)
        assert (large[even] == value).all()


@pytest.mark.parametrize("depth", ["u1", "u2", "f4"])
@pytest.mark.parametrize("size", [Size(120, 160), Size(101, 77), Size(20, 33)])
def test_alpha_enlarged_band_by_band_is_that_of_the_whole(depth: str, size: Size) -> None:
    whole = random_pixels(30, 40)[:, :, 0].astype(np.float64) / 255
    alpha = (whole * full_scale(np.dtype(depth))).astype(depth)
    rows, bands = LanczosAlpha(alpha, size), []
    for top in range(0, size.height, 13):
        bands.append(rows.rows(top, min(13, size.height - top)))
    difference = np.concatenate(bands).astype(np.float64) - enlarge_alpha(alpha, size)
    one_level = 1e-6 if depth == "f4" else 1  # 4x exactly; else the last bit of where a row lies
    assert np.abs(difference).max() <= (0 if size.height == 120 else one_level)
