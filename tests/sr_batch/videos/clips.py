"""Small videos that the tests make for themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

# x265 gives clips of fewer frames than it holds back senseless decoding times.
QUIET = {"libx265": {"x265-params": "log-level=none:bframes=0"}}


def write_clip(
    path: Path,
    frames: Iterable[VideoFrame],
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    rate: Fraction | int = 25,
    change: Callable[[VideoStream], None] | None = None,
) -> Path:
    """A file with one video stream of these frames, which have one size, pixel format and colour; pts count from 0."""
    with av.open(str(path), "w") as container:
        stream: VideoStream | None = None
        for number, frame in enumerate(frames):
            if stream is None:
                chosen = {**QUIET.get(codec, {}), **(options or {})}
                stream = cast("VideoStream", container.add_stream(codec, rate=rate, options=chosen))
                context = stream.codec_context
                context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
                context.colorspace, context.color_range = frame.colorspace, frame.color_range
                context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
                if change is not None:
                    change(stream)
            frame.pts, frame.time_base = number, Fraction(1) / Fraction(rate)
            container.mux(stream.encode(frame))
        assert stream is not None, "a clip needs frames"
        container.mux(stream.encode(None))
    return path


def read_first(path: Path) -> tuple[VideoStream, VideoFrame]:
    """The video stream, whose container is closed, and its first frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream, next(container.decode(stream))


def frame_of(planes: Sequence[NDArray[Any]], pixel_format: str) -> VideoFrame:
    """A frame of these planes [rows, samples], whole numbers of any type, as they are."""
    height, width = planes[0].shape
    frame = VideoFrame(width, height, pixel_format)
    dtype = np.dtype(np.uint8 if frame.format.components[0].bits <= 8 else np.uint16)
    for plane, pixels in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // dtype.itemsize), dtype)
        rows[: pixels.shape[0], : pixels.shape[1]] = pixels
        plane.update(rows.tobytes())
    return frame


def noise(height: int, width: int, pixel_format: str = "yuv420p", seed: int = 0) -> VideoFrame:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pixel_format)
