"""Files damaged at random, in every format: an error of ours, or a picture, and never anything else."""

from __future__ import annotations

import io
from itertools import chain
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from sr_batch.errors import PhotoError, UnreadablePhoto
from sr_batch.photos import (
    PhotoFormat,
    ReadOptions,
    WriteOptions,
    open_sequence_writer,
    open_writer,
    probe,
    read_further,
    read_photo,
)
from tests.conftest import random_pixels

CORRUPTIONS = 100


def _photo(suffix: str) -> bytes:
    """A picture with EXIF and a profile, where the format has them."""
    if suffix.startswith(("deep", "float")):
        return _deep_photo(suffix)
    if suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if suffix == ".jxl":
        pytest.importorskip("pillow_jxl")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif[0x8769] = {0x9003: "2026:11:22 10:00:00", 0xA002: 32, 0xA003: 24}
    extras = {} if suffix in (".bmp", ".gif", ".jp2") else {"exif": exif.tobytes()}
    picture = Image.fromarray(random_pixels(24, 32))
    file = io.BytesIO()
    names = {".jpg": "JPEG", ".tif": "TIFF", ".jp2": "JPEG2000", ".heic": "HEIF"}
    (picture.quantize(64) if suffix == ".gif" else picture).save(file, names.get(suffix, suffix[1:].upper()), **extras)
    return file.getvalue()


def _deep_photo(name: str) -> bytes:
    pixels = np.ascontiguousarray(random_pixels(24, 32).astype(np.uint16) * 257)
    file = io.BytesIO()
    match name:
        case "deep.png":
            return bytes(imagecodecs.png_encode(pixels))
        case "deep.jp2":
            return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True))
        case "deep.jxl":
            pytest.importorskip("pillow_jxl")
            return bytes(imagecodecs.jpegxl_encode(pixels, lossless=True))
        case "deep.avif":
            return bytes(imagecodecs.avif_encode(pixels >> 6, level=90, speed=8, bitspersample=10))
    if name == "float.tif":
        tifffile.imwrite(
            file, (pixels / 65535).astype(np.float32), photometric="rgb", compression="zlib", predictor=True
        )
    else:
        tifffile.imwrite(file, pixels, photometric="rgb", compression="lzw", tile=(16, 16), bigtiff=True)
    return file.getvalue()


def _damage(content: bytes, random: np.random.Generator) -> bytes:
    """Cut off, bytes changed, a stretch of zeros, or a stretch left out."""
    octets = bytearray(content)
    start = int(random.integers(0, len(octets)))
    stop = min(len(octets), start + int(random.integers(1, 40)))
    match int(random.integers(0, 4)):
        case 0:
            return bytes(octets[:start])
        case 1:
            for place in random.integers(0, len(octets), 4):
                octets[place] = int(random.integers(0, 256))
        case 2:
            octets[start:stop] = bytes(stop - start)
        case _:
            del octets[start:stop]
    return bytes(octets)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "suffix",
    [
        ".png",
        ".jpg",
        ".webp",
        ".tif",
        ".avif",
        ".bmp",
        ".gif",
        ".jp2",
        ".heic",
        ".jxl",
        "deep.png",
        "deep.tif",
        "float.tif",
        "deep.jp2",
        "deep.jxl",
        "deep.avif",
    ],
)
def test_a_damaged_file_is_one_sentence_or_a_picture(tmp_path: Path, suffix: str) -> None:
    random, content, path = np.random.default_rng(0), _photo(suffix), tmp_path / f"photo{suffix}"
    errors = 0
    for _ in range(CORRUPTIONS):
        path.write_bytes(_damage(content, random))
        try:
            size = probe(path)
            photo = read_photo(path)
        except UnreadablePhoto as error:
            errors += 1
            assert str(error) and "\n" not in str(error)
        else:
            assert photo.size == size
            for kind in (PhotoFormat.PNG, PhotoFormat.JPEG, PhotoFormat.TIFF):
                writer = open_writer(io.BytesIO(), kind, result := photo.for_result(kind, size), size, WriteOptions())
                writer.write(result.rgb)
                writer.finish()
    assert errors > 0


def _sequence(name: str) -> bytes:
    """Three pictures."""
    frames = [random_pixels(20, 28, seed) for seed in range(3)]
    file = io.BytesIO()
    if name == "deep pages.tif":
        with tifffile.TiffWriter(file) as tiff:
            for frame in frames:
                tiff.write(frame.astype(np.uint16) * 257, photometric="rgb", compression="zlib", predictor=True)
        return file.getvalue()
    kind = {".tif": "TIFF", ".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".avif": "AVIF"}[Path(name).suffix]
    first, *further = (Image.fromarray(frame) for frame in frames)
    extras: dict[str, Any] = {} if kind == "TIFF" else {"duration": 40}
    first.save(file, kind, save_all=True, append_images=further, **extras)
    return file.getvalue()


def _write_all(path: Path, kind: PhotoFormat) -> tuple[int, tuple[str, ...], bytes]:
    """All pictures of a file into one of this kind, as large as they are: how many, what was said of them, the file."""
    options, file, count = ReadOptions(max_pixels=10**6), io.BytesIO(), 0
    first = read_photo(path, options)
    warnings = first.warnings
    writer = open_sequence_writer(file, kind, first.sequence, 1, WriteOptions())
    for photo in chain([first], read_further(path, options)):
        result = photo.for_result(kind, photo.size)
        writer.begin(result, photo.size)
        writer.write(result.rgb)
        count, warnings = count + 1, (*warnings, *photo.warnings)
    writer.finish()
    return count, warnings, file.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "name", ["moving.gif", "moving.webp", "moving.png", "moving.avif", "pages.tif", "deep pages.tif"]
)
def test_a_damaged_sequence_is_one_sentence_or_all_that_it_says_it_has(tmp_path: Path, name: str) -> None:
    """Where pictures are missing that the file once had, something is said: no file is done without a word."""
    random, content, path = np.random.default_rng(0), _sequence(name), tmp_path / name
    kind = PhotoFormat.TIFF if name.endswith(".tif") else PhotoFormat.PNG
    path.write_bytes(content)
    assert _write_all(path, kind)[:2] == (3, ())
    errors = 0
    for number in range(CORRUPTIONS):
        cut = int(random.integers(1, len(content)))
        path.write_bytes(content[:cut] if number % 2 else _damage(content, random))
        try:
            count, warnings, result = _write_all(path, kind)
        except PhotoError as error:
            errors += 1
            assert str(error) and "\n" not in str(error)
            continue
        with Image.open(io.BytesIO(result)) as image:
            assert getattr(image, "n_frames", 1) == count
        assert count == 3 or warnings or number % 2 == 0, f"{count} pictures of a file cut at {cut}"
    assert errors > 0
