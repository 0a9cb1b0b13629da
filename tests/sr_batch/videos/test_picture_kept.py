"""From file to file: colours, depth, alpha, shape, rotation and HDR are the input's; interlaced becomes whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from sr_batch.errors import UnreadableVideo
from sr_batch.videos.codecs import Codec, Hardware
from sr_batch.videos.colour import to_rgb
from sr_batch.videos.deinterlacing import Deinterlace
from sr_batch.videos.encoding import EncodingOptions
from sr_batch.videos.inspecting import inspect_video
from sr_batch.videos.picture import ChromaSiting, Colour, Picture
from sr_batch.videos.planes import planes_of
from tests.sr_batch.videos.clips import frame_of, write_clip
from tests.sr_batch.videos.films import Stopped, enlarge_film
from tests.sr_batch.videos.test_colour import bars_frame, colour_of
from tests.sr_batch.videos.test_encoding import DISPLAY, HDR10, LIGHT, output_of, picture_of, plan_of, write

LOSSLESS = EncodingOptions(codec=Codec.FFV1)
Planes = list[NDArray[Any]]


def pictures_in(path: Path, decoder: str | None = None) -> list[Planes]:
    """The planes of all frames, by FFmpeg's usual decoder or by the one named."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        own: Any = av.CodecContext.create(decoder, "r") if decoder else stream.codec_context
        for packet in container.demux(stream):
            found += [[plane.copy() for plane in planes_of(frame)] for frame in own.decode(packet)]
    return found


def fact(path: Path) -> Picture:
    return inspect_video(path).picture


def tagged(frame: VideoFrame, colour: Colour) -> VideoFrame:
    frame.colorspace, frame.color_range = colour.matrix, 2 if colour.full_range else 1
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le"])
@pytest.mark.parametrize(("matrix", "full"), [(1, False), (6, False), (9, False), (1, True)])
def test_colour_bars_come_through_within_one_level(tmp_path: Path, pixel_format: str, matrix: int, full: bool) -> None:
    """An engine that changes nothing and lossless codecs: what is left is the conversion, there and back."""
    colour = colour_of(matrix, full)
    frame = tagged(bars_frame(pixel_format, colour), colour)
    source = write_clip(tmp_path / "bars.mkv", [frame], "ffv1", {"chroma_sample_location": "left"})
    done = enlarge_film(source, tmp_path / "same.mkv", scale=1, encoding=LOSSLESS)
    assert not done.warnings
    step = 2 ** (fact(source).samples.depth - 8)
    for before, after in zip(pictures_in(source)[0], pictures_in(tmp_path / "same.mkv")[0], strict=True):
        # Near an edge between two bars, chroma of half the resolution is of both: compared in their middles.
        each = before.shape[1] // 9
        inside = [np.arange(bar * each + each * 3 // 8, (bar + 1) * each - each * 3 // 8) for bar in range(9)]
        columns = np.concatenate(inside)
        assert np.abs(before[:, columns].astype(int) - after[:, columns]).max() <= step
    found = fact(tmp_path / "same.mkv").colour
    assert (found.matrix, found.full_range, found.primaries) == (matrix, full, matrix)


def test_the_picture_does_not_get_darker(tmp_path: Path) -> None:
    """swscale, asked simply, takes a level of luma away."""
    random = np.random.default_rng(0)
    luma = np.clip(np.linspace(40, 200, 96)[None] + random.normal(0, 4, (64, 96)), 16, 235)
    chroma = np.full((32, 48), 128)
    source = write_clip(tmp_path / "a.mkv", [frame_of([luma, chroma + 8, chroma - 9], "yuv420p")], "ffv1")
    enlarge_film(source, tmp_path / "b.mkv", scale=1, encoding=LOSSLESS)
    before, after = pictures_in(source)[0], pictures_in(tmp_path / "b.mkv")[0]
    assert (before[0] == after[0]).all()


@pytest.mark.parametrize(("height", "matrix"), [(48, 6), (720, 1)])
def test_a_video_without_tags_is_tagged_as_it_was_seen(tmp_path: Path, height: int, matrix: int) -> None:
    source = write_clip(
        tmp_path / "a.mp4", [frame_of([np.full((height, 64), 120)] + [np.full((height // 2, 32), 90)] * 2, "yuv420p")]
    )
    enlarge_film(source, tmp_path / "b.mp4", scale=2)
    found = fact(tmp_path / "b.mp4").colour
    assert (found.matrix, found.full_range) == (matrix, False)
    assert not found.guessed


@pytest.mark.parametrize(("codec", "container"), [(Codec.FFV1, "mkv"), (Codec.HEVC, "mp4"), (Codec.AV1, "mp4")])
def test_ten_bits_come_out_as_ten_bits(tmp_path: Path, codec: Codec, container: str) -> None:
    """A gradient of more levels than 8 bits have."""
    luma = np.linspace(200, 200 + 319, 320)[None].repeat(64, 0)
    neutral = np.full((32, 160), 512)
    source = write_clip(tmp_path / "a.mkv", [frame_of([luma, neutral, neutral], "yuv420p10le")] * 3, "ffv1")
    options = EncodingOptions(codec=codec, crf=None if codec is Codec.FFV1 else 5)
    result = tmp_path / f"b.{container}"
    enlarge_film(source, result, scale=2, encoding=options)
    assert fact(result).samples.name == "yuv420p10le"
    levels = np.unique(pictures_in(result)[0][0])
    if codec is Codec.FFV1:
        assert len(levels) == 320
    else:
        assert len(levels) > 200  # through 8 bits there would be 80


def test_alpha_of_vp9_is_kept(tmp_path: Path) -> None:
    """FFmpeg's own VP9 decoder does not even show it."""
    gradient = np.linspace(0, 255, 64)[None].repeat(48, 0)
    grey = [np.full((48, 64), 120), np.full((24, 32), 110), np.full((24, 32), 140)]
    frames = [frame_of([*grey, gradient], "yuva420p") for _ in range(3)]
    source = write_clip(tmp_path / "a.webm", frames, "libvpx-vp9", {"auto-alt-ref": "0", "crf": "4", "b": "0"})
    done = enlarge_film(source, tmp_path / "b.webm", scale=2, encoding=EncodingOptions(crf=4))
    assert done.frames == 3
    assert fact(tmp_path / "b.webm").samples.alpha
    for planes in pictures_in(tmp_path / "b.webm", "libvpx-vp9"):
        assert np.abs(planes[3].astype(float) - np.linspace(0, 255, 128)[None]).mean() < 2
        assert abs(planes[0].mean() - 120) < 1


def test_alpha_of_prores_is_kept(tmp_path: Path) -> None:
    alpha = np.linspace(0, 1023, 64)[None].repeat(48, 0)
    planes = [np.full((48, 64), 500), np.full((48, 64), 480), np.full((48, 64), 540), alpha]
    source = write_clip(tmp_path / "a.mov", [frame_of(planes, "yuva444p10le")] * 2, "prores_ks")
    done = enlarge_film(source, tmp_path / "b.mov", scale=2, encoding=EncodingOptions())
    assert fact(tmp_path / "b.mov").samples.alpha
    found = pictures_in(tmp_path / "b.mov")[0][3]
    top = 2 ** fact(tmp_path / "b.mov").samples.depth - 1
    assert np.abs(found / top - np.linspace(0, 1, 128)[None]).mean() < 0.01
    assert [note for note in done.warnings if "alpha" in note] == []


def test_alpha_that_the_codec_cannot_hold_is_said(tmp_path: Path) -> None:
    planes = [np.full((48, 64), 120), np.full((24, 32), 128), np.full((24, 32), 128), np.full((48, 64), 99)]
    source = write_clip(tmp_path / "a.mkv", [frame_of(planes, "yuva420p")], "ffv1")
    done = enlarge_film(source, tmp_path / "b.mkv", encoding=EncodingOptions(codec=Codec.H264))
    assert "libx264 cannot keep the alpha channel (yuv420p)" in done.warnings


def test_shape_rotation_and_odd_size_are_kept(tmp_path: Path) -> None:
    def change(stream: VideoStream) -> None:
        stream.set_display_rotation(90)
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    planes = [np.full((49, 63), 120)] * 3
    source = write_clip(tmp_path / "a.mp4", [frame_of(planes, "yuv444p")] * 2, change=change)
    for scale in (1, 4):
        result = tmp_path / f"{scale}.mp4"
        enlarge_film(source, result, scale=scale)
        picture = fact(result)
        assert picture.size == (49 * scale, 63 * scale)
        assert (picture.rotation, picture.pixel_aspect) == (90, Fraction(4, 3))
        assert picture.display_matrix == fact(source).display_matrix
        assert picture.samples.name == "yuv444p"


@pytest.mark.parametrize("codec", [Codec.HEVC, Codec.AV1])
def test_hdr10_comes_through(tmp_path: Path, codec: Codec) -> None:
    picture = replace(picture_of("yuv420p10le", HDR10), mastering_display=DISPLAY, content_light=LIGHT)
    plan = plan_of(picture, output_of(size=(48, 64)), codec=Codec.HEVC)
    source = write(tmp_path / "a.mp4", plan, 4)
    done = enlarge_film(source, tmp_path / "b.mp4", encoding=EncodingOptions(codec=codec))
    assert not done.warnings
    found = fact(tmp_path / "b.mp4")
    assert replace(found.colour, guessed=()) == HDR10
    assert found.content_light == LIGHT
    assert found.mastering_display is not None
    assert found.mastering_display.brightest == DISPLAY.brightest
    assert found.samples.name == "yuv420p10le"
    with av.open(str(tmp_path / "b.mp4")) as container:  # Apple's players take no other name of it
        assert codec is not Codec.HEVC or container.streams.video[0].codec_context.codec_tag == "hvc1"


def fields(number: int, noise: int = 0) -> VideoFrame:
    """A bright bar on dark grey that moves 4 pixels to the right from field to field.

    The bottom field is the first: x264 goes by the frames' own flag, which PyAV cannot set.
    """
    luma = np.full((64, 96), 40)
    for parity in (0, 1):
        left = 8 + 8 * number + 4 * (1 - parity)
        luma[parity::2, left : left + 16] = 200
    if noise:
        luma += np.random.default_rng(number).integers(-noise, noise, luma.shape)
    return frame_of([luma, np.full((32, 48), 128), np.full((32, 48), 128)], "yuv420p")


def interlaced_clip(path: Path, frames: int = 6, noise: int = 0) -> Path:
    options = {"x264-params": "bff=1", "crf": "1", "preset": "ultrafast"}
    return write_clip(path, [fields(number, noise) for number in range(frames)], options=options)


def comb(luma: NDArray[Any]) -> float:
    """How much rows differ from both their neighbours, in the same direction."""
    rows = luma.astype(int)
    above, below = rows[1:-1] - rows[:-2], rows[1:-1] - rows[2:]
    return float(np.where(above * below > 0, np.minimum(abs(above), abs(below)), 0).mean())


def test_interlaced_frames_are_made_whole_one_for_each(tmp_path: Path) -> None:
    source, result = interlaced_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    done = enlarge_film(source, result, scale=1)
    assert done.frames == 6
    assert any("bwdif" in warning for warning in done.warnings)
    assert not fact(result).interlaced
    was, now = pictures_in(source), pictures_in(result)
    assert len(now) == 6
    for number, (before, after) in enumerate(zip(was, now, strict=True)):
        assert comb(after[0]) < comb(before[0]) / 4
        # The first field's bar is where it was.
        columns = np.flatnonzero(after[0][32] > 120)
        assert abs(columns[0] - (8 + 8 * number)) <= 2


def test_interlaced_frames_after_a_resume_are_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    source = interlaced_clip(tmp_path / "a.mp4", 12, noise=30)
    enlarge_film(source, tmp_path / "whole.mkv", scale=1, encoding=LOSSLESS)

    from sr_batch.videos.upscaling import PartRule

    changes: dict[str, Any] = {"encoding": LOSSLESS, "part": PartRule(frames=2)}
    with pytest.raises(Stopped):
        enlarge_film(source, tmp_path / "b.mkv", scale=1, stop_at=5, **changes)
    done = enlarge_film(source, tmp_path / "b.mkv", scale=1, **changes)
    assert done.resumed > 0
    for one, other in zip(pictures_in(tmp_path / "whole.mkv"), pictures_in(tmp_path / "b.mkv"), strict=True):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_interlaced_video_is_refused_on_request(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match="is interlaced; --deinterlace auto"):
        enlarge_film(interlaced_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4", deinterlace=Deinterlace.REFUSE)
    assert not (tmp_path / "b.mp4").exists()


def test_hardware_that_cannot_decode_leaves_it_to_software(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", [fields(number) for number in range(3)], "ffv1")
    auto = EncodingOptions(codec=Codec.FFV1, hardware=Hardware.AUTO)
    done = enlarge_film(source, tmp_path / "b.mkv", scale=1, encoding=auto)
    assert done.frames == 3
    for one, other in zip(pictures_in(source), pictures_in(tmp_path / "b.mkv"), strict=True):
        assert (one[0] == other[0]).all()


def test_chroma_that_lies_elsewhere_is_said_in_the_result(tmp_path: Path) -> None:
    planes: Sequence[NDArray[Any]] = [np.full((48, 64), 120), np.full((24, 32), 90), np.full((24, 32), 150)]
    options = {"chroma_sample_location": "topleft"}
    source = write_clip(tmp_path / "a.mp4", [frame_of(planes, "yuv420p")] * 2, options=options)
    enlarge_film(source, tmp_path / "b.mp4")
    assert fact(tmp_path / "b.mp4").colour.siting is ChromaSiting.TOP_LEFT


def test_another_container_for_the_codecs_sake_is_said(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", [fields(number) for number in range(2)])
    done = enlarge_film(source, tmp_path / "a.mkv", scale=1, encoding=LOSSLESS)
    assert "FFV1 does not go into .mp4; the result is .mkv, which rounds times to 1 ms" in done.warnings


@pytest.mark.parametrize(("ending", "codec"), [("mp4", Codec.H264), ("mkv", Codec.FFV1)])
def test_rgb_video_keeps_its_colours(tmp_path: Path, ending: str, codec: Codec) -> None:
    """Screen recordings: written as BT.709, and as RGB where the codec has it."""
    rgb = np.repeat(np.repeat(np.array([[[200, 80, 40]], [[30, 90, 160]]], np.uint8), 24, 0), 64, 1)
    frame = VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="bgr0")
    source = write_clip(tmp_path / "a.mkv", [frame] * 2, "ffv1")
    result = tmp_path / f"b.{ending}"
    options = EncodingOptions(codec, crf=None if codec is Codec.FFV1 else 2)
    enlarge_film(source, result, scale=1, encoding=options)
    picture = fact(result)
    assert picture.samples.rgb is (codec is Codec.FFV1)
    assert (picture.colour.matrix, picture.colour.full_range) == ((0, True) if codec is Codec.FFV1 else (1, False))
    with av.open(str(result)) as container:
        found = to_rgb(next(container.decode(video=0)), picture).rgb
    assert np.abs(found.astype(int)[[4, -4]] - rgb[[4, -4]]).max() <= (0 if codec is Codec.FFV1 else 2)
