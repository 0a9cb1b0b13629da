"""A whole `sr-batch` run against the engine alone on the same tiles: what decoding, stitching and encoding cost.

    python benchmarks/batch.py [--photos 12] [--side 1000] [--format png]

The photos are the samples, mirrored to side x side pixels, as JPEG. The engine runs one half of them before the
command and the other after it, so that a machine whose speed drifts treats both alike. Prints both in seconds and in
CPU seconds (which other work disturbs less), their ratios, the command's peak memory, and what it said itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import machine, print_table
from PIL import Image

from sr_batch.tiles import plan_tiles
from sr_batch.upscale import TileOptions, upscale
from sr_export.engines import Engine, open_engine
from sr_export.model import find_model, prepare

SAMPLES = Path(__file__).parent.parent / "samples"
# A small process in between: on Linux a child's peak memory starts at what its parent had when it was forked.
WATCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


@dataclass(frozen=True)
class Cost:
    wall: float  # seconds
    cpu: float  # seconds of all threads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--format", default="same")
    parser.add_argument("--model", default="srresnet")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder) / "photos", options.photos, options.side)
        with open_engine(prepare(find_model(options.model))) as engine:
            first = _engine_alone(engine, photos[: len(photos) // 2])
            command, peak_gb, said = _command(Path(folder) / "photos", options)
            second = _engine_alone(engine, photos[len(photos) // 2 :])
            name = engine.traits.describe()
    alone = Cost(first.wall + second.wall, first.cpu + second.cpu)
    print(f"{machine()}\n\n{options.photos} photos of {options.side}x{options.side}, {name}, -f {options.format}\n")
    rows = [
        ["engine alone on the same tiles", f"{alone.wall:.1f}", "1.000x", f"{alone.cpu:.1f}", "1.000x", ""],
        ["sr-batch, start to end", f"{command.wall:.1f}", f"{command.wall / alone.wall:.3f}x", f"{command.cpu:.1f}",
         f"{command.cpu / alone.cpu:.3f}x", f"{peak_gb:.2f}"],
    ]  # fmt: skip
    print_table(["what", "s", "ratio", "CPU s", "ratio", "peak GB"], rows)
    print(f"\n{said}")


def make_photos(folder: Path, count: int, side: int) -> list[Path]:
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


def _engine_alone(engine: Engine, photos: list[Path]) -> Cost:
    """What the engine takes for these photos' tiles, decoded before; the shape's first run is not counted."""
    wall = cpu = 0.0
    halo = engine.traits.halo_measured or engine.traits.halo or 0
    for index, path in enumerate(photos):
        with Image.open(path) as image:
            pixels = np.asarray(image)
        plan = plan_tiles(pixels.shape[0], pixels.shape[1], engine.traits.tile, halo)
        if index == 0:
            tile = next(iter(plan))
            next(engine.stream([pixels[None, tile.rows.window(), tile.columns.window()]]))
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        for _ in upscale(pixels, engine.stream, plan, TileOptions(engine.traits.scale)):
            pass
        wall, cpu = wall + time.perf_counter() - wall_before, cpu + time.process_time() - cpu_before
    return Cost(wall, cpu)


def _command(folder: Path, options: argparse.Namespace) -> tuple[Cost, float, str]:
    """What the command took, its peak resident memory in GB, and the last lines that it printed."""
    command = [sys.executable, "-m", "sr_batch.cli", str(folder), "-f", options.format, "-n", options.model]
    begun = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", WATCH, *command], capture_output=True, text=True, check=True)
    wall = time.perf_counter() - begun
    cpu, peak_kb = map(float, result.stdout.split()[-2:])
    return Cost(wall, cpu), peak_kb / 1e6, "\n".join(result.stderr.splitlines()[-2:])


if __name__ == "__main__":
    main()
