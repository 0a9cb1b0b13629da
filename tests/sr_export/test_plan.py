"""Plans. The TensorRT-RTX tests build real ones ahead of time, with no GPU; nothing is run on one."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from sr_export.cli import main
from sr_export.deploy import deploy
from sr_export.errors import EngineUnavailable, PlanError
from sr_export.flavour import Flavour
from sr_export.fp16 import half_of
from sr_export.gpu import Gpu
from sr_export.model import find_model
from sr_export.onnx_file import OnnxFacts, export_onnx
from sr_export.plan import PlanOptions, Profile, build_plan, load_network, plan_file, plan_recipe
from sr_export.shape import BatchShape
from sr_train.checkpoint import load_checkpoint, save_checkpoint
from sr_train.errors import UsageError
from sr_train.generator import GeneratorConfig, random_generator

TILE = BatchShape(2, 64, 64)
RTX = PlanOptions(Flavour.RTX, Profile.fixed(TILE), ("8.6", "8.9", "12.0"))
RTX_4090 = Gpu(0, "NVIDIA GeForce RTX 4090", "8.9", 24 << 30)
L4 = Gpu(0, "NVIDIA L4", "8.9", 24 << 30)
# Byte 0x20 of a plan's header is the mask of its compute capabilities, bit by bit in the order of the enum: SM75 is
# bit 0. Not documented by NVIDIA: found by building for each.
CAPABILITY_BITS = {"7.5": 0, "8.0": 1, "8.6": 2, "8.9": 3, "12.0": 4, "12.1": 5}

try:
    import tensorrt_rtx

    missing = ""
except ImportError as error:
    missing = f"tensorrt-rtx is not installed ({error}); it has wheels for Linux and Windows on x86-64"
    if sys.platform == "linux" and platform.machine() == "x86_64":
        missing += ": pip install -e .[dev]"
needs_rtx = pytest.mark.skipif(bool(missing), reason=missing)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SR_TOOLKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def shipped_fp16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model's pixel door in fp16, without the measurements that go with a real export."""
    path = tmp_path_factory.mktemp("shipped") / "srresnet.onnx"
    model = find_model("srresnet")
    facts = OnnxFacts(4, 40, 12, "pixel", "fp16", model.sha256)
    export_onnx(half_of(deploy(load_checkpoint(model.path)[0])), path, facts)
    return path


def tiny_fp16(folder: Path, seed: int = 0) -> Path:
    """A pixel-door fp16 graph with one convolution; weights by seed."""
    path = folder / f"tiny{seed}.onnx"
    onnx.save(hand_made(weights=TensorProto.FLOAT16, seed=seed), str(path))
    return path


def hand_made(*, weights: int, seed: int = 0, cast_first: bool = True, operator: str = "Conv") -> onnx.ModelProto:
    """uint8 NHWC -> half -> Conv -> uint8, with what an ill-typed exporter may do to it."""
    numbers = [0.01 * (seed + 1)] * (3 * 3 * 9)
    kernel = helper.make_tensor("kernel", weights, [3, 3, 3, 3], numbers)
    cast = helper.make_node("Cast", ["input" if cast_first else "b"], ["a"], to=TensorProto.FLOAT16)
    transpose = helper.make_node("Transpose", ["a" if cast_first else "input"], ["b"], perm=[0, 3, 1, 2])
    layer = helper.make_node(operator, ["b" if cast_first else "a", "kernel"], ["c"], name="the_layer")
    layer.attribute.extend([helper.make_attribute("pads", [1] * 4)] if operator == "Conv" else [])
    nodes = [
        *((cast, transpose) if cast_first else (transpose, cast)),
        layer,
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["d"], ["output"], to=TensorProto.UINT8),
    ]
    edges = [helper.make_tensor_value_info(name, TensorProto.UINT8, ["n", "h", "w", 3]) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "tiny", edges[:1], edges[1:], [kernel])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


@needs_rtx
def test_a_deep_door_builds_too_with_float_pictures_at_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep.onnx"
    deployed = deploy(random_generator(GeneratorConfig(4, 1, 4), seed=1))
    export_onnx(deployed, path, OnnxFacts(4, None, None, "deep", "fp32", ""))
    network = load_network(path, Flavour.RTX).network
    assert [str(edge.dtype) for edge in (network.get_input(0), network.get_output(0))] == ["DataType.FLOAT"] * 2
    assert build_plan(path, RTX)


@needs_rtx
def test_the_shipped_model_is_half_throughout_with_uint8_at_both_ends(shipped_fp16: Path) -> None:
    network = load_network(shipped_fp16, Flavour.RTX).network
    assert (network.get_input(0).dtype, network.get_output(0).dtype) == (tensorrt_rtx.uint8, tensorrt_rtx.uint8)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    convolutions = [layer for layer in layers if layer.type == tensorrt_rtx.LayerType.CONVOLUTION]
    # 1 head, 32 in the blocks, 1 fuse, 2 upsampling, and the tail in its folded form.
    assert Counter(str(layer.get_output(0).dtype) for layer in convolutions) == {"DataType.HALF": 37}
    assert {str(layer.get_output(0).dtype) for layer in layers} <= {
        "DataType.HALF", "DataType.UINT8", "DataType.INT64", "DataType.INT32"
    }  # fmt: skip


@needs_rtx
@pytest.mark.parametrize("profile", [Profile.fixed(TILE), Profile.up_to(TILE)], ids=["fixed", "dynamic"])
def test_a_plan_is_built_for_the_chosen_compute_capabilities(shipped_fp16: Path, profile: Profile) -> None:
    plan = build_plan(shipped_fp16, replace(RTX, profile=profile))
    assert plan[:4] == b"vtrt"
    assert ".".join(str(byte) for byte in plan[0x18:0x1C]) == tensorrt_rtx.__version__
    assert int.from_bytes(plan[0x20:0x24], "little") == sum(1 << CAPABILITY_BITS[c] for c in RTX.compute_capabilities)


@needs_rtx
def test_progress_is_told_in_phases(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    build_plan(tiny_fp16(tmp_path), RTX, lambda *step: told.append(step))
    assert len({phase for phase, _, _ in told}) > 1
    assert all(0 <= done <= steps for _, done, steps in told)


@needs_rtx
def test_an_interrupt_during_the_build_stops_it_and_comes_out(tmp_path: Path) -> None:
    def interrupt(_phase: str, _done: int, _steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan_file("tiny", tiny_fp16(tmp_path), RTX, progress=interrupt)
    assert not list((tmp_path / "cache").glob("*.plan"))


@needs_rtx
@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (hand_made(weights=TensorProto.FLOAT), r"(?i)type|half|float"),
        (hand_made(weights=TensorProto.FLOAT16, cast_first=False), r"(?i)uint8|type"),
        (
            hand_made(weights=TensorProto.FLOAT16, operator="NoSuchOperator"),
            r"the_layer.*NoSuchOperator|NoSuchOperator",
        ),
    ],
    ids=["fp32 weights", "uint8 outside a cast", "unknown operator"],
)
def test_an_ill_typed_graph_is_rejected_in_tensorrts_words(spoilt: onnx.ModelProto, words: str, tmp_path: Path) -> None:
    path = tmp_path / "spoilt.onnx"
    onnx.save(spoilt, str(path))
    with pytest.raises(PlanError, match=words) as refusal:
        build_plan(path, RTX)
    assert str(refusal.value).startswith("TensorRT ") and "\n" not in str(refusal.value)


@needs_rtx
def test_a_truncated_file_is_rejected(tmp_path: Path) -> None:
    path = tiny_fp16(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(PlanError, match=r"rejects tiny0\.onnx.*parse"):
        build_plan(path, RTX)


@needs_rtx
def test_a_graph_that_takes_no_images_is_rejected_with_the_shapes(tmp_path: Path) -> None:
    graph = hand_made(weights=TensorProto.FLOAT16)
    graph.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 5
    onnx.save(graph, str(tmp_path / "five.onnx"))
    with pytest.raises(PlanError, match="TensorRT"):
        build_plan(tmp_path / "five.onnx", RTX)


@needs_rtx
def test_a_dynamic_input_without_a_profile_is_rejected_by_name(tmp_path: Path) -> None:
    graph = hand_made(weights=TensorProto.FLOAT16)
    graph.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT16, ["n", 3, "h", "w"]))
    graph.graph.node.insert(3, helper.make_node("Add", ["c", "other"], ["sum"]))
    graph.graph.node[4].input[0] = "sum"
    onnx.save(graph, str(tmp_path / "two.onnx"))
    with pytest.raises(PlanError, match=r"other|profile"):
        build_plan(tmp_path / "two.onnx", RTX)


def test_a_profile_out_of_order_cannot_be_made() -> None:
    with pytest.raises(UsageError, match="not in order"):
        Profile(BatchShape(1, 512, 512), TILE, TILE)


@needs_rtx
def test_a_compute_capability_that_rtx_does_not_know_is_refused_with_those_it_does(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"9\.0 .*8\.9, 12\.0.*--engine trt"):
        build_plan(tiny_fp16(tmp_path), replace(RTX, compute_capabilities=("9.0",)))


@needs_rtx
def test_a_second_build_is_a_cache_hit(tmp_path: Path) -> None:
    path = tiny_fp16(tmp_path)
    first = plan_file("tiny", path, RTX)
    stamp = first.stat().st_mtime_ns
    assert plan_file("tiny", path, RTX) == first and first.stat().st_mtime_ns == stamp


@needs_rtx
@pytest.mark.parametrize("damage", ["plan", "sidecar", "foreign"])
def test_a_damaged_or_foreign_plan_is_built_again(tmp_path: Path, damage: str) -> None:
    path = tiny_fp16(tmp_path)
    plan = plan_file("tiny", path, RTX)
    good = len(plan.read_bytes())
    sidecar = plan.with_name(plan.name + ".json")
    match damage:
        case "plan":
            plan.write_bytes(plan.read_bytes()[:100])
        case "sidecar":
            sidecar.unlink()
        case _:  # somebody else's plan under this name
            plan.write_bytes(b"vtrt" + bytes(good))
    assert plan_file("tiny", path, RTX) == plan
    assert plan.read_bytes()[:4] == b"vtrt" and abs(len(plan.read_bytes()) - good) < good // 2 and sidecar.is_file()
    assert plan.read_bytes()[0x18:0x1C] != bytes(4)


@needs_rtx
def test_a_changed_model_never_gets_the_old_plan(tmp_path: Path) -> None:
    path = tiny_fp16(tmp_path)
    old = plan_file("tiny", path, RTX)
    path.write_bytes(tiny_fp16(tmp_path, seed=1).read_bytes())  # same name, other weights
    assert plan_file("tiny", path, RTX) != old


def test_every_thing_that_a_plan_depends_on_is_in_its_recipe(tmp_path: Path) -> None:
    path = tiny_fp16(tmp_path)
    full = PlanOptions(Flavour.TRT, Profile.fixed(TILE))
    base = plan_recipe(path, full, "11.4.0", RTX_4090)
    others = [
        plan_recipe(path, full, "11.5.0", RTX_4090),
        plan_recipe(path, full, "11.4.0", L4),
        plan_recipe(path, full, "11.4.0", replace(RTX_4090, compute_capability="9.0")),
        plan_recipe(path, replace(full, optimization_level=5), "11.4.0", RTX_4090),
        plan_recipe(path, replace(full, workspace_bytes=1 << 30), "11.4.0", RTX_4090),
        plan_recipe(path, replace(full, portable=True), "11.4.0", RTX_4090),
        plan_recipe(path, replace(full, profile=Profile.up_to(TILE)), "11.4.0", RTX_4090),
        plan_recipe(path, RTX, "1.7.1", RTX_4090),
        plan_recipe(path, replace(RTX, compute_capabilities=()), "1.7.1", RTX_4090),
    ]
    recipes = [base, *others]
    assert all(recipes[a] != recipes[b] for a in range(len(recipes)) for b in range(a))
    portable = replace(full, portable=True)
    assert plan_recipe(path, portable, "11", L4) == plan_recipe(path, portable, "11", RTX_4090)


def test_full_tensorrt_without_a_gpu_is_refused_with_what_builds_anywhere(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="--flavour rtx"):
        plan_recipe(tiny_fp16(tmp_path), PlanOptions(Flavour.TRT, Profile.fixed(TILE)), "11.4.0", None)


def test_compute_capabilities_are_for_rtx_only() -> None:
    with pytest.raises(UsageError, match="--flavour rtx"):
        PlanOptions(Flavour.TRT, Profile.fixed(TILE), ("8.9",))


@needs_rtx
def test_the_command_writes_the_plan_and_its_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = tmp_path / "small.safetensors"
    save_checkpoint(checkpoint, random_generator(GeneratorConfig(channels=8, blocks=1, scale=2), seed=3))
    target = tmp_path / "small.plan"
    arguments = ["trt", str(checkpoint), "--flavour", "rtx", "--tile", "48x64", "--compute-capability", "8.9"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "-o", str(target)])
    assert end.value.code == 0, capsys.readouterr().err
    assert target.read_bytes()[:4] == b"vtrt"
    assert '"profile": "1x48x64 to 1x48x64' in (tmp_path / "small.plan.json").read_text()
    assert tensorrt_rtx.__version__ in capsys.readouterr().out
