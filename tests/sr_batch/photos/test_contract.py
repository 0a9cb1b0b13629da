"""What a file is, its result is: every format, depth and set of channels, seen by readers that are not ours.

Files are made by tifffile, imagecodecs and Pillow; results are read by OpenCV (PNG, JPEG, WebP), tifffile (TIFF) and
Pillow (AVIF), none of which wrote them or decoded them for us, AVIF's Pillow excepted.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sr_batch.depth import full_scale
from sr_batch.errors import UnreadablePhoto
from sr_batch.photos import Photo, PhotoFormat, ReadOptions, Size, WriteOptions, open_writer, probe, read_photo
from sr_batch.photos.transparency import enlarge_alpha
from tests.conftest import random_pixels
from tests.sr_batch.stubs import enlarge

Array = NDArray[Any]
HEIGHT, WIDTH = 24, 36
DEPTHS = ["u1", "u2", "f4"]
CHANNELS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGBA"}


def _picture(depth: str, channels: int) -> Array:
    """Smooth random colour [h, w, channels], with levels that 8 bits do not have; alpha in two halves."""
    dtype = np.dtype(depth)
    fine = random_pixels(HEIGHT, WIDTH, 1).astype(np.float64) / 255 * 0.9
    fine += random_pixels(HEIGHT, WIDTH, 2).astype(np.float64) / 255**2
    pixels = fine[:, :, : 1 if channels < 3 else 3]
    if channels in (2, 4):
        alpha = np.ones((HEIGHT, WIDTH, 1))
        alpha[:, : WIDTH // 2] = 0.25
        pixels = np.concatenate([pixels, alpha], axis=2)
    return np.ascontiguousarray((pixels * full_scale(dtype)).astype(dtype))


def _save_tiff(path: Path, pixels: Array, **options: Any) -> Path:
    channels = pixels.shape[2]
    alpha: dict[str, Any] = {"extrasamples": [options.pop("alpha", "unassalpha")]} if channels in (2, 4) else {}
    planar = options.get("planarconfig") == "separate"
    content = np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if planar else pixels
    photometric = options.pop("photometric", "minisblack" if channels < 3 else "rgb")
    content = content[:, :, 0] if channels == 1 else content
    tifffile.imwrite(path, content, photometric=photometric, metadata=None, **alpha, **options)
    return path


def _result(source: Path, kind: PhotoFormat, options: ReadOptions | None = None) -> tuple[Photo, bytes]:
    """Through our reader and writer, 4x by pixel repetition."""
    photo = read_photo(source, options)
    assert probe(source) == photo.size
    size = photo.size.times(4)
    photo = photo.for_result(kind, size)
    file = io.BytesIO()
    writer = open_writer(file, kind, photo, size, WriteOptions())
    for band in np.array_split(enlarge(photo.rgb), 3):
        writer.write(band)
    writer.finish()
    return photo, file.getvalue()


def _expected(pixels: Array) -> Array:
    """4x: colours repeated, alpha as we promise it elsewhere."""
    colours = 1 if pixels.shape[2] < 3 else 3
    large: Array = enlarge(pixels[:, :, :colours])
    if pixels.shape[2] > colours:
        height, width = large.shape[:2]
        large = np.dstack([large, enlarge_alpha(np.ascontiguousarray(pixels[:, :, -1]), Size(height, width))])
    return large


def _read_png(content: bytes) -> Array:
    """By OpenCV; grey with alpha comes as BGRA."""
    found: Array | None = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    found = found[:, :, None] if found.ndim == 2 else found
    return found if found.shape[2] == 1 else found[:, :, [2, 1, 0, 3][: found.shape[2]]]


def _read_tiff(content: bytes) -> tuple[Array, tifffile.TiffPage]:
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        (page,) = tiff.pages
        assert isinstance(page, tifffile.TiffPage)
        pixels = page.asarray()
    return pixels[:, :, None] if pixels.ndim == 2 else pixels, page


@pytest.mark.parametrize("channels", CHANNELS, ids=CHANNELS.get)
@pytest.mark.parametrize("depth", DEPTHS[:2])
def test_png(tmp_path: Path, depth: str, channels: int) -> None:
    pixels = _picture(depth, channels)
    (tmp_path / "photo.png").write_bytes(imagecodecs.png_encode(pixels[:, :, 0] if channels == 1 else pixels))
    photo, content = _result(tmp_path / "photo.png", PhotoFormat.PNG)
    assert photo.warnings == ()
    assert (content[24], content[25]) == (np.dtype(depth).itemsize * 8, {1: 0, 2: 4, 3: 2, 4: 6}[channels])
    expected = _expected(pixels)
    assert np.array_equal(_read_png(content), expected[:, :, [0, 0, 0, 1]] if channels == 2 else expected)


@pytest.mark.parametrize("channels", CHANNELS, ids=CHANNELS.get)
@pytest.mark.parametrize("depth", DEPTHS)
def test_tiff(tmp_path: Path, depth: str, channels: int) -> None:
    pixels = _picture(depth, channels)
    photo, content = _result(_save_tiff(tmp_path / "photo.tif", pixels), PhotoFormat.TIFF)
    assert photo.warnings == ()
    found, page = _read_tiff(content)
    assert found.dtype == np.dtype(depth)
    assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    assert [int(kind) for kind in page.extrasamples] == ([2] if channels in (2, 4) else [])
    if depth == "f4" and channels < 3:
        assert np.abs(found - _expected(pixels)).max() < 1e-6
    else:
        assert np.array_equal(found, _expected(pixels))


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(
    "options",
    [
        {"tile": (16, 16)},
        {"rowsperstrip": 5},
        {"bigtiff": True},
        {"compression": "lzw", "predictor": True},
        {"compression": "zlib", "predictor": True},
        {"compression": "zstd"},
        {"planarconfig": "separate"},
        {"byteorder": ">"},
    ],
    ids=str,
)
def test_tiff_however_it_is_stored(tmp_path: Path, depth: str, options: dict[str, Any]) -> None:
    pixels = _picture(depth, 3)
    source = _save_tiff(tmp_path / "photo.tif", pixels, **options)
    photo, content = _result(source, PhotoFormat.TIFF)
    assert photo.warnings == ()
    assert np.array_equal(_read_tiff(content)[0], _expected(pixels))


@pytest.mark.parametrize("depth", DEPTHS)
def test_tiff_with_white_as_zero(tmp_path: Path, depth: str) -> None:
    pixels = _picture(depth, 1)
    negative = (full_scale(pixels.dtype) - pixels).astype(pixels.dtype)
    _, content = _result(_save_tiff(tmp_path / "photo.tif", negative, photometric="miniswhite"), PhotoFormat.TIFF)
    found, page = _read_tiff(content)
    assert page.photometric == tifffile.PHOTOMETRIC.MINISBLACK
    assert np.abs(found.astype(float) - _expected(pixels)).max() < 1e-6


@pytest.mark.parametrize("depth", DEPTHS)
def test_tiff_with_colours_multiplied_by_alpha(tmp_path: Path, depth: str) -> None:
    straight = _picture(depth, 4)
    white = full_scale(straight.dtype)
    multiplied = straight.copy()
    scaled = straight[:, :, :3].astype(np.float64) * straight[:, :, 3:] / white
    multiplied[:, :, :3] = scaled.round() if depth != "f4" else scaled
    photo = read_photo(_save_tiff(tmp_path / "photo.tif", multiplied, alpha="assocalpha"))
    off = np.abs(photo.rgb.astype(float) - straight[:, :, :3]).max()
    assert off <= (4 if depth != "f4" else 1e-6)  # levels: alpha of a quarter was rounded


def test_tiff_of_a_cameras_12_bits_uses_the_whole_range(tmp_path: Path) -> None:
    pixels = _picture("u2", 3) >> 4
    tifffile.imwrite(tmp_path / "photo.tif", pixels, photometric="rgb", bitspersample=12, metadata=None)
    photo = read_photo(tmp_path / "photo.tif")
    assert np.abs(photo.rgb / 65535 - pixels / 4095).max() < 1e-4


def test_tiff_of_half_floats_stays_float(tmp_path: Path) -> None:
    pixels = _picture("f4", 3).astype(np.float16)
    photo, content = _result(_save_tiff(tmp_path / "photo.tif", pixels), PhotoFormat.TIFF)
    assert photo.warnings == ()
    assert np.array_equal(_read_tiff(content)[0], _expected(pixels.astype(np.float32)))


@pytest.mark.parametrize("value", [-0.5, 1.5])
def test_floats_outside_0_to_1_are_refused_or_clipped(tmp_path: Path, value: float) -> None:
    pixels = _picture("f4", 3)
    pixels[3, 4, 1] = value
    path = _save_tiff(tmp_path / "photo.tif", pixels)
    with pytest.raises(UnreadablePhoto, match="--clip"):
        read_photo(path)
    clipped = read_photo(path, ReadOptions(clip=True))
    assert np.array_equal(clipped.rgb, np.clip(pixels, 0, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("clip", [True, False])
def test_floats_that_are_no_numbers_are_refused(tmp_path: Path, value: float, clip: bool) -> None:
    pixels = _picture("f4", 3)
    pixels[3, 4, 1] = value
    with pytest.raises(UnreadablePhoto, match="not numbers"):
        read_photo(_save_tiff(tmp_path / "photo.tif", pixels), ReadOptions(clip=clip))


@pytest.mark.parametrize("depth", ["i2", "u4"])
def test_whole_numbers_that_no_photo_has_are_refused(tmp_path: Path, depth: str) -> None:
    path = _save_tiff(tmp_path / "photo.tif", _picture("u1", 3).astype(depth))
    with pytest.raises(UnreadablePhoto, match="convert it"):
        read_photo(path)


@pytest.mark.parametrize(
    ("kind", "channels"),
    [
        (kind, channels)
        for kind in (PhotoFormat.JPEG, PhotoFormat.WEBP, PhotoFormat.AVIF)
        for channels in (1, 3, 4)
        if (kind, channels) != (PhotoFormat.JPEG, 4)  # it has no transparency
    ],
)
def test_formats_of_8_bits_that_lose_a_little(tmp_path: Path, kind: PhotoFormat, channels: int) -> None:
    pixels = _picture("u1", channels)
    path = tmp_path / f"photo{kind.suffixes[0]}"
    Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(path, quality=100)
    source = np.asarray(Image.open(path).convert("RGBA" if channels == 4 else "RGB"))
    photo, content = _result(path, kind)
    assert photo.warnings == ()
    with Image.open(io.BytesIO(content)) as image:
        avif = np.asarray(image)
    found = avif if kind is PhotoFormat.AVIF else _read_png(content)
    assert found.shape[2] == (4 if channels == 4 else 1 if channels == 1 and kind.keeps_grey else 3)
    assert np.abs(found[..., :3].astype(int) - enlarge(source[..., :3])).mean() < 4


@pytest.mark.parametrize("kind", [PhotoFormat.PNG, PhotoFormat.JPEG, PhotoFormat.WEBP, PhotoFormat.AVIF])
@pytest.mark.parametrize("depth", DEPTHS[1:])
def test_what_a_format_cannot_hold_is_rounded_with_a_word(tmp_path: Path, kind: PhotoFormat, depth: str) -> None:
    photo, content = _result(_save_tiff(tmp_path / "photo.tif", _picture(depth, 3)), kind)
    if kind is PhotoFormat.PNG:
        assert content[24] == 16
        floats = "floats became 16 bits: PNG keeps no more (--format tiff does)"
        assert photo.warnings == (() if depth == "u2" else (floats,))
    else:
        deep, holds = ("more than 8 bits a channel", "png") if depth == "u2" else ("floats", "tiff")
        assert photo.warnings == (f"{deep} became 8 bits: {kind.name} keeps no more (--format {holds} does)",)
        assert photo.rgb.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_photos_come_out_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    pixels = _picture("u2", 4)
    path = tmp_path / f"photo{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    if suffix == ".tif":
        _save_tiff(path, pixels, extratags=[(0x0112, 3, 1, orientation, True)])
    else:
        plain = imagecodecs.png_encode(pixels)
        chunk = exif.tobytes().removeprefix(b"Exif\0\0")
        packed = b"eXIf" + chunk
        packed = struct.pack(">L", len(chunk)) + packed + struct.pack(">L", zlib.crc32(packed))
        path.write_bytes(plain[:33] + packed + plain[33:])
    shallow = Image.fromarray((pixels >> 8).astype(np.uint8))
    shallow.save(tmp_path / "shallow.png", exif=exif.tobytes())
    upright, expected = read_photo(path), read_photo(tmp_path / "shallow.png")
    assert probe(path) == upright.size == expected.size
    assert upright.alpha is not None and expected.alpha is not None
    assert np.array_equal(upright.rgb.astype(int) >> 8, expected.rgb)
    assert np.array_equal(upright.alpha.astype(int) >> 8, expected.alpha)


def test_depth_is_what_the_header_says_not_what_the_values_look_like(tmp_path: Path) -> None:
    """A dark 16-bit photo, all of whose values would fit 8 bits."""
    dark = _picture("u1", 3).astype(np.uint16)
    (tmp_path / "dark.png").write_bytes(imagecodecs.png_encode(dark))
    photo, content = _result(tmp_path / "dark.png", PhotoFormat.PNG)
    assert photo.rgb.dtype == np.uint16 and content[24] == 16
    assert np.array_equal(_read_png(content), enlarge(dark))
    _save_tiff(tmp_path / "dark.tif", dark)
    assert read_photo(tmp_path / "dark.tif").rgb.dtype == np.uint16


def test_a_page_that_is_a_smaller_copy_is_no_second_picture(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "photo.tif") as tiff:
        tiff.write(_picture("u2", 3), photometric="rgb", metadata=None)
        tiff.write(_picture("u2", 3)[::2, ::2], photometric="rgb", metadata=None, subfiletype=1)
    assert read_photo(tmp_path / "photo.tif").size.height == HEIGHT
