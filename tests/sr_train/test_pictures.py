"""Folders of image files: what is found, how it is decoded, what is skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_train.errors import DataError
from sr_train.pictures import Skipped, Window, decode, open_folder
from tests.sr_train.conftest import not_skipped, picture


def test_folder_is_read_with_all_that_is_below_it(photos: Path) -> None:
    pictures = open_folder([photos], 32, 2, not_skipped)
    assert list(pictures.names) == ["0", "1", "2", "below/deep"]
    assert pictures.sizes[3] == (80, 80)


def test_window_is_a_part_of_the_picture(photos: Path) -> None:
    pictures = open_folder([photos], 32, 1, not_skipped)
    assert (pictures.read(0, Window(8, 4, 16, 20)) == picture(64, 80, 0)[8:24, 4:24]).all()


def test_broken_and_small_files_are_named_once_and_skipped(photos: Path) -> None:
    (photos / "broken.png").write_bytes((photos / "0.png").read_bytes()[:200])
    Image.fromarray(picture(20, 90, 3)).save(photos / "small.png")
    skipped: list[Skipped] = []
    assert len(open_folder([photos], 64, 2, skipped.append).names) == 4
    assert [one.path.name for one in skipped] == ["broken.png", "small.png"]
    assert "20x90" in skipped[1].reason


def test_nothing_left_is_an_error_with_advice(photos: Path) -> None:
    with pytest.raises(DataError, match=r"data\.crop"):
        open_folder([photos], 500, 1, lambda _: None)


def test_empty_and_missing_folders_are_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image files"):
        open_folder([tmp_path / "empty"], 1, 1, not_skipped)
    with pytest.raises(DataError, match="no such folder"):
        open_folder([tmp_path / "nowhere"], 1, 1, not_skipped)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_any_8_bit_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "photo.tif"
    Image.fromarray(picture(16, 16, 0)).convert("L" if mode == "LA" else mode).convert(mode).save(path)
    assert decode(path).shape == (16, 16, 3)


def test_16_bit_grey_keeps_its_brightness(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0x8042, np.uint16)).save(tmp_path / "grey.png")
    assert (decode(tmp_path / "grey.png") == 0x80).all()


def test_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(picture(16, 24, 0)).save(tmp_path / "turned.jpg", exif=exif)
    assert decode(tmp_path / "turned.jpg").shape == (24, 16, 3)
