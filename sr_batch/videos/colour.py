"""Decoded frame <-> RGB array: the one place where a video's numbers become colours and colours become numbers.

8-bit frames become uint8 arrays (pixel door), deeper ones float32 arrays in [0, 1] (float door).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sr_batch.videos.picture import Colour, Matrix, Picture

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["Raster", "from_rgb", "to_rgb"]

Pixels = NDArray[np.uint8] | NDArray[np.float32]
ACCURATE = 0x4 | 0x40000 | 0x2000 | 0x4000  # SWS_BICUBIC, ACCURATE_RND, FULL_CHR_H_INT, FULL_CHR_H_INP
SWSCALE_MATRIX: dict[int, int] = {
    Matrix.BT709: 1,
    Matrix.FCC: 4,
    Matrix.SMPTE240M: 7,
    Matrix.BT2020: 9,
    Matrix.BT2020_CONSTANT: 9,
}


@dataclass(frozen=True)
class Raster:
    """One picture as arrays of its own, C-contiguous."""

    rgb: Pixels  # [h, w, 3]: uint8 in [0, 255], or float32 in [0, 1]
    alpha: Pixels | None = None  # [h, w], of the same dtype; None where the video has none


def to_rgb(frame: VideoFrame, picture: Picture) -> Raster:
    """A decoded frame of this video as RGB in its own primaries and transfer: uint8, or float32 if `picture.deep`.

    The matrix, range and chroma siting of `picture.colour` are used, whatever the frame says.
    """
    matrix, value_range = _swscale(picture.colour)
    rgb: NDArray[Any] = frame.reformat(
        format="rgb48le" if picture.deep else "rgb24",
        src_colorspace=matrix,
        src_color_range=value_range,
        interpolation=ACCURATE,
    ).to_ndarray()
    if picture.deep:
        return Raster(rgb.astype(np.float32) / np.float32(65535))
    return Raster(np.ascontiguousarray(rgb, np.uint8))


def from_rgb(raster: Raster, pixel_format: str, colour: Colour) -> VideoFrame:
    """RGB as a frame of this pixel format and colour, tagged so; its pts and time base are the caller's to set.

    float32 arrays are clamped to [0, 1].
    """
    from av.video.frame import VideoFrame

    matrix, value_range = _swscale(colour)
    if raster.rgb.dtype == np.uint8:
        source = VideoFrame.from_ndarray(np.ascontiguousarray(raster.rgb, np.uint8), format="rgb24")
    else:
        clipped: NDArray[np.float32] = np.clip(raster.rgb, 0, 1).astype(np.float32)
        deep = np.rint(clipped * np.float32(65535)).astype(np.uint16)
        source = VideoFrame.from_ndarray(deep, format="rgb48le")
    frame = source.reformat(
        format=pixel_format, dst_colorspace=matrix, dst_color_range=value_range, interpolation=ACCURATE
    )
    frame.colorspace, frame.color_range = colour.matrix, 2 if colour.full_range else 1
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def _swscale(colour: Colour) -> tuple[int, int]:
    return SWSCALE_MATRIX.get(colour.matrix, 5), 2 if colour.full_range else 1
