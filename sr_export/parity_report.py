"""A parity measurement as a table for the terminal, as JSON, and as one HTML page with difference heat maps."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sr_export.errors import ModelError
from sr_export.parity_run import Measured, Parity
from sr_train.atomic_file import atomic_file
from sr_train.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["heat_map", "to_html", "to_json", "to_table", "write_report"]

HEAT_LEVELS = 8  # a difference of so many grey levels is drawn at full brightness
COLUMNS = ("form", "error", "PSNR", "> 1 level", "tiles/s", "speed", "gate")


def to_table(parity: Parity) -> Table:
    """For a terminal."""
    from rich import box
    from rich.table import Table

    problems = [f"{form.name}: {form.problem}" for form in parity.measured if form.problem]
    caption = "\n".join(["not run:", *problems]) if problems else None
    title = f"{parity.model} against {parity.reference}, {len(parity.images)} images"
    table = Table(title=title, caption=caption, caption_justify="left", box=box.SIMPLE)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("form", "gate") else "right", no_wrap=True)
    for form in parity.measured:
        table.add_row(*_cells(form))
    return table


def to_json(parity: Parity) -> str:
    """Everything but the pictures. Infinite PSNR (equal pictures) becomes null."""
    forms = []
    for form in parity.measured:
        entry = asdict(form)
        if form.difference is not None and math.isinf(form.difference.psnr_db):
            entry["difference"]["psnr_db"] = None
        forms.append(entry)
    content = {
        "model": parity.model,
        "reference": parity.reference,
        "images": list(parity.images),
        "passed": parity.passed(),
        "forms": forms,
    }
    return json.dumps(content, indent=1, allow_nan=False)


def to_html(parity: Parity) -> str:
    """One page without links to anything else: the table, and for each form a heat map of each image."""
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(c)}</td>' for c in _cells(form))}</tr>" for form in parity.measured
    )
    head = "".join(f"<th>{html.escape(column)}</th>" for column in COLUMNS)
    maps = "".join(_form_maps(parity, name) for name in parity.results)
    problems = "".join(
        f"<li>{html.escape(form.name)}: {html.escape(form.problem)}</li>" for form in parity.measured if form.problem
    )
    title = f"{html.escape(parity.model)}: parity with {html.escape(parity.reference)}"
    return (
        f"<!doctype html><meta charset='utf-8'><title>{title}</title>"
        "<style>body{font:15px sans-serif;margin:2em}"
        "td,th{padding:.2em 1em;text-align:left;border-bottom:1px solid #ccc}"
        "figure{display:inline-block;margin:.5em}img{max-width:320px;image-rendering:pixelated}</style>"
        f"<h1>{title}</h1><table><tr>{head}</tr>{rows}</table><ul>{problems}</ul>"
        f"<p>Heat maps: the largest difference of the three channels; black is equal, white is {HEAT_LEVELS} grey "
        f"levels or more.</p>{maps}"
    )


def heat_map(difference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey levels of difference, uint8 [h, w], as a picture, uint8 [h, w, 3]: black, red, yellow, white."""
    share = np.minimum(difference.astype(np.float32) / HEAT_LEVELS, 1)
    channels = [np.clip(3 * share - offset, 0, 1) for offset in range(3)]
    picture: NDArray[np.uint8] = np.rint(np.stack(channels, axis=-1) * 255).astype(np.uint8)
    return picture


def write_report(parity: Parity, target: Path) -> None:
    """Write the report, as its suffix says: .json or .html. Raises UsageError for another one, or when it cannot."""
    makers = {".json": to_json, ".html": to_html}
    if target.suffix.lower() not in makers:
        raise UsageError(f"{target}: reports are written as .html or .json; choose one of these endings")
    try:
        with atomic_file(target) as partial:
            partial.write_text(makers[target.suffix.lower()](parity), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror}); choose another place") from error


def _cells(form: Measured) -> tuple[str, ...]:
    speed = f"{form.tiles_per_second:.2f}" if form.tiles_per_second is not None else ""
    ratio = f"{form.ratio:.2f}x" if form.ratio is not None else ""
    if form.difference is None:
        return form.name, "", "", "", speed, ratio, "not run" if form.problem else "reference"
    d = form.difference
    psnr = "equal" if math.isinf(d.psnr_db) else f"{d.psnr_db:.1f} dB"
    return form.name, f"{d.max_levels} levels", psnr, f"{d.share_above_one:.3%}", speed, ratio, _verdict(form)


def _verdict(form: Measured) -> str:
    return "passed" if form.passed else "NOT PASSED"


def _form_maps(parity: Parity, name: str) -> str:
    figures = []
    for image, result, expected in zip(parity.images, parity.results[name], parity.reference_results, strict=True):
        if result.shape != expected.shape:
            raise ModelError(f"{name} gave a picture of {result.shape} where {expected.shape} was expected")
        off = np.abs(result[0].astype(np.int16) - expected[0]).max(axis=-1).astype(np.uint8)
        caption = f"{html.escape(image)}: at most {off.max()} levels"
        figures.append(f"<figure><img src='{_data_url(heat_map(off))}'><figcaption>{caption}</figcaption></figure>")
    return f"<h2>{html.escape(name)}</h2>{''.join(figures)}"


def _data_url(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
