"""The folder of a run: what is written while it is trained, and where.

recipe.toml                     the whole recipe
srresnet/, srgan/               one folder a stage:
    state.pt                        what a resume needs
    last.safetensors                the generator at the last validation (EMA where the recipe has one)
    best_psnr.safetensors           the best so far by PSNR-Y, and best_lpips by LPIPS-alex
    epoch_0050.safetensors          kept every `watch.save_every` epochs
    metrics.csv                     losses, speed and figures, a line every `watch.log_every` steps
    validation.jsonl                each picture's figures, a line each validation
g_image_init/, g_image/         generated validation pictures of stage 1 and stage 2
validation/                     their LR and HR pictures, and bicubic's figures
tensorboard/                    the same figures as events, where tensorboard is installed
curves.png, report.html         the run at a glance
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from sr_train.atomic_file import atomic_file
from sr_train.evaluate import Figures, TestImage
from sr_train.metrics import Pixels
from sr_train.state import save_safely
from sr_train.training import SRGAN, SRRESNET

__all__ = ["PICTURES", "SKIPPED", "Recorder", "read_metrics", "write_picture"]

PICTURES = {SRRESNET: "g_image_init", SRGAN: "g_image"}  # folder of each stage's generated pictures
SKIPPED = "skipped.txt"  # in a run's folder: files that were left out, one a line with the reason
SHOWN = 4  # validation pictures that are written, the first ones
COLUMNS = (
    *("step", "epoch", "seconds", "learning_rate", "steps_per_second", "wait_share"),
    *("mse_loss", "l1_loss", "vgg_loss", "g_gan_loss", "grid_loss", "shift_loss"),
    *("g_loss", "d_loss", "d_real", "d_fake"),
    *("psnr_y", "ssim_y", "psnr_rgb", "lpips"),
)


class Events(Protocol):
    """As much of TensorBoard's SummaryWriter as is used."""

    def add_scalar(self, tag: str, value: float, step: int) -> None: ...
    def add_image(self, tag: str, image: Pixels, step: int, *, dataformats: str) -> None: ...
    def close(self) -> None: ...


class Recorder:
    """Writes the folder of one stage of a run. Every error of the disk becomes SaveFailed."""

    def __init__(self, run: Path, stage: str, step: int) -> None:
        """`step`: where the stage stands; lines of the metrics beyond it (of a crashed run) are dropped."""
        self.run, self.stage = run, stage
        self.folder = run / stage
        self.rows = [row for row in read_metrics(self.folder / "metrics.csv") if row["step"] <= step]
        save_safely(self.folder / "metrics.csv", self._write_metrics)
        self.events = _open_events(run / "tensorboard" / stage, step)

    @property
    def has_events(self) -> bool:
        """Whether TensorBoard's events are written."""
        return self.events is not None

    def log(self, row: Mapping[str, float]) -> None:
        """Add one line to the metrics."""
        self.rows.append(dict(row))
        save_safely(self.folder / "metrics.csv", self._append_last)
        if self.events:
            for name, value in row.items():
                if name != "step":
                    self.events.add_scalar(f"{self.stage}/{name}", value, int(row["step"]))

    def show(self, step: int, images: Sequence[TestImage], figures: Sequence[Figures], results: list[Pixels]) -> None:
        """Write the first pictures of a validation, and every picture's figures."""
        folder = self.run / PICTURES[self.stage]
        for image, result in list(zip(images, results, strict=True))[:SHOWN]:
            name = flat_name(image.name)
            write_picture(folder / f"step_{step:08d}_{name}.png", result)
            if self.events:
                self.events.add_image(f"{self.stage}/{name}", result, step, dataformats="HWC")
        line = {"step": step, "images": {i.name: asdict(f) for i, f in zip(images, figures, strict=True)}}
        save_safely(self.folder / "validation.jsonl", lambda path: _append(path, json.dumps(line) + "\n"))

    def show_originals(self, images: Sequence[TestImage], figures: Sequence[Figures]) -> None:
        """Write the LR and HR pictures that the generated ones belong to, and bicubic's figures."""
        folder = self.run / "validation"
        for image in images[:SHOWN]:
            write_picture(folder / f"{flat_name(image.name)}_lr.png", image.lr)
            write_picture(folder / f"{flat_name(image.name)}_hr.png", image.hr)
        text = json.dumps({i.name: asdict(f) for i, f in zip(images, figures, strict=True)}, indent=1)
        save_safely(folder / "bicubic.json", lambda path: write_text(path, text))

    def close(self) -> None:
        """End the events."""
        if self.events:
            self.events.close()

    def _write_metrics(self, path: Path) -> None:
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows([_as_text(row) for row in self.rows])
        write_text(path, text.getvalue())

    def _append_last(self, path: Path) -> None:
        with path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(_as_text(self.rows[-1]))


def _as_text(row: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.10g}" for name, value in row.items()}


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The lines of a metrics.csv, empty cells left out; a line that a crash cut short is not read."""
    if not path.is_file():
        return []
    rows: list[dict[str, float]] = []
    for line in csv.DictReader(path.read_text(encoding="utf-8").splitlines(), restval="cut"):
        try:
            row = {name: float(value) for name, value in line.items() if value}
        except ValueError:
            continue
        if "step" in row:
            rows.append(row)
    return rows


def write_picture(path: Path, pixels: Pixels) -> None:
    """uint8 HWC RGB as a PNG, atomically. Raises SaveFailed."""

    def write(target: Path) -> None:
        with atomic_file(target) as partial:
            Image.fromarray(np.ascontiguousarray(pixels)).save(partial, "PNG")

    save_safely(path, write)


def write_text(path: Path, text: str) -> None:
    """UTF-8, atomically. Raises OSError."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def flat_name(name: str) -> str:
    """A picture's name without folders."""
    return name.replace("/", "_")


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


def _open_events(folder: Path, step: int) -> Events | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    writer: Any = SummaryWriter(str(folder), purge_step=step + 1)
    events: Events = writer
    return events
