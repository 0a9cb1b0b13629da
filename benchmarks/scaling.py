"""What a run costs by the size of a photo, by the number of photos, and by the number of cores; with a plot.

    python benchmarks/scaling.py [--what size files cores] [--plot scaling.png]

size    one photo of each size; with the network up to --real MP, and with a stand-in that repeats pixels up to 50 MP:
        that is what all but the network costs
files   folders of 128x128 thumbnails: with the network up to --real-files, with the stand-in up to 5,000, and the
        loop of Real-ESRGAN's tool (PyTorch eager fp32, one by one) on a sample of them
cores   a folder of small photos on one core and on all, and the same loop

Each run is a process of its own. Its start (imports, opening the engine) is not counted, its peak memory is. Runs that
are compared take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from measure import WATCH, machine, print_table
from numpy.typing import NDArray
from PIL import Image

from sr_batch.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sr_batch.events import Events

SAMPLES = Path(__file__).parent.parent / "samples"
HALO, TILE, THUMBNAIL = 12, 352, 128
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Cost:
    """Of one run."""

    seconds: float  # without the start
    peak_gb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--what", nargs="+", default=["size", "files", "cores"], choices=["size", "files", "cores"])
    parser.add_argument("--sizes", nargs="+", type=float, default=[0.1, 0.3, 1, 3, 12, 50], help="MP")
    parser.add_argument("--real", type=float, default=1.0, help="MP: the largest photo with the network")
    parser.add_argument("--files", nargs="+", type=int, default=[1, 10, 100, 1000, 5000])
    parser.add_argument("--real-files", type=int, default=100, help="the largest folder with the network")
    parser.add_argument("--sample", type=int, default=10, help="thumbnails that the loop does")
    parser.add_argument("--photos", type=int, default=4, help="of the runs on one core and on all")
    parser.add_argument("--side", type=int, default=300, help="of those photos")
    parser.add_argument("--rounds", type=int, default=1, help="of each of those runs")
    parser.add_argument("--model", default="srresnet")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)  # ours: a run in a process of its own
    options = parser.parse_args()
    if options.child:
        return _child(*options.child)
    print(f"{machine()}\n")
    sizes = _by_size(options) if "size" in options.what else {}
    files = _by_files(options) if "files" in options.what else {}
    cores = _by_cores(options) if "cores" in options.what else {}
    if options.plot:
        _plot(options.plot, sizes, files, cores)
    return None


def _by_size(options: argparse.Namespace) -> dict[str, dict[float, Cost]]:
    found: dict[str, dict[float, Cost]] = {"network": {}, "stand-in": {}}
    for megapixels in options.sizes:
        side = round((megapixels * 1e6) ** 0.5)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _save(folder / "photos" / "0.jpg", side, 0)
            if megapixels <= options.real:
                found["network"][megapixels] = _run("network", folder, options.model)
            found["stand-in"][megapixels] = _run("stand-in", folder, options.model)
    rows = []
    for megapixels in options.sizes:
        costs = [found[what].get(megapixels) for what in found]
        rows.append([f"{megapixels:g}", *(f"{c.seconds / megapixels:.2f}" if c else "" for c in costs)])
        rows[-1] += [f"{c.peak_gb:.2f}" if c else "" for c in costs]
    print_table(["MP", "network, s/MP", "stand-in, s/MP", "network, peak GB", "stand-in, peak GB"], rows)
    print()
    return found


def _by_files(options: argparse.Namespace) -> dict[str, dict[float, Cost]]:
    found: dict[str, dict[float, Cost]] = {"network": {}, "stand-in": {}, "loop": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = 0
        for count in options.files:
            for number in range(made, count):
                _save(folder / "photos" / f"{number:05}.jpg", THUMBNAIL, number)
            made = max(made, count)
            if count <= options.real_files:
                found["network"][count] = _run("network", folder, options.model)
            found["stand-in"][count] = _run("stand-in", folder, options.model)
        sample = Path(name) / "sample"
        for number in range(min(options.sample, made)):
            _save(sample / "photos" / f"{number:05}.jpg", THUMBNAIL, number)
        before = _run("loop", sample, options.model)
        again = _run("network", sample, options.model)  # beside the loop, so that a drifting machine treats them alike
        found["loop"][options.sample] = before
    rows = []
    for count in options.files:
        costs = [found[what].get(count) for what in ("network", "stand-in")]
        rows.append([str(count), *(f"{cost.seconds / count * 1e3:.1f}" if cost else "" for cost in costs)])
        rows[-1] += [f"{cost.peak_gb:.2f}" if cost else "" for cost in costs]
    print_table(
        ["files", "network, ms/file", "stand-in, ms/file", "network, peak GB", "stand-in, peak GB"],
        rows,
    )
    print(f"\n{options.sample} thumbnails: loop {before.seconds / options.sample * 1e3:.0f} ms a file, sr-batch "
          f"{again.seconds / options.sample * 1e3:.0f}: {before.seconds / again.seconds:.2f}x\n")  # fmt: skip
    return found


def _by_cores(options: argparse.Namespace) -> dict[str, dict[int, float]]:
    """Seconds by the number of cores, of ours and of the loop."""
    cores = sorted(os.sched_getaffinity(0))
    sets = {"1 core": cores[:1], f"{len(cores)} cores": cores}
    seconds: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(options.photos):
            _save(folder / "photos" / f"{number}.jpg", options.side, number)
        for _ in range(options.rounds):
            for what in ("network", "loop"):
                for label, chosen in sets.items():
                    seconds.setdefault((what, label), []).append(_run(what, folder, options.model, chosen).seconds)
    rows, found = [], {}
    for what, called in (("network", "sr-batch"), ("loop", "the loop")):
        one, all_ = (float(np.median(seconds[what, label])) for label in sets)
        found[called] = {1: one, len(cores): all_}
        rows.append([called, f"{one:.1f}", f"{all_:.1f}", f"{one / all_:.2f}x"])
    print_table(
        [f"{options.photos} photos of {options.side}x{options.side}", *(f"{s}, s" for s in sets), "speed"], rows
    )
    print()
    return found


def _run(what: str, folder: Path, model: str, cores: Sequence[int] = ()) -> Cost:
    """The photos of the folder in a process of its own, on these cores (none named: all)."""
    child = [sys.executable, __file__, "--child", what, str(folder), model, ",".join(map(str, cores))]
    result = subprocess.run([sys.executable, "-c", WATCH, *child], capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stderr)
    seconds, (_, peak_kb) = result.stdout.split()[-3], result.stdout.split()[-2:]
    return Cost(float(seconds), float(peak_kb) / 1e6)


def _child(what: str, folder: str, model: str, cores: str = "") -> None:
    """Upscale the folder's photos and print how many seconds that took."""
    if cores:
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    source, target = Path(folder) / "photos", Path(folder) / f"out-{time.time_ns()}"
    match what:
        case "network":
            seconds = _command(source, target, model)
        case "stand-in":
            seconds = _stand_in(source, target)
        case _:
            seconds = _loop(source, target, model)
    print(seconds)


def _command(source: Path, target: Path, model: str) -> float:
    from sr_batch.cli import main as sr_batch

    report = target.with_suffix(".json")
    try:
        sr_batch([str(source), "-o", str(target), "-f", "png", "-n", model, "-q", "--report", str(report)])
    except SystemExit as ended:
        if ended.code:
            raise
    return float(json.loads(report.read_text())["summary"]["seconds"])


def _stand_in(source: Path, target: Path) -> float:
    """All of a run but the network: each pixel becomes a block."""
    from sr_batch.events import Summary
    from sr_batch.folders import Naming, find_jobs
    from sr_batch.photos import PhotoFormat, use_own_limits
    from sr_batch.pipeline import run_batch

    def repeat(batches: Iterable[NDArray[np.uint8]]) -> Generator[NDArray[np.uint8]]:
        for batch in batches:
            yield batch.repeat(4, axis=1).repeat(4, axis=2)

    use_own_limits()
    target.mkdir()
    jobs = find_jobs([source], Naming("_x4", target, None, PhotoFormat.PNG)).photos()
    summary = Summary()
    run_batch(jobs, repeat, Settings(4, TILE, HALO), cast("Events", _Nobody()), summary)
    assert not summary.failures, summary.failures[0]
    return summary.seconds


def _loop(source: Path, target: Path, model: str) -> float:
    """Real-ESRGAN's tool, its start apart."""
    import torch
    from peers import _eager, _tiled, _timed

    from sr_export.machine import cpu_threads
    from sr_export.model import find_model
    from sr_train.checkpoint import load_checkpoint

    target.mkdir()
    torch.set_num_threads(cpu_threads())
    network = load_checkpoint(find_model(model).path)[0].eval()
    with torch.inference_mode():
        upscale = _tiled(_eager(network), tile=400, pad=10)
        return sum(_timed(upscale, photo, target) for photo in sorted(source.iterdir()))


class _Nobody:
    """Events that nobody hears."""

    def __getattr__(self, _name: str) -> object:
        return lambda *_: None


def _save(path: Path, side: int, number: int) -> None:
    """A JPEG of side x side: a part of a sample, a different one for each number, mirrored where it is too small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sources = sorted(p for p in SAMPLES.iterdir() if p.suffix != ".md")
    with Image.open(sources[number % len(sources)]) as image:
        pixels = np.asarray(image.convert("RGB"))
    shift = number // len(sources)
    pixels = np.roll(pixels, (7 * shift, 11 * shift), axis=(0, 1))
    grow = [(0, max(0, side - length)) for length in pixels.shape[:2]]
    mirrored = np.pad(pixels, [*grow, (0, 0)], mode="symmetric")[:side, :side]
    Image.fromarray(np.ascontiguousarray(mirrored)).save(path, quality=95)


def _plot(
    path: Path,
    sizes: dict[str, dict[float, Cost]],
    files: dict[str, dict[float, Cost]],
    cores: dict[str, dict[int, float]],
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(16, 3.6), layout="constrained")
    panels: list[tuple[Axes, dict[str, dict[float, Cost]], str, str, Callable[[float, Cost], float]]] = [
        (axes[0], sizes, "MP of the photo", "s a MP", lambda x, cost: cost.seconds / x),
        (axes[1], sizes, "MP of the photo", "peak GB", lambda _, cost: cost.peak_gb),
        (axes[2], files, "thumbnails of 128x128", "ms a file", lambda x, cost: cost.seconds / x * 1e3),
    ]
    for axis, found, across, up, height in panels:
        for what, costs in found.items():
            if costs:
                axis.plot(list(costs), [height(x, cost) for x, cost in costs.items()], marker="o", label=what)
        axis.set(xscale="log", xlabel=across, ylabel=up)
        if up == "peak GB":
            axis.set_ylim(bottom=0)
        else:
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
        if found:
            axis.legend()
    for called, seconds in cores.items():
        axes[3].plot(list(seconds), list(seconds.values()), marker="o", label=called)
    if cores:
        axes[3].set(xlabel="cores", ylabel="s", xticks=sorted({n for seconds in cores.values() for n in seconds}))
        axes[3].set_ylim(bottom=0)
        axes[3].grid(alpha=0.3)
        axes[3].legend()
    figure.savefig(path, dpi=110)
    print(f"plot: {path}")


if __name__ == "__main__":
    main()
