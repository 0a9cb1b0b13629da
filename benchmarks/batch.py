"""A whole `sr-batch` run against the engine alone on the same tiles: what decoding, stitching and encoding cost.

    python benchmarks/batch.py [--photos 12] [--side 1000] [--format png]

The photos are the samples, mirrored to side x side pixels, as JPEG. The engine runs one half of them before the
command and the other after it, so that a machine whose speed drifts treats both alike. Prints both in seconds and in
CPU seconds (which other work disturbs less), their ratios, the command's peak memory, and what it said itself; how much
of the command's time its engine was computing (--profile), and how near the engine comes to this CPU's own matrix
products in its precision (at least 92 % and 80 % are asked for).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from measure import WATCH, interleaved_seconds, machine, print_table
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from sr_batch.tiles import plan_tiles
from sr_batch.upscale import TileOptions, upscale
from sr_export.deploy import deploy
from sr_export.engines import Engine, Precision, open_engine
from sr_export.machine import cpu_threads
from sr_export.model import Model, find_model, prepare
from sr_train.checkpoint import load_checkpoint

SAMPLES = Path(__file__).parent.parent / "samples"
MATRIX_SIDE = 2048


@dataclass(frozen=True)
class Cost:
    wall: float  # seconds
    cpu: float  # seconds of all threads


@dataclass(frozen=True)
class Watched:
    """What a run of the command was like."""

    cost: Cost
    peak_gb: float
    said: str  # its last lines
    computing: float  # seconds, from its profile
    working: float  # seconds, from the first stage's beginning to the last one's end
    computed_pixels: int  # LR, halos included


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, default=12)
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--format", default="same")
    parser.add_argument("--model", default="srresnet")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    named: Precision | Literal["auto"] = "auto"  # of the engine alone: INT8 is a form that the command makes
    if options.precision not in ("auto", "int8"):
        named = Precision(options.precision)
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder) / "photos", options.photos, options.side)
        model = find_model(options.model)
        with open_engine(prepare(model), precision=named) as engine:
            rates = [_product_rate(engine.traits.precision)]
            first = _engine_alone(engine, photos[: len(photos) // 2])
            run = _command(Path(folder) / "photos", options)
            second = _engine_alone(engine, photos[len(photos) // 2 :])
            rates.append(_product_rate(engine.traits.precision))
            name = engine.traits.describe()
    command = run.cost
    alone = Cost(first.wall + second.wall, first.cpu + second.cpu)
    print(f"{machine()}\n\n{options.photos} photos of {options.side}x{options.side}, {name}, -f {options.format}\n")
    rows = [
        ["engine alone on the same tiles", f"{alone.wall:.1f}", "1.000x", f"{alone.cpu:.1f}", "1.000x", ""],
        ["sr-batch, start to end", f"{command.wall:.1f}", f"{command.wall / alone.wall:.3f}x", f"{command.cpu:.1f}",
         f"{command.cpu / alone.cpu:.3f}x", f"{run.peak_gb:.2f}"],
    ]  # fmt: skip
    print_table(["what", "s", "ratio", "CPU s", "ratio", "peak GB"], rows)
    print(f"\n{run.said}")
    print(
        f"\nengine busy {run.computing:.1f} s: {run.computing / run.working:.1%} of the work's {run.working:.1f} s, "
        f"{run.computing / command.wall:.1%} of the command's {command.wall:.1f} s (asked: 92 %)"
    )
    rate = run.computed_pixels * _flop_of_a_pixel(model) / run.computing / 1e9
    print(
        f"engine {rate:.0f} GFLOP/s, matrix products {rates[0]:.0f} before and {rates[1]:.0f} after: "
        f"{rate / (sum(rates) / 2):.0%} (asked: 80 %)"
    )


def make_photos(folder: Path, count: int, side: int) -> list[Path]:
    """JPEGs made of the samples, no two the same: tiles with equal bytes would be computed once."""
    folder.mkdir()
    sources = sorted(p for p in SAMPLES.iterdir() if p.suffix != ".md")
    paths = []
    for index in range(count):
        with Image.open(sources[index % len(sources)]) as image:
            pixels = np.asarray(image.convert("RGB"))
        grow = [(0, max(0, side - length)) for length in pixels.shape[:2]]
        paths.append(folder / f"{index:03}.jpg")
        mirrored = np.pad(pixels, [*grow, (0, 0)], mode="symmetric")[:side, :side]
        shown = np.roll(mirrored, 7 * (index // len(sources)), axis=(0, 1))
        Image.fromarray(np.ascontiguousarray(shown)).save(paths[-1], quality=95)
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


def _command(folder: Path, options: argparse.Namespace) -> Watched:
    profile, report = folder.parent / "profile.json", folder.parent / "report.json"
    command = [sys.executable, "-m", "sr_batch.cli", str(folder), "-f", options.format, "-n", options.model]
    command += ["--precision", options.precision, "--profile", str(profile), "--report", str(report)]
    begun = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", WATCH, *command], capture_output=True, text=True, check=True)
    wall = time.perf_counter() - begun
    cpu, peak_kb = map(float, result.stdout.split()[-2:])
    events = [event for event in json.loads(profile.read_text()) if event["ph"] == "X"]
    computing = sum(event["dur"] for event in events if event["name"] == "compute") / 1e6
    working = (max(e["ts"] + e["dur"] for e in events) - min(e["ts"] for e in events)) / 1e6
    computed = json.loads(report.read_text())["summary"]["tiles"]["computed_pixels"]
    said = "\n".join(result.stderr.splitlines()[-3:])
    return Watched(Cost(wall, cpu), peak_kb / 1e6, said, computing, working, computed)


def _product_rate(precision: Precision) -> float:
    """GFLOP/s of PyTorch's matrix product in this precision (INT8: in bf16), the median of several."""
    torch.set_num_threads(cpu_threads())
    kind = torch.float32 if precision is Precision.FP32 else torch.bfloat16
    matrix = torch.rand(MATRIX_SIDE, MATRIX_SIDE).to(kind)
    seconds = interleaved_seconds({"product": lambda: matrix @ matrix}, rounds=7)["product"]
    return 2 * MATRIX_SIDE**3 / seconds / 1e9


def _flop_of_a_pixel(model: Model) -> float:
    """Of the deployed network, for one LR pixel: two for each multiplication."""
    core = deploy(load_checkpoint(model.path)[0]).core
    side = 32
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        core(torch.rand(1, 3, side, side))
    return float(counter.get_total_flops()) / side**2


if __name__ == "__main__":
    main()
