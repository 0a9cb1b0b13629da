"""The graph as calibration sees it; rescaling pairs changes nothing that comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calib.errors import CalibrationError
from calib.network import convolutions, equalise, load_network, observed
from calib.quantize import Target, quantize
from calib.ranges import Ranges
from calib.search import run_with_onnxruntime
from sr_export.model import Prepared
from tests.conftest import random_pixels


def test_layers_are_named_as_in_the_checkpoint(tiny_graph: onnx.ModelProto) -> None:
    names = [conv.name for conv in convolutions(tiny_graph)]
    assert {"body.0.conv1", "body.0.conv2", "fuse"} < set(names)
    assert len(names) == len(set(names)) == 7


def test_equalising_changes_weights_and_no_picture(tiny_graph: onnx.ModelProto) -> None:
    factors = {conv.name: np.array([0.25, 0.5, 2, 4], np.float32) for conv in convolutions(tiny_graph)[:4]}
    same = equalise(tiny_graph, factors)
    weights = [numpy_helper.to_array(tensor) for graph in (tiny_graph, same) for tensor in graph.graph.initializer]
    half = len(weights) // 2
    assert any(not np.array_equal(a, b) for a, b in zip(weights[:half], weights[half:], strict=True))
    pixels = random_pixels(24, 32)
    assert np.array_equal(run_with_onnxruntime(same)(pixels), run_with_onnxruntime(tiny_graph)(pixels))


def test_observed_tensors_come_out_beside_the_picture(tiny_graph: onnx.ModelProto) -> None:
    name = convolutions(tiny_graph)[0].output
    assert [value.name for value in observed(tiny_graph, [name, name]).graph.output][-1] == name
    assert len(tiny_graph.graph.output) == 1


def saved(prepared: Prepared, graph: onnx.ModelProto, folder: Path) -> Prepared:
    onnx.save(graph, str(folder / "other.onnx"))
    return replace(prepared, onnx_path=folder / "other.onnx")


def test_a_quantised_model_is_refused(
    tiny: Prepared, tiny_graph: onnx.ModelProto, tiny_ranges: Ranges, tmp_path: Path
) -> None:
    with pytest.raises(CalibrationError, match="is quantised already; give the checkpoint"):
        load_network(saved(tiny, quantize(tiny_graph, tiny_ranges, Target.CPU), tmp_path))


def test_a_model_without_convolutions_is_refused(tiny: Prepared, tmp_path: Path) -> None:
    edges = [helper.make_tensor_value_info(name, TensorProto.UINT8, ["n", "h", "w", 3]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "copy", edges[:1], edges[1:])
    with pytest.raises(CalibrationError, match="no convolution with fixed weights"):
        load_network(saved(tiny, helper.make_model(graph), tmp_path))


def test_a_half_precision_model_is_refused(tiny: Prepared, tiny_graph: onnx.ModelProto, tmp_path: Path) -> None:
    half = onnx.ModelProto()
    half.CopyFrom(tiny_graph)
    for tensor in half.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    with pytest.raises(CalibrationError, match="weights that are not float32"):
        load_network(saved(tiny, half, tmp_path))
