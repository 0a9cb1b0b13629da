"""Sample tiles: drawn the same way each time, of all kinds, and photos are calibrated with or judged by, never both."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calib.errors import CalibrationError
from calib.samples import CALIBRATION_SIDE, HELD_OUT_SIDE, Kind, built_in_samples, draw_samples, kind_of
from tests.conftest import random_pixels


def test_the_same_seed_gives_the_same_tiles_and_another_seed_others(photos: Path) -> None:
    assert draw_samples(photos, 8, 4, seed=3).sha256() == draw_samples(photos, 8, 4, seed=3).sha256()
    assert draw_samples(photos, 8, 4, seed=3).sha256() != draw_samples(photos, 8, 4, seed=4).sha256()


def test_no_photo_is_both_calibrated_with_and_judged_by(tmp_path: Path) -> None:
    for index in range(8):
        Image.new("RGB", (200, 200), (index * 30, 9, 99)).save(tmp_path / f"{index}.png")
    samples = draw_samples(tmp_path, 40, 40)
    reds = [{int(tile[0, 0, 0]) for tile in tiles} for tiles in (samples.calibration, samples.held_out)]
    assert reds[0].isdisjoint(reds[1])
    assert len(reds[0]) == 6 and len(reds[1]) == 2


def test_kinds_come_in_turn_as_far_as_the_photos_have_them(photos: Path) -> None:
    kinds = Counter(kind_of(tile) for tile in draw_samples(photos, 10, 4).calibration)
    assert kinds[Kind.DARK] >= 3  # half the photos are
    assert len(kinds) >= 2


@pytest.mark.parametrize(
    ("kind", "tile"),
    [
        (Kind.DARK, np.full((96, 96, 3), 20)),
        (Kind.BRIGHT, np.full((96, 96, 3), 240)),
        (Kind.SATURATED, np.full((96, 96, 3), (200, 30, 30))),
        (Kind.FLAT, np.full((96, 96, 3), 128)),
        (Kind.TEXTURED, np.indices((96, 96)).sum(0)[..., None].repeat(3, 2) % 2 * 100 + 78),
    ],
)
def test_a_tile_is_of_the_kind_that_people_would_say(kind: Kind, tile: np.ndarray) -> None:
    assert kind_of(tile.astype(np.uint8)) is kind


def test_the_built_in_tiles_are_of_all_kinds_and_small() -> None:
    samples = built_in_samples()
    assert {tile.shape for tile in samples.calibration} == {(CALIBRATION_SIDE, CALIBRATION_SIDE, 3)}
    assert {tile.shape for tile in samples.held_out} == {(HELD_OUT_SIDE, HELD_OUT_SIDE, 3)}
    assert {kind_of(tile) for tile in samples.calibration} == set(Kind)
    folder = Path(str(files("calib").joinpath("tiles")))
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1_000_000
    assert "CC0" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("count", "side"), [(3, 220), (8, 100)], ids=["too few", "tiny"])
def test_too_few_or_tiny_photos_are_refused_with_what_is_needed(tmp_path: Path, count: int, side: int) -> None:
    for index in range(count):
        Image.fromarray(random_pixels(side, side, index)).save(tmp_path / f"{index}.png")
    with pytest.raises(CalibrationError, match="at least 4 of at least 192 pixels a side are needed"):
        draw_samples(tmp_path)


def test_grey_photos_are_refused(tmp_path: Path) -> None:
    for index in range(5):
        Image.fromarray(random_pixels(200, 200, index)[..., 0]).save(tmp_path / f"{index}.png")
    with pytest.raises(CalibrationError, match=r"all photos are grey.*add colour photos"):
        draw_samples(tmp_path)


def test_an_unreadable_photo_is_named_and_the_others_are_used(photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"not a photo")
    said: list[str] = []
    assert draw_samples(photos, 4, 4, say=said.append).calibration
    assert len(said) == 1 and "broken.jpg" in said[0]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="is not a folder of photos"):
        draw_samples(tmp_path / "missing")
