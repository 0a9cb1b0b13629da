"""Files damaged at random, in every format: an error of ours, or a picture, and never anything else."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from sr_batch.errors import UnreadablePhoto
from sr_batch.photos import PhotoFormat, WriteOptions, open_writer, probe, read_photo
from tests.conftest import random_pixels

CORRUPTIONS = 100


def _photo(suffix: str) -> bytes:
    """A picture with EXIF and a profile, where the format has them."""
    if suffix.startswith(("deep", "float", "pages")):
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
    if name == "deep.png":
        return bytes(imagecodecs.png_encode(pixels))
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
