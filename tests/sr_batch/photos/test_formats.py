from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sr_batch.errors import UnreadablePhoto
from sr_batch.photos import PhotoFormat, Size, probe, read_photo
from tests.conftest import random_pixels


def _save(path: Path, height: int = 24, width: int = 32) -> Path:
    """A picture by the format's usual writer, as far as it goes without loss."""
    if path.suffix == ".jxl":
        pytest.importorskip("pillow_jxl")
    if path.suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    options: dict[str, dict[str, Any]] = {".jxl": {"lossless": True}, ".jp2": {"irreversible": False}}
    picture = Image.fromarray(_ramp(height, width))
    if path.suffix == ".gif":
        picture = picture.quantize(256)
    picture.save(path, **options.get(path.suffix, {"quality": 100}))
    return path


def _ramp(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth: what is lost on the way is the format's, not the encoder's choice."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return np.dstack([4 * x, 8 * y, 3 * (x + y)])


@pytest.mark.parametrize(
    ("suffix", "levels"), [(".bmp", 0), (".gif", 8), (".jp2", 0), (".avif", 3), (".heic", 2), (".jxl", 0)]
)
def test_further_formats_are_read(tmp_path: Path, suffix: str, levels: int) -> None:
    path = _save(tmp_path / f"photo{suffix}")
    assert PhotoFormat.of(path) is not None
    assert probe(path) == Size(24, 32)
    photo = read_photo(path)
    assert photo.warnings == ()
    assert np.abs(photo.rgb.astype(int) - _ramp(24, 32)).mean() <= levels


@pytest.mark.parametrize(("suffix", "module"), [(".heic", "pillow_heif"), (".jxl", "pillow_jxl")])
def test_a_missing_optional_package_is_named_with_its_install_command(
    tmp_path: Path, suffix: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _save(tmp_path / f"photo{suffix}")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnreadablePhoto, match=r"pip install 'sr-toolkit\[" + suffix[1:]):
        probe(path)


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    _save(tmp_path / "photo.heic").rename(tmp_path / "photo.jpg")
    assert read_photo(tmp_path / "photo.jpg").size == Size(24, 32)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif", ".heic", ".jxl"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_size_is_that_of_the_upright_picture(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = _save(tmp_path / f"photo{suffix}", 24, 32)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(random_pixels(24, 32)).save(path, exif=exif.tobytes())
    assert probe(path) == read_photo(path).size


def test_one_bit_a_pixel_becomes_grey_with_a_word(tmp_path: Path) -> None:
    pixels = _ramp(24, 32)[:, :, 0] > 100
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    photo = read_photo(tmp_path / "photo.png")
    assert photo.grey and photo.warnings == ("black and white became grey",)
    assert np.array_equal(photo.rgb[:, :, 0], np.where(pixels, 255, 0))
