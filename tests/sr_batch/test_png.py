from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from sr_batch import png
from sr_batch.png import PngAnimation, PngLevel, PngTags, PngWriter
from tests.conftest import SAMPLES


def _write(
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    cuts: list[int],
    tags: PngTags | None = None,
    level: PngLevel = PngLevel.FAST,
) -> bytes:
    file = io.BytesIO()
    height, width, channels = pixels.shape
    writer = PngWriter(file, height, width, channels, depth=8 * pixels.dtype.itemsize, tags=tags, level=level)
    for part in np.split(pixels, sorted({min(c, len(pixels)) for c in cuts})):
        if len(part):
            writer.write(part)  # type: ignore[arg-type] # np.split forgets the type
    writer.finish()
    return file.getvalue()


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 4),
    st.lists(st.integers(0, 60), max_size=5),
    st.booleans(),
    st.sampled_from(PngLevel),
)
def test_pixels_come_back_whatever_bands_they_came_in(
    height: int, width: int, channels: int, cuts: list[int], noise: bool, level: PngLevel
) -> None:
    random = np.random.default_rng(height * 61 + width)
    pixels = random.integers(0, 256, (height, width, channels), dtype=np.uint8)
    if not noise:
        pixels[:] = pixels[0, 0]
    with Image.open(io.BytesIO(_write(pixels, cuts, level=level))) as image:
        image.load()
        assert image.mode == ("L", "LA", "RGB", "RGBA")[channels - 1]
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


def test_a_row_longer_than_a_strip_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "STRIP_BYTES", 10)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 40, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(_write(pixels, []))) as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_without_isal_the_file_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "_deflater", lambda: zlib.compressobj(1))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 40, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(_write(pixels, [2]))) as image:
        assert np.array_equal(np.asarray(image), pixels)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.sampled_from(PngLevel))
def test_sixteen_bits_come_back_exactly(height: int, width: int, channels: int, level: PngLevel) -> None:
    """OpenCV reads them; it knows no grey with alpha."""
    channels = 1 if channels == 2 else channels
    pixels = np.random.default_rng(height * 41 + width).integers(0, 65536, (height, width, channels), dtype=np.uint16)
    found = cv2.imdecode(np.frombuffer(_write(pixels, [7], level=level), np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None and found.dtype == np.uint16
    found = found.reshape(pixels.shape)
    expected = pixels if channels == 1 else pixels[..., [2, 1, 0, 3][:channels]]
    assert np.array_equal(found, expected)


def test_small_is_smaller_than_fast() -> None:
    with Image.open(SAMPLES / "cat.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert len(_write(pixels, [], level=PngLevel.SMALL)) < 0.97 * len(_write(pixels, []))


def test_all_that_a_png_says_is_read_back() -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    raw = exif.tobytes().removeprefix(b"Exif\0\0")
    text = (("Title", "Caf\xe9"), ("Author", "\u5c71"), ("parameters", "a long text, " * 500))
    tags = PngTags(icc, raw, b"<x:xmpmeta/>", (300.0, 72.0), text)
    with Image.open(io.BytesIO(_write(np.zeros((2, 2, 3), np.uint8), [], tags))) as image:
        image.load()
        assert image.info["icc_profile"] == icc
        assert image.getexif()[0x010F] == "Maker"
        assert image.info["xmp"] == b"<x:xmpmeta/>"
        assert image.info["dpi"] == pytest.approx((300, 72), abs=0.02)
        assert {key: image.info[key] for key, _ in text} == dict(text)


@pytest.mark.parametrize(
    ("milliseconds", "fraction"),
    [(40, (1, 25)), (0, (0, 1)), (1000 / 24, (1, 24)), (1001 / 24, (1001, 24000)), (90_000_000, (65535, 1))],
)
def test_a_frames_time_is_said_as_exactly_as_a_png_can(milliseconds: float, fraction: tuple[int, int]) -> None:
    """Seconds as two 16-bit numbers, in the frame's fcTL chunk."""
    file = io.BytesIO()
    writer = PngWriter(file, 2, 2, 3, animation=PngAnimation(1))
    writer.begin_frame(milliseconds)
    writer.write(np.zeros((2, 2, 3), np.uint8))
    writer.finish()
    content = file.getvalue()
    at = content.index(b"fcTL") + 24
    assert struct.unpack(">HH", content[at : at + 4]) == fraction
