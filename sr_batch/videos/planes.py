"""Frames as arrays: one array for each plane, whatever the pixel format."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sr_batch.videos.picture import Samples

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["Plane", "planar_format", "planes_of", "planes_to_fill"]

Plane = NDArray[Any]  # uint8, or uint16 where a sample has more than 8 bits


@cache
def planar_format(name: str) -> str:
    """The planar format, low byte first, that holds a format's samples as they are; itself if it is one.

    Chroma coarser than one sample for 2 luma samples is held as 4:4:4, a palette as RGB.
    """
    samples = Samples.named(name)
    bits = _stored_bits(samples)
    ending = "" if bits == 8 else f"{bits}le"
    if samples.grey and not samples.alpha:
        return "gray" + ending
    if samples.rgb:
        return ("gbrap" if samples.alpha else "gbrp") + ending
    down, right = samples.subsampling if not samples.grey else (1, 1)
    shape = {(1, 1): "444", (1, 2): "422", (2, 2): "420"}.get((down, right), "444")
    return f"yuv{'a' if samples.alpha else ''}{shape}p{ending}"


def _stored_bits(samples: Samples) -> int:
    """FFmpeg has not every depth of every layout: RGB565 becomes 8 bits, 9 bits with alpha become 10."""
    if samples.depth <= 8:
        return 8
    if samples.alpha or samples.rgb or samples.grey:
        return next((bits for bits in (10, 12, 16) if bits >= samples.depth), 16)
    return samples.depth if samples.depth in (9, 10, 12, 14, 16) else 16


def planes_of(frame: VideoFrame) -> list[Plane]:
    """A frame's planes as [rows, samples], views of its memory: Y, U, V or G, B, R or grey, then alpha.

    The samples are the frame's own numbers; a format that is not planar is rearranged by swscale, which copies them.
    """
    wanted = planar_format(frame.format.name)
    # yuvj420p is yuv420p with its range in its name.
    if frame.format.name.replace("yuvj", "yuv") != wanted:
        # swscale with threads leaves out a row of a small p010 frame now and then.
        frame = frame.reformat(format=wanted, interpolation="POINT", threads=1)
    return planes_to_fill(frame)


def planes_to_fill(frame: VideoFrame) -> list[Plane]:
    """The planes of a planar frame as [rows, samples]: what is written into them is in the frame."""
    dtype = np.dtype(np.uint8 if Samples.of(frame.format).depth <= 8 else "<u2")
    return [
        np.frombuffer(memoryview(plane), dtype).reshape(-1, plane.line_size // dtype.itemsize)[
            : plane.height, : plane.width
        ]
        for plane in frame.planes
    ]
