from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from sr_batch.photos import Size, probe
from sr_batch.photos.png_words import png_without_pixels
from tests.conftest import random_pixels


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_all_that_a_png_says_is_in_the_small_one(tmp_path: Path, mode: str) -> None:
    text, exif, path = PngImagePlugin.PngInfo(), Image.Exif(), tmp_path / "photo.png"
    text.add_text("Title", "a title")
    text.add_itxt("Author", "Zoë")
    exif[0x010F] = "Maker"
    image = Image.new("I;16", (30, 20)) if mode == "I;16" else Image.fromarray(random_pixels(20, 30)).convert(mode)
    image.save(path, pnginfo=text, exif=exif, dpi=(300, 300))
    with Image.open(io.BytesIO(png_without_pixels(path))) as small, Image.open(path) as whole:
        assert (small.size, small.mode) == ((1, 1), whole.mode)
        whole.load()
        small.load()
        assert small.info == whole.info
        assert small.getexif() == whole.getexif()


def test_the_size_of_a_png_is_found_without_decoding_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where EXIF, which may turn it, stands behind the pixels."""
    path, exif = tmp_path / "photo.png", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_pixels(20, 30)).save(path)
    tags = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(tags)) + b"eXIf" + tags + struct.pack(">I", zlib.crc32(b"eXIf" + tags))
    content = path.read_bytes()
    path.write_bytes(content[:-12] + chunk + content[-12:])
    load = PngImagePlugin.PngImageFile.load

    def load_small(self: PngImagePlugin.PngImageFile) -> object:
        assert self.size == (1, 1)
        return load(self)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load_small)
    assert probe(path) == Size(30, 20)


def test_a_png_that_breaks_off_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path)
    content = path.read_bytes()
    for length in range(33, len(content)):
        path.write_bytes(content[:length])
        assert png_without_pixels(path).startswith(content[:8])
