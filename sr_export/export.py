"""ONNX files as people ask for them: door, precision, fixed shape; checked, and compared with torch before they appear.

checkpoint ──deploy──▶ ──half_of──▶ ──export_onnx──▶ check_export ──▶ verify_export ──▶ FILE.onnx
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sr_export.derived import derived_file
from sr_export.errors import ModelError
from sr_export.model import Model, ModelKind, Prepared, prepare, write_onnx
from sr_export.onnx_file import OPSET, PREFIX, Door, OnnxFacts, export_onnx
from sr_export.parity import Difference, compare
from sr_export.shape import BatchShape
from sr_train.atomic_file import atomic_file
from sr_train.errors import SRError, UsageError

if TYPE_CHECKING:
    import onnx

    from sr_export.deploy import PixelDoor
    from sr_export.fp16 import LayerRange

__all__ = ["Exported", "OnnxOptions", "check_export", "export_model", "fp16_onnx", "verify_export"]

FP32_TOLERANCE = 1e-4  # of the float door's [0, 1] range: largest difference of an fp32 file to torch
FP32_LEVELS = 1  # of the pixel door: a value on the edge between two levels may round either way
FP16_RECIPE = 1  # raise it when the same source must give another fp16 file


@dataclass(frozen=True)
class OnnxOptions:
    """What kind of ONNX file."""

    door: Door = "float"
    precision: Literal["fp32", "fp16"] = "fp32"  # fp16: weights and arithmetic in half, checked for overflow first
    fixed: BatchShape | None = None  # None: any batch, height and width
    fp32_io: bool = False  # an fp16 float door that takes and gives float32, for tools that have no half
    keep_fp32: tuple[str, ...] = field(default=())  # parts of an fp16 network that stay in float32: "head", "body.3"

    def __post_init__(self) -> None:
        if self.precision == "fp32" and (self.fp32_io or self.keep_fp32):
            raise UsageError("--fp32-io and --keep-fp32 are for fp16 files; add --precision fp16 or leave them out")
        if self.door == "pixel" and self.fp32_io:
            raise UsageError("the pixel door takes and gives uint8; --fp32-io is for --door float")


@dataclass(frozen=True)
class Exported:
    """What was written, and how it compared with torch in float32 before it got its name."""

    facts: OnnxFacts
    difference: Difference | None  # of uint8 pictures; None: a foreign model, of which there is no torch form
    tightest: LayerRange | None  # of an fp16 file: the layer with the least headroom


def export_model(
    model: Model, target: Path, options: OnnxOptions, say: Callable[[str], None] = lambda _: None
) -> Exported:
    """Write `target`, atomically, after all checks. An ONNX model can only be given the pixel door, in its precision.

    Raises Fp16Unsafe, ModelError or UsageError, with the fix; nothing is written then.
    """
    if model.kind is not ModelKind.CHECKPOINT:
        if options.precision == "fp16" or options.fixed is not None:
            raise ModelError(f"{model.path}: is an ONNX file; --precision and --static need a checkpoint")
        return Exported(write_onnx(model, target, options.door), None, None)
    known = prepare(model, say).facts
    facts = replace(known, door=options.door, precision=options.precision)
    try:
        with atomic_file(target) as partial:
            say(f"exporting {model.name}, then comparing it with torch")
            return _export(model, partial, facts, options)
    except OSError as error:
        if isinstance(error, SRError):
            raise
        raise UsageError(f"{target} cannot be written ({error.strerror}); choose another place with -o") from error


def fp16_onnx(prepared: Prepared, say: Callable[[str], None] = lambda _: None) -> Path:
    """The model's pixel-door fp16 file for our own engines, derived on first use and cached.

    Raises ModelError for an ONNX model: its overflow cannot be looked for here.
    """
    model = prepared.model
    if model.kind is not ModelKind.CHECKPOINT:
        raise ModelError(
            f"{model.path}: is an ONNX file; fp16 is made from checkpoints only, use --precision fp32 for it"
        )
    recipe: dict[str, str | int | float | None] = {
        "recipe": FP16_RECIPE,
        "door": "pixel",
        "precision": "fp16",
        "source_sha256": model.sha256,
        "torch": version("torch"),
        "onnxscript": version("onnxscript"),
    }

    def build(path: Path) -> None:
        say(f"preparing model {model.name} in fp16 (first use, about 40 seconds; kept for the next run)")
        _export(model, path, replace(prepared.facts, precision="fp16"), OnnxOptions("pixel", "fp16"))

    return derived_file(model.name, ".pixel.fp16.onnx", recipe, build)


def check_export(graph: onnx.ModelProto, options: OnnxOptions) -> None:
    """Raise ModelError, naming what is wrong, unless the graph is what was asked for and no more.

    One opset, no external data, nothing of the exporting machine in names or metadata, the weights in the right type,
    and only the casts at the doors (two for each edge in another type than the weights) and around kept parts.
    """
    from onnx import TensorProto

    opsets = [(entry.domain, entry.version) for entry in graph.opset_import]
    casts = sum(node.op_type == "Cast" for node in graph.graph.node)
    allowed = 2 * (options.door == "pixel" or options.fp32_io) + 2 * len(options.keep_fp32)
    types = Counter(tensor.data_type for tensor in graph.graph.initializer)
    wanted = TensorProto.FLOAT16 if options.precision == "fp16" else TensorProto.FLOAT
    allowed_types = {wanted, TensorProto.INT64} | ({TensorProto.FLOAT} if options.keep_fp32 else set())
    texts = [graph.doc_string, *(node.doc_string for node in graph.graph.node)]
    keys = [entry.key for owner in (graph, *graph.graph.node) for entry in owner.metadata_props]
    problems = [
        (opsets != [("", OPSET)], f"its opset is {opsets}, not {OPSET}"),
        (any(t.data_location == TensorProto.EXTERNAL for t in graph.graph.initializer), "weights lie in another file"),
        (any(texts) or not all(key.startswith(PREFIX) for key in keys), "it carries notes of the exporting machine"),
        (casts > allowed, f"it has {casts} casts where {allowed} are needed"),
        (not set(types) <= allowed_types, f"it has weights of the types {sorted(types)} (onnx numbers)"),
    ]
    found = [text for wrong, text in problems if wrong]
    if found:
        raise ModelError(f"the exporter gave another graph than asked for: {'; '.join(found)}; please report this")


def verify_export(path: Path, deployed: PixelDoor, options: OnnxOptions) -> Difference:
    """Run the file in ONNX Runtime and compare with the float32 torch module on a real photo: uint8 pictures.

    Raises ModelError when an fp32 file differs by more than FP32_TOLERANCE or an fp16 file fails the parity gate.
    """
    import torch

    pixels = _probe_batch(options.fixed)
    with torch.inference_mode():
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
        expected = deployed.core(images.float()).numpy()
    if options.door == "pixel":
        difference = compare(_run_file(path, pixels).astype(np.uint8), _to_pixels(expected))
        close = difference.max_levels <= FP32_LEVELS
    else:
        given = _run_file(path, images.float().numpy()).astype(np.float32)
        difference = compare(_to_pixels(given), _to_pixels(expected))
        close = bool(np.abs(given - expected).max() <= FP32_TOLERANCE)
    if not (close if options.precision == "fp32" else difference.passes_gate()):
        raise ModelError(f"the {options.precision} file does not give torch's pictures ({difference}); nothing written")
    return difference


def _export(model: Model, path: Path, facts: OnnxFacts, options: OnnxOptions) -> Exported:
    import onnx

    from sr_export.deploy import deploy
    from sr_export.fp16 import check_ranges, half_of, measure_ranges
    from sr_export.halo import probe_crops
    from sr_train.checkpoint import load_checkpoint

    generator, _ = load_checkpoint(model.path)
    deployed = deploy(generator)
    module, tightest = deployed, None
    if options.precision == "fp16":
        module = half_of(deployed, options.keep_fp32)
        tightest = check_ranges(measure_ranges(deployed.core, probe_crops()), options.keep_fp32)
    export_onnx(module, path, facts, options.fixed)
    graph = onnx.load(str(path))
    if options.fp32_io:
        _add_fp32_edges(graph)
    if options.keep_fp32:
        graph.metadata_props.add(key=f"{PREFIX}keep_fp32", value=",".join(options.keep_fp32))
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, str(path))
    check_export(graph, options)
    return Exported(facts, verify_export(path, deployed, options), tightest)


def _add_fp32_edges(graph: onnx.ModelProto) -> None:
    """Make a half-precision float door take and give float32, by a cast at each edge."""
    from onnx import TensorProto, helper

    entry, result = graph.graph.input[0], graph.graph.output[0]
    for node in graph.graph.node:
        node.input[:] = ["half_input" if name == entry.name else name for name in node.input]
        node.output[:] = ["half_output" if name == result.name else name for name in node.output]
    graph.graph.node.insert(0, helper.make_node("Cast", [entry.name], ["half_input"], to=TensorProto.FLOAT16))
    graph.graph.node.append(helper.make_node("Cast", ["half_output"], [result.name], to=TensorProto.FLOAT))
    for edge in (entry, result):
        edge.type.tensor_type.elem_type = TensorProto.FLOAT


def _probe_batch(fixed: BatchShape | None) -> NDArray[np.uint8]:
    """A real photo, repeated to the fixed shape, or 48x64 of it: uint8 [n, h, w, 3]."""
    from sr_export.halo import probe_crops

    shape = fixed or BatchShape(1, 48, 64)
    crop = probe_crops()[0]
    rows, columns = np.arange(shape.height) % crop.shape[0], np.arange(shape.width) % crop.shape[1]
    return np.ascontiguousarray(np.broadcast_to(crop[rows][:, columns], shape.nhwc()))


def _run_file(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """The file's result for an array; float32 is given as half where the file takes half."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        entry = session.get_inputs()[0]
        array = array.astype(np.float16) if "float16" in entry.type else array
        result: NDArray[Any] = session.run(None, {entry.name: array})[0]
    except Exception as error:  # onnxruntime's errors share no base class
        raise ModelError(f"ONNX Runtime cannot run the exported file ({error}); please report this") from error
    return result


def _to_pixels(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Float NCHW in [0, 1] to uint8, rounded and clamped as the pixel door does."""
    pixels: NDArray[np.uint8] = np.rint(np.clip(images * np.float32(255), 0, 255)).astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1)
