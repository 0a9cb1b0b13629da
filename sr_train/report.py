"""`report.html` and `curves.png` of a run, made from what its folder holds; both can be made again at any time.

The page stands alone: curves are SVG, pictures are inside it.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sr_train.curves import panels_of, to_svg, write_png
from sr_train.record import PICTURES, SKIPPED, flat_name, read_metrics, write_text
from sr_train.state import save_safely
from sr_train.training import SRGAN, SRRESNET

__all__ = ["write_report"]

PART = 160  # pixels a side of the centre that the page shows of each picture
MOMENTS = 8  # at most so many steps of a stage are shown side by side
TITLES = {SRRESNET: "Stage 1: SRResNet", SRGAN: "Stage 2: SRGAN"}
STYLE = (
    ":root{color-scheme:light dark}svg{fill:currentColor;max-width:100%}"
    "body{font:15px system-ui,sans-serif;margin:2em auto;padding:0 1em;max-width:1400px;overflow-wrap:anywhere}"
    "figure{display:inline-block;margin:.4em;width:200px;vertical-align:top;text-align:center;font-size:13px}"
    "img{image-rendering:pixelated;width:200px;height:200px;object-fit:contain}"
    "table{border-collapse:collapse}td,th{padding:.2em .7em;border:1px solid #8888;text-align:right}"
    "pre{background:#8882;padding:1em;overflow-x:auto}"
)


@dataclass(frozen=True)
class _Stage:
    """What the folder holds of one stage."""

    name: str
    rows: Sequence[Mapping[str, float]]
    validations: Sequence[Mapping[str, Any]]  # {"step": n, "images": {name: figures}}
    steps: Sequence[int]  # of which there are pictures


def write_report(run: Path) -> list[str]:
    """Write `report.html`, and `curves.png` where matplotlib is installed; returns notes for the user.

    Raises SaveFailed.
    """
    stages = [_read_stage(run, name) for name in (SRRESNET, SRGAN) if (run / name).is_dir()]
    save_safely(run / "report.html", lambda path: write_text(path, _page(run, stages)))
    return _write_curves(run / "curves.png", stages)


def _read_stage(run: Path, name: str) -> _Stage:
    found = {int(path.name.split("_")[1]) for path in (run / PICTURES[name]).glob("step_*_*.png")}
    path = run / name / "validation.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    by_step = {line["step"]: line for line in map(_parse_line, lines) if line}  # a resumed run may repeat a step
    rows = read_metrics(run / name / "metrics.csv")
    return _Stage(name, rows, [by_step[step] for step in sorted(by_step)], sorted(found))


def _parse_line(line: str) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}  # cut short by a crash
    return parsed


def _page(run: Path, stages: Sequence[_Stage]) -> str:
    recipe = run / "recipe.toml"
    text = html.escape(recipe.read_text(encoding="utf-8")) if recipe.is_file() else ""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(run.name)}</title>",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style><h1>{html.escape(run.resolve().name)}</h1>",
        "<h2>Side by side</h2>",
        *_side_by_side(run, stages),
    ]
    for stage in stages:
        parts += [f"<h2>{TITLES[stage.name]}</h2>", *_curves(stage), "<h3>Over time</h3>", *_over_time(run, stage)]
    skipped = run / SKIPPED
    if skipped.is_file() and (lines := skipped.read_text(encoding="utf-8")):
        count = lines.count("\n")
        parts.append(
            f"<h2>Skipped files</h2><details><summary>{count}</summary><pre>{html.escape(lines)}</pre></details>"
        )
    parts.append(f"<h2>Recipe</h2><pre>{text}</pre>")
    return "\n".join(parts) + "\n"


def _side_by_side(run: Path, stages: Sequence[_Stage]) -> list[str]:
    """LR | SRResNet | SRGAN | HR of each shown picture, each with its figures."""
    bicubic_path = run / "validation" / "bicubic.json"
    bicubic = json.loads(bicubic_path.read_text(encoding="utf-8")) if bicubic_path.is_file() else {}
    by_name = {stage.name: stage for stage in stages}
    parts = []
    for name, figures in bicubic.items():
        flat = flat_name(name)
        hr = run / "validation" / f"{flat}_hr.png"
        if not hr.is_file():
            continue
        row = [_figure(run / "validation" / f"{flat}_lr.png", f"LR (bicubic: {_numbers(figures)})", small=True)]
        for title, stage, step in _columns(by_name):
            path = run / PICTURES[stage.name] / f"step_{step:08d}_{flat}.png"
            found = [line["images"].get(name) for line in stage.validations if line["step"] == step]
            if path.is_file():
                row.append(_figure(path, f"{title}, step {step}: {_numbers(found[0] if found else None)}"))
        row.append(_figure(hr, "HR"))
        parts.append(f"<h3>{html.escape(name)}</h3>{''.join(row)}")
    return parts


def _columns(stages: Mapping[str, _Stage]) -> list[tuple[str, _Stage, int]]:
    """(title, stage, step) of the generated pictures to compare: without a stage 1, stage 2's start stands for it."""
    columns = []
    if SRRESNET in stages and stages[SRRESNET].steps:
        columns.append(("SRResNet", stages[SRRESNET], stages[SRRESNET].steps[-1]))
    elif SRGAN in stages and 0 in stages[SRGAN].steps:
        columns.append(("SRResNet (start of stage 2)", stages[SRGAN], 0))
    if SRGAN in stages and stages[SRGAN].steps and stages[SRGAN].steps[-1] > 0:
        columns.append(("SRGAN", stages[SRGAN], stages[SRGAN].steps[-1]))
    return columns


def _numbers(figures: Mapping[str, float | None] | None) -> str:
    if not figures:
        return "not measured"
    lpips = figures.get("lpips")
    text = f"PSNR-Y {figures['psnr_y']:.2f} dB, SSIM-Y {figures['ssim_y']:.4f}"
    return text if lpips is None else f"{text}, LPIPS {lpips:.3f}"


def _over_time(run: Path, stage: _Stage) -> list[str]:
    if not stage.steps:
        return []
    chosen = sorted({stage.steps[round(place)] for place in np.linspace(0, len(stage.steps) - 1, MOMENTS)})
    folder = run / PICTURES[stage.name]
    rows: dict[str, list[str]] = {}
    for step in chosen:
        for path in sorted(folder.glob(f"step_{step:08d}_*.png")):
            rows.setdefault(path.stem.split("_", 2)[2], []).append(_figure(path, f"step {step}"))
    return [f"<div>{''.join(figures)}</div>" for figures in rows.values()]


def _figure(path: Path, caption: str, *, small: bool = False) -> str:
    """The centre of a picture as a figure; a `small` (LR) one shows as much of the scene with fewer pixels."""
    if not path.is_file():
        return ""
    with Image.open(path) as image:
        side = PART // 4 if small else PART
        width, height = image.size
        left, top = max(0, (width - side) // 2), max(0, (height - side) // 2)
        centre = image.crop((left, top, min(width, left + side), min(height, top + side)))
    file = io.BytesIO()
    centre.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def _curves(stage: _Stage) -> list[str]:
    return [to_svg(panel, lines) for panel, lines in panels_of(stage.rows).items()]


def _write_curves(path: Path, stages: Sequence[_Stage]) -> list[str]:
    try:
        write_png(path, [(stage.name, stage.rows) for stage in stages])
    except ImportError:
        return ["note: no curves.png; for it: pip install 'sr-toolkit[train]' (report.html has the same curves)"]
    return []
