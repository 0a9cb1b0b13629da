"""Windows of one size for engines that are built for one: every promise of the tile plan holds with them too."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sr_batch.tiles import plan_tiles


@given(st.integers(1, 2000), st.integers(1, 200), st.integers(0, 40))
def test_windows_of_a_cut_side_are_exactly_the_tile(length: int, extra: int, halo: int) -> None:
    tile = 2 * halo + extra
    spans = plan_tiles(length, 1, tile, halo, fixed=True).rows
    wanted = tile if length > tile else length
    assert {span.stop - span.start for span in spans} == {wanted}
    assert spans[0].start == 0 and spans[-1].stop == length


@given(st.integers(1, 2000), st.integers(1, 200), st.integers(0, 40))
def test_cores_cover_each_pixel_once_and_keep_their_halo(length: int, extra: int, halo: int) -> None:
    spans = plan_tiles(length, 1, 2 * halo + extra, halo, fixed=True).rows
    assert [span.keep_start for span in spans[1:]] == [span.keep_stop for span in spans[:-1]]
    assert spans[0].keep_start == 0 and spans[-1].keep_stop == length
    for span in spans:
        assert span.keep_start < span.keep_stop
        assert span.start == 0 or span.keep_start - span.start >= halo
        assert span.stop == length or span.stop - span.keep_stop >= halo
