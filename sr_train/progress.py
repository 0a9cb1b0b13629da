"""Progress on stderr: a live display on a terminal, plain lines elsewhere. Implements loop.Watcher."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sr_train.evaluate import Figures

__all__ = ["PlainWatcher", "RichWatcher", "printable", "silent", "watcher"]

PLAIN_INTERVAL_SECONDS = 30.0
LOSSES = ("mse_loss", "l1_loss", "vgg_loss", "g_gan_loss", "d_loss", "d_real", "d_fake")


def printable(text: object) -> str:
    """On one line: control characters and undecodable bytes as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


@contextmanager
def watcher(*, quiet: bool) -> Iterator[PlainWatcher]:
    """The watcher that fits stderr; its display ends with the block. `quiet`: warnings only."""
    stream = sys.stderr
    if quiet or not stream.isatty():
        yield PlainWatcher(stream, quiet=quiet)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with Progress(*columns, console=Console(file=stream, highlight=False)) as display:
        yield RichWatcher(stream, display)


@contextmanager
def silent() -> Iterator[PlainWatcher]:
    """A watcher for the processes beside the first one."""
    yield PlainWatcher(sys.stderr, quiet=True)


class PlainWatcher:
    """Lines of text."""

    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        self._stream, self._quiet = stream, quiet
        self._stage, self._steps = "", 0
        self._said = 0.0

    def say(self, line: str) -> None:
        """A note or a warning; notes are left out when quiet."""
        if not self._quiet or line.startswith("warning"):
            self.write(line)

    def write(self, line: str) -> None:
        """One line, whatever it holds."""
        print(printable(line), file=self._stream, flush=True)

    def started(self, stage: str, step: int, steps: int) -> None:
        self._stage, self._steps = stage, steps
        self.say(f"{stage}: step {step} of {steps}" if step else f"{stage}: {steps} steps")

    def stepped(self, step: int) -> None:
        """Nothing: a line a step would be too many."""

    def logged(self, row: Mapping[str, float]) -> None:
        if time.monotonic() - self._said >= PLAIN_INTERVAL_SECONDS:
            self._said = time.monotonic()
            left = (self._steps - row["step"]) / max(row["steps_per_second"], 1e-9)
            self.say(
                f"{self._stage}: step {row['step']:.0f} of {self._steps}, {speed(row)}, {left / 60:.0f} min left, "
                f"{losses(row)}"
            )

    def validated(self, step: int, figures: Figures) -> None:
        self.say(f"{self._stage}: step {step}: {describe(figures)}")


class RichWatcher(PlainWatcher):
    """A bar with speed, time left and losses; lines above it."""

    def __init__(self, stream: TextIO, display: Progress) -> None:
        super().__init__(stream, quiet=False)
        self._display = display
        self._task = display.add_task("", total=None, speed="", losses="")

    def write(self, line: str) -> None:
        self._display.console.print(printable(line), markup=False)

    def started(self, stage: str, step: int, steps: int) -> None:
        self._stage, self._steps = stage, steps
        self._display.update(self._task, description=stage, completed=step, total=steps)

    def stepped(self, step: int) -> None:
        self._display.update(self._task, completed=step)

    def logged(self, row: Mapping[str, float]) -> None:
        self._display.update(self._task, speed=speed(row), losses=losses(row))


def speed(row: Mapping[str, float]) -> str:
    """Steps a second, and how much of the time went into waiting for crops."""
    return f"{row['steps_per_second']:.2f} it/s, waiting for data {row['wait_share']:.1%}"


def losses(row: Mapping[str, float]) -> str:
    """The losses of a row of metrics."""
    return ", ".join(f"{name} {row[name]:.4f}" for name in LOSSES if name in row)


def describe(figures: Figures) -> str:
    """Figures in a sentence, each with its name."""
    lpips = "" if figures.lpips is None else f", LPIPS-alex {figures.lpips:.4f}"
    return f"PSNR-Y {figures.psnr_y:.2f} dB, SSIM-Y {figures.ssim_y:.4f}{lpips}"
