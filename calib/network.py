"""The network inside a pixel-door ONNX file, as calibration sees it: its convolutions, and exact rescaling of pairs.

PReLU is positively homogeneous: prelu(s·x) = s·prelu(x) for s > 0. So a factor per channel can be taken out of one
convolution and put into the next without changing what the network computes (Nagel et al., arXiv 1906.04721,
section 4.1). `equalise` uses that to give the channels between two convolutions like ranges, which one scale for the
whole tensor then holds with less error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from calib.errors import CalibrationError
from sr_export.model import Prepared

__all__ = [
    "Convolution",
    "convolutions",
    "equalise",
    "equalising_factors",
    "load_network",
    "observed",
    "replace",
]

FACTOR_LIMIT = 8.0  # of equalisation: a channel that is hardly used would get any factor
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Convolution:
    """One convolution of the graph, in the order in which it runs."""

    name: str  # for people and --keep: "body.0.conv1"
    node: str  # the ONNX node's name
    input: str  # names of tensors
    weight: str
    bias: str
    output: str


def load_network(prepared: Prepared) -> onnx.ModelProto:
    """The float pixel-door graph of a model. Raises CalibrationError where there is nothing that could be quantised."""
    name, graph = prepared.model.path.name, onnx.load(str(prepared.onnx_path))
    if any(node.op_type in ("QuantizeLinear", "QLinearConv", "ConvInteger") for node in graph.graph.node):
        raise CalibrationError(f"{name}: is quantised already; give the checkpoint or the fp32 file it came from")
    layers = convolutions(graph)
    if not layers:
        raise CalibrationError(f"{name}: has no convolution with fixed weights, so nothing that INT8 makes faster")
    types = {tensor.name: tensor.data_type for tensor in graph.graph.initializer}
    if any(types[layer.weight] != onnx.TensorProto.FLOAT for layer in layers):
        raise CalibrationError(f"{name}: has weights that are not float32; give the fp32 file that it was made from")
    return graph


def convolutions(graph: onnx.ModelProto) -> list[Convolution]:
    """All 2-d convolutions with constant weights."""
    weights = {tensor.name for tensor in graph.graph.initializer}
    found = []
    for index, node in enumerate(graph.graph.node):
        if node.op_type == "Conv" and node.input[1] in weights:
            name = node.input[1].removesuffix(".weight").removeprefix("core.") or f"conv{index}"
            bias = node.input[2] if len(node.input) > 2 else ""
            found.append(Convolution(name, node.name, node.input[0], node.input[1], bias, node.output[0]))
    return found


def equalising_factors(graph: onnx.ModelProto, largest: Mapping[str, Floats]) -> dict[str, Floats]:
    """By name of the first convolution of each pair: what its output channels are divided by to balance the pair.

    `largest`: by tensor name, the largest |value| of each channel on the calibration tiles. The factor of a channel is
    sqrt(activation / weight) of the two (Xiao et al., arXiv 2211.10438, with strength 1/2), normalised to a geometric
    mean of one and bounded.
    """
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    factors = {}
    for first, second in _pairs(graph):
        weights = np.abs(numpy_helper.to_array(tensors[second.weight])).max(axis=(0, 2, 3))
        ratio = np.sqrt(np.maximum(largest[second.input], 1e-6) / np.maximum(weights, 1e-6))
        ratio = ratio / np.exp(np.log(ratio).mean())
        factors[first.name] = np.clip(ratio, 1 / FACTOR_LIMIT, FACTOR_LIMIT).astype(np.float32)
    return factors


def equalise(graph: onnx.ModelProto, factors: Mapping[str, Floats]) -> onnx.ModelProto:
    """The same function with each pair's channels rescaled; pairs without factors stay. `graph` is not changed."""
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    for first, second in _pairs(result):
        if first.name not in factors:
            continue
        by = factors[first.name]
        replace(tensors[second.weight], numpy_helper.to_array(tensors[second.weight]) * by[None, :, None, None])
        replace(tensors[first.weight], numpy_helper.to_array(tensors[first.weight]) / by[:, None, None, None])
        if first.bias:
            replace(tensors[first.bias], numpy_helper.to_array(tensors[first.bias]) / by)
    return result


def _pairs(graph: onnx.ModelProto) -> list[tuple[Convolution, Convolution]]:
    """Convolutions with nothing but one PReLU between them that nobody else reads: these can be rescaled."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    first_of = {conv.output: conv for conv in convolutions(graph)}
    second_of = {conv.input: conv for conv in convolutions(graph)}
    found = []
    for node in graph.graph.node:
        before, after = node.input[0], node.output[0]
        if node.op_type != "PRelu" or before not in first_of or after not in second_of:
            continue
        if len(readers[before]) == len(readers[after]) == 1:
            found.append((first_of[before], second_of[after]))
    return found


def replace(tensor: onnx.TensorProto, values: NDArray[np.floating[Any]]) -> None:
    """Give a float32 weight of a graph other values."""
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), tensor.name))


def observed(graph: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """The graph with more outputs: the float tensors `names`, after its own."""
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    present = {value.name for value in result.graph.output}
    for name in dict.fromkeys(names):
        if name not in present:
            result.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return result
