"""Where a decoded frame's chroma samples lie. PyAV does not tell, but swscale knows and acts by it: so we look.

A copy of the frame, made small, keeps that one fact. Its planes are overwritten with grey and one coloured chroma
sample, and swscale turns it to RGB: the middle of the coloured spot, against the luma samples, is the position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["chroma_shift"]

SIDE = 32  # luma samples
ALSO = 48  # where the frame itself is of that size: swscale would hand out the frame, not a copy
SPOT = 6  # chroma row and column: far enough from every edge
BICUBIC_ACCURATE = 0x4 | 0x40000 | 0x2000 | 0x4000  # SWS_BICUBIC, ACCURATE_RND, FULL_CHR_H_INT, FULL_CHR_H_INP
FULL_RANGE = 2


def chroma_shift(frame: VideoFrame) -> tuple[float, float]:
    """(down, right) of a 4:2:0 frame's chroma samples from the first luma sample of their block: 0, 0.5 or 1 pixel.

    (0.5, 0.5) is also what comes if the video says nothing. The frame is left as it is.
    """
    side = ALSO if SIDE in (frame.width, frame.height) else SIDE
    probe = frame.reformat(side, side, "yuv420p", interpolation="POINT", threads=1)
    for index, plane in enumerate(probe.planes):
        pixels = np.full((plane.height, plane.line_size), 128, np.uint8)
        if index == 2:
            pixels[SPOT, SPOT] = 255
        plane.update(pixels.tobytes())
    rgb = probe.reformat(
        format="rgb24",
        interpolation=BICUBIC_ACCURATE,
        src_color_range=FULL_RANGE,
        dst_color_range=FULL_RANGE,
        threads=1,
    )
    red = rgb.to_ndarray()[:, :, 0].astype(np.float64)
    red -= red[0, 0]
    rows, columns = np.mgrid[0:side, 0:side]
    down = float((red * rows).sum() / red.sum()) - 2 * SPOT
    right = float((red * columns).sum() / red.sum()) - 2 * SPOT
    return round(2 * down) / 2, round(2 * right) / 2
