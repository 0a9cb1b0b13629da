from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sr_export import model as model_module
from sr_export.engines import EngineName, open_engine
from sr_export.errors import ModelError
from sr_export.model import ModelKind, find_model, prepare, write_onnx
from sr_export.onnx_file import read_facts
from sr_train.errors import CheckpointError, UsageError
from tests.conftest import random_pixels

Dims = Sequence[int | str]


def _foreign(
    path: Path, *, scale: int = 2, dims: Dims = (1, 3, "h", "w"), kind: int = TensorProto.FLOAT, kernel: int = 5
) -> Path:
    """Somebody's float-door model: a blur, then each pixel repeated scale x scale times. No metadata of ours."""
    dtype = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    weight = np.zeros((3, 3, kernel, kernel), dtype=dtype)
    for channel in range(3):
        weight[channel, channel] = 1 / kernel**2
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["blurred"], pads=[kernel // 2] * 4),
        helper.make_node("Resize", ["blurred", "", "scales"], ["result"], mode="nearest"),
    ]
    scales = np.array([1, 1, scale, scale], dtype=np.float32)
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("image", kind, dims)],
        [helper.make_tensor_value_info("result", kind, [None] * 4)],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(scales, "scales")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def test_a_shipped_name_and_a_path_are_both_models(tiny_checkpoint: Path) -> None:
    assert find_model("srresnet").kind is ModelKind.CHECKPOINT
    assert find_model(str(tiny_checkpoint)).path == tiny_checkpoint


def test_a_model_that_is_not_there_is_named_with_what_is() -> None:
    with pytest.raises(ModelError, match="did you mean 'srresnet'"):
        find_model("srresnt")
    with pytest.raises(ModelError, match="shipped models are: photo, srgan, srresnet"):
        find_model("/nowhere/weights.safetensors")


def test_a_prepared_model_is_not_prepared_again(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    first = prepare(find_model(str(tiny_checkpoint)), said.append)
    monkeypatch.setattr(model_module, "_build_from_checkpoint", None)
    assert prepare(find_model(str(tiny_checkpoint)), said.append) == first
    assert len(said) <= 1


def test_a_checkpoint_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(CheckpointError):
        prepare(find_model(str(path)))


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_a_float_door_model_of_others_runs_and_its_scale_and_halo_are_found(
    tmp_path: Path, scale: int, kind: int
) -> None:
    prepared = prepare(find_model(str(_foreign(tmp_path / "theirs.onnx", scale=scale, kind=kind))))
    assert prepared.facts.scale == scale
    assert prepared.facts.halo == 2
    assert prepared.facts.halo_measured == 2
    flat = np.full((1, 12, 9, 3), 77, dtype=np.uint8)
    for name in (EngineName.ONNX, EngineName.OPENVINO):
        with open_engine(prepared, name) as engine:
            result = next(engine.stream([flat]))
            assert result.shape == (1, 12 * scale, 9 * scale, 3)
            assert np.abs(result[:, 2 * scale : -2 * scale, 2 * scale : -2 * scale].astype(int) - 77).max() <= 1


@pytest.mark.parametrize(
    ("dims", "kind", "words"),
    [
        ((1, 3, 64, 64), TensorProto.FLOAT, r"fixed size \[1, 3, 64, 64\]"),
        ((1, 1, "h", "w"), TensorProto.FLOAT, r"its input is \[1, 1, \?, \?\]"),
        ((3, "h", "w"), TensorProto.FLOAT, r"its input is \[3, \?, \?\]"),
        ((1, 3, "h", "w"), TensorProto.DOUBLE, "not float32 or float16"),
    ],
)
def test_models_that_are_no_upscalers_are_refused_with_how_to_export_them(
    tmp_path: Path, dims: Dims, kind: int, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        prepare(find_model(str(_foreign(tmp_path / "theirs.onnx", dims=dims, kind=kind))))


def test_a_truncated_onnx_file_is_one_clear_error(tmp_path: Path) -> None:
    path = _foreign(tmp_path / "theirs.onnx")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match="not a complete ONNX file"):
        prepare(find_model(str(path)))


def test_a_written_float_door_file_carries_its_facts_and_runs_like_the_model(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    source = find_model(str(tiny_checkpoint))
    target = tmp_path / "out.onnx"
    facts = write_onnx(source, target, "float")
    assert facts == read_facts(onnx.load(str(target)))
    assert (facts.door, facts.scale, facts.halo) == ("float", 4, 10)
    pixels = random_pixels(20, 30)[None]
    results = []
    for prepared in (prepare(source), prepare(find_model(str(target)))):
        with open_engine(prepared, EngineName.ONNX) as engine:
            results.append(next(engine.stream([pixels])).astype(int))
    assert np.abs(results[0] - results[1]).max() <= 1


def test_a_place_that_cannot_be_written_is_one_clear_error(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_onnx(find_model(str(tiny_checkpoint)), tmp_path / "no" / "such" / "folder.onnx", "float")
