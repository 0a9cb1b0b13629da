"""Pictures for docs/results.md: strips of crops side by side with their names, and training curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sr_train.metrics import Pixels
from sr_train.record import read_metrics

ZOOM = 2  # each pixel of a strip becomes so many a side: crops are looked at, not admired
GAP, HEADER = 8, 26  # pixels between columns, and above them for the names
PANELS = (  # title, columns of metrics.csv, whether the axis is logarithmic
    ("PSNR-Y on the validation photos, dB", ("psnr_y",), False),
    ("LPIPS-alex (lower is better)", ("lpips",), False),
    ("Losses of the generator", ("mse_loss", "vgg_loss", "g_gan_loss"), True),
)


@dataclass(frozen=True)
class Crop:
    """A square of a picture, in its pixels; all three are multiples of the scale, so that LR has the same square."""

    top: int
    left: int
    side: int

    def of(self, pixels: Pixels) -> Pixels:
        return pixels[self.top : self.top + self.side, self.left : self.left + self.side]

    def divided(self, scale: int) -> Crop:
        return Crop(self.top // scale, self.left // scale, self.side // scale)


def write_strip(path: Path, crop: Crop, columns: Sequence[tuple[str, Pixels]]) -> None:
    """A PNG with the crop of each picture under its name. Pictures are uint8 HWC RGB of one size; LR may be smaller.

    Pixels are repeated, never interpolated: what is seen is what is there.
    """
    side = crop.side * ZOOM
    strip = Image.new("RGB", ((side + GAP) * len(columns) - GAP, side + HEADER), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(18)
    largest = max(pixels.shape[0] for _, pixels in columns)
    for index, (name, pixels) in enumerate(columns):
        part = Image.fromarray(np.ascontiguousarray(crop.divided(largest // pixels.shape[0]).of(pixels)))
        left = index * (side + GAP)
        strip.paste(part.resize((side, side), Image.Resampling.NEAREST), (left, HEADER))
        draw.text((left + side / 2, HEADER / 2), name, "black", font, anchor="mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    strip.save(path, optimize=True)


def write_curves(path: Path, runs: Sequence[Path]) -> None:
    """A PNG of the runs' metrics over the optimiser steps: a row for each stage that they hold. Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    places = [(run, stage) for run in runs for stage in ("srresnet", "srgan")]
    stages = [(run, stage) for run, stage in places if (run / stage / "metrics.csv").is_file()]
    if not stages:
        raise FileNotFoundError(f"{', '.join(map(str, runs))}: no metrics.csv of a stage in there; name run folders")
    figure = Figure(figsize=(4.5 * len(PANELS), 3 * len(stages)), layout="constrained")
    for row, (run, stage) in enumerate(stages):
        rows = read_metrics(run / stage / "metrics.csv")
        for column, (title, names, logarithmic) in enumerate(PANELS):
            axes = figure.add_subplot(len(stages), len(PANELS), row * len(PANELS) + column + 1, title=title)
            _draw(axes.plot, rows, names)
            if axes.lines:
                axes.legend()
                axes.set_yscale("log" if logarithmic else "linear")
            axes.set_xlabel(f"step of {stage}")
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(str(path))


def _draw(plot: Callable[..., object], rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
    for name in names:
        if points := [(row["step"], row[name]) for row in rows if name in row]:
            plot(*zip(*points, strict=True), label=name)
