"""The table at the end of a run, on stderr: framed on a terminal, plain aligned columns elsewhere."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from sr_batch.events import Summary

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["show_totals"]

MEGA = 1e6
PLAIN_WIDTH = 240  # characters: more than all columns have, so that no line is broken


def show_totals(summary: Summary, stream: TextIO) -> None:
    """Print what a run has done; figures of nothing are left out. A narrow terminal gets one figure a line."""
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    figures = _figures(summary)
    if stream.isatty():
        console = Console(file=stream, highlight=False)
        wide = _one_row(Table(box=box.ROUNDED, header_style="bold"), figures)
        needed = Measurement.get(console, console.options.update_width(PLAIN_WIDTH), wide).maximum
        narrow = Table(box=box.ROUNDED, show_header=False)
        console.print(wide if needed <= console.width else _one_column(narrow, figures))
        return
    lines = io.StringIO()
    table = _one_row(Table(box=None, pad_edge=False, header_style="bold"), figures)
    Console(file=lines, width=PLAIN_WIDTH, force_terminal=False, color_system=None, highlight=False).print(table)
    for line in lines.getvalue().splitlines():
        print(line.rstrip(), file=stream, flush=True)


def _one_row(table: Table, figures: Sequence[tuple[str, str]]) -> Table:
    for name, _ in figures:
        table.add_column(name, justify="right")
    table.add_row(*(value for _, value in figures))
    return table


def _one_column(table: Table, figures: Sequence[tuple[str, str]]) -> Table:
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in figures:
        table.add_row(name, value)
    return table


def _figures(summary: Summary) -> list[tuple[str, str]]:
    """Name and value of each, in order."""
    speed = summary.pixels / summary.seconds / MEGA if summary.seconds else 0.0
    stills = summary.pictures - summary.frames
    counts = [
        ("done", summary.done),
        ("already done", summary.skipped - summary.left_alone - summary.not_ours),
        ("not ours", summary.not_ours),
        ("large enough", summary.left_alone),
        ("failed", len(summary.failures)),
        ("pictures", stills if stills > summary.done else 0),
        ("video frames", summary.frames),
    ]
    told = [(name, str(count)) for name, count in counts if count or name in ("done", "failed")]
    told += [
        ("input MP", f"{summary.pixels / MEGA:.2f}"),
        ("result MP", f"{summary.result_pixels / MEGA:.2f}"),
        ("seconds", f"{summary.seconds:.1f}"),
        ("MP/s", f"{speed:.3f}"),
    ]
    if summary.frames and summary.video_seconds:
        told.append(("frames/s", f"{summary.frames / summary.video_seconds:.2f}"))
    rest = [
        ("notes", summary.warnings),
        ("tiles reused", summary.tiles.reused),
        ("redone in fp32", summary.tiles.redone),
    ]
    return told + [(name, str(count)) for name, count in rest if count]
