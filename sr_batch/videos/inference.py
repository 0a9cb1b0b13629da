"""Frames through the engine: one continuous stream of tiles over all of them, so the engine never waits between two.

A frame whose pixels are those of the frame before is not computed again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from sr_batch.tiles import TilePlan
from sr_batch.trace import NO_TRACE, Trace
from sr_batch.upscale import Broken, Counts, Guard, Picture, Stream, TileOptions, upscale_all

__all__ = ["Network", "upscale_frames"]

T = TypeVar("T")
Pixels = NDArray[Any]  # uint8 or uint16; all of one dtype

# Repeats that may wait behind a frame in work. One of a longer run goes to the engine's stream as a frame of its own
# (its tiles are known there): a still picture of an hour must not keep the encoder waiting for an hour.
REPEATS_WAITING = 8


@dataclass(frozen=True)
class Network:
    """What computes."""

    stream: Stream  # uint8 [n, h, w, 3] for 8-bit videos, float32 in [0, 1] for deeper ones
    key: str  # of the model and the precision
    guard: Guard | None = None
    counts: Counts = field(default_factory=Counts)  # filled in as it goes
    trace: Trace = NO_TRACE  # records where the time goes


@dataclass(frozen=True, slots=True)
class _Pending(Generic[T]):
    """A frame whose result is to come."""

    item: T
    repeat: bool


def upscale_frames(
    frames: Iterable[tuple[T, Pixels, bool]], network: Network, plan: TilePlan, options: TileOptions
) -> Iterator[tuple[T, Pixels | None]]:
    """Each item with its upscaled picture [scale·h, scale·w, 3], in order; pictures are not to be written to.

    `frames`: items with their RGB pictures [h, w, 3], all of the plan's size and dtype, and whether it is the picture
    before once more: its result may then be None, for the one before once more. Raises what the engine raises, and what
    breaks a frame.
    """
    pending: deque[_Pending[T]] = deque()
    pictures = _pictures(frames, pending, plan)
    trace = network.trace
    with closing(upscale_all(pictures, network.stream, options, network.counts, network.guard, trace=trace)) as pieces:
        for piece in pieces:
            if isinstance(piece, Broken):
                raise piece.error
            yield from _repeats(pending)
            yield pending.popleft().item, piece.band.pixels
            yield from _repeats(pending)
    yield from _repeats(pending)


def _pictures(
    frames: Iterable[tuple[T, Pixels, bool]], pending: deque[_Pending[T]], plan: TilePlan
) -> Iterator[Picture[None]]:
    """What the engine gets to see; all frames go to `pending`."""
    waiting = 0
    for frame, (item, rgb, repeat) in enumerate(frames, start=1):
        waits = repeat and waiting < REPEATS_WAITING
        pending.append(_Pending(item, waits))
        waiting = waiting + 1 if waits else 0
        if not waits:
            yield Picture(None, rgb, plan, name=f"frame {frame}", whole=True)


def _repeats(pending: deque[_Pending[T]]) -> Iterator[tuple[T, None]]:
    """The repeats at the head of what is pending."""
    while pending and pending[0].repeat:
        yield pending.popleft().item, None
