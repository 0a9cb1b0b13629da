"""ONNX files: a trained generator or somebody's float-door model becomes one fp32 file with the pixel door.

    checkpoint ──export_onnx──▶ float, pixel or deep door, dynamic n, h, w
    float-door ONNX of anyone ──add_pixel_door──▶ pixel door
                              ──add_deep_door──▶ deep door

Metadata (`metadata_props`) carries what a reader needs: see OnnxFacts.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import onnx
from onnx import TensorProto, helper

from sr_export.errors import ModelError
from sr_export.shape import BatchShape

if TYPE_CHECKING:
    from sr_export.deploy import PixelDoor

__all__ = [
    "Door",
    "OnnxFacts",
    "add_deep_door",
    "add_pixel_door",
    "export_onnx",
    "read_facts",
    "real_inputs",
    "write_facts",
]

Door = Literal["float", "pixel", "deep"]  # see sr_export.deploy
OPSET = 20  # the newest that TensorRT 10 and 11, ONNX Runtime and OpenVINO of 2026 all read
PREFIX = "sr_toolkit."  # of our keys in the metadata
INPUT, OUTPUT = "input", "output"
MAX_BATCH, MAX_SIDE = 64, 16384  # bounds that the exporter asks for; engines do not enforce them
FLOAT_TYPES = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}


@dataclass(frozen=True)
class OnnxFacts:
    """What our metadata says of a model."""

    scale: int  # output side / input side
    halo: int | None  # LR pixels that an output pixel can see; None: further than could be measured
    halo_measured: int | None  # smallest halo whose error on real images stays below half a grey level
    door: Door
    precision: str  # of the weights: "fp32" or "fp16"
    source_sha256: str  # of the checkpoint or ONNX file that this came from


def export_onnx(deployed: PixelDoor, path: Path, facts: OnnxFacts, fixed: BatchShape | None = None) -> None:
    """Write the deployed graph with the door that `facts` names, and the facts as metadata.

    The graph takes `input` and gives `output`: float NCHW, uint8 NHWC or float32 NHWC (see sr_export.deploy), in the
    float type of the weights; dynamic n, h, w unless `fixed`. One file, no external data, no source paths. Raises
    ModelError if the exporter does not give what was asked for.
    """
    import torch  # seconds to import, and needed only when a file is really made

    from sr_export.deploy import DeepDoor

    channels_last = facts.door != "float"
    module = {"pixel": deployed, "deep": DeepDoor(deployed.core).eval(), "float": deployed.core}[facts.door]
    n, h, w = (torch.export.Dim(name, min=1, max=m) for name, m in (("n", MAX_BATCH), ("h", MAX_SIDE), ("w", MAX_SIDE)))
    shape = (fixed or BatchShape(2, 24, 40)).nhwc()
    example = torch.zeros(shape, dtype=torch.uint8 if facts.door == "pixel" else deployed.float_dtype())
    if not channels_last:
        example = example.permute(0, 3, 1, 2).contiguous()
    dynamic = {0: n, 1: h, 2: w} if channels_last else {0: n, 2: h, 3: w}
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            dynamic_shapes=(dynamic,) if fixed is None else None,
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    _strip_origin(graph)
    write_facts(graph, facts)
    _check(graph)
    onnx.save(graph, str(path))


def read_facts(graph: onnx.ModelProto) -> OnnxFacts | None:
    """Our facts in a graph's metadata; None if it is not a file of ours."""
    found = {p.key.removeprefix(PREFIX): p.value for p in graph.metadata_props if p.key.startswith(PREFIX)}
    try:
        return OnnxFacts(
            scale=int(found["scale"]),
            halo=int(found["halo"]) if found["halo"] else None,
            halo_measured=int(found["halo_measured"]) if found["halo_measured"] else None,
            door=_door_of(found["door"]),
            precision=found["precision"],
            source_sha256=found["source_sha256"],
        )
    except (KeyError, ValueError):
        return None


def _door_of(text: str) -> Door:
    doors: tuple[Door, ...] = get_args(Door)
    return next((door for door in doors if door == text), "float")


def write_facts(graph: onnx.ModelProto, facts: OnnxFacts) -> None:
    """Replace our entries in the graph's metadata; other entries stay."""
    others = [(p.key, p.value) for p in graph.metadata_props if not p.key.startswith(PREFIX)]
    del graph.metadata_props[:]
    ours = [(PREFIX + name, "" if value is None else str(value)) for name, value in asdict(facts).items()]
    for key, value in others + ours:
        graph.metadata_props.add(key=key, value=value)


def add_pixel_door(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A float-door graph (NCHW RGB [0, 1], float32 or float16) with the pixel door around it.

    The result takes uint8 NHWC and gives uint8 NHWC: cast, transpose, / 255 before; x 255, clip, round, transpose,
    cast after. The caller has checked the door (sr_export.model). The graph that came in is not changed.
    """
    before = [
        helper.make_node("Cast", ["pixels"], ["door_cast"], to=_float_type(graph)),
        helper.make_node("Transpose", ["door_cast"], ["door_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["door_nchw", "door_top"], [real_inputs(graph.graph)[0].name]),
    ]
    after = [
        helper.make_node("Mul", [graph.graph.output[0].name, "door_top"], ["door_scaled"]),
        helper.make_node("Clip", ["door_scaled", "door_zero", "door_top"], ["door_clipped"]),
        helper.make_node("Round", ["door_clipped"], ["door_rounded"]),
        helper.make_node("Transpose", ["door_rounded"], ["door_nhwc"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["door_nhwc"], ["upscaled_pixels"], to=TensorProto.UINT8),
    ]
    return _with_door(graph, before, after, TensorProto.UINT8, {"door_zero": 0.0, "door_top": 255.0})


def add_deep_door(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A float-door graph, as above, with the deep door around it: float32 NHWC RGB [0, 1] -> the same, clamped."""
    before = [
        helper.make_node("Cast", ["pixels"], ["door_cast"], to=_float_type(graph)),
        helper.make_node("Transpose", ["door_cast"], [real_inputs(graph.graph)[0].name], perm=[0, 3, 1, 2]),
    ]
    after = [
        helper.make_node("Clip", [graph.graph.output[0].name, "door_zero", "door_one"], ["door_clipped"]),
        helper.make_node("Transpose", ["door_clipped"], ["door_nhwc"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["door_nhwc"], ["upscaled_pixels"], to=TensorProto.FLOAT),
    ]
    return _with_door(graph, before, after, TensorProto.FLOAT, {"door_zero": 0.0, "door_one": 1.0})


def _float_type(graph: onnx.ModelProto) -> int:
    kind: int = real_inputs(graph.graph)[0].type.tensor_type.elem_type
    return kind


def _with_door(
    graph: onnx.ModelProto,
    before: list[onnx.NodeProto],
    after: list[onnx.NodeProto],
    edge: int,  # the type of `pixels` and `upscaled_pixels`
    constants: Mapping[str, float],
) -> onnx.ModelProto:
    """A copy of the graph between the nodes of a door, whose ends are NHWC."""
    result = onnx.ModelProto()
    result.CopyFrom(graph)
    batch = real_inputs(graph.graph)[0].type.tensor_type.shape.dim[0]
    n = batch.dim_value if batch.HasField("dim_value") else "n"
    nodes = [*before, *result.graph.node, *after]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    dtype = _float_type(graph)
    result.graph.initializer.extend(helper.make_tensor(name, dtype, [], [v]) for name, v in constants.items())
    del result.graph.input[:]
    del result.graph.output[:]
    result.graph.input.append(helper.make_tensor_value_info("pixels", edge, [n, "h", "w", 3]))
    result.graph.output.append(helper.make_tensor_value_info("upscaled_pixels", edge, [n, "h_out", "w_out", 3]))
    _check(result)
    return result


def real_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The graph's inputs without its weights, which old exporters list there too."""
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def _check(graph: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(graph, full_check=True)
    except Exception as error:  # the checker raises several unrelated types
        raise ModelError(f"the ONNX graph is not valid ({error})") from error


def _strip_origin(graph: onnx.ModelProto) -> None:
    """Remove what the exporter notes of this machine: source paths and stack traces."""
    graph.doc_string = ""
    del graph.metadata_props[:]
    for item in [*graph.graph.node, *graph.graph.input, *graph.graph.output, *graph.graph.value_info]:
        item.doc_string = ""
        del item.metadata_props[:]
    del graph.graph.metadata_props[:]
    for tensor in graph.graph.initializer:
        del tensor.metadata_props[:]


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter logs and warns about its own insides, which no user can mend; its errors still come through."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
