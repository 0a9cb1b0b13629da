"""The last correction: what is left of the mean error at the output is taken out of the last convolution's bias.

Each layer's bias was corrected for its own weights; what rounding of activations and the layers together still shift
is measured at the end, on the calibration tiles, so that pictures are neither darker nor tinted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from calib.network import convolutions, observed, replace
from sr_export.machine import cpu_threads

__all__ = ["closing_shift", "shift_output"]

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def closing_shift(graph: onnx.ModelProto, int8: onnx.ModelProto, tiles: Sequence[Pixels]) -> tuple[float, ...]:
    """The mean of (INT8 - float) of each channel of the last convolution's output, over uint8 HWC tiles."""
    name = convolutions(graph)[-1].output
    means = [_means(form, name, tiles) for form in (int8, graph)]
    return tuple(float(value) for value in means[0] - means[1])


def shift_output(int8: onnx.ModelProto, shift: Sequence[float]) -> onnx.ModelProto:
    """The INT8 graph with `shift` taken out of the last convolution's bias. `int8` is not changed."""
    result = onnx.ModelProto()
    result.CopyFrom(int8)
    last = [node for node in result.graph.node if node.op_type == "Conv"][-1]
    if len(last.input) > 2 and len(shift):
        bias = next(tensor for tensor in result.graph.initializer if tensor.name == last.input[2])
        replace(bias, numpy_helper.to_array(bias) - np.array(shift, np.float32))
    return result


def _means(graph: onnx.ModelProto, name: str, tiles: Sequence[Pixels]) -> Floats:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        observed(graph, [name]).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    entry = graph.graph.input[0].name
    seen = [session.run([name], {entry: tile[None]})[0].mean(axis=(0, 2, 3)) for tile in tiles]
    means: Floats = np.mean(seen, axis=0)
    return means
