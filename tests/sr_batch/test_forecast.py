"""How much there is to do, before it is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from sr_batch.folders import Naming, find_jobs
from sr_batch.forecast import Forecast
from sr_batch.photos import PhotoFormat
from sr_batch.sizes import SizePolicy
from tests.conftest import random_pixels


def _forecast(folder: Path, kind: PhotoFormat | None = None) -> int:
    forecast = Forecast(find_jobs([folder], Naming("_x4", format=kind)), SizePolicy(), 4)
    forecast.first_look()
    return forecast.pixels()


@pytest.mark.parametrize("name", ["moving.png", "moving.gif", "moving.webp", "pages.tif"])
def test_every_frame_and_page_counts(tmp_path: Path, name: str) -> None:
    frames = [Image.fromarray(random_pixels(20, 30, seed)) for seed in range(3)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert _forecast(tmp_path) == 3 * 20 * 30


def test_pages_count_in_their_own_sizes(tmp_path: Path) -> None:
    pages = [Image.fromarray(random_pixels(side, 30, side)) for side in (10, 20, 40)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert _forecast(tmp_path) == (10 + 20 + 40) * 30


def test_what_will_be_refused_does_not_count(tmp_path: Path) -> None:
    frames = [Image.fromarray(random_pixels(20, 30, seed)) for seed in range(3)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "photo.png")
    assert _forecast(tmp_path, PhotoFormat.JPEG) == 20 * 30
