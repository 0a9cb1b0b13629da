"""Which windows the engine gets next, and whose rows its results become. Knows no engine.

A *window* is run once, however many tiles show the same bytes: while it waits, is computed or is remembered, further
tiles of those bytes wait for the same result. All tiles of a picture have one shape, so they are computed in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

import numpy as np

from sr_batch.depth import EnginePixels, Pixels, for_engine, to_depth
from sr_batch.guard import Guard
from sr_batch.reuse import Reuse, key_of
from sr_batch.streamed import StreamedPixels
from sr_batch.tiles import Tile, TilePlan

__all__ = ["Band", "Broken", "Counts", "Feed", "Filling", "Picture", "Piece", "TileOptions"]

T = TypeVar("T")

READY_BYTES = 64 << 20  # of results that need no engine (reused): more, and what is finished is given out first
ROWS_AT_ONCE = 64  # of a result, whose floats are rounded: what that takes stays small, and in the cache
WAITING_BYTES = 32 << 20  # of pictures with windows in batches that are not full: more, and the oldest goes as it is


@dataclass(frozen=True)
class TileOptions:
    """How pictures go through the engine."""

    scale: int
    halo: int = 0  # LR pixels; for windows that must be cut again
    batch: int = 1  # windows in one engine call
    reuse_bytes: int = 128 << 20  # of results remembered, in case the same window comes again; 0: none


@dataclass
class Counts:
    """What the engine did."""

    tiles: int = 0  # of all pictures
    reused: int = 0  # of them: not computed, because the same bytes were before
    computed_pixels: int = 0  # LR pixels that the engine ran, halos included
    rerun: int = 0  # windows run again, because the engine had failed with them in it
    redone: int = 0  # windows done again in fp32, because their result looked wrong

    def add(self, more: Counts) -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(more, each.name))

    def less(self, earlier: Counts) -> Counts:
        """What was added since."""
        return Counts(*(getattr(self, each.name) - getattr(earlier, each.name) for each in fields(self)))


@dataclass(frozen=True)
class Picture(Generic[T]):
    """A picture to upscale: [h, w, 3] RGB, uint8, uint16 or float32 in [0, 1], and its tiles, top down."""

    of: T  # whatever tells the caller which one it is
    pixels: Pixels | StreamedPixels
    plan: TilePlan
    wanted: Callable[[], bool] = lambda: True  # asked before each tile: False, and the rest of it is not computed
    name: str = ""  # for profiles
    advances: bool = True  # its pixels are told as progress: not where it is a channel of another picture
    whole: bool = False  # given out as one band, which may be remembered for reuse: not to be written to


@dataclass(frozen=True)
class Band:
    """Finished rows of the output, from `top` (in output pixels) down. Belongs to whoever gets it."""

    top: int
    pixels: Pixels  # [rows, scale·w, 3], as deep as the picture


@dataclass(frozen=True)
class Piece(Generic[T]):
    """A band of a picture's output; `last`: all of it has come."""

    of: T
    band: Band
    last: bool
    redone: int = 0  # windows of the picture that were done again in fp32, so far


@dataclass(frozen=True)
class Broken(Generic[T]):
    """A picture of which nothing more comes."""

    of: T
    error: Exception


@dataclass(eq=False, slots=True)
class Window:
    """A window on its way through the engine, and the pictures that wait for it."""

    key: bytes | None  # of its bytes; None where nothing is remembered
    waiting: list[_Assembly[Any]]
    result: EnginePixels | None = None
    kept: bool = False  # the result is not the engine's buffer any more, and stays as it is
    error: Exception | None = None


@dataclass(eq=False, slots=True)
class Filling:
    """A batch being filled, then in flight: `buffer` is [batch, h, w, 3], and belongs to the engine until its result
    has come."""

    buffer: EnginePixels
    windows: list[Window] = field(default_factory=list)
    held_bytes: int = 0  # of the pictures that it keeps waiting

    def names(self) -> str:
        """Of the pictures whose windows it has."""
        return ", ".join(dict.fromkeys(assembly.name for window in self.windows for assembly in window.waiting))


class _Assembly(Generic[T]):
    """A picture whose tiles are being cut, computed and put together."""

    def __init__(self, picture: Picture[T], scale: int) -> None:
        self.of, self.name, self._scale = picture.of, picture.name, scale
        self.pixels: Pixels | StreamedPixels | None = picture.pixels  # None when all windows are cut
        self.dtype, self.bytes = picture.pixels.dtype, picture.pixels.nbytes
        self.door: np.dtype[Any] = np.dtype(np.uint8 if self.dtype == np.uint8 else np.float32)
        self.to_cut, self.wanted = iter(picture.plan), picture.wanted
        self.waiting: deque[tuple[Tile, Window]] = deque()  # in order
        self.broken = False
        self.redone, self.advances = 0, picture.advances
        self._height, self._width = picture.pixels.shape[:2]
        self._whole = picture.whole
        self._band: Pixels = np.empty((0, 0, 3), dtype=self.dtype)

    def place(self, tile: Tile, result: EnginePixels, kept: bool) -> Piece[T] | None:
        """Copy a result's core into the band; the band where that completes it. `kept`: nobody changes the result."""
        scale = self._scale
        if kept and self._whole and tile.core_pixels() == self._height * self._width and result.dtype == self.dtype:
            return Piece(self.of, Band(0, result), True, self.redone)
        top = 0 if self._whole else tile.rows.keep_start
        if tile.columns.keep_start == 0 and tile.rows.keep_start == top:
            rows = (self._height if self._whole else tile.rows.keep_stop) - top
            self._band = np.empty((rows * scale, self._width * scale, 3), dtype=self.dtype)
        core = result[tile.rows.core_in_result(scale), tile.columns.core_in_result(scale)]
        place = self._band[(tile.rows.keep_start - top) * scale :, tile.columns.core_in_output(scale)]
        for row in range(0, len(core), ROWS_AT_ONCE):
            rows = min(ROWS_AT_ONCE, len(core) - row)
            place[row : row + rows] = to_depth(core[row : row + rows], self.dtype)
        last = tile.rows.keep_stop == self._height
        if tile.columns.keep_stop < self._width or (self._whole and not last):
            return None
        return Piece(self.of, Band(top * scale, self._band), last, self.redone)


class Feed(Generic[T]):
    """Batches in (`batches`), results back (`take`, `finish`, `fail`), pieces out (`ready`). For one thread."""

    def __init__(
        self,
        pictures: Iterator[Picture[T]],
        options: TileOptions,
        counts: Counts,
        guard: Guard | None,
        advanced: Callable[[int], None],
    ) -> None:
        self.counts, self.in_flight = counts, deque[Filling]()
        self._pictures, self._options, self._guard, self._advanced = pictures, options, guard, advanced
        self._current: _Assembly[T] | None = None  # its tiles are being cut
        self._exhausted = False
        self._raised: Exception | None = None  # by `pictures`
        self._fillings: dict[tuple[int, ...], Filling] = {}  # by shape, the oldest first; all for one door
        self._reuse = Reuse(options.reuse_bytes)
        self._running: dict[bytes, Window] = {}
        self._ready: list[Piece[T] | Broken[T]] = []
        self._reused_bytes = 0  # of results that were not computed, since the stream began

    def is_over(self) -> bool:
        """All that `pictures` gave is through."""
        return self._exhausted and self._current is None and not self._fillings and not self.in_flight

    def raise_what_ended_it(self) -> None:
        if self._raised is not None:
            raise self._raised

    def ready(self) -> Iterator[Piece[T] | Broken[T]]:
        """What is finished, once."""
        ready, self._ready = self._ready, []
        yield from ready

    def batches(self) -> Iterator[EnginePixels]:
        """Batches for one stream: of one dtype, until the pictures end or what is finished must be given out."""
        door = next((filling.buffer.dtype for filling in self._fillings.values()), None)
        self._reused_bytes = 0
        while (assembly := self._next_assembly()) is not None:
            if door is not None and door != assembly.door:
                break
            door = assembly.door
            for tile in assembly.to_cut:
                if assembly.broken or not assembly.wanted():
                    break
                yield from self._add(assembly, tile)
                if self._reused_bytes > READY_BYTES:
                    yield from self._flush()
                    return
            self._current, assembly.pixels = None, None
            yield from self._make_room(assembly)
        yield from self._flush()

    def take(self, filling: Filling, result: EnginePixels) -> None:
        """The engine's result for a batch; only read now."""
        for index, window in enumerate(filling.windows):
            self.finish(window, filling.buffer[index], result[index])

    def finish(self, window: Window, pixels: EnginePixels, result: EnginePixels) -> None:
        """The result of one window, whose content was `pixels`; only read now."""
        self.counts.computed_pixels += pixels.shape[0] * pixels.shape[1]
        if self._guard is not None:
            before = self.counts.redone
            try:
                result = self._guard.checked(pixels, result, self.counts)
            except Exception as error:
                return self.fail(window, error)
            for assembly in window.waiting:
                assembly.redone += self.counts.redone - before
        if window.key is not None:  # others may wait for it that are not that far yet, or come later
            del self._running[window.key]
            window.kept = len(window.waiting) > 1 or self._reuse.takes(result)
            if window.kept:
                result = result.copy()
                self._reuse.add(window.key, result)
        window.result = result
        return self._settle(window)

    def fail(self, window: Window, error: Exception) -> None:
        """A window has no result: the pictures that wait for it are broken."""
        if window.key is not None:
            del self._running[window.key]
        window.error = error
        self._settle(window)

    def _next_assembly(self) -> _Assembly[T] | None:
        if self._current is None and not self._exhausted:
            try:
                picture = next(self._pictures, None)
            except Exception as error:  # what came before it is finished first
                picture, self._raised = None, error
            self._exhausted = picture is None
            self._current = _Assembly(picture, self._options.scale) if picture is not None else None
        return self._current

    def _add(self, assembly: _Assembly[T], tile: Tile) -> Iterator[EnginePixels]:
        """Cut one window; the batch that it completes."""
        assert assembly.pixels is not None
        try:
            content = assembly.pixels[tile.rows.window(), tile.columns.window()]
        except Exception as error:  # of a picture that is decoded meanwhile
            return self._break(assembly, error)
        filling = self._fillings.get(content.shape)
        if filling is None:
            filling = Filling(np.empty((self._options.batch, *content.shape), dtype=assembly.door))
            self._fillings[content.shape] = filling
        place = filling.buffer[len(filling.windows)]
        place[...] = for_engine(content)
        self.counts.tiles += 1
        window, is_new = self._window_of(place)
        window.waiting.append(assembly)
        assembly.waiting.append((tile, window))
        if is_new:
            filling.windows.append(window)
            if len(filling.windows) == self._options.batch:
                yield self._send(content.shape)
        else:
            self.counts.reused += 1
            self._advance(assembly)

    def _window_of(self, content: EnginePixels) -> tuple[Window, bool]:
        """The window of this content, and whether it is one that the engine must run."""
        if self._options.reuse_bytes == 0:
            return Window(None, []), True
        key = key_of(content)
        result, running = self._reuse.find(key), self._running.get(key)
        if result is None and running is None:
            self._running[key] = Window(key, [])
            return self._running[key], True
        self._reused_bytes += content.nbytes * self._options.scale**2
        return running or Window(key, [], result, kept=True), False

    def _make_room(self, assembly: _Assembly[T]) -> Iterator[EnginePixels]:
        """A picture is cut. Batches that keep too many bytes waiting for their like go as they are, oldest first."""
        if not assembly.waiting:
            return
        for filling in self._fillings.values():
            if filling.windows and filling.windows[-1] is assembly.waiting[-1][1]:
                filling.held_bytes += assembly.bytes
        while sum(filling.held_bytes + filling.buffer.nbytes for filling in self._fillings.values()) > WAITING_BYTES:
            shape, filling = next(iter(self._fillings.items()))
            if filling.windows:
                yield self._send(shape)
            else:
                del self._fillings[shape]

    def _flush(self) -> Iterator[EnginePixels]:
        for shape, filling in list(self._fillings.items()):
            if filling.windows:
                yield self._send(shape)
            else:
                del self._fillings[shape]

    def _send(self, shape: tuple[int, ...]) -> EnginePixels:
        filling = self._fillings.pop(shape)
        self.in_flight.append(filling)
        return filling.buffer[: len(filling.windows)]

    def _settle(self, window: Window) -> None:
        for assembly in window.waiting:
            self._advance(assembly)

    def _break(self, assembly: _Assembly[T], error: Exception) -> None:
        assembly.broken = True
        assembly.waiting.clear()
        self._ready.append(Broken(assembly.of, error))

    def _advance(self, assembly: _Assembly[T]) -> None:
        """Put together what has come, up to the first tile that has not."""
        while assembly.waiting and not assembly.broken:
            tile, window = assembly.waiting[0]
            if window.error is not None:
                self._break(assembly, window.error)
            elif window.result is None:
                return
            else:
                assembly.waiting.popleft()
                if assembly.advances:
                    self._advanced(tile.core_pixels())
                piece = assembly.place(tile, window.result, window.kept)
                if piece is not None:
                    self._ready.append(piece)
