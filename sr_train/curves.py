"""A run's figures over its optimiser steps, as SVG for a page and as one PNG.

A metric that was never measured has no panel.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sr_train.atomic_file import atomic_file
from sr_train.state import save_safely

__all__ = ["Panel", "panels_of", "to_svg", "write_png"]

COLOURS = ("#2563eb", "#dc2626", "#059669", "#9333ea", "#b45309", "#0891b2")
WIDTH, HEIGHT, MARGIN = 420, 200, 34  # of an SVG, in its units
SMALLEST = 1e-9  # on a logarithmic axis

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """What one pair of axes shows."""

    title: str
    columns: tuple[str, ...]  # of metrics.csv
    logarithmic: bool = False


PANELS = (
    Panel(
        "Losses of the generator", ("mse_loss", "l1_loss", "vgg_loss", "g_gan_loss", "grid_loss", "shift_loss"), True
    ),
    Panel("Discriminator: belief that a picture is real", ("d_real", "d_fake")),
    Panel("PSNR-Y, dB", ("psnr_y",)),
    Panel("SSIM-Y", ("ssim_y",)),
    Panel("LPIPS-alex (lower is better)", ("lpips",)),
    Panel("Steps a second", ("steps_per_second",)),
)


def panels_of(rows: Sequence[Mapping[str, float]]) -> dict[Panel, dict[str, Points]]:
    """The lines of each panel that `rows` of metrics.csv have values for: column, then (step, value)."""
    panels: dict[Panel, dict[str, Points]] = {}
    for panel in PANELS:
        lines: dict[str, Points] = {
            name: [(row["step"], row[name]) for row in rows if name in row] for name in panel.columns
        }
        if filled := {name: points for name, points in lines.items() if points}:
            panels[panel] = filled
    return panels


def to_svg(panel: Panel, lines: Mapping[str, Points]) -> str:
    """One panel as an SVG element, in the text's colour."""
    points = [point for line in lines.values() for point in line]
    heights = np.array([y for _, y in points])
    values = np.log10(np.maximum(heights, SMALLEST)) if panel.logarithmic else heights
    low, high = float(values.min()), float(values.max())
    first, last = min(x for x, _ in points), max(x for x, _ in points)

    def place(x: float, y: float) -> str:
        value = float(np.log10(max(y, SMALLEST))) if panel.logarithmic else y
        across = MARGIN + (x - first) / max(last - first, 1e-9) * (WIDTH - 2 * MARGIN)
        return f"{across:.1f},{HEIGHT - MARGIN - (value - low) / max(high - low, 1e-9) * (HEIGHT - 2 * MARGIN):.1f}"

    apart = min(90.0, WIDTH / len(lines))  # of the names below
    parts = []
    for index, ((name, line), colour) in enumerate(zip(lines.items(), COLOURS, strict=False)):
        path = " ".join(place(x, y) for x, y in line)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{path}"/>')
        parts.append(f'<text x="{apart * index:.0f}" y="{HEIGHT - 4}" font-size="12" fill="{colour}">{name}</text>')
    text = (
        f'<text x="{MARGIN}" y="14" font-size="13" font-weight="bold">{html.escape(panel.title)}</text>'
        f'<text x="0" y="{MARGIN}" font-size="11">{heights.max():.4g}</text>'
        f'<text x="0" y="{HEIGHT - MARGIN}" font-size="11">{heights.min():.4g}</text>'
        f'<text x="{WIDTH - 150}" y="14" font-size="11">step {first:.0f} to {last:.0f}</text>'
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">{text}{"".join(parts)}</svg>'


def write_png(path: Path, stages: Sequence[tuple[str, Sequence[Mapping[str, float]]]]) -> None:
    """All panels as one PNG: a row for each stage, given by its name and the rows of its metrics.csv.

    Raises ImportError without matplotlib, and SaveFailed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [(name, panels_of(rows)) for name, rows in stages]
    shown = [panel for panel in PANELS if any(panel in panels for _, panels in drawn)]
    figure: Any = Figure(figsize=(4 * max(1, len(shown)), 3.2 * max(1, len(stages))), layout="constrained")
    for row, (name, panels) in enumerate(drawn):
        for column, panel in enumerate(shown):
            if panel in panels:
                place = row * len(shown) + column + 1
                axes = figure.add_subplot(len(stages), len(shown), place, title=panel.title)
                for column_name, points in panels[panel].items():
                    axes.plot(*zip(*points, strict=True), label=column_name)
                axes.legend()
                axes.set_yscale("log" if panel.logarithmic else "linear")
                axes.set_xlabel(f"step of {name}")
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call] # of matplotlib

    def write(target: Path) -> None:
        with atomic_file(target) as partial:
            figure.savefig(partial, dpi=80, format="png")

    save_safely(path, write)
