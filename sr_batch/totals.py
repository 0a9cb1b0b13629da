"""The table at the end of a run, on stderr: framed on a terminal, plain aligned columns elsewhere."""

from __future__ import annotations

import io
from typing import TextIO

from sr_batch.events import Summary

__all__ = ["show_totals"]

MEGA = 1e6
PLAIN_WIDTH = 240  # characters: more than all columns have, so that no line is broken


def show_totals(summary: Summary, stream: TextIO) -> None:
    """Print what a run has done; columns of nothing are left out."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    is_terminal = stream.isatty()
    table = Table(box=box.ROUNDED if is_terminal else None, pad_edge=is_terminal, header_style="bold")
    columns = _columns(summary)
    for name, _ in columns:
        table.add_column(name, justify="right")
    table.add_row(*(value for _, value in columns))
    if is_terminal:
        Console(file=stream, highlight=False).print(table)
        return
    lines = io.StringIO()
    Console(file=lines, width=PLAIN_WIDTH, force_terminal=False, color_system=None, highlight=False).print(table)
    for line in lines.getvalue().splitlines():
        print(line.rstrip(), file=stream, flush=True)


def _columns(summary: Summary) -> list[tuple[str, str]]:
    """Name and value of each column, in order."""
    speed = summary.pixels / summary.seconds / MEGA if summary.seconds else 0.0
    stills = summary.pictures - summary.frames
    columns = [
        ("done", summary.done),
        ("already done", summary.skipped - summary.left_alone - summary.not_ours),
        ("not ours", summary.not_ours),
        ("large enough", summary.left_alone),
        ("failed", len(summary.failures)),
        ("pictures", stills if stills > summary.done else 0),
        ("video frames", summary.frames),
    ]
    told = [(name, str(count)) for name, count in columns if count or name in ("done", "failed")]
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
