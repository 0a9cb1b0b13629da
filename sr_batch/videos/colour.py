"""Decoded frame <-> RGB array: the one place where a video's numbers become colours and colours become numbers.

8-bit frames become uint8 arrays (pixel door), deeper ones uint16 arrays (deep door), white being 255 or 65535. The
arithmetic is float32 after ITU-T H.273, section 8.3, rounded once; swscale is up to a whole chroma code off in full
range, takes 65280 for the white of 16-bit RGB, and darkens by a code unless told otherwise (`benchmarks/colour.py`).
It is done in strips: the floats of a whole picture would be 80 MB at 1920x3416.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from sr_batch.depth import Pixels, full_scale
from sr_batch.errors import UnreadableVideo
from sr_batch.videos.chroma import enlarge_rows
from sr_batch.videos.filling import fill_plane, fill_rgb, fill_yuv
from sr_batch.videos.matrices import LUMA_WEIGHTS, Affine, grey_to_rgb_matrix, to_rgb_matrix
from sr_batch.videos.picture import Colour, Picture, Samples
from sr_batch.videos.planes import Plane, planar_format, planes_of, planes_to_fill
from sr_batch.videos.strips import Strips, in_strips

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["Raster", "check_colour", "from_rgb", "to_rgb"]


@dataclass(frozen=True)
class Raster:
    """One picture as C-contiguous arrays."""

    rgb: Pixels  # [h, w, 3]: uint8, uint16, or float32 in [0, 1]
    alpha: Pixels | None = None  # [h, w], of the same dtype; None where the video has none


def check_colour(picture: Picture) -> None:
    """UnreadableVideo if its matrix (YCgCo, ICtCp, derived from primaries) or pixel format cannot be converted."""
    from av.video.frame import VideoFrame

    if not picture.samples.rgb and picture.colour.matrix not in LUMA_WEIGHTS:
        raise UnreadableVideo(
            f"its colour matrix (code {picture.colour.matrix}) is not one of BT.601, BT.709 and BT.2020: convert it "
            "first, as with ffmpeg -vf scale=out_color_matrix=bt709"
        )
    name = picture.samples.name
    try:
        if picture.samples.depth > 16:
            raise ValueError("floating point")
        planes_of(VideoFrame(16, 16, name))
    except (OSError, ValueError) as error:
        raise UnreadableVideo(
            f"its pixel format ({name}) is not one that can be converted: convert it first, as with ffmpeg -pix_fmt "
            "yuv444p16le"
        ) from error


def to_rgb(frame: VideoFrame, picture: Picture) -> Raster:
    """A decoded frame of this video as RGB in its own primaries and transfer: uint8, or uint16 if `picture.deep`.

    The matrix, range and chroma siting of `picture.colour` are used, whatever the frame says. Colours outside RGB are
    clipped.
    """
    samples = Samples.of(frame.format)
    held = Samples.named(planar_format(samples.name))
    planes = planes_of(frame)
    alpha = planes.pop() if held.alpha else None
    if held.rgb:
        green, blue, red = planes
        rgb = _of_range(np.stack([red, green, blue], axis=-1), held.depth, picture.deep)
    else:
        rgb = _yuv_to_rgb(planes, held, picture)
    return Raster(rgb, None if alpha is None else _of_range(np.ascontiguousarray(alpha), held.depth, picture.deep))


def _of_range(full: NDArray[Any], depth: int, deep: bool) -> Pixels:
    """Full-range samples of this depth as the door takes them."""
    if not deep or depth == 16:
        return full
    return _rounded(full, 65535 / (2**depth - 1), np.dtype(np.uint16))


def _yuv_to_rgb(planes: list[Plane], samples: Samples, picture: Picture) -> Pixels:
    height, width = planes[0].shape
    rgb: Pixels = np.empty((height, width, 3), np.uint16 if picture.deep else np.uint8)
    white = full_scale(rgb.dtype)
    make_matrix = grey_to_rgb_matrix if samples.grey else to_rgb_matrix
    matrix: Affine = make_matrix(picture.colour, samples.depth, white)
    where = picture.colour.siting.shift

    def convert(strips: Strips) -> None:
        for rows in strips:
            luma = planes[0][rows.start : rows.stop].astype(np.float32)
            chroma = [enlarge_rows(plane, rows, width, samples.subsampling, where) for plane in planes[1:]]
            floats = cv2.transform(cv2.merge([luma, *chroma]), matrix)
            rgb[rows.start : rows.stop] = _rounded(floats, 1.0, rgb.dtype)

    in_strips(convert, (height, width), None)
    return rgb


def from_rgb(
    raster: Raster,
    pixel_format: str,
    colour: Colour,
    into: VideoFrame | None = None,
    pool: Executor | None = None,
    workers: int = 1,
) -> VideoFrame:
    """RGB as a frame of this pixel format and colour, tagged so; its pts and time base are the caller's to set.

    float32 arrays are clipped to [0, 1]. A format with alpha gets an opaque one where the raster has none. `into`: a
    frame that came from a call like this one and is needed no more; its memory is used, unless an encoder still reads
    it. `pool`: `workers` of its threads share the work.
    """
    height, width = raster.rgb.shape[:2]
    planar = planar_format(pixel_format)
    frame = _empty(into, height, width, planar)
    samples = Samples.named(planar)
    planes = planes_to_fill(frame)
    alpha = planes.pop() if samples.alpha else None

    def convert(strips: Strips) -> None:
        if samples.rgb:
            fill_rgb(planes, raster.rgb, samples.depth, strips)
        else:
            fill_yuv(planes, raster.rgb, samples, colour, strips)
        if alpha is not None:
            fill_plane(alpha, raster.alpha, samples.depth, strips)

    in_strips(convert, (height, width), pool, workers)
    if planar != pixel_format:
        frame = frame.reformat(format=pixel_format, interpolation="POINT", threads=1)  # see `planes`
    frame.colorspace, frame.color_range = colour.matrix, 2 if colour.full_range else 1
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def _empty(into: VideoFrame | None, height: int, width: int, planar: str) -> VideoFrame:
    """A frame to fill: `into`, if it is of that size and format."""
    from av.video.frame import VideoFrame

    if into is not None and (into.height, into.width, into.format.name) == (height, width, planar):
        into.make_writable()
        return into
    return VideoFrame(width, height, planar)


def _rounded(values: NDArray[Any], gain: float, dtype: np.dtype[Any]) -> Pixels:
    """`gain` times the values, rounded to the nearest integer, clipped to the type."""
    cv_depth = cv2.CV_8U if dtype == np.uint8 else cv2.CV_16U
    return cast("Pixels", cv2.addWeighted(values, gain, values, 0.0, 0.0, dtype=cv_depth))
