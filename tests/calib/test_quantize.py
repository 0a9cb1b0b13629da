"""The INT8 graph: what is rounded and what is not, and that engines compute the same with it."""

from __future__ import annotations

import platform
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from calib.errors import CalibrationError
from calib.int8 import as_prepared, engine_run
from calib.network import convolutions, load_network
from calib.quantize import Target, half_rest, layer_names, quantize, rounded_weights
from calib.ranges import Ranges
from calib.samples import built_in_samples
from calib.search import run_with_onnxruntime
from sr_export.engines import EngineName, Precision, open_engine, openvino_engine
from sr_export.flavour import Flavour
from sr_export.model import Prepared
from sr_export.onnx_file import read_facts
from sr_export.plan import PlanOptions, Profile, build_plan
from sr_export.shape import BatchShape

needs_rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx is not installed"
    + (": pip install -e .[dev]" if (sys.platform, platform.machine()) == ("linux", "x86_64") else ""),
)


@given(seed=st.integers(0, 10_000), largest=st.sampled_from([64, 127]), taps=st.sampled_from([1, 3, 5]))
def test_rounding_moves_no_weight_by_a_step_and_no_kernels_sum_by_more_than_half(
    seed: int, largest: int, taps: int
) -> None:
    weight = np.random.default_rng(seed).normal(size=(3, 4, taps, taps)).astype(np.float32)
    rounded = rounded_weights(weight, largest)
    step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / largest
    steps = rounded / step
    assert np.allclose(steps, np.round(steps), atol=1e-3)
    assert np.abs(np.round(steps)).max() == largest
    assert (np.abs(rounded - weight) < step * 1.0001).all()
    assert (np.abs((rounded - weight).sum(axis=(2, 3), keepdims=True)) <= step * 0.501).all()


def test_a_channel_of_zeros_stays_zero() -> None:
    assert not rounded_weights(np.zeros((2, 3, 3, 3), np.float32), 64).any()


@pytest.mark.parametrize(("target", "largest"), [(Target.CPU, 64), (Target.TENSORRT, 127)])
def test_weights_and_activations_follow_the_targets_rules(
    tiny_graph: onnx.ModelProto, tiny_ranges: Ranges, target: Target, largest: int
) -> None:
    int8 = quantize(tiny_graph, tiny_ranges, target)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    weights = [array for name, array in tensors.items() if name.endswith(".weight_quantized")]
    assert len(weights) == len(layer_names(tiny_graph))
    assert {array.dtype for array in weights} == {np.dtype(np.int8)}
    # CPUs without VNNI: two products of a uint8 and such a weight fit into 16 bits, so nothing saturates.
    assert max(int(np.abs(array.astype(int)).max()) for array in weights) == largest
    points = [tensors[node.input[2]] for node in int8.graph.node if node.op_type == "QuantizeLinear"]
    assert {point.dtype for point in points} == {np.dtype(np.uint8 if target is Target.CPU else np.int8)}
    assert target is Target.CPU or not any(point.any() for point in points)


def test_only_convolutions_read_what_is_rounded(tiny_graph: onnx.ModelProto, tiny_ranges: Ranges) -> None:
    int8 = quantize(tiny_graph, tiny_ranges, Target.CPU)
    rounded = {node.output[0] for node in int8.graph.node if node.op_type == "DequantizeLinear"}
    readers = {node.op_type for node in int8.graph.node if rounded & set(node.input)}
    assert readers == {"Conv"}
    facts, before = read_facts(int8), read_facts(tiny_graph)
    assert facts is not None and before is not None
    assert (facts.precision, facts.halo, facts.source_sha256) == ("int8", before.halo, before.source_sha256)


def test_a_kept_layer_stays_float_and_nothing_else(tiny_graph: onnx.ModelProto, tiny_ranges: Ranges) -> None:
    int8 = quantize(tiny_graph, tiny_ranges, Target.CPU, ["fuse"])
    kept = {conv.weight for conv in convolutions(tiny_graph)} & {tensor.name for tensor in int8.graph.initializer}
    assert kept == {conv.weight for conv in convolutions(tiny_graph) if conv.name == "fuse"}


def test_layers_that_are_not_there_and_all_layers_are_refused(tiny_graph: onnx.ModelProto, tiny_ranges: Ranges) -> None:
    with pytest.raises(CalibrationError, match=r"no layer body.9.conv1; the layers are .*fuse"):
        quantize(tiny_graph, tiny_ranges, Target.CPU, ["body.9.conv1"])
    with pytest.raises(CalibrationError, match="nothing would run in INT8"):
        quantize(tiny_graph, tiny_ranges, Target.CPU, layer_names(tiny_graph))


def test_ranges_of_another_layout_are_refused(tiny_graph: onnx.ModelProto, shipped_ranges: Ranges) -> None:
    with pytest.raises(CalibrationError, match="ranges are of a model with other layers"):
        quantize(tiny_graph, shipped_ranges, Target.CPU)


def test_one_layer_at_a_time_openvino_and_onnxruntime_agree_within_two_levels(
    shipped: Prepared, shipped_ranges: Ranges, tmp_path: Path
) -> None:
    """Also on CPUs whose 8-bit products saturate: eight-bit weights fail here on a CPU with AVX2 only."""
    graph, pixels = load_network(shipped), built_in_samples().held_out[3][:40, :40]
    for layer in ("head.0", "body.0.conv1", "fuse", "upsample.0.0", "upsample.3"):
        form = quantize(graph, shipped_ranges, Target.CPU, [name for name in layer_names(graph) if name != layer])
        a, b = both_engines(form, pixels, tmp_path)
        assert np.abs(a - b).max() <= 2, layer
        assert (np.abs(a - b) > 1).mean() < 0.005, layer


def test_the_whole_network_agrees_between_openvino_and_onnxruntime(
    shipped: Prepared, shipped_ranges: Ranges, tmp_path: Path
) -> None:
    """Sums in another order fall on the other side of a rounding edge now and then, and 36 layers carry that on: a
    bias changed by one part in a million moves pixels by up to four levels. So no pair of engines is equal."""
    form = quantize(load_network(shipped), shipped_ranges, Target.CPU)
    a, b = both_engines(form, built_in_samples().held_out[3][:64, :64], tmp_path)
    off = np.abs(a - b)
    assert (off <= 2).mean() > 0.98
    assert off.max() <= 10
    assert np.abs((a - b).mean(axis=(0, 1))).max() < 0.1


@pytest.fixture(autouse=True)
def _float_rest_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ONNX Runtime has it, so that what is compared is the INT8 arithmetic, on CPUs with bf16 too."""
    monkeypatch.setattr(openvino_engine, "computes_in_bf16", lambda: False)


def both_engines(form: onnx.ModelProto, pixels: np.ndarray, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """OpenVINO's and ONNX Runtime's pictures of an INT8 graph, as int."""
    path = folder / "form.onnx"
    onnx.save(form, str(path))
    with open_engine(as_prepared("form", path), EngineName.OPENVINO, Precision.INT8, "cpu") as engine:
        ours = engine_run(engine)(pixels)
    return ours.astype(int), run_with_onnxruntime(form)(pixels).astype(int)


@needs_rtx
def test_tensorrt_rtx_builds_a_plan_of_the_tensorrt_file(
    shipped: Prepared, shipped_ranges: Ranges, tmp_path: Path
) -> None:
    form = half_rest(quantize(load_network(shipped), shipped_ranges, Target.TENSORRT))
    types = {tensor.data_type for tensor in form.graph.initializer}
    assert types <= {TensorProto.FLOAT16, TensorProto.INT8, TensorProto.INT64}
    path = tmp_path / "int8.onnx"
    onnx.save(form, str(path))
    options = PlanOptions(Flavour.RTX, Profile.fixed(BatchShape(1, 64, 64)), ("8.6", "12.0"))
    assert build_plan(path, options)[:4] == b"vtrt"


@needs_rtx
def test_tensorrt_rtx_builds_a_plan_with_layers_kept_in_half(
    tiny_graph: onnx.ModelProto, tiny_ranges: Ranges, tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    onnx.save(half_rest(quantize(tiny_graph, tiny_ranges, Target.TENSORRT, ["fuse", "head.0"])), str(path))
    assert build_plan(path, PlanOptions(Flavour.RTX, Profile.fixed(BatchShape(1, 64, 64)), ("8.6",)))
