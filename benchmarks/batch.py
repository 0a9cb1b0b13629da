"""A whole `sr-batch` run against the engine alone on the same tiles: what decoding, stitching and encoding cost.

    python benchmarks/batch.py [--photos 12] [--side 1000] [--format png]

The photos are the samples, mirrored to side x side pixels, as JPEG. Prints both times, their ratio, the command's peak
memory, and what the command itself said.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import machine, print_table
from PIL import Image

from sr_batch.tiles import plan_tiles
from sr_batch.upscale import upscale
from sr_export.engines import Engine, open_engine
from sr_export.model import find_model, prepare

SAMPLES = Path(__file__).parent.parent / "samples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--format", default="same")
    parser.add_argument("--model", default="srresnet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = _make_photos(Path(folder) / "photos", options.photos, options.side)
        with open_engine(prepare(find_model(options.model))) as engine:
            engine_seconds = _engine_alone(engine, photos[: len(photos) // 2])
            command_seconds, peak_gb, said = _command(Path(folder) / "photos", options)
            engine_seconds += _engine_alone(engine, photos[len(photos) // 2 :])
            name = engine.traits.describe()
    print(f"{machine()}\n\n{options.photos} photos of {options.side}x{options.side}, {name}, -f {options.format}\n")
    ratio = f"{command_seconds / engine_seconds:.3f}x"
    rows = [
        ["engine alone on the same tiles", f"{engine_seconds:.1f}", "1.000x", ""],
        ["sr-batch, start to end", f"{command_seconds:.1f}", ratio, f"{peak_gb:.2f}"],
    ]
    print_table(["what", "s", "ratio", "peak GB"], rows)
    print(f"\n{said}")


def _make_photos(folder: Path, count: int, side: int) -> list[Path]:
    folder.mkdir()
    sources = sorted(p for p in SAMPLES.iterdir() if p.suffix != ".md")
    paths = []
    for index in range(count):
        with Image.open(sources[index % len(sources)]) as image:
            pixels = np.asarray(image.convert("RGB"))
        grow = [(0, max(0, side - length)) for length in pixels.shape[:2]]
        paths.append(folder / f"{index:03}.jpg")
        mirrored = np.pad(pixels, [*grow, (0, 0)], mode="symmetric")[:side, :side]
        Image.fromarray(np.ascontiguousarray(mirrored)).save(paths[-1], quality=95)
    return paths


def _engine_alone(engine: Engine, photos: list[Path]) -> float:
    """Seconds that the engine takes for these photos' tiles, decoded before; the shape's first run not counted."""
    seconds, halo = 0.0, engine.traits.halo_measured or engine.traits.halo or 0
    for index, path in enumerate(photos):
        with Image.open(path) as image:
            pixels = np.asarray(image)
        plan = plan_tiles(pixels.shape[0], pixels.shape[1], engine.traits.tile, halo)
        if index == 0:
            tile = next(iter(plan))
            next(engine.stream([pixels[None, tile.rows.window(), tile.columns.window()]]))
        begun = time.perf_counter()
        for _ in upscale(pixels, engine.stream, plan, engine.traits.scale):
            pass
        seconds += time.perf_counter() - begun
    return seconds


def _command(folder: Path, options: argparse.Namespace) -> tuple[float, float, str]:
    """Seconds, peak resident memory in GB, and the last lines that it printed."""
    command = [sys.executable, "-m", "sr_batch.cli", str(folder), "-f", options.format, "-n", options.model]
    begun = time.perf_counter()
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return seconds, peak, "\n".join(result.stderr.splitlines()[-2:])


if __name__ == "__main__":
    main()
