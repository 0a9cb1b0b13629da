"""`make results`: page and cards are made from the checkpoints, and those in the repository from the shipped ones."""

from __future__ import annotations

import re
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from sr_export.model import find_model, shipped_models
from sr_train.checkpoint import save_checkpoint
from sr_train.generator import random_generator
from tests.conftest import TINY, random_pixels

ROOT = Path(__file__).parents[1]


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, as a module; it imports its neighbour."""
    folder = ROOT / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    modules = []
    for name in ("strips", "results"):
        spec = spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None and spec.loader is not None
        modules.append(module_from_spec(spec))
        monkeypatch.setitem(sys.modules, name, modules[-1])
        spec.loader.exec_module(modules[-1])
    return modules[-1]


def _pictures(page: str) -> list[str]:
    return re.findall(r"!\[[^]]*\]\(([^)]*)\)", page)


def test_page_and_card_follow_the_checkpoint(results: ModuleType, tmp_path: Path) -> None:
    """Made with figures; made again without test sets: kept; made with another checkpoint: gone."""
    mine = tmp_path / "mine.safetensors"
    save_checkpoint(mine, random_generator(TINY, 1))
    (tmp_path / "Set1/HR").mkdir(parents=True)
    Image.fromarray(random_pixels(64, 80)).save(tmp_path / "Set1/HR/a.png")
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards/mine.md").write_text("# mine\n<!-- figures -->\nold\n<!-- end of figures -->\nend\n")
    place = ["--models", str(mine), "--out", str(tmp_path / "docs"), "--cards", str(tmp_path / "cards")]

    def make(*more: str) -> tuple[str, str]:
        assert results.main([*place, *more]) == 0
        return (tmp_path / "docs/results.md").read_text(), (tmp_path / "cards/mine.md").read_text()

    page, card = make("--sets", str(tmp_path / "Set1/HR"))
    assert len(_pictures(page)) == 7 and all((tmp_path / "docs" / name).is_file() for name in _pictures(page))
    assert "**Set1/HR**, 1 pictures" in page and page.count("| mine | ") == 2
    assert card.startswith("# mine\n<!-- figures -->\n    sr-train eval") and card.endswith(
        "<!-- end of figures -->\nend\n"
    )
    assert "| Set1/HR, mine |" in card and find_model(str(mine)).sha256 in card and "old" not in card
    assert make() == (page, card)
    save_checkpoint(mine, random_generator(TINY, 2))
    page, card = make()
    assert "Set1/HR, mine" not in card and "Not measured with these weights" in card
    assert "| mine |" in page  # of the samples, measured anew


def test_all_three_models_have_a_column_in_a_fixed_order_and_a_strip_of_strengths(
    results: ModuleType, tmp_path: Path
) -> None:
    for seed, name in enumerate(("srresnet", "srgan", "photo")):
        save_checkpoint(tmp_path / f"{name}.safetensors", random_generator(TINY, seed))
    models = [str(tmp_path / f"{name}.safetensors") for name in ("photo", "srgan", "srresnet")]
    assert results.main(["--models", *models, "--out", str(tmp_path / "docs"), "--cards", str(tmp_path)]) == 0
    page = (tmp_path / "docs/results.md").read_text()
    assert "images/results/strength.png" in _pictures(page)
    assert "from `srresnet` (0) to `photo` (1)" in page
    titles = ("| bicubic", "| SRResNet", "| SRGAN", "| photo")
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith(tuple(f"{one} |" for one in titles))]
    assert rows == list(titles)
    strips = sys.modules["strips"]
    with Image.open(tmp_path / "docs/images/results/cat.png") as image:
        assert image.width == 6 * (112 * strips.ZOOM + strips.GAP) - strips.GAP  # LR, bicubic, three models, HR


def test_model_for_photos_is_shown_and_measured_through_jpeg(results: ModuleType, tmp_path: Path) -> None:
    for seed, name in enumerate(("srgan", "photo")):
        save_checkpoint(tmp_path / f"{name}.safetensors", random_generator(TINY, seed))
        (tmp_path / f"{name}.md").write_text("<!-- figures -->\n<!-- end of figures -->\n")
    (tmp_path / "Set1/HR").mkdir(parents=True)
    Image.fromarray(random_pixels(64, 80)).save(tmp_path / "Set1/HR/a.png")
    models = [str(tmp_path / f"{name}.safetensors") for name in ("srgan", "photo")]
    place = ["--models", *models, "--out", str(tmp_path / "docs"), "--cards", str(tmp_path)]
    assert results.main([*place, "--sets", str(tmp_path / "Set1/HR")]) == 0
    page = (tmp_path / "docs/results.md").read_text()
    assert {"images/results/jpeg_cat.png", "images/results/jpeg_coffee.png"} < set(_pictures(page))
    before, jpeg = page.split("## Through JPEG")
    assert "LR a JPEG" not in before and jpeg.count("| photo | ") == jpeg.count("| SRGAN | ") == 3
    strips = sys.modules["strips"]
    for name in ("cat", "jpeg_cat"):
        with Image.open(tmp_path / f"docs/images/results/{name}.png") as image:
            assert image.width == 5 * (112 * strips.ZOOM + strips.GAP) - strips.GAP
    cards = {name: (tmp_path / f"{name}.md").read_text() for name in ("srgan", "photo")}
    assert "JPEG" not in cards["srgan"] and "--jpeg" not in cards["srgan"] and "photo" not in cards["srgan"]
    assert "--jpeg 60 75 90" in cards["photo"] and "| Set1/HR, LR a JPEG of 75, SRGAN |" in cards["photo"]
    kept = page, cards["photo"]
    assert results.main(place) == 0
    assert ((tmp_path / "docs/results.md").read_text(), (tmp_path / "photo.md").read_text()) == kept


def test_a_strip_shows_the_same_square_of_each_picture(results: ModuleType, tmp_path: Path) -> None:
    hr = random_pixels(64, 64)
    lr = np.ascontiguousarray(hr[::4, ::4])
    strips = sys.modules["strips"]
    strips.write_strip(tmp_path / "strip.png", strips.Crop(16, 32, 16), [("LR", lr), ("HR", hr)])
    with Image.open(tmp_path / "strip.png") as image:
        pixels = np.asarray(image)
    side = 16 * strips.ZOOM
    assert np.array_equal(pixels[strips.HEADER :, -side:], hr[16:32, 32:48].repeat(2, axis=0).repeat(2, axis=1))
    assert np.array_equal(pixels[strips.HEADER :, :side], lr[4:8, 8:12].repeat(8, axis=0).repeat(8, axis=1))
    assert results.CROPS.keys() == {path.stem for path in (ROOT / "samples").iterdir() if path.suffix != ".md"}


def test_colours_that_move_are_told_in_levels(results: ModuleType, tmp_path: Path) -> None:
    lr = random_pixels(16, 16) // 2
    moved = lr.repeat(4, axis=0).repeat(4, axis=1)
    assert results._colour_shift(lr, moved) == 0
    moved[..., 0] += 1
    moved[..., 2] += 3
    assert results._colour_shift(lr, moved) == pytest.approx(3)
    save_checkpoint(tmp_path / "mine.safetensors", random_generator(TINY, 0))
    place = ["--models", str(tmp_path / "mine.safetensors"), "--out", str(tmp_path), "--cards", str(tmp_path)]
    assert results.main(place) == 0
    line = next(line for line in (tmp_path / "results.md").read_text().splitlines() if line.startswith("**Colours**"))
    assert float(line.split("mine ")[1].rstrip(".")) > 1  # a network of random weights changes all colours


def test_curves_are_drawn_from_a_run_folder(results: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    strips = sys.modules["strips"]
    (tmp_path / "run/srgan").mkdir(parents=True)
    (tmp_path / "run/srgan/metrics.csv").write_text("step,mse_loss,psnr_y\n1,0.5,20\n2,0.25,21\n")
    strips.write_curves(tmp_path / "curves.png", [tmp_path / "run"])
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    shutil.rmtree(tmp_path / "run/srgan")
    with pytest.raises(FileNotFoundError, match="name run folders"):
        strips.write_curves(tmp_path / "curves.png", [tmp_path / "run"])
    assert results.main(["--models", "nowhere.safetensors"]) == 2


@pytest.mark.parametrize("name", shipped_models())
def test_page_and_cards_in_the_repository_are_of_the_shipped_checkpoints(name: str) -> None:
    """Ship other weights, and `make results` has to be run."""
    sha256 = find_model(name).sha256
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    assert f"`{name}` {sha256[:16]}" in page
    assert all((ROOT / "docs" / picture).is_file() for picture in _pictures(page))
    assert sha256 in (ROOT / f"sr_export/models/{name}.md").read_text(encoding="utf-8")
