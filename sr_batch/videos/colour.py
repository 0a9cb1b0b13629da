"""Decoded frame <-> RGB array: the one place where a video's numbers become colours and colours become numbers.

8-bit frames become uint8 arrays (pixel door), deeper ones float32 arrays in [0, 1] (float door). The arithmetic is
float32 after ITU-T H.273, section 8.3, rounded once; swscale is up to a whole chroma code off in full range, takes
65280 for the white of 16-bit RGB, and darkens by a code unless told otherwise (`benchmarks/colour.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from sr_batch.errors import UnreadableVideo
from sr_batch.videos.chroma import enlarge, shrink
from sr_batch.videos.picture import Colour, Matrix, Picture, Samples
from sr_batch.videos.planes import Plane, planar_format, planes_of, planes_to_fill

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["Raster", "check_colour", "from_rgb", "to_rgb"]

Pixels = NDArray[np.uint8] | NDArray[np.float32]
Array = NDArray[Any]  # uint8, uint16 or float32: what cv2 takes and gives
Affine = NDArray[np.float64]  # [rows, 4]: three factors and a constant

# Kr, Kb of H.273, table 4. Constant-luminance BT.2020 is converted as BT.2020, there and back, as players do.
LUMA_WEIGHTS: dict[int, tuple[float, float]] = {
    Matrix.BT709: (0.2126, 0.0722),
    Matrix.FCC: (0.30, 0.11),
    Matrix.BT470BG: (0.299, 0.114),
    Matrix.SMPTE170M: (0.299, 0.114),
    Matrix.SMPTE240M: (0.212, 0.087),
    Matrix.BT2020: (0.2627, 0.0593),
    Matrix.BT2020_CONSTANT: (0.2627, 0.0593),
}


@dataclass(frozen=True)
class Raster:
    """One picture as C-contiguous arrays."""

    rgb: Pixels  # [h, w, 3]: uint8 in [0, 255], or float32 in [0, 1]
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
    """A decoded frame of this video as RGB in its own primaries and transfer: uint8, or float32 if `picture.deep`.

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


def _of_range(full: Array, depth: int, deep: bool) -> Pixels:
    """Full-range samples of this depth as the door takes them."""
    if deep:
        return full.astype(np.float32) * np.float32(1 / (2**depth - 1))
    return cast("NDArray[np.uint8]", full)


def _yuv_to_rgb(planes: list[Plane], samples: Samples, picture: Picture) -> Pixels:
    size = planes[0].shape
    white = 1.0 if picture.deep else 255.0
    if samples.grey:
        matrix = _grey_to_rgb(picture.colour, samples.depth, white)
        floats: Array = planes[0].astype(np.float32)
    else:
        matrix = _to_rgb_matrix(picture.colour, samples.depth, white)
        where = picture.colour.siting.shift
        colour = [enlarge(plane.astype(np.float32), size, samples.subsampling, where) for plane in planes[1:]]
        floats = cv2.merge([planes[0].astype(np.float32), *colour])
    rgb = cast("NDArray[np.float32]", cv2.transform(floats, matrix))
    if picture.deep:
        return np.clip(rgb, np.float32(0), np.float32(1), out=rgb)
    return cast("NDArray[np.uint8]", _rounded(rgb, cv2.CV_8U))


def from_rgb(raster: Raster, pixel_format: str, colour: Colour) -> VideoFrame:
    """RGB as a frame of this pixel format and colour, tagged so; its pts and time base are the caller's to set.

    float32 arrays are clipped to [0, 1]. A format with alpha gets an opaque one where the raster has none.
    """
    from av.video.frame import VideoFrame

    height, width = raster.rgb.shape[:2]
    planar = planar_format(pixel_format)
    frame = VideoFrame(width, height, planar)
    samples = Samples.named(planar)
    planes = planes_to_fill(frame)
    if samples.alpha:
        _fill_alpha(planes.pop(), raster.alpha, samples.depth)
    if samples.rgb:
        _fill_rgb(planes, raster.rgb, samples.depth)
    else:
        _fill_yuv(planes, raster.rgb, samples, colour)
    if planar != pixel_format:
        frame = frame.reformat(format=pixel_format, interpolation="POINT")
    frame.colorspace, frame.color_range = colour.matrix, 2 if colour.full_range else 1
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def _fill_yuv(planes: list[Plane], rgb: Pixels, samples: Samples, colour: Colour) -> None:
    white = 255.0 if rgb.dtype == np.uint8 else 1.0
    matrix = _from_rgb_matrix(colour, samples.depth, white)
    if samples.subsampling == (1, 1) and not samples.grey:
        yuv = cv2.transform(rgb.astype(np.float32), matrix)
        for plane, floats in zip(planes, cv2.split(yuv), strict=True):
            _fill(plane, floats, samples.depth)
        return
    # One row at a time keeps cv2 off its 10-bit fixed-point path for 3 channels of bytes.
    _fill(planes[0], cv2.transform(rgb, matrix[:1]), samples.depth)
    if samples.grey:
        return
    if colour.monochrome:
        for plane in planes[1:]:
            plane[:] = 2 ** (samples.depth - 1)
        return
    small = shrink(rgb, samples.subsampling, colour.siting.shift)
    for plane, floats in zip(planes[1:], cv2.split(cv2.transform(small, matrix[1:])), strict=True):
        _fill(plane, floats, samples.depth)


def _fill_rgb(planes: list[Plane], rgb: Pixels, depth: int) -> None:
    gain = (2**depth - 1) / (255.0 if rgb.dtype == np.uint8 else 1.0)
    for plane, channel in zip(planes, (1, 2, 0), strict=True):
        _fill(plane, cv2.extractChannel(rgb, channel), depth, gain)


def _fill_alpha(plane: Plane, alpha: Pixels | None, depth: int) -> None:
    if alpha is None:
        plane[:] = 2**depth - 1
    else:
        _fill(plane, alpha, depth, (2**depth - 1) / (255.0 if alpha.dtype == np.uint8 else 1.0))


def _fill(plane: Plane, values: Array, depth: int, gain: float = 1.0) -> None:
    """Codes, rounded to the nearest and held within the depth."""
    if values.dtype == np.uint8 and plane.dtype == np.uint8 and gain == 1.0:
        plane[:] = values
        return
    plane[:] = _rounded(values, cv2.CV_8U if plane.dtype == np.uint8 else cv2.CV_16U, gain)
    if depth not in (8, 16):
        np.minimum(plane, plane.dtype.type(2**depth - 1), out=plane)


def _rounded(values: Array, cv_depth: int, gain: float = 1.0) -> Array:
    """Rounded to the nearest integer, clipped to the type."""
    return cv2.addWeighted(values, gain, values, 0.0, 0.0, dtype=cv_depth)


@cache
def _code_scale(full_range: bool, depth: int) -> tuple[float, float, float, float]:
    """H.273, equations 20 to 31: black and length of luma, neutral and length of chroma, in codes of this depth."""
    neutral = float(2 ** (depth - 1))
    if full_range:
        return 0.0, 2.0**depth - 1, neutral, 2.0**depth - 1
    step = 2.0 ** (depth - 8)
    return 16 * step, 219 * step, neutral, 224 * step


@cache
def _from_rgb_matrix(colour: Colour, depth: int, white: float) -> Affine:
    """[3, 4]: RGB, white being `white`, to codes of Y, Cb, Cr."""
    red, blue = LUMA_WEIGHTS[colour.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    cb = (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - blue))
    cr = (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - red))
    black, luma_length, neutral, chroma_length = _code_scale(colour.full_range, depth)
    factors = np.stack([luma * luma_length, cb * chroma_length, cr * chroma_length]) / white
    return np.column_stack([factors, [black, neutral, neutral]])


@cache
def _to_rgb_matrix(colour: Colour, depth: int, white: float) -> Affine:
    """[3, 4]: the inverse of `_from_rgb_matrix`."""
    forward = _from_rgb_matrix(colour, depth, white)
    inverse = np.linalg.inv(forward[:, :3])
    return np.column_stack([inverse, -inverse @ forward[:, 3]])


@cache
def _grey_to_rgb(colour: Colour, depth: int, white: float) -> Affine:
    """[3, 2]: a grey code to three equal components."""
    black, length, _, _ = _code_scale(colour.full_range, depth)
    return np.tile([[white / length, -black * white / length]], (3, 1))
