"""Which layers run in INT8: each convolution's own harm measured, and the most harmful kept in float until it fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from calib.closing import closing_shift, shift_output
from calib.gate import Figures, Run, Truth, decide, measure
from calib.quantize import Target, layer_names, quantize
from calib.ranges import Progress, Ranges
from sr_export.machine import cpu_threads

__all__ = ["Candidate", "Sensitivity", "make_form", "run_with_onnxruntime", "search", "sensitivities"]

Pixels = NDArray[np.uint8]
CLOSING_TILES = 8  # of those to calibrate with: a mean needs no more
SENSITIVITY_TILES = 4  # of the held-out ones: 37 layers are run on each
Found = Callable[["Candidate", onnx.ModelProto], None]


@dataclass(frozen=True)
class Sensitivity:
    """What quantising one layer alone does."""

    layer: str
    psnr_db: float  # to fp32
    loss_db: float  # PSNR-Y against ground truth, lost to fp32


@dataclass(frozen=True)
class Candidate:
    """One INT8 form on the way from all layers quantised to good enough."""

    keep: tuple[str, ...]  # layers in float
    shift: tuple[float, ...]  # see calib.closing
    figures: Figures
    passed: bool


def make_form(
    graph: onnx.ModelProto, ranges: Ranges, target: Target, keep: Sequence[str], tiles: Sequence[Pixels]
) -> tuple[onnx.ModelProto, tuple[float, ...]]:
    """The INT8 form with its output centred on the calibration tiles, and the shift that was taken out."""
    int8 = quantize(graph, ranges, target, keep)
    shift = closing_shift(graph, int8, tiles[:CLOSING_TILES])
    return shift_output(int8, shift), shift


def run_with_onnxruntime(graph: onnx.ModelProto) -> Run:
    """The pixel-door graph as a function of one uint8 HWC picture, on the CPU, in the graph's own types."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name

    def run(pixels: Pixels) -> Pixels:
        result: Pixels = session.run(None, {entry: pixels[None]})[0][0]
        return result

    return run


def sensitivities(
    graph: onnx.ModelProto,
    ranges: Ranges,
    target: Target,
    truth: Truth,
    progress: Progress = lambda *_: None,
    run_form: Callable[[onnx.ModelProto], Run] = run_with_onnxruntime,
) -> list[Sensitivity]:
    """Each convolution quantised alone, the most harmful first; measured on the first few tiles."""
    names, truth = layer_names(graph), truth.first(SENSITIVITY_TILES)
    found = []
    for index, name in enumerate(names):
        progress("layers", index, len(names))
        alone = quantize(graph, ranges, target, [other for other in names if other != name])
        figures = measure(truth, run_form(alone))
        found.append(Sensitivity(name, figures.psnr_db, figures.loss_db))
    return sorted(found, key=lambda one: one.psnr_db)


def search(
    graph: onnx.ModelProto,
    ranges: Ranges,
    target: Target,
    tiles: Sequence[Pixels],
    truth: Truth,
    keep: Sequence[str] = (),
    *,
    progress: Progress = lambda *_: None,
    found: Found = lambda *_: None,
) -> Candidate:
    """The form with the fewest layers in float that passes the gate (its speed is asked for later).

    `keep`: layers that stay float in any case. All others are tried in INT8 first; then the most harmful is kept
    too, one at a time. `found` is given every form on the way. The last one is returned when none passes.
    """
    kept = tuple(keep)
    order: list[str] | None = None
    while True:
        form, shift = make_form(graph, ranges, target, kept, tiles)
        figures = measure(truth, run_with_onnxruntime(form))
        candidate = Candidate(kept, shift, figures, decide(figures).use)
        found(candidate, form)
        if candidate.passed:
            return candidate
        if order is None:
            order = [one.layer for one in sensitivities(graph, ranges, target, truth, progress)]
        left = [name for name in order if name not in kept]
        if len(left) <= 1:
            return candidate
        kept = (*kept, left[0])
