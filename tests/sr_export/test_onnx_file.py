from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sr_export.deploy import PixelDoor, deploy
from sr_export.engines.openvino_engine import openvino_core
from sr_export.model import find_model, write_onnx
from sr_export.onnx_file import Door, OnnxFacts, add_deep_door, add_pixel_door, export_onnx, read_facts
from sr_train.checkpoint import load_checkpoint
from sr_train.generator import GeneratorConfig, random_generator
from tests.conftest import SAMPLES, random_pixels

Run = Callable[[Path, NDArray[np.generic]], NDArray[np.generic]]
FACTS = {door: OnnxFacts(4, 10, 8, door, "fp32", "0" * 64) for door in get_args(Door)}


@pytest.fixture(scope="module")
def deployed() -> PixelDoor:
    return deploy(random_generator(GeneratorConfig(8, 2, 4), seed=5))


@pytest.fixture(scope="module")
def exported(deployed: PixelDoor, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All doors of one network."""
    folder = tmp_path_factory.mktemp("onnx")
    paths = {door: folder / f"{door}.onnx" for door in FACTS}
    for door, path in paths.items():
        export_onnx(deployed, path, FACTS[door])
    return paths


def _run_openvino(path: Path, batch: NDArray[np.generic]) -> NDArray[np.generic]:
    compiled = openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    result: NDArray[np.generic] = compiled(batch)[0]
    return result


def _run(graph: Path | bytes, batch: NDArray[np.generic]) -> NDArray[np.generic]:
    content = graph if isinstance(graph, bytes) else str(graph)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    result: NDArray[np.generic] = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return result


@pytest.mark.parametrize("run", [_run, _run_openvino])
@pytest.mark.parametrize("shape", [(1, 24, 40), (3, 1, 1), (2, 7, 33)])
def test_the_float_door_equals_torch_at_any_batch_and_size(
    deployed: PixelDoor, exported: dict[str, Path], shape: tuple[int, int, int], run: Run
) -> None:
    n, h, w = shape
    x = torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = deployed.core(x).numpy()
    assert np.abs(run(exported["float"], x.numpy()) - expected).max() <= 1e-4


@pytest.mark.slow
def test_the_shipped_models_float_door_equals_torch_on_a_photo(tmp_path: Path) -> None:
    source = find_model("srresnet")
    write_onnx(source, tmp_path / "float.onnx", "float")
    with Image.open(SAMPLES / "cat.png") as image:
        pixels = np.asarray(image.convert("RGB"))[80:176, 100:196].transpose(2, 0, 1)[None]
    x = np.ascontiguousarray(pixels.astype(np.float32) / 255)
    with torch.inference_mode():
        expected = deploy(load_checkpoint(source.path)[0]).core(torch.from_numpy(x)).numpy()
    for run in (_run, _run_openvino):
        assert np.abs(run(tmp_path / "float.onnx", x) - expected).max() <= 1e-4


@pytest.mark.parametrize("shape", [(1, 24, 40), (3, 1, 1), (2, 7, 33)])
def test_the_pixel_door_is_within_one_level_of_torch(
    deployed: PixelDoor, exported: dict[str, Path], shape: tuple[int, int, int]
) -> None:
    n, h, w = shape
    pixels = np.stack([random_pixels(h, w, seed) for seed in range(n)])
    with torch.inference_mode():
        expected = deployed(torch.from_numpy(pixels)).numpy()
    result = _run(exported["pixel"], pixels)
    assert result.dtype == np.uint8
    assert np.abs(result.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("door", get_args(Door))
def test_the_file_carries_its_facts_and_nothing_of_the_machine_it_was_made_on(
    exported: dict[str, Path], door: Door
) -> None:
    graph = onnx.load(str(exported[door]))
    assert read_facts(graph) == FACTS[door]
    assert [(o.domain, o.version) for o in graph.opset_import] == [("", 20)]
    assert list(exported[door].parent.glob("*.data")) == []
    content = exported[door].read_bytes()
    for trace in (b".py", b"site-packages", str(Path.home()).encode(), str(Path.cwd()).encode()):
        assert trace not in content


def test_the_tail_is_folded_in_the_file(exported: dict[str, Path]) -> None:
    """No 9x9 convolution at full size: the last one has 12 outputs and 5x5 taps."""
    graph = onnx.load(str(exported["float"]))
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    weights = {tensor.name: tensor.dims for tensor in graph.graph.initializer}
    assert len(convolutions) == 1 + 2 * 2 + 1 + 2 + 1
    assert list(weights[convolutions[-1].input[1]]) == [12, 32, 5, 5]
    assert not any(node.op_type == "BatchNormalization" for node in graph.graph.node)


def test_a_pixel_door_put_around_a_float_door_equals_the_exported_one(exported: dict[str, Path]) -> None:
    wrapped = add_pixel_door(onnx.load(str(exported["float"])))
    pixels = random_pixels(19, 23)[None]
    off = _run(wrapped.SerializeToString(), pixels).astype(int) - _run(exported["pixel"], pixels)
    assert np.abs(off).max() <= 1


@pytest.mark.parametrize("run", [_run, _run_openvino])
def test_the_deep_door_exported_or_put_around_a_float_door_gives_clamped_floats(
    deployed: PixelDoor, exported: dict[str, Path], tmp_path: Path, run: Run
) -> None:
    wrapped = tmp_path / "wrapped.onnx"
    onnx.save(add_deep_door(onnx.load(str(exported["float"]))), str(wrapped))
    x = torch.rand(2, 9, 31, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = deployed.core(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).clamp(0, 1).numpy()
    for path in (wrapped, exported["deep"]):
        result = run(path, x.numpy())
        assert result.dtype == np.float32
        assert np.abs(result - expected).max() <= 1e-4


def test_a_file_of_others_has_no_facts(exported: dict[str, Path]) -> None:
    graph = onnx.load(str(exported["float"]))
    del graph.metadata_props[:]
    assert read_facts(graph) is None
