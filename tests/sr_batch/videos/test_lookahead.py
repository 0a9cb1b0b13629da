"""Large frames are looked ahead at in smaller number, and the rest of a preset is left alone."""

from __future__ import annotations

from fractions import Fraction

import pytest

from sr_batch.videos.codecs import Codec
from sr_batch.videos.encoding import EncodingOptions, Output, plan_encoding
from sr_batch.videos.lookahead import LEAST, MOST_BYTES, lookahead_parameters
from sr_batch.videos.picture import ChromaSiting, Colour, Picture, Samples


def parameters(size: tuple[int, int], codec: Codec, preset: str | None, pixel_format: str = "yuv420p") -> list[str]:
    """The encoder's own settings of the plan for frames of this size."""
    picture = Picture(
        size[0] // 4, size[1] // 4, Samples.named(pixel_format), Colour(1, False, 1, 1, ChromaSiting.LEFT), None, 0,
        None, interlaced=False,
    )  # fmt: skip
    output = Output("mp4", *size, Fraction(1, 12800), Fraction(25), "h264")
    plan = plan_encoding(EncodingOptions(codec, preset=preset), picture, output)
    options = dict(plan.options)
    return (options.get("x264-params") or options.get("x265-params") or "").split(":")


def test_480p_enlarged_4_times_is_looked_ahead_at_within_100_mb_as_it_comes() -> None:
    found = parameters((1920, 3416), Codec.H264, None)
    assert {"rc-lookahead=10", "sync-lookahead=0", "open-gop=0"} <= set(found)
    assert 10 * 1920 * 3416 * 3 // 2 <= MOST_BYTES < 11 * 1920 * 3416 * 3 // 2


@pytest.mark.parametrize("codec", [Codec.H264, Codec.HEVC])
def test_small_frames_are_encoded_as_the_preset_says(codec: Codec) -> None:
    assert not any("lookahead" in setting for setting in parameters((576, 704), codec, None))


@pytest.mark.parametrize(
    ("codec", "preset", "pixels"), [(Codec.H264, "ultrafast", 1), (Codec.HEVC, "superfast", 1), (Codec.HEVC, "fast", 2)]
)
def test_a_preset_that_looks_ahead_less_is_left_alone(codec: Codec, preset: str, pixels: int) -> None:
    assert not any("lookahead" in setting for setting in parameters((1920 // pixels, 3416), codec, preset))


def test_frames_in_front_of_the_look_ahead_count_and_the_preset_is_not_made_to_look_further() -> None:
    assert {"rc-lookahead=10", "sync-lookahead=0"} <= set(parameters((1920, 3416), Codec.H264, "veryfast"))
    assert {"rc-lookahead=10", "sync-lookahead=0"} <= set(parameters((1500, 3416), Codec.H264, "veryfast"))
    assert not any("lookahead" in setting for setting in parameters((1200, 3416), Codec.H264, "veryfast"))


def test_the_deeper_and_the_larger_the_fewer_but_never_none() -> None:
    shallow, deep = (
        lookahead_parameters("libx265", "medium", Samples.named(name), (1440, 2560))
        for name in ("yuv420p", "yuv420p10le")
    )
    assert (shallow, deep) == (["rc-lookahead=18"], ["rc-lookahead=9"])
    huge = lookahead_parameters("libx265", "medium", Samples.named("yuv444p12le"), (4320, 7680))
    assert huge == [f"rc-lookahead={LEAST}"]
