"""How fast each engine runs the same tiles, and how far its pictures are from PyTorch's.

    python benchmarks/engines.py [--tile 128 256] [--rounds 5]

The first row is PyTorch as it comes: the trained network, eager, fp32, contiguous NCHW. The second gives it the same
pixels in channels-last order, which is faster on some CPUs. The others run the deployed graph. The rate of a large fp32
matrix product in the same process is printed as a measure of what the CPU can do.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from measure import interleaved_seconds, machine, print_table
from PIL import Image

from sr_export.engines import Engine, EngineName, Pixels, Precision, open_engine
from sr_export.engines.openvino_engine import computes_in_bf16
from sr_export.machine import cpu_threads
from sr_export.model import find_model, prepare
from sr_export.parity import compare
from sr_train.checkpoint import load_checkpoint

SAMPLES = Path(__file__).parent.parent / "samples"
BASELINE = "PyTorch eager fp32, as trained"
MATRIX_SIDE = 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tile", type=int, nargs="+", default=[128, 256], help="window sides in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="srresnet")
    options = parser.parse_args()
    prepared = prepare(find_model(options.model))
    torch.set_num_threads(cpu_threads())
    precisions = [Precision.FP32, *([Precision.BF16] if computes_in_bf16() else [])]
    print(machine(), "\n")
    with ExitStack() as stack:
        run: dict[str, Callable[[Pixels], Pixels]] = {
            BASELINE: _as_trained(prepared.model.path, torch.contiguous_format),
            f"{BASELINE}, channels last": _as_trained(prepared.model.path, torch.channels_last),
        }
        for name, precision in [(EngineName.TORCH, Precision.FP32), (EngineName.ONNX, Precision.FP32)] + [
            (EngineName.OPENVINO, precision) for precision in precisions
        ]:
            engine = stack.enter_context(open_engine(prepared, name, precision, "cpu"))
            run[engine.traits.describe()] = _one_batch(engine)
        for tile in options.tile:
            _measure(run, tile, options.rounds)
    matrix = torch.rand(MATRIX_SIDE, MATRIX_SIDE)
    seconds = interleaved_seconds({"product": lambda: matrix @ matrix}, options.rounds)["product"]
    print(f"fp32 matrix product of {MATRIX_SIDE}: {2 * MATRIX_SIDE**3 / seconds / 1e9:.0f} GFLOP/s")


def _measure(run: dict[str, Callable[[Pixels], Pixels]], tile: int, rounds: int) -> None:
    batch = _photo_tile(tile)
    expected = run[BASELINE](batch)
    seconds = interleaved_seconds({name: _bound(function, batch) for name, function in run.items()}, rounds)
    rows = []
    for name, function in run.items():
        speed = tile * tile / seconds[name] / 1e6
        ratio = seconds[BASELINE] / seconds[name]
        difference = compare(function(batch), expected)
        rows.append([name, f"{seconds[name] * 1e3:.0f}", f"{speed:.4f}", f"{ratio:.2f}x", str(difference)])
    print_table([f"{tile}x{tile} tile", "ms", "MP/s in", "speed", "against the first row"], rows)
    print()


def _as_trained(path: Path, order: torch.memory_format) -> Callable[[Pixels], Pixels]:
    generator, _ = load_checkpoint(path)

    def run(batch: Pixels) -> Pixels:
        with torch.inference_mode():
            x = torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous(memory_format=order).float() / 255
            y = ((generator(x) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        result: Pixels = y.permute(0, 2, 3, 1).numpy()
        return result

    return run


def _one_batch(engine: Engine) -> Callable[[Pixels], Pixels]:
    return lambda batch: next(engine.stream([batch])).copy()


def _bound(function: Callable[[Pixels], Pixels], batch: Pixels) -> Callable[[], Pixels]:
    return lambda: function(batch)


def _photo_tile(side: int) -> Pixels:
    """A window of a real photo, mirrored where the photo ends: uint8 [1, side, side, 3]."""
    with Image.open(SAMPLES / "cat.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    grow = [(0, max(0, side - length)) for length in pixels.shape[:2]]
    return np.ascontiguousarray(np.pad(pixels, [*grow, (0, 0)], mode="reflect")[None, :side, :side])


if __name__ == "__main__":
    main()
