"""`sr-export onnx`: the files are what was asked for, nothing more, and compared with torch before they appear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from sr_export.cli import main
from sr_export.deploy import deploy
from sr_export.errors import Fp16Unsafe, ModelError
from sr_export.export import OnnxOptions, check_export, export_model, fp16_onnx, verify_export
from sr_export.model import find_model, prepare
from sr_export.onnx_file import read_facts
from sr_export.shape import BatchShape
from sr_train.checkpoint import load_checkpoint, save_checkpoint
from sr_train.errors import UsageError
from sr_train.generator import GeneratorConfig, random_generator


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    save_checkpoint(path, random_generator(GeneratorConfig(channels=8, blocks=1, scale=2), seed=3))
    return path


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SR_TOOLKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def exported(checkpoint: Path, target: Path, options: OnnxOptions) -> onnx.ModelProto:
    export_model(find_model(str(checkpoint)), target, options)
    return onnx.load(str(target))


def edge_types(graph: onnx.ModelProto) -> tuple[int, int]:
    return graph.graph.input[0].type.tensor_type.elem_type, graph.graph.output[0].type.tensor_type.elem_type


def test_an_fp16_float_door_is_half_throughout_without_a_cast(checkpoint: Path, tmp_path: Path) -> None:
    graph = exported(checkpoint, tmp_path / "a.onnx", OnnxOptions("float", "fp16"))
    assert edge_types(graph) == (TensorProto.FLOAT16, TensorProto.FLOAT16)
    assert {tensor.data_type for tensor in graph.graph.initializer} == {TensorProto.FLOAT16}
    assert "Cast" not in {node.op_type for node in graph.graph.node}
    facts = read_facts(graph)
    assert facts is not None and (facts.door, facts.precision, facts.scale) == ("float", "fp16", 2)
    assert facts.source_sha256 == find_model(str(checkpoint)).sha256 and facts.halo is not None


def test_fp32_edges_on_an_fp16_file_are_two_casts_and_the_pictures_stay(checkpoint: Path, tmp_path: Path) -> None:
    graph = exported(checkpoint, tmp_path / "a.onnx", OnnxOptions("float", "fp16", fp32_io=True))
    assert edge_types(graph) == (TensorProto.FLOAT, TensorProto.FLOAT)
    assert [node.op_type for node in graph.graph.node].count("Cast") == 2
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).random((2, 3, 16, 24), dtype=np.float32)
    deployed = deploy(load_checkpoint(checkpoint)[0])
    with torch.inference_mode():
        expected = deployed.core(torch.from_numpy(image)).numpy()
    assert np.abs(session.run(None, {"input": image})[0] - expected).max() < 0.01


def test_a_pixel_door_in_fp16_takes_and_gives_uint8(checkpoint: Path, tmp_path: Path) -> None:
    graph = exported(checkpoint, tmp_path / "a.onnx", OnnxOptions("pixel", "fp16"))
    assert edge_types(graph) == (TensorProto.UINT8, TensorProto.UINT8)


def test_a_static_file_has_only_fixed_sizes(checkpoint: Path, tmp_path: Path) -> None:
    graph = exported(checkpoint, tmp_path / "a.onnx", OnnxOptions("pixel", "fp32", BatchShape(2, 20, 28)))
    shapes = [
        [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (graph.graph.input[0], graph.graph.output[0])
    ]
    assert shapes == [[2, 20, 28, 3], [2, 40, 56, 3]]


def test_a_kept_part_is_in_the_metadata_and_in_float32(checkpoint: Path, tmp_path: Path) -> None:
    graph = exported(checkpoint, tmp_path / "a.onnx", OnnxOptions("float", "fp16", keep_fp32=("head",)))
    assert edge_types(graph) == (TensorProto.FLOAT16, TensorProto.FLOAT16)
    assert ("sr_toolkit.keep_fp32", "head") in {(p.key, p.value) for p in graph.metadata_props}
    assert TensorProto.FLOAT in {tensor.data_type for tensor in graph.graph.initializer}


def test_nothing_is_written_when_the_network_overflows_half(tmp_path: Path) -> None:
    generator = random_generator(GeneratorConfig(channels=8, blocks=1, scale=2), seed=3)
    with torch.no_grad():
        generator.head.conv.weight.mul_(1e6)
    save_checkpoint(tmp_path / "loud.safetensors", generator)
    with pytest.raises(Fp16Unsafe, match=r"head"):
        export_model(find_model(str(tmp_path / "loud.safetensors")), tmp_path / "a.onnx", OnnxOptions("float", "fp16"))
    assert not list(tmp_path.glob("*.onnx"))


def test_a_file_whose_weights_were_changed_fails_the_comparison_with_torch(checkpoint: Path, tmp_path: Path) -> None:
    graph = exported(checkpoint, tmp_path / "a.onnx", OnnxOptions())
    tensor = next(t for t in graph.graph.initializer if len(t.dims) == 4)
    weights = onnx.numpy_helper.to_array(tensor).copy()
    weights[0, 0, 0, 0] += 1
    tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))
    onnx.save(graph, str(tmp_path / "b.onnx"))
    with pytest.raises(ModelError, match="does not give torch's pictures"):
        verify_export(tmp_path / "b.onnx", deploy(load_checkpoint(checkpoint)[0]), OnnxOptions())


@pytest.mark.parametrize("spoil", ["opset", "cast", "path", "type"])
def test_a_graph_that_is_not_what_was_asked_for_is_refused(checkpoint: Path, tmp_path: Path, spoil: str) -> None:
    graph = exported(checkpoint, tmp_path / "a.onnx", OnnxOptions())
    check_export(graph, OnnxOptions())
    match spoil:
        case "opset":
            graph.opset_import[0].version = 18
        case "cast":
            graph.graph.node.append(onnx.helper.make_node("Cast", ["output"], ["again"], to=TensorProto.FLOAT))
        case "path":
            graph.graph.node[0].doc_string = "/home/somebody/train.py"
        case _:
            graph.graph.initializer[0].data_type = TensorProto.DOUBLE
    with pytest.raises(ModelError, match="another graph than asked for"):
        check_export(graph, OnnxOptions())


def test_the_fp16_file_for_engines_is_derived_once(checkpoint: Path) -> None:
    prepared = prepare(find_model(str(checkpoint)))
    first = fp16_onnx(prepared)
    stamp = first.stat().st_mtime_ns
    assert fp16_onnx(prepared) == first and first.stat().st_mtime_ns == stamp


def test_fp16_of_an_onnx_file_is_refused_because_its_overflow_cannot_be_seen(checkpoint: Path, tmp_path: Path) -> None:
    exported(checkpoint, tmp_path / "a.onnx", OnnxOptions())
    with pytest.raises(ModelError, match="need a checkpoint"):
        export_model(find_model(str(tmp_path / "a.onnx")), tmp_path / "b.onnx", OnnxOptions("pixel", "fp16"))
    with pytest.raises(ModelError, match="made from checkpoints only"):
        fp16_onnx(prepare(find_model(str(tmp_path / "a.onnx"))))


@pytest.mark.parametrize("options", [{"fp32_io": True}, {"keep_fp32": ("head",)}])
def test_fp16_options_without_fp16_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="--precision fp16"):
        OnnxOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["12", "0x5", "1x2x3x4", "axb", "-1x4"])
def test_a_shape_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="shape"):
        BatchShape.parse(text)


def test_the_command_says_what_it_wrote_and_how_near_it_is(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "a.onnx"
    with pytest.raises(SystemExit) as end:
        main(["onnx", str(checkpoint), "-o", str(target), "--precision", "fp16"])
    said = capsys.readouterr().out
    assert end.value.code == 0 and target.is_file()
    assert "fp16" in said and "PSNR" in said and "headroom" in said


def test_the_command_refuses_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["onnx", str(tmp_path / "none.safetensors")])
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith("sr-export: there is no model") and said.count("\n") == 1
