"""Frames become colours and colours frames: compared with H.273's formulas in double precision, written out here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from av.filter import Graph
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from sr_batch.depth import full_scale
from sr_batch.errors import UnreadableVideo
from sr_batch.videos.colour import Raster, check_colour, from_rgb, to_rgb
from sr_batch.videos.picture import ChromaSiting, Colour, Matrix, Picture, Samples
from sr_batch.videos.planes import planes_of
from tests.sr_batch.videos.clips import frame_of

Floats = NDArray[np.float64]
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593), 7: (0.212, 0.087)}
BARS = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0), (0.5, 0.5, 0.5)]


def colour_of(matrix: int = 1, full: bool = False, siting: ChromaSiting = ChromaSiting.LEFT) -> Colour:
    return Colour(matrix, full, matrix, matrix, siting)


def picture_of(pixel_format: str, colour: Colour, height: int = 16, width: int = 16) -> Picture:
    return Picture(height, width, Samples.named(pixel_format), colour, None, 0, None, interlaced=False)


def codes(rgb: Floats, colour: Colour, depth: int) -> list[Floats]:
    """Y, Cb, Cr [h, w] of RGB [h, w, 3] in [0, 1], as codes that are not rounded."""
    red, blue = WEIGHTS[colour.matrix]
    luma = rgb @ np.array([red, 1 - red - blue, blue])
    cb, cr = (rgb[..., 2] - luma) / (2 * (1 - blue)), (rgb[..., 0] - luma) / (2 * (1 - red))
    if colour.full_range:
        top = 2**depth - 1
        return [top * luma, top * cb + 2 ** (depth - 1), top * cr + 2 ** (depth - 1)]
    step = 2 ** (depth - 8)
    return [(16 + 219 * luma) * step, (128 + 224 * cb) * step, (128 + 224 * cr) * step]


def bars(height: int = 16, each: int = 16) -> Floats:
    """[height, 9 * each, 3] in [0, 1]: primaries, their mixtures, white, black and grey."""
    return np.repeat(np.repeat([BARS], height, axis=0), each, axis=1).astype(np.float64)


def bars_frame(pixel_format: str, colour: Colour) -> VideoFrame:
    """Bars whose edges lie between chroma samples, exact but for the rounding."""
    samples = Samples.named(pixel_format)
    down, right = samples.subsampling
    luma, cb, cr = (np.clip(np.rint(plane), 0, 2**samples.depth - 1) for plane in codes(bars(), colour, samples.depth))
    planes = [luma] if samples.grey else [luma, cb[::down, ::right], cr[::down, ::right]]
    return frame_of(planes, pixel_format)


def raster_of(rgb: Floats, deep: bool, alpha: Floats | None = None) -> Raster:
    """Of [h, w, 3] and [h, w] in [0, 1]."""
    dtype = np.dtype(np.uint16 if deep else np.uint8)
    stored = [None if part is None else np.rint(part * full_scale(dtype)).astype(dtype) for part in (rgb, alpha)]
    assert stored[0] is not None
    return Raster(stored[0], stored[1])


def levels(pixels: NDArray[Any]) -> Floats:
    """In levels of 8 bits."""
    return pixels.astype(np.float64) * (255 / full_scale(pixels.dtype))


def inside_bars(rgb: NDArray[Any]) -> NDArray[Any]:
    """Without the columns near an edge, where subsampled chroma is of two bars, and cubic interpolation overshoots."""
    return rgb.reshape(rgb.shape[0], len(BARS), -1, 3)[:, :, 6:-6]


@pytest.mark.parametrize("siting", [ChromaSiting.LEFT, ChromaSiting.CENTRE, ChromaSiting.TOP_LEFT])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le"])
@pytest.mark.parametrize(("matrix", "full"), [(1, False), (6, False), (9, False), (7, False), (1, True), (6, True)])
def test_colour_bars_have_their_colours_there_and_back(
    pixel_format: str, matrix: int, full: bool, siting: ChromaSiting
) -> None:
    colour = colour_of(matrix, full, siting)
    picture = picture_of(pixel_format, colour)
    frame = bars_frame(pixel_format, colour)
    raster = to_rgb(frame, picture)
    assert raster.rgb.dtype == (np.uint16 if picture.deep else np.uint8)
    # A code of 8 bits is worth up to 1.7 levels where luma and chroma add, a quarter of that in 10 bits.
    assert np.abs(inside_bars(levels(raster.rgb)) - inside_bars(bars() * 255)).max() <= (0.5 if picture.deep else 2)

    back = from_rgb(raster, pixel_format, colour)
    again = to_rgb(back, picture)
    assert np.abs(inside_bars(levels(again.rgb)) - inside_bars(levels(raster.rgb))).max() <= 1
    assert (back.colorspace, back.color_range, back.color_primaries) == (matrix, 2 if full else 1, matrix)


def test_bars_in_8_bits_are_within_one_level_of_the_colours_their_codes_mean() -> None:
    colour = colour_of()
    frame = bars_frame("yuv420p", colour)
    luma, cb, cr = (plane.astype(np.float64) for plane in planes_of(frame))
    luma, cb, cr = (
        (luma - 16) / 219,
        (cb.repeat(2, 0).repeat(2, 1) - 128) / 224,
        (cr.repeat(2, 0).repeat(2, 1) - 128) / 224,
    )
    red, blue = luma + 1.5748 * cr, luma + 1.8556 * cb
    green = (luma - 0.2126 * red - 0.0722 * blue) / 0.7152
    meant = np.clip(np.stack([red, green, blue], -1), 0, 1) * 255
    rgb = to_rgb(frame, picture_of("yuv420p", colour)).rgb
    assert np.abs(inside_bars(rgb.astype(np.float64)) - inside_bars(meant)).max() <= 0.501


def smooth(height: int, width: int, depth: int, seed: int = 0) -> list[Floats]:
    """Y, Cb, Cr [h, w] with noise in Y, as whole codes, of colours that RGB has."""
    random = np.random.default_rng(seed)
    top = 2**depth
    ramp = np.linspace(0.3, 0.7, height)[:, None] * np.ones(width) + random.normal(0, 0.02, (height, width))
    cb, cr = np.linspace(0.45, 0.55, width)[None] * np.ones((height, 1)), np.linspace(0.47, 0.53, height)[:, None]
    return [np.rint(plane * top) for plane in (ramp, cb, cr * np.ones((1, width)))]


@pytest.mark.parametrize("size", [(64, 96), (63, 95)])
@pytest.mark.parametrize("siting", list(ChromaSiting))
@pytest.mark.parametrize(
    ("pixel_format", "full"),
    [("yuv420p", False), ("yuv420p10le", False), ("yuv422p", False), ("yuv444p", False), ("yuv420p12le", True)],
)
def test_luma_survives_a_round_trip_exactly_and_chroma_within_a_code(
    pixel_format: str, full: bool, siting: ChromaSiting, size: tuple[int, int]
) -> None:
    samples, colour = Samples.named(pixel_format), colour_of(1, full, siting)
    down, right = samples.subsampling
    luma, cb, cr = smooth(*size, samples.depth)
    planes = [luma, cb[::down, ::right], cr[::down, ::right]]
    raster = to_rgb(frame_of(planes, pixel_format), picture_of(pixel_format, colour))
    assert raster.rgb.shape == (*size, 3)
    back = planes_of(from_rgb(raster, pixel_format, colour))
    assert (back[0] == planes[0]).all()
    for before, after in zip(planes[1:], back[1:], strict=True):
        assert np.abs(before.astype(int) - after).max() <= 2 ** (samples.depth - 8)


def shrunk(plane: Floats, factors: tuple[int, int], position: tuple[float, float]) -> Floats:
    """Chroma [h, w] at its own resolution: the mean of the 2 samples that it lies between, or 1:2:1 about it."""
    for axis in (0, 1):
        if factors[axis] == 2:
            length = plane.shape[axis]
            taps = {0: {-1: 0.25, 0: 0.5, 1: 0.25}, 0.5: {0: 0.5, 1: 0.5}, 1: {0: 0.25, 1: 0.5, 2: 0.25}}[
                position[axis]
            ]
            first = np.arange(0, length, 2)
            parts = [
                weight * np.take(plane, np.clip(first + offset, 0, length - 1), axis) for offset, weight in taps.items()
            ]
            plane = sum(parts[1:], parts[0])
    return plane


@pytest.mark.parametrize("size", [(2, 2), (1, 5), (7, 1), (50, 64), (51, 63)])
@pytest.mark.parametrize("siting", list(ChromaSiting))
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le"]
)
def test_every_code_is_that_of_the_formula_wherever_a_strip_ends(
    pixel_format: str, full: bool, siting: ChromaSiting, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strips of 6 rows, shared by 3 threads, against the whole picture in double precision."""
    monkeypatch.setattr("sr_batch.videos.strips.STRIP_BYTES", 6 * size[1] * 3 * 4)
    samples, colour = Samples.named(pixel_format), colour_of(1, full, siting)
    raster = raster_of(np.random.default_rng(0).random((*size, 3)), samples.depth > 8)
    meant = codes(levels(raster.rgb) / 255, colour, samples.depth)
    meant[1:] = [shrunk(plane, samples.subsampling, siting.shift) for plane in meant[1:]]
    with ThreadPoolExecutor(3) as pool:
        frame = from_rgb(raster, pixel_format, colour, None, pool, 3)
    for written, exact in zip(planes_of(frame), meant, strict=True):
        # Half a code is the rounding, a thousandth of it (more with more bits) that of float32.
        assert np.abs(written - np.clip(exact, 0, 2**samples.depth - 1)).max() <= 0.5 + 2.0 ** (samples.depth - 18)


@pytest.mark.parametrize("size", [(2, 2), (1, 5), (7, 1), (50, 64), (51, 63)])
@pytest.mark.parametrize("siting", list(ChromaSiting))
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "gray"])
def test_rgb_is_the_same_wherever_a_strip_ends(
    pixel_format: str, siting: ChromaSiting, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, colour = Samples.named(pixel_format), colour_of(1, False, siting)
    picture = picture_of(pixel_format, colour, *size)
    random, down, right = np.random.default_rng(0), *samples.subsampling
    small = (-(-size[0] // down), -(-size[1] // right))
    shapes = [size] if samples.grey else [size, small, small]
    frame = frame_of([random.integers(0, 2**samples.depth, shape) for shape in shapes], pixel_format)
    whole = to_rgb(frame, picture).rgb
    monkeypatch.setattr("sr_batch.videos.strips.STRIP_BYTES", 6 * size[1] * 3 * 4)
    assert (to_rgb(frame, picture).rgb == whole).all()


def test_a_frame_that_an_encoder_still_reads_is_left_alone() -> None:
    colour = colour_of()
    rasters = [raster_of(np.full((16, 16, 3), value), False) for value in (0.25, 0.75)]
    first = from_rgb(rasters[0], "yuv420p", colour)
    planes = planes_of(first)[0].copy()
    assert from_rgb(rasters[0], "yuv420p", colour, first) is first  # its memory is used again

    graph = Graph()  # FFmpeg's own reference to a frame, as encoders with several threads keep one
    source = graph.add_buffer(width=16, height=16, format=first.format, time_base=Fraction(1, 25))
    graph.link_nodes(source, graph.add("buffersink")).configure()
    first.pts, first.time_base = 0, Fraction(1, 25)
    graph.vpush(first)
    second = from_rgb(rasters[1], "yuv420p", colour, first)
    assert (planes_of(graph.vpull())[0] == planes).all()
    assert planes_of(second)[0][0, 0] > planes[0, 0]


@pytest.mark.parametrize("siting", list(ChromaSiting))
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p"])
def test_chroma_lies_where_the_video_says(siting: ChromaSiting, pixel_format: str) -> None:
    """A ramp, sampled where the siting says, must come out as the same ramp over the luma samples, both ways."""
    colour = colour_of(1, False, siting)
    down, right = Samples.named(pixel_format).subsampling
    shift_down, shift_right = siting.shift
    rows = (np.arange(64 // down) * down + shift_down * (down - 1))[:, None]
    columns = np.arange(64 // right) * right + shift_right * (right - 1)
    chroma = 80 + 0.537 * rows + 0.911 * columns
    luma = np.full((64, 64), 126, np.uint8)
    neutral = np.full(chroma.shape, 128, np.uint8)
    frame = frame_of([luma, np.rint(chroma).astype(np.uint8), neutral], pixel_format)
    blue = to_rgb(frame, picture_of(pixel_format, colour)).rgb[..., 2].astype(np.float64)
    rows, columns = np.mgrid[0:64, 0:64]
    factor = 255 * 1.8556 / 224
    expected = (126 - 16) / 219 * 255 + factor * (80 + 0.537 * rows + 0.911 * columns - 128)
    middle = (slice(8, 56), slice(8, 56))
    # Rounding is half a code here and there; half a pixel beside the place would be 0.25 codes or more everywhere.
    assert abs((blue - expected)[middle].mean()) < 0.1 * factor
    assert np.abs(blue - expected)[middle].max() < factor

    ramp = np.stack([np.full((64, 64), 0.6)] * 2 + [0.2 + 0.0047 * rows + 0.0071 * columns], -1)
    written = planes_of(from_rgb(Raster(np.rint(ramp * 255).astype(np.uint8)), pixel_format, colour))[1]
    at = 0.2 + 0.0047 * (np.arange(64 // down) * down + shift_down * (down - 1))[:, None]
    at = at + 0.0071 * (np.arange(64 // right) * right + shift_right * (right - 1))
    luma_there = 0.6 * (1 - 0.0722) + 0.0722 * at
    meant = 128 + 224 * (at - luma_there) / 1.8556
    middle = (slice(4, -4), slice(4, -4))
    # cv2 rounds the mean of four bytes upwards: an eighth of a level.
    assert abs((written - meant)[middle].mean()) < 0.15
    assert np.abs(written - meant)[middle].max() < 1


@pytest.mark.parametrize("depth", [10, 12])
def test_deep_video_keeps_its_levels(depth: int) -> None:
    """Every limited-range luma code of 10 and 12 bits comes back as itself."""
    luma = np.arange(16 << (depth - 8), (235 << (depth - 8)) + 1, dtype=np.uint16)[None].repeat(2, 0)
    name = f"yuv444p{depth}le"
    neutral = np.full_like(luma, 2 ** (depth - 1))
    colour = colour_of(9)
    raster = to_rgb(frame_of([luma, neutral, neutral], name), picture_of(name, colour))
    assert len(np.unique(raster.rgb[0, :, 1])) == luma.shape[1]
    back = planes_of(from_rgb(raster, name, colour))
    assert (back[0] == luma).all()
    assert (back[1] == neutral).all()


@pytest.mark.parametrize(("pixel_format", "full"), [("gray", True), ("gray", False), ("gray10le", False)])
def test_grey_stays_grey(pixel_format: str, full: bool) -> None:
    colour = replace(colour_of(6, full), monochrome=True)
    samples = Samples.named(pixel_format)
    luma = np.rint(codes(bars(), colour, samples.depth)[0])
    picture = picture_of(pixel_format, colour)
    raster = to_rgb(frame_of([luma], pixel_format), picture)
    assert (raster.rgb[..., 0] == raster.rgb[..., 1]).all()
    assert raster.rgb.min() == 0
    assert levels(raster.rgb).max() == 255
    assert (planes_of(from_rgb(raster, pixel_format, colour))[0] == luma).all()
    coloured = raster_of(np.tile([0.9, 0.5, 0.1], (16, 16, 1)), picture.deep)
    assert (planes_of(from_rgb(coloured, "yuv420p", colour))[1] == 128).all()


@pytest.mark.parametrize("pixel_format", ["yuva420p", "yuva444p", "yuva444p10le", "yuva444p12le", "gbrap", "rgba"])
def test_alpha_is_carried_as_it_is(pixel_format: str) -> None:
    samples = Samples.named(pixel_format)
    top = 2**samples.depth - 1
    colour = colour_of(0 if samples.rgb else 1, samples.rgb)
    picture = picture_of(pixel_format, replace(colour, monochrome=samples.grey))
    first = raster_of(np.full((8, 8, 3), 0.5), picture.deep, np.linspace(0, 1, 64).reshape(8, 8))
    frame = from_rgb(first, pixel_format, colour if samples.rgb else colour_of())
    assert frame.format.name == pixel_format
    raster = to_rgb(frame, picture)
    assert raster.alpha is not None and first.alpha is not None
    assert np.abs(levels(raster.alpha) - levels(first.alpha)).max() * top / 255 <= 0.51
    opaque = planes_of(from_rgb(Raster(first.rgb), pixel_format, colour if samples.rgb else colour_of()))[-1]
    assert (opaque == top).all()


@pytest.mark.parametrize("pixel_format", ["rgb24", "bgr0", "gbrp", "rgb48le", "gbrp10le", "gbrp12le"])
def test_rgb_formats_are_taken_and_written_as_they_are(pixel_format: str) -> None:
    samples = Samples.named(pixel_format)
    colour = colour_of(Matrix.RGB, full=True)
    picture = picture_of(pixel_format, colour)
    random = np.random.default_rng(0)
    wanted = random.integers(0, 2**samples.depth, (17, 19, 3))
    frame = from_rgb(raster_of(wanted / (2**samples.depth - 1), picture.deep), pixel_format, colour)
    again = from_rgb(to_rgb(frame, picture), pixel_format, colour)
    for number, channel in enumerate((1, 2, 0)):
        assert (planes_of(frame)[number] == wanted[..., channel]).all()
        assert (planes_of(again)[number] == wanted[..., channel]).all()


@pytest.mark.parametrize("pixel_format", ["nv12", "p010le", "yuyv422", "uyvy422", "yuv411p", "yuv440p", "y210le"])
def test_other_layouts_have_the_same_colours(pixel_format: str) -> None:
    colour = colour_of()
    rgb = np.repeat(np.repeat(np.array([[[200, 80, 40]], [[30, 90, 160]]], np.uint8), 8, 0), 16, 1)
    picture = picture_of(pixel_format, colour)
    found = levels(to_rgb(from_rgb(raster_of(rgb / 255, picture.deep), pixel_format, colour), picture).rgb)
    assert np.abs(found[[0, -1]] - rgb[[0, -1]]).max() <= 3


def test_floats_beyond_white_and_black_are_clipped() -> None:
    rgb = np.array([[[1.5, 1.5, 1.5], [-1, -1, -1]]], np.float32).repeat(2, 0)
    back = planes_of(from_rgb(Raster(rgb), "yuv444p10le", colour_of(1, full=True)))
    assert back[0].tolist() == [[1023, 0]] * 2


def test_a_matrix_that_cannot_be_converted_is_refused_with_the_way_out() -> None:
    with pytest.raises(UnreadableVideo, match="convert it first"):
        check_colour(picture_of("yuv444p", colour_of(Matrix.YCGCO)))
    check_colour(picture_of("gbrp", colour_of(Matrix.RGB)))


def test_every_pixel_format_of_this_ffmpeg_is_converted_or_refused() -> None:
    from av.video.format import names  # type: ignore[attr-defined]

    on_devices = {
        "amf", "cuda", "d3d11", "d3d11va_vld", "d3d12", "drm_prime", "dxva2_vld", "mediacodec", "mmal", "ohcodec",
        "opencl", "qsv", "vaapi", "vdpau", "videotoolbox_vld", "vulkan",
    }  # fmt: skip
    refused = []
    for name in sorted(names - on_devices):
        samples = Samples.named(name)
        colour = colour_of(Matrix.RGB if samples.rgb else 1, samples.rgb)
        picture = picture_of(name, colour)
        try:
            check_colour(picture)
        except UnreadableVideo:
            refused.append(name)
            continue
        frame = VideoFrame(16, 16, name)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        raster = to_rgb(frame, picture)
        assert raster.rgb.shape == (16, 16, 3), name
        assert (raster.alpha is not None) is samples.alpha, name
    assert len(refused) < 30
    assert not {"yuv420p", "p010le", "yuyv422", "rgb48le", "gray16le", "pal8", "bayer_rggb8"} & set(refused)
