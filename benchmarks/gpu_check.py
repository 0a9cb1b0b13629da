"""Acceptance on a machine with an NVIDIA GPU: `make gpu-check`, or python benchmarks/gpu_check.py [REPORT.json].

It has never run: there was no GPU where it was written. It goes through these steps, each of which may fail alone,
prints what it finds, and writes one report file:

    machine     sr-export doctor
    parity      every form on the samples against torch fp32, with the gates
    graphs      CUDA-graph replay gives what a plain enqueue gives
    overlap     two slots are faster than one, and give the same pictures
    foreign     a plan of another version is refused, and built again
    memory      a tile too large for the GPU ends in a smaller one
    speed       frames a second at 480p, 720p, 1080p against torch fp16; share of the GPU's measured fp16 matmul peak

Exit code 0 when every step passed, 1 otherwise, 2 without a GPU.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sr_export.derived import derived_file
from sr_export.doctor import examine, to_text
from sr_export.engines import EngineName, Pixels, Precision, open_engine
from sr_export.engines.tensorrt_engine import TensorRtEngine
from sr_export.flavour import Flavour, missing_package
from sr_export.gpu import ask_driver
from sr_export.model import Prepared, find_model, prepare
from sr_export.parity_report import to_json, to_table
from sr_export.parity_run import find_forms, load_images, measure_parity
from sr_export.shape import BatchShape

SAMPLES = Path(__file__).parent.parent / "samples"
FRAMES = {"480p": BatchShape(1, 480, 854), "720p": BatchShape(1, 720, 1280), "1080p": BatchShape(1, 1080, 1920)}
TILE = BatchShape(1, 256, 256)
MIN_SECONDS = 3.0
MATMUL_SIDE = 8192
# Multiply-adds of the deployed network for one LR pixel: 9·9·3·64 + 33·3·3·64·64 at input size, 3·3·64·256 at input
# size and 4 times that at twice the size, and the folded 5x5 tail, 256 -> 12, at twice the size.
MACS_PER_PIXEL = 81 * 3 * 64 + 33 * 9 * 64 * 64 + 9 * 64 * 256 + 4 * 9 * 64 * 256 + 4 * 25 * 256 * 12

Check = Callable[[Prepared], dict[str, Any]]


def main() -> int:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("gpu-check.json")
    driver = ask_driver()
    print(to_text(examine()))
    if not driver.gpus:
        print(f"gpu-check needs an NVIDIA GPU: {driver.problem}", file=sys.stderr)
        return 2
    prepared = prepare(find_model("srresnet"), print)
    checks: list[tuple[str, Check]] = [("parity", parity)]
    for flavour in Flavour:
        if missing_package(flavour) is None:
            steps = (graphs, overlap, foreign, memory, speed)
            checks += [(f"{step.__name__} {flavour}", partial(step, flavour=flavour)) for step in steps]
    report: dict[str, Any] = {"machine": [asdict(finding) for finding in examine()]}
    for name, check in checks:
        print(f"== {name}")
        try:
            report[name] = {"passed": True} | check(prepared)
        except Exception as error:  # one broken step must not hide the others
            traceback.print_exc()
            report[name] = {"passed": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(report[name], indent=1))
        target.write_text(json.dumps(report, indent=1))
    print(f"report: {target}")
    return 0 if all(report[name]["passed"] for name, _ in checks) else 1


def parity(prepared: Prepared) -> dict[str, Any]:
    from rich.console import Console

    measured = measure_parity("srresnet", find_forms(prepared), load_images(SAMPLES), print)
    Console(width=120).print(to_table(measured))
    return {"passed": measured.passed(), "forms": json.loads(to_json(measured))["forms"]}


def graphs(prepared: Prepared, flavour: Flavour) -> dict[str, Any]:
    """The first batch of a slot is enqueued plainly, the later ones are replays: the same picture must come."""
    with TensorRtEngine(prepared, flavour, Precision.FP16, 0, TILE, print) as engine:
        image = noise(TILE)
        results = [result.copy() for result in engine.stream([image] * 8)]
    different = [index for index, result in enumerate(results) if not np.array_equal(result, results[0])]
    return {"passed": not different, "replays that differ": different}


def overlap(prepared: Prepared, flavour: Flavour) -> dict[str, Any]:
    with TensorRtEngine(prepared, flavour, Precision.FP16, 0, TILE, print) as engine:
        runner = engine.runner
        single = runner.with_slots(1)
        batches = [noise(TILE, seed) for seed in range(8)]
        same = all(
            np.array_equal(a, b)
            for a, b in zip([r.copy() for r in single.stream(batches)], runner.stream(batches), strict=True)
        )
        one, two = (rate(partial(slots.stream, batches)) for slots in (single, runner))
    return {"passed": same and two > one, "same pictures": same, "tiles/s, 1 slot": one, "tiles/s, 2 slots": two}


def foreign(prepared: Prepared, flavour: Flavour) -> dict[str, Any]:
    """A plan whose header names another version lies in the cache, with a sidecar that vouches for it."""
    said: list[str] = []
    with TensorRtEngine(prepared, flavour, Precision.FP16, 0, TILE, print) as engine:
        path = engine.plan_path
    sidecar = path.with_name(path.name + ".json")
    recipe = json.loads(sidecar.read_text())["recipe"]
    plan = bytearray(path.read_bytes())
    plan[0x18:0x1C] = bytes([9, 9, 9, 9])  # the version, in the header
    path.unlink()
    stem = path.name.rsplit("-", 1)[0]
    planted = derived_file(stem, f".{flavour}.plan", recipe, lambda target: _write(target, bytes(plan)))
    assert planted == path
    with TensorRtEngine(prepared, flavour, Precision.FP16, 0, TILE, said.append) as engine:
        ran = len(list(engine.stream([noise(TILE)]))) == 1
    refused = any("building it again" in line for line in said)
    return {"passed": ran and refused, "said": said}


def memory(prepared: Prepared, flavour: Flavour) -> dict[str, Any]:
    """Most of the memory is taken; a large tile must end in a smaller one that runs."""
    said: list[str] = []
    free, _ = torch.cuda.mem_get_info(0)
    taken = torch.empty(int(free - 1.5e9), dtype=torch.uint8, device="cuda:0")
    try:
        with TensorRtEngine(prepared, flavour, Precision.FP16, 0, BatchShape(1, 1024, 1024), said.append) as engine:
            shape = engine.shape
            ran = len(list(engine.stream([noise(shape)]))) == 1
    finally:
        del taken
        torch.cuda.empty_cache()
    smaller = shape.height < 1024
    return {"passed": ran and smaller, "opened at": str(shape), "said": said}


def speed(prepared: Prepared, flavour: Flavour) -> dict[str, Any]:
    peak = matmul_peak()
    figures: dict[str, Any] = {"fp16 matmul TFLOP/s": peak / 1e12}
    for name, shape in FRAMES.items():
        frames = [noise(shape, seed) for seed in range(4)]
        with TensorRtEngine(prepared, flavour, Precision.FP16, 0, shape, print) as engine:
            if engine.shape != shape:
                figures[name] = f"does not fit; the largest tile is {engine.shape}"
                continue
            ours = rate(partial(engine.stream, frames))
        entry = {"fps": ours, "share of matmul peak": ours * flops(shape) / peak}
        figures[name] = entry | torch_figures(prepared, frames, ours)
    return figures


def torch_figures(prepared: Prepared, frames: list[Pixels], ours: float) -> dict[str, Any]:
    try:
        with open_engine(prepared, EngineName.TORCH, Precision.FP16, "cuda:0") as engine:
            theirs = rate(partial(engine.stream, frames))
    except Exception as error:  # torch may not have the memory for a whole frame: then there is no figure
        return {"torch fp16": str(error)}
    return {"torch fp16 fps": theirs, "ratio": ours / theirs}


def rate(stream: Callable[[], Iterator[Pixels]]) -> float:
    """Results a second, after one pass that does not count."""
    for _ in stream():
        pass
    count, begun = 0, time.perf_counter()
    while (seconds := time.perf_counter() - begun) < MIN_SECONDS:
        count += sum(1 for _ in stream())
    return count / seconds


def flops(shape: BatchShape) -> float:
    return 2.0 * MACS_PER_PIXEL * shape.count * shape.height * shape.width


def matmul_peak() -> float:
    """Half-precision FLOP/s of a large matrix product on this GPU: what a convolution could reach at best."""
    a = torch.randn(MATMUL_SIDE, MATMUL_SIDE, dtype=torch.float16, device="cuda:0")
    for _ in range(3):
        a @ a
    torch.cuda.synchronize()
    count, begun = 50, time.perf_counter()
    for _ in range(count):
        a @ a
    torch.cuda.synchronize()
    return count * 2.0 * MATMUL_SIDE**3 / (time.perf_counter() - begun)


def noise(shape: BatchShape, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape.nhwc(), dtype=np.uint8)


def _write(target: Path, content: bytes) -> None:
    target.write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
