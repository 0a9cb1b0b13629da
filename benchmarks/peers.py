"""`sr-batch` against what a user would run instead, from a folder of JPEGs to a folder of PNGs, with the same weights.

    pip install 'sr-toolkit[bench]'
    python benchmarks/peers.py [--photos 24] [--side 1000] [--peers ours,loop,whole,bf16,onnx,ncnn,ncnn-bf16]

loop        the tile loop of Real-ESRGAN's tool: PyTorch eager fp32, tiles of 400 with 10 pixels around, one at a time
whole       PyTorch eager fp32, channels last, the whole photo at once, as the chaiNNer family does with spandrel
            (its largest layers are 4 GB each for 1 MP, and it holds two or three)
bf16        the same in bf16: what it takes for half precision on a CPU (slow where the CPU has no bf16)
onnx        ONNX Runtime fp32 on the network as trained (no tail fold), tiles of 400 with 40 around: exact
ncnn[-bf16] ncnn on the CPU on the network as trained (by pnnx), tiles of 100 with 10 around as its upscalers cut them

The peers run in this process, their start-up and model loading are not counted; `sr-batch` is a command of its own and
its start is, but in its second row. Peers take turns photo by photo; `sr-batch` does half of the photos before them and
half after. Every output is compared with onnx's, so that nobody is measured doing something else.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from batch import make_photos
from measure import machine, print_table
from numpy.typing import NDArray

from sr_export.machine import cpu_threads
from sr_export.model import find_model
from sr_train.checkpoint import load_checkpoint
from sr_train.generator import Generator

SCALE = 4
# Its upscalers take 200, 100, 64 or 32, by the memory there is: ncnn unfolds the 9x9 layer at full size, which takes
# 16 GB for 200 and 5 GB for 100.
NCNN_TILE = 100
OURS, REFERENCE = "ours", "onnx"
PEERS = (OURS, "loop", "whole", "bf16", REFERENCE, "ncnn", "ncnn-bf16")
WITHOUT_START = "ours, its start apart"
Pixels = NDArray[np.uint8]
Values = NDArray[np.float32]  # CHW RGB: [0, 1] into the network, [-1, 1] out of it
Run = Callable[[Values], Values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--precision", default="auto", help="of sr-batch: auto, fp32, bf16, int8")
    options = parser.parse_args()
    names = options.peers.split(",")
    if missing := [name for name in ("ncnn", "pnnx") if "ncnn" in options.peers and find_spec(name) is None]:
        parser.error(f"{missing[0]} is not installed: pip install 'sr-toolkit[bench]', or leave it out of --peers")
    torch.set_num_threads(cpu_threads())
    network = load_checkpoint(find_model("srresnet").path)[0].eval()
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        photos = make_photos(folder / "photos", options.photos, options.side)
        outputs = {peer: folder / peer for peer in names}
        for output in outputs.values():
            output.mkdir()
        peers = _peers([n for n in names if n != OURS], network, folder)
        halves = photos[: len(photos) // 2], photos[len(photos) // 2 :]
        seconds = dict.fromkeys([*names, *([WITHOUT_START] if OURS in names else [])], 0.0)
        for half in halves:
            if OURS in names and half is halves[0] and half:
                _ours(half, outputs[OURS], options.precision, seconds)
            for photo in half:
                for peer, upscale in peers.items():
                    seconds[peer] += _timed(upscale, photo, outputs[peer])
        if OURS in names:
            _ours(halves[1], outputs[OURS], options.precision, seconds)
        print(f"{machine()}\n\n{options.photos} photos of {options.side}x{options.side}\n")
        print_table(
            ["", "s a photo", "sr-batch is faster by / start apart", "PSNR to exact fp32, dB"],
            _rows(seconds, outputs, photos),
        )


def _rows(seconds: Mapping[str, float], outputs: Mapping[str, Path], photos: list[Path]) -> list[list[str]]:
    rows = []
    for name, total in seconds.items():
        ratios = [f"{total / seconds[of]:.2f}x" for of in (OURS, WITHOUT_START) if of in seconds]
        closeness = _closeness(name, outputs, photos) if name in outputs else ""
        rows.append([name, f"{total / len(photos):.2f}", " / ".join(ratios), closeness])
    return rows


def _closeness(name: str, outputs: Mapping[str, Path], photos: list[Path]) -> str:
    if REFERENCE not in outputs:
        return ""
    errors = []
    for photo in photos:
        ours, exact = (cv2.imread(str(outputs[of] / f"{photo.stem}.png")) for of in (name, REFERENCE))
        assert ours is not None and exact is not None
        errors.append(np.mean((ours.astype(np.float32) - exact.astype(np.float32)) ** 2))
    mean = float(np.mean(errors))
    return "exact" if mean == 0 else f"{10 * np.log10(255**2 / mean):.1f}"


def _ours(photos: list[Path], output: Path, precision: str, seconds: dict[str, float]) -> None:
    """Adds the seconds of the command from its start to its end, and of its work alone."""
    report = output.parent / "report.json"
    command = [sys.executable, "-m", "sr_batch.cli", *map(str, photos), "-o", str(output), "-f", "png"]
    begun = time.perf_counter()
    subprocess.run([*command, "--precision", precision, "--report", str(report)], check=True, capture_output=True)
    seconds[OURS] += time.perf_counter() - begun
    seconds[WITHOUT_START] += json.loads(report.read_text())["summary"]["seconds"]


def _timed(upscale: Callable[[Pixels], Pixels], photo: Path, output: Path) -> float:
    begun = time.perf_counter()
    pixels = cv2.imread(str(photo))
    assert pixels is not None
    result = upscale(np.asarray(pixels[..., ::-1], np.uint8))
    cv2.imwrite(str(output / f"{photo.stem}.png"), result[..., ::-1])
    return time.perf_counter() - begun


def _peers(names: list[str], network: Generator, folder: Path) -> dict[str, Callable[[Pixels], Pixels]]:
    build: Mapping[str, Callable[[], Callable[[Pixels], Pixels]]] = {
        "loop": lambda: _tiled(_eager(network), tile=400, pad=10),
        "whole": lambda: _tiled(_whole(network, torch.float32), tile=1 << 30, pad=0),
        "bf16": lambda: _tiled(_whole(network, torch.bfloat16), tile=1 << 30, pad=0),
        REFERENCE: lambda: _tiled(_onnx(network, folder), tile=400, pad=network.halo()),
        "ncnn": lambda: _tiled(_ncnn(network, folder, bf16=False), tile=NCNN_TILE, pad=10),
        "ncnn-bf16": lambda: _tiled(_ncnn(network, folder, bf16=True), tile=NCNN_TILE, pad=10),
    }
    return {name: build[name]() for name in names}


def _tiled(run: Run, tile: int, pad: int) -> Callable[[Pixels], Pixels]:
    """uint8 HWC RGB -> the same SCALE times larger: one tile at a time, each with `pad` pixels around it."""

    def upscale(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        values = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32) / 255
        result = np.empty((height * SCALE, width * SCALE, 3), np.uint8)
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                bottom, right = min(top + tile, height), min(left + tile, width)
                y, x = max(top - pad, 0), max(left - pad, 0)
                window = values[:, y : min(bottom + pad, height), x : min(right + pad, width)]
                large = run(np.ascontiguousarray(window))
                kept = large[
                    :, (top - y) * SCALE : (bottom - y) * SCALE, (left - x) * SCALE : (right - x) * SCALE
                ].transpose(1, 2, 0)
                bytes_ = np.clip((kept + 1) * 127.5, 0, 255).round().astype(np.uint8)
                result[top * SCALE : bottom * SCALE, left * SCALE : right * SCALE] = bytes_
        return result

    return upscale


def _eager(network: Generator) -> Run:
    return lambda values: network(torch.from_numpy(values)[None])[0].numpy()


def _whole(network: Generator, kind: torch.dtype) -> Run:
    moved = copy.deepcopy(network).to(kind).to(memory_format=torch.channels_last)

    def run(values: Values) -> Values:
        batch = torch.from_numpy(values)[None].to(kind).contiguous(memory_format=torch.channels_last)
        result: Values = moved(batch)[0].float().numpy()
        return result

    return run


def _onnx(network: Generator, folder: Path) -> Run:
    path = folder / "as_trained.onnx"
    height, width = (torch.export.Dim(name, min=1, max=1 << 14) for name in ("height", "width"))
    torch.onnx.export(
        network, (torch.rand(1, 3, 48, 64),), path, input_names=["lr"], output_names=["sr"], dynamo=True,
        external_data=False, dynamic_shapes=({2: height, 3: width},), verbose=False,
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(values: Values) -> Values:
        result: Values = session.run(["sr"], {"lr": values[None]})[0][0]
        return result

    return run


@contextmanager
def _silenced() -> Iterator[None]:
    """Without what the block's processes print, and without PyTorch's advice to trace no more."""
    sys.stdout.flush()
    kept, nowhere = [os.dup(file) for file in (1, 2)], os.open(os.devnull, os.O_WRONLY)
    for file in (1, 2):
        os.dup2(nowhere, file)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for file, before in zip((1, 2), kept, strict=True):
            os.dup2(before, file)
        for file in (*kept, nowhere):
            os.close(file)


def _ncnn(network: Generator, folder: Path, *, bf16: bool) -> Run:
    import ncnn
    import pnnx

    files = folder / "converted"
    if not files.exists():
        files.mkdir()
        with torch.no_grad():
            # Two sizes, so that the converted network takes any.
            sizes = [(torch.rand(1, 3, *size),) for size in ((64, 64), (96, 80))]
            with _silenced():
                pnnx.export(network, str(files / "g.pt"), sizes[0], sizes[1], fp16=False)
    net = ncnn.Net()
    net.opt.num_threads, net.opt.use_bf16_storage = cpu_threads(), bf16
    net.load_param(str(files / "g.ncnn.param"))
    net.load_model(str(files / "g.ncnn.bin"))

    # Pools of our own, emptied when the tile's shape changes: the network's keep the buffers of all, 20 GB in the end.
    blobs, workspace = ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator()
    shape: tuple[int, ...] = ()

    def run(values: Values) -> Values:
        nonlocal shape
        if values.shape != shape:
            blobs.clear()
            workspace.clear()
            shape = values.shape
        extractor = net.create_extractor()
        extractor.set_blob_allocator(blobs)
        extractor.set_workspace_allocator(workspace)
        extractor.input("in0", ncnn.Mat(values).clone())
        return np.array(extractor.extract("out0")[1], np.float32)

    return run


if __name__ == "__main__":
    main()
