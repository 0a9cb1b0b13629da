from __future__ import annotations

from collections.abc import Generator, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sr_batch.tiles import plan_tiles
from sr_batch.upscale import upscale
from tests.conftest import random_pixels
from tests.sr_batch.stubs import Pixels, enlarge, repeat_4x


@given(st.integers(1, 150), st.integers(1, 150), st.integers(20, 60), st.integers(0, 8), st.integers(1, 5))
def test_bands_put_together_are_the_whole_picture(height: int, width: int, tile: int, halo: int, batch: int) -> None:
    image = random_pixels(height, width)
    bands = list(upscale(image, repeat_4x, plan_tiles(height, width, tile, halo), 4, batch))
    assert [band.top for band in bands] == [sum(len(b.pixels) for b in bands[:i]) for i in range(len(bands))]
    assert np.array_equal(np.concatenate([band.pixels for band in bands]), enlarge(image))


def test_every_tile_is_told_so_that_progress_never_stands_still() -> None:
    told: list[int] = []
    plan = plan_tiles(90, 70, 40, 4)
    list(upscale(random_pixels(90, 70), repeat_4x, plan, 4, advanced=told.append))
    assert len(told) == len(plan) > 1
    assert sum(told) == 90 * 70


def test_a_band_stays_as_it_is_when_the_engine_reuses_its_buffer() -> None:
    def reusing(batches: Iterable[Pixels]) -> Generator[Pixels]:
        buffer = np.empty((1, 160, 160, 3), dtype=np.uint8)
        for batch in batches:
            result = buffer[:, : batch.shape[1] * 4, : batch.shape[2] * 4]
            result[:] = enlarge(batch)
            yield result
            buffer[:] = 0

    image = random_pixels(90, 70)
    bands = list(upscale(image, reusing, plan_tiles(90, 70, 40, 4), 4))
    assert np.array_equal(np.concatenate([band.pixels for band in bands]), enlarge(image))


def test_an_engines_error_comes_through_and_its_stream_is_closed() -> None:
    closed = []

    def failing(batches: Iterable[Pixels]) -> Generator[Pixels]:
        try:
            for index, batch in enumerate(batches):
                if index == 2:
                    raise RuntimeError("out of memory")
                yield enlarge(batch)
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match="out of memory"):
        list(upscale(random_pixels(90, 70), failing, plan_tiles(90, 70, 40, 4), 4))
    assert closed == [True]


@pytest.mark.parametrize("depth", [np.uint16, np.float32])
def test_a_deep_picture_goes_through_in_floats_and_comes_back_as_deep_as_it_was(
    depth: type[np.uint16 | np.float32],
) -> None:
    """Every one of 65536 levels comes back, or a float as it is."""
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=2)
    image = levels if depth is np.uint16 else (levels / np.float32(65535)).astype(np.float32)
    seen: set[object] = set()

    def watched(batches: Iterable[Pixels]) -> Generator[Pixels]:
        for batch in batches:
            seen.add(batch.dtype)
            yield enlarge(batch)

    bands = list(upscale(image, watched, plan_tiles(256, 256, 100, 4), 4))
    assert seen == {np.dtype(np.float32)}
    assert all(band.pixels.dtype == depth for band in bands)
    assert np.array_equal(np.concatenate([band.pixels for band in bands])[::4, ::4], image)
