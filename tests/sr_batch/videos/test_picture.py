"""The facts of a video's pictures: what is said is read, what is not said is guessed as players do, and listed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import av
import pytest
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sr_batch.errors import UnreadableVideo
from sr_batch.videos import picture
from sr_batch.videos.inspecting import inspect_video
from sr_batch.videos.picture import ChromaSiting, Picture, read_picture
from tests.sr_batch.videos.clips import noise, write_clip


def picture_of(path: Path) -> Picture:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return read_picture(stream, next(container.decode(stream)))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("siting", list(ChromaSiting))
def test_the_chroma_position_that_a_video_says_is_found(tmp_path: Path, codec: str, siting: ChromaSiting) -> None:
    clip = write_clip(tmp_path / "a.mp4", [noise(64, 64)], codec, {"chroma_sample_location": siting.value})
    colour = picture_of(clip).colour
    assert colour.siting is siting
    assert "siting" not in colour.guessed


def test_the_frame_is_left_as_it_was(tmp_path: Path) -> None:
    with av.open(str(write_clip(tmp_path / "a.mp4", [noise(32, 32)]))) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        before = frame.to_ndarray().copy()
        read_picture(stream, frame)
        assert (frame.to_ndarray() == before).all()


@pytest.mark.parametrize(
    ("height", "width", "matrix", "primaries"),
    [(480, 640, 6, 6), (576, 720, 6, 5), (240, 320, 6, 1), (720, 1280, 1, 1), (544, 1280, 1, 1)],
)
def test_a_video_without_colour_tags_is_taken_as_players_take_it(
    tmp_path: Path, height: int, width: int, matrix: int, primaries: int
) -> None:
    colour = picture_of(write_clip(tmp_path / "a.mp4", [noise(height, width)])).colour
    assert (colour.matrix, colour.primaries, colour.full_range) == (matrix, primaries, False)
    assert colour.guessed == ("matrix", "range", "primaries", "transfer")


def test_colour_tags_are_read(tmp_path: Path) -> None:
    frame = noise(64, 64, "yuv420p10le")
    frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 9, 1, 9, 16
    colour = picture_of(write_clip(tmp_path / "a.mp4", [frame], "libx265")).colour
    assert (colour.matrix, colour.full_range, colour.primaries, colour.transfer) == (9, False, 9, 16)
    assert not colour.guessed


@pytest.mark.parametrize(
    ("pixel_format", "codec", "depth", "subsampling", "flags"),
    [
        ("yuv420p", "ffv1", 8, (2, 2), ""),
        ("yuv422p10le", "ffv1", 10, (1, 2), ""),
        ("yuv444p12le", "ffv1", 12, (1, 1), ""),
        ("gray", "ffv1", 8, (1, 1), "grey"),
        ("yuva420p", "ffv1", 8, (2, 2), "alpha"),
        ("gbrp10le", "ffv1", 10, (1, 1), "rgb"),
        ("bgra", "ffv1", 8, (1, 1), "rgb alpha"),
        ("yuv410p", "ffv1", 8, (4, 4), ""),
    ],
)
def test_samples(
    tmp_path: Path, pixel_format: str, codec: str, depth: int, subsampling: tuple[int, int], flags: str
) -> None:
    samples = picture_of(write_clip(tmp_path / "a.mkv", [noise(64, 64, pixel_format)], codec)).samples
    assert (samples.name, samples.depth, samples.subsampling) == (pixel_format, depth, subsampling)
    assert " ".join(name for name in ("rgb", "grey", "alpha") if getattr(samples, name)) == flags


def test_rotation_and_pixel_aspect_are_read(tmp_path: Path) -> None:
    def change(stream: VideoStream) -> None:
        stream.set_display_rotation(90)
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    picture = picture_of(write_clip(tmp_path / "a.mp4", [noise(64, 64)], change=change))
    assert picture.rotation == 90
    assert picture.display_matrix is not None
    assert picture.pixel_aspect == Fraction(4, 3)
    assert not picture.interlaced


def test_interlaced_video_is_recognised(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", [noise(64, 64, seed=n) for n in range(2)], options={"x264-params": "tff=1"})
    assert picture_of(clip).interlaced


def test_hdr10_metadata_is_read(tmp_path: Path) -> None:
    frame = noise(64, 64, "yuv420p10le")
    frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 9, 1, 9, 16
    params = (
        "log-level=none:bframes=0:hdr10=1:max-cll=1000,400:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    )
    picture = picture_of(write_clip(tmp_path / "a.mp4", [frame], "libx265", {"x265-params": params}))
    display, light = picture.mastering_display, picture.content_light
    assert display is not None
    assert display.green == (Fraction(13250, 50000), Fraction(34500, 50000))
    assert (display.darkest, display.brightest) == (Fraction(50, 10000), Fraction(1000))
    assert light is not None
    assert (light.brightest_pixel, light.brightest_frame_average) == (1000, 400)


def grading(profile: int, full_range: bool) -> bytes:
    """As FFmpeg hands it out: an AVDOVIMetadata of three offsets, then its AVDOVIRpuDataHeader."""
    header = bytes([2, 0, 18, 0, profile, 0, 0, 0, 23, 1, full_range, 10, 10, 12, 0, 0, 1, 0])
    return struct.pack("=3Q", 24, 48, 512) + header + bytes(1024)


@pytest.mark.parametrize(("profile", "full_range", "refused"), [(0, True, True), (1, False, False), (0, False, False)])
def test_dolby_vision_whose_base_is_no_picture_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: int, full_range: bool, refused: bool
) -> None:
    clip = write_clip(tmp_path / "a.mp4", [noise(32, 32)])
    monkeypatch.setattr(picture, "_side_data", lambda _: {"DOVI_METADATA": grading(profile, full_range)})
    if refused:
        with pytest.raises(UnreadableVideo, match=r"Dolby Vision profile 5.*convert it to HDR10 first"):
            inspect_video(clip)
    else:
        assert inspect_video(clip).picture.dynamic_hdr == ("Dolby Vision",)


class _SideData:
    """PyAV's container of them. Iterating gives objects before version 19, keys from it on; indexing is the same."""

    def __init__(self, content: dict[Type, bytes], gives: str) -> None:
        self._content, self._gives = content, gives

    def __getitem__(self, key: Type) -> bytes:
        return self._content[key]

    def __iter__(self) -> Iterator[object]:
        return iter(self._content if self._gives == "keys" else self._content.values())


@pytest.mark.parametrize("gives", ["objects", "keys"])
def test_side_data_is_found_by_every_version_of_pyav(gives: str) -> None:
    light = struct.pack("=2I", 1000, 400)
    frame = SimpleNamespace(side_data=_SideData({Type.CONTENT_LIGHT_LEVEL: light}, gives))
    assert picture._side_data(cast("VideoFrame", frame)) == {"CONTENT_LIGHT_LEVEL": light}


def test_no_argument_is_used_that_a_later_pyav_has_not() -> None:
    """`metadata_errors` of av.open went with version 19."""
    sources = (Path(picture.__file__).parent).glob("*.py")
    assert [path.name for path in sources if "metadata_errors" in path.read_text()] == []
