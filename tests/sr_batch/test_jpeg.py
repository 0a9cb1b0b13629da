from __future__ import annotations

import io
import tracemalloc
from collections.abc import Mapping
from typing import IO

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from sr_batch import jpeg
from sr_batch.jpeg import JpegWriter
from tests.conftest import SAMPLES

Pixels = NDArray[np.uint8]


def _write(pixels: Pixels, cuts: list[int], options: Mapping[str, object]) -> bytes:
    file = io.BytesIO()
    height, width, channels = pixels.shape
    writer = JpegWriter(file, height, width, channels, options)
    for part in np.split(pixels, sorted({min(cut, height) for cut in cuts})):
        if len(part):
            writer.write(part)
    writer.finish()
    return file.getvalue()


def _at_once(pixels: Pixels, options: Mapping[str, object]) -> bytes:
    """The whole picture by Pillow, with the same tables."""
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(
        file, "JPEG", subsampling="4:4:4", **options
    )
    return file.getvalue()


def _decoded(content: bytes) -> list[Pixels]:
    """By three readers; OpenCV's as RGB."""
    with Image.open(io.BytesIO(content)) as image:
        by_pillow = np.asarray(image)
    by_opencv = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert by_opencv is not None
    by_opencv = cv2.cvtColor(by_opencv, cv2.COLOR_BGR2RGB) if by_opencv.ndim == 3 else by_opencv
    return [by_pillow, by_opencv.astype(np.uint8), imagecodecs.jpeg8_decode(content)]


@given(
    st.integers(1, 300),
    st.integers(1, 40),
    st.sampled_from([1, 3]),
    st.lists(st.integers(0, 300), max_size=4),
    st.integers(1, 100),
)
def test_a_picture_in_strips_decodes_to_what_it_is_when_encoded_at_once(
    height: int, width: int, channels: int, cuts: list[int], quality: int
) -> None:
    random = np.random.default_rng(height * 41 + width)
    pixels = random.integers(0, 256, (height, width, channels), dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg, "STRIP_BYTES", 1)  # strips of 64 rows
        content = _write(pixels, cuts, {"quality": quality})
    whole = _decoded(_at_once(pixels, {"quality": quality}))
    for found, expected in zip(_decoded(content), whole, strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("quality", [50, 95, 100])
def test_a_photo_in_strips_is_hardly_larger_than_one_at_once(quality: int) -> None:
    """A restart marker for each row of blocks: two bytes, and the first block's mean once more."""
    with Image.open(next(SAMPLES.glob("*.jpg"))) as image:
        pixels = np.asarray(image.convert("RGB"))
    content, whole = _write(pixels, [100, 227], {"quality": quality}), _at_once(pixels, {"quality": quality})
    assert len(content) < 1.03 * len(whole)
    for found, expected in zip(_decoded(content), _decoded(whole), strict=True):
        assert np.array_equal(found, expected)


def test_the_head_is_the_one_that_pillow_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "STRIP_BYTES", 1)
    pixels = np.random.default_rng(0).integers(0, 256, (200, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(70_000)  # of two segments
    tags = {"exif": exif.tobytes(), "icc_profile": profile, "xmp": b"<x/>", "dpi": (300, 300), "comment": b"hello"}
    content = _write(pixels, [], {"quality": 90, **tags})
    with Image.open(io.BytesIO(content)) as found, Image.open(io.BytesIO(_at_once(pixels, tags))) as whole:
        assert found.size == (9, 200)
        for name in ("exif", "icc_profile", "xmp", "dpi", "comment", "jfif_density"):
            assert found.info[name] == whole.info[name]
        assert not found.info.get("progressive")
    assert content.count(b"Maker") == 1


class _Sink:
    """A file that forgets."""

    length = 0

    def write(self, content: bytes) -> int:
        self.length += len(content)
        return len(content)


def test_a_large_picture_is_never_held() -> None:
    """65,500 pixels a side are libjpeg's limit; here wide enough that a strip is 64 rows."""
    sink: IO[bytes] = _Sink()  # type: ignore[assignment] # of a file only what is used
    writer = JpegWriter(sink, 4096, 20_000, 3, {"quality": 50})
    band = np.zeros((64, 20_000, 3), dtype=np.uint8)
    tracemalloc.start()
    for _ in range(64):
        writer.write(band)
    writer.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * band.nbytes < 4096 * 20_000 * 3 / 10
