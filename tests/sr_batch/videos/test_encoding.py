"""Which encoder a video gets, how it is set, what is said about it; and that what is written reads back as planned."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sr_batch.videos.codecs import ENCODERS
from sr_batch.videos.colour import Raster, from_rgb
from sr_batch.videos.encoding import (
    Codec,
    EncoderPlan,
    EncodingOptions,
    Hardware,
    Output,
    add_video_stream,
    last_packets,
    plan_encoding,
)
from sr_batch.videos.picture import (
    ChromaSiting,
    Colour,
    ContentLight,
    MasteringDisplay,
    Picture,
    Samples,
    read_picture,
)
from sr_train.errors import UsageError

BT709 = Colour(1, False, 1, 1, ChromaSiting.LEFT)
HDR10 = Colour(9, False, 9, 16, ChromaSiting.TOP_LEFT)
DISPLAY = MasteringDisplay(
    red=(Fraction(34000, 50000), Fraction(16000, 50000)),
    green=(Fraction(13250, 50000), Fraction(34500, 50000)),
    blue=(Fraction(7500, 50000), Fraction(3000, 50000)),
    white=(Fraction(15635, 50000), Fraction(16450, 50000)),
    darkest=Fraction(50, 10000),
    brightest=Fraction(1000),
)
LIGHT = ContentLight(1000, 400)


def picture_of(pixel_format: str = "yuv420p", colour: Colour = BT709) -> Picture:
    return Picture(480, 854, Samples.named(pixel_format), colour, None, 0, None, interlaced=False)


def output_of(
    container: str = "mp4", source: str = "h264", size: tuple[int, int] = (1920, 3416), rate: int = 25
) -> Output:
    return Output(container, *size, Fraction(1, 12800), Fraction(rate), source)


def plan_of(picture: Picture, output: Output, **options: object) -> EncoderPlan:
    return plan_encoding(EncodingOptions(**options), picture, output)  # type: ignore[arg-type]


def write(path: Path, plan: EncoderPlan, frames: int = 2) -> Path:
    """Smooth colours, different in each frame, as the plan says."""
    deep = Samples.named(plan.pixel_format).depth > 8
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = add_video_stream(container, plan)
        for number in range(frames):
            rgb = np.linspace(0.2, 0.8, plan.height)[:, None, None] * random.uniform(0.5, 1, (1, plan.width, 3))
            pixels = rgb.astype(np.float32) if deep else (rgb * 255).astype(np.uint8)
            frame = from_rgb(Raster(pixels), plan.pixel_format, plan.colour)
            frame.pts, frame.time_base = number * 512, plan.time_base
            container.mux(stream.encode(frame))
        container.mux(last_packets(stream, frames))
    return path


def read(path: Path) -> tuple[Picture, str, str]:
    """The picture, the codec and its tag, by a decoder that knows nothing of the plan."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        picture = read_picture(stream, next(container.decode(stream)))
        return picture, stream.codec_context.codec.canonical_name, stream.codec_context.codec_tag


@pytest.mark.parametrize("source", ["h264", "hevc", "av1", "vp9", "ffv1", "prores"])
def test_the_codec_of_the_input_is_kept(source: str) -> None:
    container = "mov" if source == "prores" else "mkv"
    plan = plan_of(picture_of("yuv422p10le" if source == "prores" else "yuv420p"), output_of(container, source))
    assert plan.codec == source
    assert not plan.notes


@pytest.mark.parametrize(
    ("source", "container", "chosen"),
    [
        ("mpeg2video", "mkv", Codec.H264),
        ("wmv3", "mkv", Codec.H264),
        ("vp8", "webm", Codec.VP9),
        ("huffyuv", "mkv", Codec.FFV1),
        ("qtrle", "mov", Codec.H264),
        ("mpeg4", "webm", Codec.AV1),
    ],
)
def test_a_codec_that_is_not_written_gets_a_successor(source: str, container: str, chosen: Codec) -> None:
    plan = plan_of(picture_of(), output_of(container, source))
    assert plan.codec is chosen
    assert bool(plan.notes) is (source not in ("vp8", "huffyuv"))


def test_four_times_1080p_is_beyond_h264_so_hevc_is_taken_and_said() -> None:
    plan = plan_of(picture_of(), output_of(size=(4320, 7680)))
    assert plan.codec is Codec.HEVC
    assert plan.codec_tag == "hvc1"
    assert plan.notes == ("HEVC instead of H.264: 7680x4320 is above level 5.2, the largest that players decode",)
    asked = plan_of(picture_of(), output_of(size=(4320, 7680)), codec=Codec.H264)
    assert asked.codec is Codec.H264
    assert asked.notes == ("H.264: 7680x4320 is above level 5.2, the largest that players decode",)


def test_speed_counts_for_the_level_too() -> None:
    assert plan_of(picture_of(), output_of(size=(2304, 4096), rate=25)).codec is Codec.H264
    assert plan_of(picture_of(), output_of(size=(2304, 4096), rate=60)).codec is Codec.HEVC


def test_ten_bit_vp9_becomes_av1_where_the_vp9_encoder_has_8_bits_only() -> None:
    plan = plan_of(picture_of("yuv420p10le"), output_of("webm", "vp9"))
    assert (plan.codec, plan.pixel_format) == (Codec.AV1, "yuv420p10le")
    assert "8 bits only" in plan.notes[0]


@pytest.mark.parametrize(
    ("source", "codec", "container", "chosen", "lost"),
    [
        ("yuv420p", Codec.H264, "mp4", "yuv420p", None),
        ("yuvj420p", Codec.H264, "mp4", "yuv420p", None),
        ("yuv422p", Codec.H264, "mp4", "yuv422p", None),
        ("yuv444p10le", Codec.HEVC, "mp4", "yuv444p10le", None),
        ("yuv420p12le", Codec.HEVC, "mp4", "yuv420p12le", None),
        ("yuv420p12le", Codec.H264, "mp4", "yuv420p10le", "depth"),
        ("yuv422p10le", Codec.AV1, "mp4", "yuv420p10le", "chroma resolution"),
        ("yuva420p", Codec.VP9, "webm", "yuva420p", None),
        ("yuva420p", Codec.HEVC, "mkv", "yuv420p", "alpha channel"),
        ("yuva444p12le", Codec.PRORES, "mov", "yuva444p10le", "depth"),
        ("yuv420p", Codec.PRORES, "mov", "yuv422p10le", None),
        ("gray", Codec.FFV1, "mkv", "gray", None),
        ("gray", Codec.H264, "mp4", "yuv420p", None),
        ("rgb24", Codec.FFV1, "mkv", "bgr0", None),
        ("rgba", Codec.FFV1, "mkv", "bgra", None),
        ("gbrp12le", Codec.FFV1, "mkv", "gbrp12le", None),
        ("bgr24", Codec.H264, "mp4", "yuv444p", None),
        ("pal8", Codec.PRORES, "mov", "yuva444p10le", None),
        ("nv12", Codec.HEVC, "mp4", "yuv420p", None),
        ("p010le", Codec.AV1, "mp4", "yuv420p10le", None),
    ],
)
def test_the_pixel_format_holds_what_the_codec_can_hold_and_the_rest_is_said(
    source: str, codec: Codec, container: str, chosen: str, lost: str | None
) -> None:
    plan = plan_of(picture_of(source), output_of(container), codec=codec)
    assert plan.pixel_format == chosen
    assert [note for note in plan.notes if "cannot keep" in note] == (
        [f"{plan.encoder} cannot keep the {lost} ({chosen})"] if lost else []
    )


def test_alpha_decides_which_codec_is_next() -> None:
    assert plan_of(picture_of("rgba"), output_of("mov", "qtrle")).codec is Codec.PRORES
    assert plan_of(picture_of("yuva420p"), output_of("webm", "vp8")).pixel_format == "yuva420p"
    assert plan_of(picture_of("bgra"), output_of("mkv", "png")).pixel_format == "bgra"


def test_odd_sizes_take_a_format_that_has_them() -> None:
    odd = output_of(size=(241, 321))
    assert plan_of(picture_of(), odd).pixel_format == "yuv444p"
    assert plan_of(picture_of(), odd, codec=Codec.AV1).pixel_format == "yuv420p"
    with pytest.raises(UsageError, match="even height and width"):
        plan_of(picture_of(), odd, pixel_format="yuv420p")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"codec": Codec.PRORES}, "name an output ending in .mov"),
        ({"codec": Codec.FFV1}, "name an output ending in .mkv"),
        ({"preset": "sideways"}, "does not open with --preset sideways"),
        ({"crf": 70.0}, "not from 0 to 51"),
        ({"crf": -1.0}, "not from 0 to 51"),
        ({"pixel_format": "yuv410p"}, "use one of yuv420p, yuv422p"),
        ({"pixel_format": "nonsense"}, "use one of yuv420p, yuv422p"),
        ({"hardware": Hardware.VIDEOTOOLBOX, "codec": Codec.AV1}, "videotoolbox has no encoder for AV1"),
    ],
)
def test_options_that_cannot_be_followed_are_refused_with_the_way_out(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan_of(picture_of(), output_of(), **options)


def test_options_of_lossless_and_intermediate_codecs_are_refused_in_their_words() -> None:
    with pytest.raises(UsageError, match="is lossless: leave it out"):
        plan_of(picture_of(), output_of("mkv"), codec=Codec.FFV1, crf=10.0)
    with pytest.raises(UsageError, match="use --preset proxy, lt, standard or hq"):
        plan_of(picture_of(), output_of("mov"), codec=Codec.PRORES, preset="4444")
    with pytest.raises(UsageError, match="is not a ProRes profile"):
        plan_of(picture_of(), output_of("mov"), codec=Codec.PRORES, preset="medium")


@pytest.mark.parametrize("encoder", [encoder for encoder in ENCODERS if encoder.hardware is Hardware.NONE])
def test_every_software_encoder_opens_as_it_is_set_with_each_of_its_formats(encoder) -> None:  # type: ignore[no-untyped-def]
    container = {Codec.PRORES: "mov", Codec.VP9: "webm"}.get(encoder.codec, "mkv")
    for pixel_format in encoder.formats:
        plan = plan_of(picture_of(pixel_format), output_of(container), codec=encoder.codec)
        assert plan.pixel_format == pixel_format


def hardware_is_missing(name: str) -> bool:
    from sr_batch.videos.trial import refusal

    return refusal(name, "nv12" if name.endswith("qsv") else "yuv420p", {}) is not None


@pytest.mark.parametrize("hardware", [Hardware.NVENC, Hardware.QSV, Hardware.VIDEOTOOLBOX, Hardware.AMF])
def test_hardware_that_is_not_there_is_refused_and_never_replaced(hardware: Hardware) -> None:
    if not hardware_is_missing(f"h264_{hardware}"):
        pytest.skip(f"this machine has {hardware}")
    with pytest.raises(UsageError, match=rf"--hw {hardware} cannot be used here \(h264_{hardware}: .+\): leave it out"):
        plan_of(picture_of(), output_of(), hardware=hardware)


def test_auto_hardware_says_why_it_is_software() -> None:
    if not all(hardware_is_missing(f"hevc_{kind}") for kind in ("nvenc", "qsv", "videotoolbox", "amf")):
        pytest.skip("this machine has such hardware")
    plan = plan_of(picture_of(), output_of(source="hevc"), hardware=Hardware.AUTO)
    assert plan.encoder == "libx265"
    assert plan.notes[0].startswith("no hardware encoder (hevc_nvenc: ")


def test_hardware_that_would_lose_depth_is_refused_before_it_is_asked_for() -> None:
    with pytest.raises(UsageError, match="h264_nvenc cannot keep the depth"):
        plan_of(picture_of("yuv420p10le"), output_of(), codec=Codec.H264, hardware=Hardware.NVENC)


WRITTEN = [
    (Codec.H264, "mp4", "yuv420p", BT709),
    (Codec.H264, "mkv", "yuv444p", replace(BT709, full_range=True, siting=ChromaSiting.CENTRE)),
    (Codec.H264, "mp4", "yuv420p", Colour(6, False, 6, 6, ChromaSiting.LEFT)),
    (Codec.HEVC, "mov", "yuv422p10le", replace(HDR10, siting=ChromaSiting.LEFT)),
    (Codec.HEVC, "mkv", "yuv420p10le", HDR10),
    (Codec.HEVC, "mp4", "yuv420p", replace(BT709, siting=ChromaSiting.BOTTOM_LEFT)),
    (Codec.HEVC, "mp4", "yuv420p10le", Colour(9, False, 9, 18, ChromaSiting.LEFT)),  # HLG
    (Codec.AV1, "mp4", "yuv420p10le", HDR10),
    (Codec.AV1, "webm", "yuv420p", Colour(6, False, 5, 6, ChromaSiting.LEFT)),
    (Codec.VP9, "webm", "yuv420p", BT709),
    (Codec.VP9, "mp4", "yuv420p", Colour(6, False, 6, 6, ChromaSiting.LEFT)),
    (Codec.PRORES, "mov", "yuv422p10le", replace(HDR10, siting=ChromaSiting.LEFT)),
    (Codec.FFV1, "mkv", "yuv420p", Colour(5, True, 5, 6, ChromaSiting.LEFT)),
]


@pytest.mark.parametrize(("codec", "container", "pixel_format", "colour"), WRITTEN)
def test_what_is_written_says_the_colours_it_was_written_in(
    tmp_path: Path, codec: Codec, container: str, pixel_format: str, colour: Colour
) -> None:
    loses = container in ("mkv", "webm") and codec in (Codec.AV1, Codec.VP9, Codec.FFV1)
    shape = None if loses else Fraction(4, 3)
    picture = replace(picture_of(pixel_format, colour), pixel_aspect=shape)
    plan = plan_of(picture, output_of(container, size=(96, 128)), codec=codec)
    found, name, tag = read(write(tmp_path / f"a.{container}", plan))
    assert name == codec
    assert codec is not Codec.HEVC or container == "mkv" or tag == "hvc1"
    assert found.samples.name.replace("yuvj", "yuv") == pixel_format
    assert replace(found.colour, guessed=(), siting=colour.siting) == colour
    if found.samples.subsampling != (1, 1) and "siting" not in found.colour.guessed:
        assert found.colour.siting is colour.siting
    assert (found.pixel_aspect or 1) == (shape or 1)


@pytest.mark.parametrize(
    ("codec", "container"),
    [(Codec.HEVC, "mp4"), (Codec.HEVC, "mkv"), (Codec.AV1, "mp4"), (Codec.AV1, "webm"), (Codec.H264, "mp4")],
)
def test_hdr10_metadata_reads_back_as_it_was(tmp_path: Path, codec: Codec, container: str) -> None:
    picture = replace(picture_of("yuv420p10le", HDR10), mastering_display=DISPLAY, content_light=LIGHT)
    plan = plan_of(picture, output_of(container, size=(96, 128)), codec=codec)
    assert not plan.notes
    found = read(write(tmp_path / f"a.{container}", plan))[0]
    assert (found.colour.matrix, found.colour.primaries, found.colour.transfer) == (9, 9, 16)
    assert found.content_light == LIGHT
    display = found.mastering_display
    assert display is not None
    for name in ("red", "green", "blue", "white"):
        # AV1 has 16 binary places, HEVC units of 1/50000.
        for x, y in zip(getattr(display, name), getattr(DISPLAY, name), strict=True):
            assert abs(x - y) <= Fraction(1, 60000)
    # AV1 has 14 binary places for the darkest: 0.005 is 82 of 16384.
    assert abs(display.darkest - DISPLAY.darkest) <= Fraction(1, 16384)
    assert display.brightest == DISPLAY.brightest


@pytest.mark.parametrize(("codec", "container"), [(Codec.VP9, "webm"), (Codec.PRORES, "mov"), (Codec.FFV1, "mkv")])
def test_hdr10_metadata_that_cannot_be_written_is_said(codec: Codec, container: str) -> None:
    picture = replace(picture_of("yuv422p10le", HDR10), content_light=LIGHT, dynamic_hdr=("Dolby Vision",))
    notes = " ".join(plan_of(picture, output_of(container), codec=codec).notes)
    assert "does not write the HDR10 mastering display and light level" in notes
    assert "Dolby Vision" in notes


def test_closed_captions_that_are_not_carried_are_said() -> None:
    assert any("closed captions" in note for note in plan_of(replace(picture_of(), captions=True), output_of()).notes)


def test_an_untagged_video_is_tagged_as_it_was_converted() -> None:
    """A player guesses by the height, and the height has changed: 480 lines are BT.601 to it, 1920 lines BT.709."""
    guessed = Colour(6, False, 6, 6, ChromaSiting.LEFT, guessed=("matrix", "range", "primaries", "transfer"))
    plan = plan_of(picture_of("yuv420p", guessed), output_of())
    assert (plan.colour.matrix, plan.colour.primaries, plan.colour.full_range) == (6, 6, False)


def test_oblong_pixels_change_no_codec() -> None:
    oblong = replace(picture_of(), pixel_aspect=Fraction(16, 15))
    for container, source, codec in (
        ("mkv", "av1", Codec.AV1),
        ("webm", "vp9", Codec.VP9),
        ("mkv", "ffv1", Codec.FFV1),
    ):
        plan = plan_of(oblong, output_of(container, source))
        assert (plan.codec, plan.pixel_aspect, plan.notes) == (codec, Fraction(16, 15), ())


@pytest.mark.parametrize("codec", [Codec.HEVC, Codec.H264, Codec.AV1])
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_video_of_one_or_two_frames_can_be_written(tmp_path: Path, codec: Codec, frames: int) -> None:
    plan = plan_of(picture_of(), output_of(size=(96, 128)), codec=codec)
    with av.open(str(write(tmp_path / "a.mp4", plan, frames))) as container:
        assert [frame.time for frame in container.decode(video=0)] == [number / 25 for number in range(frames)]


def test_rotation_is_kept_for_the_player(tmp_path: Path) -> None:
    matrix = (0, 65536, 0, -65536, 0, 0, 0, 0, 1073741824)
    picture = replace(picture_of(), display_matrix=matrix, rotation=-90)
    found = read(write(tmp_path / "a.mp4", plan_of(picture, output_of(size=(96, 128)))))[0]
    assert found.rotation == -90
    assert found.display_matrix == matrix


def test_equal_videos_have_equal_plans() -> None:
    assert plan_of(picture_of(), output_of()) == plan_of(picture_of(), output_of())
    assert hash(plan_of(picture_of(), output_of())) == hash(plan_of(picture_of(), output_of()))
    assert plan_of(picture_of(), output_of(), crf=20.0) != plan_of(picture_of(), output_of())
