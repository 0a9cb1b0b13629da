from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sr_batch.depth import for_engine, full_scale, to_depth

DEPTHS: list[np.dtype[Any]] = [np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)]


@pytest.mark.parametrize("deep", DEPTHS[1:])
@pytest.mark.parametrize("shallow", DEPTHS[:2])
def test_every_level_survives_a_trip_through_a_deeper_form(shallow: np.dtype[Any], deep: np.dtype[Any]) -> None:
    levels = np.arange(full_scale(shallow) + 1).astype(shallow)
    assert np.array_equal(to_depth(to_depth(levels, deep), shallow), levels)


def test_sixteen_bits_become_eight_by_rounding_and_floats_are_clamped() -> None:
    levels = np.arange(65536)
    expected = (levels * 255 + 32767) // 65535
    assert np.array_equal(to_depth(levels.astype(np.uint16), DEPTHS[0]), expected)
    wild = np.array([-1, 0, 0.5, 1, 2], dtype=np.float32)
    assert to_depth(wild, DEPTHS[1]).tolist() == [0, 0, 32768, 65535, 65535]


def test_the_engine_gets_eight_bits_untouched_and_floats_of_all_else() -> None:
    shallow = np.zeros((2, 2, 3), dtype=np.uint8)
    assert for_engine(shallow) is shallow
    assert for_engine(shallow.astype(np.uint16)).dtype == np.float32
