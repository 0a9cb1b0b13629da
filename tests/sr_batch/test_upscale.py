from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sr_batch import feed
from sr_batch.reuse import Reuse
from sr_batch.tiles import plan_tiles
from sr_batch.upscale import Broken, Counts, Picture, Piece, TileOptions, upscale, upscale_all
from tests.conftest import random_pixels
from tests.sr_batch.stubs import Pixels, enlarge, repeat_4x

OPTIONS = TileOptions(4, halo=4)


@given(st.integers(1, 150), st.integers(1, 150), st.integers(20, 60), st.integers(0, 8), st.integers(1, 5))
def test_bands_put_together_are_the_whole_picture(height: int, width: int, tile: int, halo: int, batch: int) -> None:
    image = random_pixels(height, width)
    bands = list(upscale(image, repeat_4x, plan_tiles(height, width, tile, halo), TileOptions(4, halo, batch)))
    assert [band.top for band in bands] == [sum(len(b.pixels) for b in bands[:i]) for i in range(len(bands))]
    assert np.array_equal(np.concatenate([band.pixels for band in bands]), enlarge(image))


@pytest.mark.parametrize("reuse_bytes", [0, 1 << 10, 32 << 20])
@pytest.mark.parametrize("tile", [30, 64])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_picture_wanted_whole_comes_as_one_band_that_stays_as_it_is(
    depth: type[np.uint8 | np.uint16], tile: int, reuse_bytes: int
) -> None:
    """Of one tile or many, remembered or not, the same picture three times."""
    image: NDArray[np.uint8 | np.uint16] = random_pixels(64, 50).astype(depth)
    pictures = [Picture(number, image, plan_tiles(64, 50, tile, 4), whole=True) for number in range(3)]
    pieces = list(upscale_all(pictures, reusing, TileOptions(4, 4, 1, reuse_bytes)))
    for number, piece in enumerate(pieces):
        assert isinstance(piece, Piece)
        assert (piece.of, piece.band.top, piece.last) == (number, 0, True)
        assert piece.band.pixels.dtype == depth
        assert np.array_equal(piece.band.pixels, enlarge(image))
    assert len(pieces) == 3


def test_a_result_that_a_later_picture_needs_outlives_the_engines_buffer_though_it_is_not_remembered() -> None:
    """The second picture's first tile is computed after its second one, which the first picture has too."""

    def reading_ahead(batches: Iterable[Pixels]) -> Generator[Pixels]:
        yield from reusing(iter(list(batches)))

    first, other = random_pixels(30, 30), random_pixels(30, 30)[::-1]
    plan = plan_tiles(60, 30, 30, 0)
    pictures = [
        Picture(0, np.concatenate([first, first]), plan, whole=True),
        Picture(1, np.concatenate([other, first]), plan, whole=True),
    ]
    pieces = list(upscale_all(pictures, reading_ahead, TileOptions(4, 0, 1, reuse_bytes=1)))
    for picture, piece in zip(pictures, pieces, strict=True):
        assert isinstance(piece, Piece) and isinstance(picture.pixels, np.ndarray)
        assert np.array_equal(piece.band.pixels, enlarge(picture.pixels))


def test_every_tile_is_told_so_that_progress_never_stands_still() -> None:
    told: list[int] = []
    plan = plan_tiles(90, 70, 40, 4)
    list(upscale(random_pixels(90, 70), repeat_4x, plan, OPTIONS, advanced=told.append))
    assert len(told) == len(plan) > 1
    assert sum(told) == 90 * 70


def reusing(batches: Iterable[Pixels]) -> Generator[Pixels]:
    """An engine with one buffer for all its results."""
    buffer: Pixels | None = None
    for batch in batches:
        buffer = np.empty((1, 256, 256, 3), dtype=batch.dtype) if buffer is None else buffer
        result = buffer[:, : batch.shape[1] * 4, : batch.shape[2] * 4]
        result[:] = enlarge(batch)
        yield result
        buffer[:] = 0


def test_a_band_stays_as_it_is_when_the_engine_reuses_its_buffer() -> None:
    image = random_pixels(90, 70)
    bands = list(upscale(image, reusing, plan_tiles(90, 70, 40, 4), OPTIONS))
    assert np.array_equal(np.concatenate([band.pixels for band in bands]), enlarge(image))


def test_an_engine_that_fails_every_time_ends_it_with_its_own_error_and_its_streams_are_closed() -> None:
    opened = closed = 0

    def failing(batches: Iterable[Pixels]) -> Generator[Pixels]:
        nonlocal opened, closed
        opened += 1
        try:
            for batch in batches:
                if (batch == 255).all():
                    raise RuntimeError("out of memory")
                yield enlarge(batch)
        finally:
            closed += 1

    image = random_pixels(90, 70)
    image[40:] = 255
    with pytest.raises(RuntimeError, match="out of memory"):
        list(upscale(image, failing, plan_tiles(90, 70, 40, 4), OPTIONS))
    assert opened == closed > 1


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

    bands = list(upscale(image, watched, plan_tiles(256, 256, 100, 4), OPTIONS))
    assert seen == {np.dtype(np.float32)}
    assert all(band.pixels.dtype == depth for band in bands)
    assert np.array_equal(np.concatenate([band.pixels for band in bands])[::4, ::4], image)


class Counting:
    """The exact stand-in, reading ahead as engines do; it remembers the shapes that it was given."""

    def __init__(self, ahead: int = 2) -> None:
        self.ahead, self.shapes, self.streams = ahead, list[tuple[int, ...]](), 0

    def __call__(self, batches: Iterable[Pixels]) -> Generator[Pixels]:
        self.streams += 1
        waiting: deque[Pixels] = deque()
        for batch in batches:
            self.shapes.append(batch.shape)
            waiting.append(batch)
            if len(waiting) == self.ahead:
                yield enlarge(waiting.popleft())
        while waiting:
            yield enlarge(waiting.popleft())


Sizes = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=12)


@given(Sizes, st.integers(1, 5), st.integers(1, 3), st.sampled_from([0, 1 << 20]))
def test_many_pictures_of_any_sizes_come_out_whole_and_each_in_order(
    sizes: list[tuple[int, int]], batch: int, ahead: int, reuse_bytes: int
) -> None:
    images = [random_pixels(*size, seed=index % 5) for index, size in enumerate(sizes)]
    pictures = [Picture(i, image, plan_tiles(image.shape[0], image.shape[1], 40, 4)) for i, image in enumerate(images)]
    rows: dict[int, list[Pixels]] = {i: [] for i in range(len(images))}
    ended: list[int] = []
    for piece in upscale_all(pictures, Counting(ahead), TileOptions(4, 4, batch, reuse_bytes)):
        assert isinstance(piece, Piece) and piece.of not in ended
        assert piece.band.top == sum(len(r) for r in rows[piece.of])
        rows[piece.of].append(np.asarray(piece.band.pixels))
        ended += [piece.of] * piece.last
    assert sorted(ended) == list(range(len(images)))
    for i, image in enumerate(images):
        assert np.array_equal(np.concatenate(rows[i]), enlarge(image))


def test_tiles_of_equal_shape_from_different_pictures_share_a_batch() -> None:
    """Two sizes in turn, all different: every call is full but for the last of each size."""
    images = [random_pixels(20 + 4 * (i % 2), 20, seed=i) for i in range(22)]
    engine, counts = Counting(), Counts()
    pictures = (Picture(i, image, plan_tiles(image.shape[0], image.shape[1], 40, 4)) for i, image in enumerate(images))
    assert len(list(upscale_all(pictures, engine, TileOptions(4, 4, batch=4), counts))) == 22
    assert sorted(shape[0] for shape in engine.shapes) == [3, 3, 4, 4, 4, 4]
    assert engine.streams == 1
    assert counts.tiles == 22 and counts.computed_pixels == 11 * 20 * 20 + 11 * 24 * 20


def test_pictures_of_ever_new_sizes_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for a batch of its own that never fills: after so many bytes of waiting the oldest goes as it is."""
    monkeypatch.setattr(feed, "WAITING_BYTES", 100_000)
    seen = most = done = 0

    def pictures() -> Generator[Picture[int]]:
        nonlocal seen, most
        for i in range(60):
            seen += 1
            most = max(most, seen - done)
            yield Picture(i, random_pixels(30 + i, 40, seed=i), plan_tiles(30 + i, 40, 200, 4))

    for _ in upscale_all(pictures(), Counting(), TileOptions(4, 4, batch=2)):
        done += 1
    assert done == 60 and most <= 12  # of 7 kB or more each, and twice as much for their share of a batch


def test_a_window_seen_before_is_not_computed_again_and_the_picture_is_the_same() -> None:
    image = random_pixels(120, 300)
    image[:, 100:] = 240  # a flat area
    plan = plan_tiles(120, 300, 40, 4)
    engine, without = Counting(), Counting()
    counts = Counts()
    with_reuse = list(upscale(image, engine, plan, OPTIONS, counts))
    plain = list(upscale(image, without, plan, TileOptions(4, 4, reuse_bytes=0)))
    for one, other in zip(with_reuse, plain, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
    assert len(without.shapes) == counts.tiles == len(plan)
    assert len(engine.shapes) == counts.tiles - counts.reused < len(plan) / 2


def test_a_film_that_stands_still_is_computed_once_and_held_no_longer_than_needed() -> None:
    """A thousand equal frames: as they come in they go out, although the engine has nothing to do."""
    frame, seen, most, done = random_pixels(60, 60), 0, 0, 0

    def frames() -> Generator[Picture[int]]:
        nonlocal seen, most
        for i in range(1000):
            seen += 1
            most = max(most, seen - done)
            yield Picture(i, frame, plan_tiles(60, 60, 60, 4))

    engine = Counting()
    expected = enlarge(frame)
    for piece in upscale_all(frames(), engine, OPTIONS):
        assert isinstance(piece, Piece) and piece.of == done
        assert np.array_equal(piece.band.pixels, expected)
        done += 1
    assert done == 1000 and len(engine.shapes) == 1
    assert most * expected.nbytes < 80 << 20


def test_what_is_remembered_is_bounded_in_bytes() -> None:
    reuse = Reuse(1000)
    for i in range(50):
        reuse.add(bytes([i]), np.zeros(300, dtype=np.uint8))
    assert [i for i in range(50) if reuse.find(bytes([i])) is not None] == [47, 48, 49]
    reuse.add(b"x", np.zeros(2000, dtype=np.uint8))
    assert reuse.find(b"x") is None and reuse.find(bytes([49])) is not None


def test_an_engine_that_fails_on_one_picture_breaks_that_picture_only_also_where_they_share_a_batch() -> None:
    def failing(batches: Iterable[Pixels]) -> Generator[Pixels]:
        for batch in batches:
            if (batch == 255).all(axis=(1, 2, 3)).any():
                raise RuntimeError("bad window")
            yield enlarge(batch)

    images = [random_pixels(90, 30, seed=i) for i in range(5)]
    images[2][30:60] = 255
    pictures = [Picture(i, image, plan_tiles(90, 30, 30, 0)) for i, image in enumerate(images)]
    counts = Counts()
    out = list(upscale_all(pictures, failing, TileOptions(4, 0, batch=4), counts))
    assert [(piece.of, str(piece.error)) for piece in out if isinstance(piece, Broken)] == [(2, "bad window")]
    for i in (0, 1, 3, 4):
        rows = [piece.band.pixels for piece in out if isinstance(piece, Piece) and piece.of == i]
        assert np.array_equal(np.concatenate(rows), enlarge(images[i]))
    assert counts.rerun > 0


def test_windows_too_large_for_the_memory_are_cut_smaller() -> None:
    def small_memory(batches: Iterable[Pixels]) -> Generator[Pixels]:
        for batch in batches:
            if batch.size > 100 * 100 * 3:
                raise MemoryError
            yield enlarge(batch)

    image = random_pixels(300, 280)
    bands = list(upscale(image, small_memory, plan_tiles(300, 280, 160, 4), OPTIONS))
    assert np.array_equal(np.concatenate([band.pixels for band in bands]), enlarge(image))


def test_an_error_of_the_pictures_comes_through_after_what_was_before_it() -> None:
    def pictures() -> Generator[Picture[int]]:
        for i in range(3):
            yield Picture(i, random_pixels(20, 20, seed=i), plan_tiles(20, 20, 40, 4))
        raise ValueError("frame 3 is damaged")

    got = []
    with pytest.raises(ValueError, match="frame 3"):
        for piece in upscale_all(pictures(), Counting(), TileOptions(4, 4, batch=8)):
            got.append(piece.of)
    assert got == [0, 1, 2]


def test_pictures_of_different_depth_follow_each_other_each_through_its_own_stream() -> None:
    deep = random_pixels(50, 50).astype(np.uint16) * 257
    images: list[NDArray[np.uint8 | np.uint16]] = [random_pixels(50, 50), deep, deep[:20], random_pixels(20, 50)]
    dtypes: list[set[object]] = []

    def watched(batches: Iterable[Pixels]) -> Generator[Pixels]:
        dtypes.append(set())
        for batch in batches:
            dtypes[-1].add(batch.dtype)
            yield enlarge(batch)

    pictures = [Picture(i, image, plan_tiles(image.shape[0], image.shape[1], 40, 4)) for i, image in enumerate(images)]
    out = list(upscale_all(pictures, watched, TileOptions(4, 4, batch=3)))
    assert dtypes == [{np.dtype(np.uint8)}, {np.dtype(np.float32)}, {np.dtype(np.uint8)}]
    for i, image in enumerate(images):
        rows = [piece.band.pixels for piece in out if isinstance(piece, Piece) and piece.of == i]
        assert np.array_equal(np.concatenate(rows), image.repeat(4, 0).repeat(4, 1))


def test_a_picture_that_nobody_wants_any_more_is_not_computed_further() -> None:
    engine = Counting(ahead=1)
    image = random_pixels(400, 40)
    pictures = [Picture(0, image, plan_tiles(400, 40, 40, 4), wanted=lambda: len(engine.shapes) < 3)]
    list(upscale_all(pictures, engine, OPTIONS))
    assert len(engine.shapes) == 3
