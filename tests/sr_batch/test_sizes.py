from __future__ import annotations

import pytest

from sr_batch.errors import UnwritablePhoto
from sr_batch.photos import Size
from sr_batch.sizes import Inside, LongestSide, Megapixels, Scaled, SizePolicy, Target, parse_limit

LANDSCAPE, PORTRAIT = Size(3000, 4000), Size(4000, 3000)


@pytest.mark.parametrize(
    ("target", "size", "result"),
    [
        (Scaled(4), LANDSCAPE, Size(12000, 16000)),
        (Scaled(1.5), Size(3, 5), Size(4, 8)),
        (Scaled(0.001), Size(3, 5), Size(1, 1)),
        (Inside(1080, 1920), LANDSCAPE, Size(1080, 1440)),
        (Inside(1080, 1920), PORTRAIT, Size(1080, 810)),
        (LongestSide(7000), LANDSCAPE, Size(5250, 7000)),
        (LongestSide(7000), PORTRAIT, Size(7000, 5250)),
        (Megapixels(12), LANDSCAPE, LANDSCAPE),
        (Megapixels(0.5), Size(1, 1_000_000), Size(1, 707106)),
    ],
)
def test_a_result_has_the_photos_shape_and_the_size_that_was_asked_for(
    target: Target, size: Size, result: Size
) -> None:
    assert target.result_of(size) == result


@pytest.mark.parametrize("size", [Size(3000, 4000), Size(7, 9001), Size(331, 331)])
def test_megapixels_are_reached_and_not_passed(size: Size) -> None:
    result = Megapixels(16).result_of(size)
    assert 0.995 * 16e6 < result.pixels <= 16e6


@pytest.mark.parametrize(("text", "limit"), [("1920x1080", Inside(1080, 1920)), ("long=99", LongestSide(99)),
    ("mp=1.5", Megapixels(1.5))])  # fmt: skip
def test_what_people_type_is_understood_and_said_back(text: str, limit: Target) -> None:
    assert parse_limit(text) == limit
    assert str(limit) == text


@pytest.mark.parametrize(
    "text", ["", "x", "0x5", "5", "long=", "long=-1", "mp=0", "mp=inf", "mp=nan", "short=5", "5x6x7"]
)
def test_what_cannot_be_meant_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"1920x1080.*long=N.*mp=N"):
        parse_limit(text)


def test_photos_above_the_limit_are_left_alone_with_the_reason() -> None:
    for limit in (Inside(3000, 4000), LongestSide(4000), Megapixels(12)):
        policy = SizePolicy(Scaled(4), limit)
        assert policy.why_left_alone(LANDSCAPE) is None
        assert "4001x3000 is larger than" in (policy.why_left_alone(Size(3000, 4001)) or "")
    assert SizePolicy(Scaled(4)).why_left_alone(Size(10**6, 10**6)) is None


def test_a_result_above_the_limit_is_refused_with_the_option_that_raises_it() -> None:
    policy = SizePolicy(Scaled(4), max_output=192_000_000)
    assert policy.result_of(LANDSCAPE, 4) == Size(12000, 16000)
    with pytest.raises(UnwritablePhoto, match=r"16000x12004 .* 192 MP; .* --max-output"):
        policy.result_of(Size(3001, 4000), 4)
