"""Float graph + ranges -> INT8 graph: QuantizeLinear and DequantizeLinear around what is to run in eight bits.

For each convolution that is not kept in float: its weights, symmetric int8 with a scale for each output channel; its
input, one scale for the tensor: uint8 with a zero point for CPUs (`Target.CPU`), symmetric int8 for TensorRT
(`Target.TENSORRT`). Its output, its bias, PReLU and the residual additions stay float: what goes around a block is
never rounded (on the shipped model worth 4.5 dB at the same speed), and an engine fuses PReLU and addition into the
convolution that they follow. Made by ONNX Runtime's quantiser; this file undoes what it rounds beyond that.

CPUs get weights of seven bits: without VNNI they add two 8-bit products in 16 bits, and only those always fit
(255 * 64 * 2 < 2^15; with eight bits the shipped model comes out up to 0.9 levels darker on such CPUs).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace as replaced
from enum import StrEnum

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from calib.errors import CalibrationError
from calib.network import Convolution, convolutions, replace
from calib.ranges import Ranges, TensorRange
from sr_export.onnx_file import read_facts, write_facts

__all__ = ["Target", "half_rest", "layer_names", "quantize", "rounded_weights"]

Floats = NDArray[np.float32]


class Target(StrEnum):
    """Whose rules the file follows."""

    CPU = "cpu"  # OpenVINO, ONNX Runtime: uint8 activations with a zero point, weights from -64 to 64
    TENSORRT = "tensorrt"  # symmetric int8 activations, weights from -127 to 127

    @property
    def largest_weight(self) -> int:
        return 64 if self is Target.CPU else 127


def layer_names(graph: onnx.ModelProto) -> list[str]:
    """The convolutions, as --keep names them."""
    return [conv.name for conv in convolutions(graph)]


def quantize(graph: onnx.ModelProto, ranges: Ranges, target: Target, keep: Collection[str] = ()) -> onnx.ModelProto:
    """The INT8 form of a float pixel-door graph, its float rest in float32. `graph` is not changed.

    `keep`: layers that stay float. Biases are corrected for the mean error that rounding makes (Nagel et al.,
    arXiv 1906.04721, section 4.2, with measured means). Raises CalibrationError for an unknown layer, for nothing
    left to quantise, and for ranges that are not this graph's.
    """
    source = ranges.equalised(graph)
    layers = convolutions(source)
    _check(layers, ranges, keep)
    chosen = [conv for conv in layers if conv.name not in keep]
    _round_weights(source, chosen, ranges, target.largest_weight)
    inferred = onnx.shape_inference.infer_shapes(source)
    symmetric = target is Target.TENSORRT
    with _quiet_quantiser():
        quantiser = QDQQuantizer(
            inferred,
            per_channel=True,
            reduce_range=target is Target.CPU,  # of the weights
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            tensors_range=_tensors_data(ranges),
            nodes_to_quantize=[conv.node for conv in chosen],
            nodes_to_exclude=[],
            op_types_to_quantize=["Conv"],
            extra_options={
                "OpTypesToExcludeOutputQuantization": ["Conv"],
                "QuantizeBias": False,
                "ActivationSymmetric": symmetric,
                "WeightSymmetric": True,
            },
        )
        quantiser.quantize_model()
        quantiser.model.topological_sort()
    result: onnx.ModelProto = quantiser.model.model
    _bypass_rounding(result, {conv.node for conv in chosen})
    facts = read_facts(graph)
    assert facts is not None
    write_facts(result, replaced(facts, precision="int8"))
    del result.graph.value_info[:]
    onnx.checker.check_model(result, full_check=True)
    return result


def half_rest(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The INT8 graph with its float rest in half precision, as a strongly typed TensorRT network runs it."""
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    for tensor in result.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for node in result.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    del result.graph.value_info[:]
    onnx.checker.check_model(result, full_check=True)
    return result


def _check(layers: list[Convolution], ranges: Ranges, keep: Collection[str]) -> None:
    names = [conv.name for conv in layers]
    unknown = sorted(set(keep) - set(names))
    if unknown:
        raise CalibrationError(f"--keep: there is no layer {', '.join(unknown)}; the layers are {', '.join(names)}")
    if set(names) <= set(keep):
        raise CalibrationError("--keep names every layer, so nothing would run in INT8; keep fewer, or use fp32")
    if any(conv.input not in ranges.tensors for conv in layers):
        raise CalibrationError("the ranges are of a model with other layers; calibrate this one (leave --ranges out)")


def _tensors_data(ranges: Ranges) -> TensorsData:
    def bounds(found: TensorRange) -> TensorData:
        low, high = min(found.low, 0.0), max(found.high, 0.0)
        return TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))

    return TensorsData(CalibrationMethod.MinMax, {name: bounds(found) for name, found in ranges.tensors.items()})


def _round_weights(graph: onnx.ModelProto, layers: list[Convolution], ranges: Ranges, largest: int) -> None:
    """Put the weights on the grid that the quantiser will find, and take the mean error that this makes out of each
    bias: E[(Wq - W) x] for the measured means of x. Borders, where padding takes part, are ignored."""
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    for conv in layers:
        weight = numpy_helper.to_array(tensors[conv.weight])
        rounded = rounded_weights(weight, largest)
        replace(tensors[conv.weight], rounded)
        if conv.bias:
            shift = (rounded - weight).sum(axis=(2, 3)) @ np.array(ranges.tensors[conv.input].means, np.float32)
            replace(tensors[conv.bias], numpy_helper.to_array(tensors[conv.bias]) - shift)


def rounded_weights(weight: Floats, largest: int) -> Floats:
    """Float weights [outputs, inputs, h, w] on a grid of -largest..largest steps, a step for each output channel.

    Rounded so that the errors of each kernel [h, w] add up to at most half a step: where the picture is smooth, which
    is nearly everywhere, they then cancel. Of the weights, those are rounded the other way that are nearest to it.
    (On the shipped model: 3 dB, and a third of the shift of brightness.) The largest weight of a channel, which makes
    its step, stays: it is exact.
    """
    step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / largest
    exact = weight / np.where(step == 0, 1, step)
    nearest = np.round(exact)
    missing = (exact - nearest).reshape(*weight.shape[:2], -1)
    steps = np.round(missing.sum(axis=2, keepdims=True))  # to add to each kernel
    rank = (-missing).argsort(axis=2).argsort(axis=2)  # 0: most would be gained by one step up
    up, down = rank < steps, rank >= missing.shape[2] + steps
    result: Floats = ((nearest + (up.astype(int) - down).reshape(weight.shape)) * step).astype(np.float32)
    return result


def _bypass_rounding(graph: onnx.ModelProto, chosen: set[str]) -> None:
    """Let everything but the chosen convolutions read the float tensors that the quantiser rounded for them."""
    source = {node.output[0]: node.input[0] for node in graph.graph.node if node.op_type == "QuantizeLinear"}
    rounded = {
        node.output[0]: source[node.input[0]]
        for node in graph.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in source
    }
    for node in graph.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") or node.name in chosen:
            continue
        for index, name in enumerate(node.input):
            node.input[index] = rounded.get(name, name)


@contextmanager
def _quiet_quantiser() -> Iterator[None]:
    """The quantiser warns on the root logger about preprocessing that this graph does not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
