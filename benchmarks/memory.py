"""What a run holds in memory: a photo of hundreds of megapixels, one through the real model, thousands of small ones.

    python benchmarks/memory.py [--large 400] [--formats png,tiff] [--real 0] [--files 2000] [--folder DIR]

Each case is a process of its own, whose resident memory (RSS, with the mapped pages of libraries) is read from /proc
ten times a second. `--large` megapixels become 16 times as many through a stand-in for the engine that repeats pixels:
all but the network is what sr-batch does. `--real` megapixels go through `sr-batch` with the shipped model: 50 are half
an hour at 0.03 MP/s. `--files` photos of 32x32 go through it too; growth is the slope over the last three quarters of
them. Results are removed; `--folder` needs room for one of them (what is made compresses well).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from measure import machine, print_table
from numpy.typing import NDArray

from sr_batch.events import Done, Failure, Summary
from sr_batch.folders import Job, PhotoJob
from sr_batch.photos import Photo, PhotoFormat, Size, WriteOptions, open_writer, use_own_limits
from sr_batch.pipeline import Settings, run_batch
from sr_batch.upscale import Band

Pixels = NDArray[np.uint8]
LOOK_SECONDS = 0.1
SMALL_SIDE = 32  # pixels
BAND_ROWS = 500
TILE = 352  # LR pixels: what `auto` takes with OpenVINO


@dataclass
class Watched:
    """A process that has ended."""

    seconds: float
    peak_mb: float
    trace: list[tuple[int, float]] = field(default_factory=list)  # (results there, RSS in MB)

    def mb_per_thousand(self) -> float:
        """Least squares over what came after the first quarter of the results."""
        most = self.trace[-1][0]
        count, mb = np.array([point for point in self.trace if point[0] >= most / 4]).T
        return float(np.polyfit(count, mb, 1)[0] * 1000)


class Silence:
    """Events that nobody is told of."""

    def started(self, job: Job, size: Size) -> None: ...

    def advanced(self, pixels: int) -> None: ...

    def frame(self, job: Job, done: int, total: int) -> None: ...

    def drawn(self, job: PhotoJob, photo: Photo, band: Band) -> None: ...

    def finished(self, job: Job, done: Done) -> None: ...

    def skipped(self, job: Job, reason: str) -> None: ...

    def failed(self, failure: Failure) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--large", type=float, default=400, help="megapixels through the stand-in; 0: none")
    parser.add_argument("--formats", default="png,tiff")
    parser.add_argument("--real", type=float, default=0, help="megapixels through the real model; 0: none")
    parser.add_argument("--files", type=int, default=2000, help="small photos through the real model; 0: none")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--stand-in", nargs=2, type=Path, help=argparse.SUPPRESS)  # this file, as the child process
    options = parser.parse_args()
    if options.stand_in:
        return enlarge_by_stand_in(*options.stand_in)
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for ending in options.formats.split(",") if options.large else []:
            rows.append(_large(folder, options.large, ending))
        if options.real:
            rows.append(_real(folder, options.real))
        if options.files:
            rows.append(_many(folder, options.files))
    print(f"{machine()}\n")
    print_table(["what", "s", "peak RSS, MB", "growth"], rows)


def _large(folder: Path, megapixels: float, ending: str) -> list[str]:
    side = round((megapixels * 1e6) ** 0.5)
    photo, result = folder / f"large.{ending}", folder / f"result.{ending}"
    make_photo(photo, side)
    seen = watch([sys.executable, __file__, "--stand-in", str(photo), str(result)])
    size = result.stat().st_size / 1e9
    for path in (photo, result):
        path.unlink()
    what = f"{side}x{side} {ending.upper()} to {4 * side}x{4 * side} ({size:.1f} GB), stand-in"
    return [what, f"{seen.seconds:.0f}", f"{seen.peak_mb:.0f}", ""]


def _real(folder: Path, megapixels: float) -> list[str]:
    side = round((megapixels * 1e6) ** 0.5)
    photo = folder / "real.png"
    make_photo(photo, side)
    out = folder / "real"
    seen = watch([sys.executable, "-m", "sr_batch.cli", str(photo), "-o", str(out), "-f", "jpg", "--quiet"])
    return [f"{side}x{side} PNG to JPEG, shipped model", f"{seen.seconds:.0f}", f"{seen.peak_mb:.0f}", ""]


def _many(folder: Path, count: int) -> list[str]:
    photos, out = folder / "small", folder / "small_out"
    photos.mkdir()
    for index in range(count):
        make_photo(photos / f"{index:05}.png", SMALL_SIDE, index)
    command = [sys.executable, "-m", "sr_batch.cli", str(photos), "-o", str(out), "--quiet"]
    seen = watch(command, out)
    growth = f"{seen.mb_per_thousand():+.1f} MB per 1,000 files"
    what = f"{count} photos of {SMALL_SIDE}x{SMALL_SIDE}, shipped model"
    return [what, f"{seen.seconds:.0f}", f"{seen.peak_mb:.0f}", growth]


def make_photo(path: Path, side: int, seed: int = 0) -> None:
    """Shades with a pattern in them, side x side: no two parts are the same, and it compresses well."""
    columns = np.arange(side, dtype=np.uint32)
    photo = Photo(np.zeros((1, 1, 3), np.uint8), False, None, None)
    kind = PhotoFormat.of(path)
    assert kind is not None
    with path.open("w+b") as file:
        writer = open_writer(file, kind, photo, Size(side, side), WriteOptions())
        for top in range(0, side, BAND_ROWS):
            rows = np.arange(top, min(top + BAND_ROWS, side), dtype=np.uint32)[:, None]
            shade = (rows * 5 + columns * 3 + seed * 977) // 64 + ((rows // 8 ^ columns // 8) * 7 & 31)
            writer.write(np.stack([shade, shade + rows // 128, shade + columns // 128], axis=2).astype(np.uint8))
        writer.finish()


def enlarge_by_stand_in(photo: Path, result: Path) -> None:
    """In the child process: one photo through the batch, its engine a stand-in that repeats pixels."""

    def stream(batches: Iterable[Pixels]) -> Generator[Pixels]:
        for batch in batches:
            yield np.stack([cv2.resize(w, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST) for w in batch])

    use_own_limits()
    kind = PhotoFormat.of(result)
    assert kind is not None
    summary = Summary()
    job = PhotoJob(photo, result, kind, root=result.parent)
    run_batch([job], stream, Settings(4, TILE, 12), Silence(), summary)
    if summary.failures:
        sys.exit(summary.failures[0].reason)


def watch(command: list[str], results: Path | None = None) -> Watched:
    """Run a command to its end, reading its memory, and how many files its results folder has, all the while."""
    begun = time.perf_counter()
    process = subprocess.Popen(command)
    seen = Watched(0, 0)
    while process.poll() is None:
        mb = _resident_mb(process.pid)
        seen.peak_mb = max(seen.peak_mb, mb)
        if results is not None and results.exists() and mb:
            seen.trace.append((sum(1 for _ in results.iterdir()), mb))
        time.sleep(LOOK_SECONDS)
    seen.seconds = time.perf_counter() - begun
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return seen


def _resident_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has just ended
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS:")), 0.0)


if __name__ == "__main__":
    main()
