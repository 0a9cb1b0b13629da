"""The upscale loop: the tiles of many pictures through one engine, given out as bands of finished rows.

    pictures ──cut──▶ windows ──equal shapes together──▶ batches ──engine──▶ results ──cores──▶ bands

Tiles of different pictures share a batch, so that a thousand small pictures fill the engine as one large one does, and
the engine never waits between two pictures. A picture that fails, fails alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sr_batch.depth import EnginePixels, Pixels
from sr_batch.feed import Band, Broken, Counts, Feed, Filling, Picture, Piece, TileOptions
from sr_batch.guard import Guard
from sr_batch.tiles import TilePlan, plan_tiles
from sr_batch.trace import NO_TRACE, Stage, Trace

__all__ = ["Band", "Broken", "Counts", "Guard", "Picture", "Piece", "Stream", "TileOptions", "upscale", "upscale_all"]

Stream = Callable[[Iterable[NDArray[Any]]], Generator[NDArray[Any]]]  # Doors.stream, Engine.stream, or a stand-in
T = TypeVar("T")

LEAST_PART = 64  # LR pixels: windows that fail are cut again, but not into smaller ones than this


def upscale_all(
    pictures: Iterable[Picture[T]],
    stream: Stream,
    options: TileOptions,
    counts: Counts | None = None,
    guard: Guard | None = None,
    advanced: Callable[[int], None] = lambda _: None,
    trace: Trace = NO_TRACE,
) -> Generator[Piece[T] | Broken[T]]:
    """Run pictures through `stream` and yield their outputs in bands: those of a picture in order, top down.

    Pictures of one size come out in their order; a small one may overtake one of another size whose batch is not full
    yet. The output is as deep as its picture: uint8, uint16 or float32 in [0, 1]; the stream gets uint8 batches of
    8-bit pictures, else float32 ones, and one stream has one of both only. A picture's array must not change until its
    last band has come. `counts` is filled in as it goes, `advanced` is told after each tile how many input pixels it
    was, `guard` looks at each result and may put a better one in its place, `trace` records where the time goes.

    An engine's Exception ends its stream, and what was in it is run again, window by window, then in smaller windows
    (memory may be short); what fails again breaks its picture, which yields Broken, and the others go on. An exception
    of `pictures` comes through after all that was read before is finished; of an engine that takes no batch, at once.
    Holds what TileOptions says, and the engine's results in flight.
    """
    feed = Feed(iter(pictures), options, counts if counts is not None else Counts(), guard, advanced)
    while not feed.is_over():
        with closing(stream(trace.each(Stage.CUT, feed.batches()))) as results:
            try:
                for filling, result in _results(results, feed, trace):
                    with trace.span(Stage.STITCH, filling.names):
                        feed.take(filling, result)
                    yield from feed.ready()
            except _EngineError as error:
                if not feed.in_flight:
                    raise error.cause from None
        while feed.in_flight:
            with trace.span(Stage.WAIT_ENGINE):
                _run_alone(feed.in_flight.popleft(), stream, feed, options)
            yield from feed.ready()
        yield from feed.ready()
    feed.raise_what_ended_it()


def upscale(
    image: Pixels,
    stream: Stream,
    plan: TilePlan,
    options: TileOptions,
    counts: Counts | None = None,
    guard: Guard | None = None,
    advanced: Callable[[int], None] = lambda _: None,
) -> Generator[Band]:
    """One picture: see upscale_all. What breaks it is raised."""
    pieces = upscale_all([Picture(None, image, plan)], stream, options, counts, guard, advanced)
    with closing(pieces):
        for piece in pieces:
            if isinstance(piece, Broken):
                raise piece.error
            yield piece.band


class _EngineError(Exception):
    """What an engine raised, apart from what our own code raises."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _results(results: Iterator[EnginePixels], feed: Feed[T], trace: Trace) -> Iterator[tuple[Filling, EnginePixels]]:
    """Each result with the batch that it is of."""
    while True:
        try:
            with trace.span(Stage.WAIT_ENGINE):
                result = next(results)
        except StopIteration:
            assert not feed.in_flight, "the engine gave fewer results than it took batches"
            return
        except Exception as error:
            raise _EngineError(error) from error
        yield feed.in_flight.popleft(), result


def _run_alone(filling: Filling, stream: Stream, feed: Feed[T], options: TileOptions) -> None:
    """Run the windows of a batch one by one; what fails breaks the pictures that wait for it."""
    for index, window in enumerate(filling.windows):
        pixels = filling.buffer[index]
        feed.counts.rerun += 1
        try:
            result = _alone(stream, pixels)
        except Exception as error:
            smaller = _in_smaller(stream, pixels, options)
            if smaller is None:
                feed.fail(window, error)
                continue
            result = smaller
        feed.finish(window, pixels, result)


def _alone(stream: Stream, window: EnginePixels) -> EnginePixels:
    with closing(stream([window[None]])) as results:
        result: EnginePixels = next(results)[0].copy()
    return result


def _in_smaller(stream: Stream, window: EnginePixels, options: TileOptions) -> EnginePixels | None:
    """The result of a window, put together of windows of half its side; None where they fail too, or are too small."""
    height, width = window.shape[:2]
    side = (max(height, width) + 1) // 2
    if side < max(LEAST_PART, 4 * options.halo):
        return None
    result = np.empty((height * options.scale, width * options.scale, 3), dtype=window.dtype)
    try:
        for tile in plan_tiles(height, width, side, options.halo):
            part = np.ascontiguousarray(window[tile.rows.window(), tile.columns.window()])
            core = _alone(stream, part)[
                tile.rows.core_in_result(options.scale), tile.columns.core_in_result(options.scale)
            ]
            result[tile.rows.core_in_output(options.scale), tile.columns.core_in_output(options.scale)] = core
    except Exception:
        return None
    return result
