"""On either side of the engine: decoded frames become RGB, upscaled RGB becomes frames for the encoder."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from sr_batch.depth import Pixels
from sr_batch.videos.colour import Raster, from_rgb, to_rgb
from sr_batch.videos.encoding import EncoderPlan
from sr_batch.videos.frames import BadFrame, Shown
from sr_batch.videos.picture import Picture
from sr_export.machine import cpu_threads

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["Input", "Upscaled", "encoder_frames", "rasters"]

SAMPLED_ROWS = 16  # every so many rows are compared first
MOST_THREADS = 4  # that convert one picture: the encoder needs the others


@dataclass(frozen=True)
class Input:
    shown: Shown
    raster: Raster
    repeat: bool  # the same pixels as the frame before


@dataclass(frozen=True)
class Upscaled:
    shown: Shown
    rgb: Pixels | None  # [h, w, 3]; None: the picture before once more, its alpha too
    alpha: Pixels | None  # as it was decoded, not upscaled yet


def rasters(frames: Iterable[Shown], picture: Picture) -> Iterator[Input]:
    """Each frame as RGB, and whether it is the one before once more: by all its bytes, after a few rows of them."""
    before: Input | None = None
    for shown in frames:
        if before is not None and shown.bad is BadFrame.REPEATED and shown.frame is before.shown.frame:
            before = Input(shown, before.raster, repeat=True)
        else:
            raster = to_rgb(shown.frame, picture)
            before = Input(shown, raster, before is not None and _equal(raster, before.raster))
        yield before


def _equal(one: Raster, other: Raster) -> bool:
    pairs = [(one.rgb, other.rgb), (one.alpha, other.alpha)]
    for a, b in pairs:
        if a is None or b is None:
            if a is not b:
                return False
        elif not np.array_equal(a[::SAMPLED_ROWS], b[::SAMPLED_ROWS]) or not np.array_equal(a, b):
            return False
    return True


def encoder_frames(
    items: Iterable[Upscaled], plan: EncoderPlan, scale: int, room: int
) -> Iterator[tuple[Shown, VideoFrame]]:
    """Upscaled pictures as frames of the encoder's format. A repeat is the same frame again.

    A frame's memory is used again for the one `room + 2` later: whoever gets them may keep `room` waiting while it
    works on one.
    """
    workers = min(MOST_THREADS, cpu_threads())
    made: deque[VideoFrame] = deque()
    frame: VideoFrame | None = None
    with ThreadPoolExecutor(workers, thread_name_prefix="convert") as pool:
        for item in items:
            if item.rgb is not None:
                alpha = None if item.alpha is None else _large_alpha(item.alpha, scale)
                into = made.popleft() if len(made) == room + 2 else None
                raster = Raster(item.rgb, alpha)
                frame = from_rgb(raster, plan.pixel_format, plan.colour, into, pool, workers)
                made.append(frame)
            assert frame is not None, "the first picture of all is no repeat"
            yield item.shown, frame


def _large_alpha(alpha: Pixels, scale: int) -> Pixels:
    """Lanczos, as for photos; rounded and clipped to the type."""
    height, width = alpha.shape[0] * scale, alpha.shape[1] * scale
    if alpha.min() == alpha.max():
        return np.full((height, width), alpha.flat[0], alpha.dtype)
    return cast("Pixels", cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LANCZOS4))
