from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from sr_batch import png
from sr_batch.png import PngWriter


def _write(pixels: NDArray[np.uint8], cuts: list[int], icc: bytes | None = None, exif: bytes | None = None) -> bytes:
    file = io.BytesIO()
    writer = PngWriter(file, pixels.shape[0], pixels.shape[1], pixels.shape[2], icc, exif)
    for part in np.split(pixels, sorted({min(c, len(pixels)) for c in cuts})):
        if len(part):
            writer.write(part)
    writer.finish()
    return file.getvalue()


@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 4), st.lists(st.integers(0, 60), max_size=5), st.booleans()
)
def test_pixels_come_back_whatever_bands_they_came_in(
    height: int, width: int, channels: int, cuts: list[int], noise: bool
) -> None:
    random = np.random.default_rng(height * 61 + width)
    pixels = random.integers(0, 256, (height, width, channels), dtype=np.uint8)
    if not noise:
        pixels[:] = pixels[0, 0]
    with Image.open(io.BytesIO(_write(pixels, cuts))) as image:
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


def test_profile_and_exif_are_read_back() -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    raw = exif.tobytes().removeprefix(b"Exif\0\0")
    with Image.open(io.BytesIO(_write(np.zeros((2, 2, 3), np.uint8), [], icc=icc, exif=raw))) as image:
        assert image.info["icc_profile"] == icc
        assert image.getexif()[0x010F] == "Maker"
