from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sr_batch.depth import Pixels
from sr_batch.photos import Size
from sr_batch.resize import resize, resize_bands
from tests.conftest import random_pixels

DEPTHS = ("uint8", "uint16", "float32")


def _picture(height: int, width: int, depth: str) -> Pixels:
    pixels = random_pixels(height, width)
    match depth:
        case "uint16":
            return pixels.astype(np.uint16) * 257 + 3
        case "float32":
            return (pixels / 255).astype(np.float32)
    return pixels


def _cut(pixels: Pixels, heights: list[int]) -> Iterator[Pixels]:
    top = 0
    for height in heights:
        yield pixels[top : top + height]
        top += height
    if top < len(pixels):
        yield pixels[top:]


@pytest.mark.parametrize("depth", DEPTHS)
@given(
    height=st.integers(1, 90),
    target=st.integers(1, 130),
    cuts=st.lists(st.integers(1, 40), max_size=6),
)
def test_bands_are_resized_as_the_whole_picture_is(depth: str, height: int, target: int, cuts: list[int]) -> None:
    whole = _picture(height, 21, depth)
    size = Size(target, 13)
    expected = resize(whole, size).astype(np.float64)
    bands = list(resize_bands(_cut(whole, cuts), Size(height, 21), size))
    found = np.concatenate(bands)
    assert found.shape == expected.shape
    assert found.dtype == whole.dtype
    tolerance = {"uint8": 1, "uint16": 1, "float32": 1e-6}[depth]
    assert np.abs(found - expected).max() <= tolerance


def test_few_rows_are_held_however_tall_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    from sr_batch import resize as module

    heights: list[int] = []
    real = module._resize

    def watched(rows: Pixels, box: module.Box, size: Size) -> Pixels:
        heights.append(len(rows))
        return real(rows, box, size)

    monkeypatch.setattr(module, "_resize", watched)
    bands = (np.zeros((64, 8, 3), np.uint8) for _ in range(100))
    assert sum(len(band) for band in resize_bands(bands, Size(6400, 8), Size(3200, 4))) == 3200
    assert max(heights) < 64 + 20


@pytest.mark.parametrize("depth", DEPTHS)
def test_fine_stripes_become_even_grey_and_no_moire(depth: str) -> None:
    """Every second column is white: shrunk to a third, a resize without antialiasing would keep stripes."""
    stripes = np.zeros((30, 300, 3), dtype=depth)
    white = 1 if depth == "float32" else np.iinfo(depth).max
    stripes[:, ::2] = white
    small = resize(stripes, Size(10, 100))[:, 5:-5].astype(np.float64) / white
    assert np.abs(small - 0.5).max() < 0.02


@pytest.mark.parametrize("depth", ["uint16", "float32"])
def test_a_deep_gradient_stays_smooth(depth: str) -> None:
    """A gradient over 300 of 65,536 levels: in 8 bits it would be two steps."""
    gradient = np.linspace(0.5, 0.5 + 300 / 65535, 1200)[None, :, None].repeat(40, 0).repeat(3, 2)
    scaled = gradient * 65535 if depth == "uint16" else gradient
    small = resize(scaled.round().astype(depth) if depth == "uint16" else scaled.astype(depth), Size(20, 600))
    assert len(np.unique(small[10])) > 290


@pytest.mark.parametrize("depth", DEPTHS)
def test_hard_edges_do_not_wrap_around(depth: str) -> None:
    white = 1 if depth == "float32" else np.iinfo(depth).max
    edge = np.zeros((20, 20, 3), dtype=depth)
    edge[:, 10:] = white
    found = resize(edge, Size(31, 31))
    assert found.min() == 0 and found.max() == white
    assert (np.diff(found[15, :, 0].astype(np.float64)) > 0.5 * white).sum() <= 1


def test_the_same_size_passes_untouched() -> None:
    pixels = random_pixels(8, 8)
    bands = list(resize_bands([pixels[:3], pixels[3:]], Size(8, 8), Size(8, 8)))
    assert bands[0].base is pixels
