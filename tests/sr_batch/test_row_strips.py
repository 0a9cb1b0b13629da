from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sr_batch.row_strips import RowStrips


@given(height=st.integers(1, 9), pieces=st.lists(st.integers(0, 20), max_size=8))
def test_all_rows_come_in_order_and_only_the_last_strip_is_short(height: int, pieces: list[int]) -> None:
    strips: RowStrips[np.uint16] = RowStrips(height)
    whole = np.arange(sum(pieces), dtype=np.uint16)[:, None, None].repeat(2, 1)
    found, top = [], 0
    for count in pieces:
        band = whole[top : top + count].copy()
        found += list(strips.add(band))
        band[:] = 0  # the caller uses its buffer again
        top += count
    found += list(strips.rest())
    assert all(len(strip) == height for strip in found[:-1])
    assert all(1 <= len(strip) <= height for strip in found)
    assert np.array_equal(np.concatenate([whole[:0], *found]), whole)
