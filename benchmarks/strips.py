"""Pictures for docs/results.md: strips of crops side by side with their names, and training curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sr_train.curves import write_png
from sr_train.metrics import Pixels
from sr_train.record import read_metrics

ZOOM = 2  # each pixel of a strip becomes so many a side: crops are looked at, not admired
GAP, HEADER = 8, 26  # pixels between columns, and above them for the names


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
    """A PNG of the runs' metrics over the optimiser steps: a row for each stage that they hold. Needs matplotlib.

    Raises FileNotFoundError for folders that hold none.
    """
    files = [run / stage / "metrics.csv" for run in runs for stage in ("srresnet", "srgan")]
    found = [(file.parent.name, read_metrics(file)) for file in files if file.is_file()]
    if not found:
        raise FileNotFoundError(f"{', '.join(map(str, runs))}: no metrics.csv of a stage in there; name run folders")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, found)
