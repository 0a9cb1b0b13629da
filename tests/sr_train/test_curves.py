"""Curves show what was measured, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from sr_train.curves import PANELS, Panel, panels_of, to_svg, write_png

ROWS = [{"step": step, "mse_loss": 1 / step, "psnr_y": 20.0 + step} for step in (1.0, 2.0, 3.0)]


def test_a_metric_that_was_never_measured_has_no_panel(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert [panel.title for panel in panels_of(ROWS)] == ["Losses of the generator", "PSNR-Y, dB"]
    widths = {}
    for name, rows in (("two", ROWS), ("three", [row | {"lpips": 0.2} for row in ROWS])):
        write_png(tmp_path / name, [("srresnet", rows)])
        with Image.open(tmp_path / name) as picture:
            widths[name] = picture.width
    assert widths["three"] == pytest.approx(widths["two"] * 3 / 2, abs=3)


def test_a_panel_of_one_stage_alone_leaves_its_place_empty_in_the_other(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_png(tmp_path / "curves.png", [("srresnet", ROWS), ("srgan", [row | {"d_real": 0.7} for row in ROWS])])
    with Image.open(tmp_path / "curves.png") as picture:
        grey = picture.convert("L")
        middle = grey.crop((picture.width * 2 // 5, 0, picture.width * 3 // 5, picture.height))
        upper, lower = (
            middle.crop((0, top, middle.width, top + middle.height // 2)) for top in (0, middle.height // 2)
        )
    assert upper.getextrema() == (255, 255)
    assert lower.getextrema() != (255, 255)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.columns[0])
def test_lines_and_names_of_an_svg_stay_inside(panel: Panel) -> None:
    lines = {name: [(10.0, 3.0), (20.0, 0.0), (30.0, 7.0)] for name in panel.columns}
    svg = to_svg(panel, lines)
    width, height = (float(size) for size in re.findall(r'svg" width="(\d+)" height="(\d+)"', svg)[0])
    places = [place.split(",") for line in re.findall(r'points="([^"]+)"', svg) for place in line.split()]
    assert len(places) == 3 * len(panel.columns)
    assert all(0 <= float(x) <= width and 0 <= float(y) <= height for x, y in places)
    names = [(float(x), name) for x, name in re.findall(r'<text x="(\d+)" y="196"[^>]*>([a-z0-9_]+)<', svg)]
    assert [name for _, name in names] == list(panel.columns)
    ends = [x for x, _ in names[1:]] + [width]
    assert all(x + 6 * len(name) < end for (x, name), end in zip(names, ends, strict=True))  # 6: a letter of 12 pixels
