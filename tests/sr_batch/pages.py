"""Runs with a page, for its tests: pictures of plain colours, so that a screenshot says which one is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sr_batch.events import Summary
from sr_batch.folders import PhotoJob
from sr_batch.page import Page, open_page
from sr_batch.photos import PhotoFormat, read_photo
from sr_batch.report import Record
from sr_batch.upscale import Band

FACTS: Record = {"model": "tiny", "engine": "torch 2", "precision": "fp32", "scale": 4}
BEFORE, AFTER = (200, 30, 30), (30, 60, 200)


def finished(source: Path, height: int, width: int, **more: object) -> Record:
    return {
        "event": "finished",
        "source": str(source),
        "result": str(source.with_name(f"large {source.name}")),
        "width": width,
        "height": height,
        "result_width": 4 * width,
        "result_height": 4 * height,
        "seconds": 1.5,
        "warnings": [],
        **more,
    }


def add_photo(page: Page, source: Path, height: int, width: int, **more: object) -> None:
    """A photo of one colour whose result, of another, is drawn in bands of 100 rows."""
    Image.new("RGB", (width, height), BEFORE).save(source)
    result = np.full((4 * height, 4 * width, 3), AFTER, np.uint8)
    job, photo = PhotoJob(source, source.with_suffix(".large.png"), PhotoFormat.PNG), read_photo(source)
    for top in range(0, 4 * height, 100):
        page.drawn(job, photo, Band(top, result[top : top + 100]))
    page.take(finished(source, height, width, **more))


def page_of(folder: Path, sizes: list[tuple[int, int]], failures: int = 0) -> Path:
    """A page of photos of these sizes (height, width), then failures."""
    path, summary = folder / "run.html", Summary(done=len(sizes), seconds=2.0)
    with open_page(path, FACTS, summary, len(sizes) + failures) as page:
        for number, (height, width) in enumerate(sizes):
            add_photo(page, folder / f"photo {number}.png", height, width)
        for number in range(failures):
            page.take({"event": "failed", "source": f"broken {number}.jpg", "reason": "the file is empty (0 bytes)"})
    return path
