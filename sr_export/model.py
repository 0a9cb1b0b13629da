"""What a user names with `--model`, and the one pixel-door ONNX file that every engine makes its own form of.

"srresnet" | path ──find_model──▶ Model ──prepare──▶ Prepared (pixel- or deep-door fp32 ONNX, cached, with its facts)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sr_export.derived import derived_file, sha256_of
from sr_export.errors import ModelError
from sr_train.atomic_file import atomic_file
from sr_train.errors import SRError, UsageError

if TYPE_CHECKING:
    import onnx

    from sr_export.halo import RunFloat
    from sr_export.onnx_file import Door, OnnxFacts

__all__ = ["Model", "ModelKind", "Prepared", "find_model", "prepare", "shipped_models", "write_onnx"]

RECIPE_VERSION = 1  # raise it when the same source must give another derived file
PROBE_SIDE = 64  # LR pixels: the image on which an unknown model's scale is found


class ModelKind(Enum):
    CHECKPOINT = "checkpoint"  # .safetensors of ours
    ONNX = "onnx"  # float or pixel door


@dataclass(frozen=True)
class Model:
    """A model file that exists."""

    name: str  # for people: the shipped name, or the file's
    path: Path
    kind: ModelKind
    sha256: str  # of the file


@dataclass(frozen=True)
class Prepared:
    """A model ready for any engine: its fp32 ONNX file with the door that `facts` names, and what is known of it."""

    model: Model
    onnx_path: Path
    facts: OnnxFacts


def shipped_models() -> list[str]:
    """The names that `--model` takes besides paths."""
    return sorted(p.name.removesuffix(".safetensors") for p in _model_folder().glob("*.safetensors"))


def find_model(name_or_path: str) -> Model:
    """The model that a name or path means. Raises ModelError if there is none."""
    shipped = _model_folder() / f"{name_or_path}.safetensors"
    path = shipped if name_or_path in shipped_models() else Path(name_or_path)
    if not path.is_file():
        names = shipped_models()
        near = difflib.get_close_matches(name_or_path, names, 1)
        hint = (
            f"did you mean '{near[0]}'?" if near else f"shipped models are: {', '.join(names)}; or give a file's path"
        )
        raise ModelError(f"there is no model '{name_or_path}'; {hint}")
    kind = ModelKind.ONNX if path.suffix.lower() == ".onnx" else ModelKind.CHECKPOINT
    try:
        return Model(path.stem, path, kind, sha256_of(path))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error


def prepare(model: Model, say: Callable[[str], None] = lambda _: None, door: Door = "pixel") -> Prepared:
    """The model's ONNX file with this door, derived on first use and cached; `say` is told when that takes a while.

    Raises CheckpointError or ModelError when the file cannot be used, CacheError when nothing can be written.
    """
    import onnx

    from sr_export.onnx_file import read_facts

    build = _build_from_checkpoint if model.kind is ModelKind.CHECKPOINT else _build_from_onnx
    recipe: dict[str, str | int | float | None] = {
        "recipe": RECIPE_VERSION,
        "door": door,
        "precision": "fp32",
        "source_sha256": model.sha256,
    }
    if model.kind is ModelKind.CHECKPOINT:
        recipe |= {"torch": version("torch"), "onnxscript": version("onnxscript")}

    def build_and_say(path: Path) -> None:
        say(f"preparing model {model.name} (first use, about 20 seconds; kept for the next run)")
        build(model, path, door)

    path = derived_file(model.name, f".{door}.onnx", recipe, build_and_say)
    facts = read_facts(onnx.load(str(path)))
    assert facts is not None  # written by our builders
    return Prepared(model, path, facts)


def write_onnx(model: Model, target: Path, door: Door) -> OnnxFacts:
    """Write the model's fp32 ONNX file where the user wants it, atomically; returns the facts in its metadata.

    Raises ModelError for a door that cannot be made, UsageError when the file cannot be written.
    """
    import onnx

    from sr_export.onnx_file import read_facts

    build = _build_from_checkpoint if model.kind is ModelKind.CHECKPOINT else _build_from_onnx
    try:
        with atomic_file(target) as partial:
            build(model, partial, door)
            facts = read_facts(onnx.load(str(partial)))
    except SRError:
        raise
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror}); choose another place with -o") from error
    assert facts is not None  # written by our builders
    return facts


def _build_from_checkpoint(model: Model, path: Path, door: Door) -> None:
    import torch

    from sr_export.deploy import deploy
    from sr_export.halo import measure_halo
    from sr_export.onnx_file import OnnxFacts, export_onnx
    from sr_train.checkpoint import load_checkpoint

    generator, _ = load_checkpoint(model.path)
    deployed = deploy(generator)

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            result: NDArray[np.float32] = deployed.core(torch.from_numpy(image)).numpy()
        return result

    reach = generator.halo()
    measured = measure_halo(run, deployed.scale, reach)
    export_onnx(deployed, path, OnnxFacts(deployed.scale, reach, measured, door, "fp32", model.sha256))


def _build_from_onnx(model: Model, path: Path, door: Door) -> None:
    """A file of ours with the door wanted is taken as it is; a float door gets the door and measured facts."""
    import onnx

    from sr_export.halo import measure_halo, measure_reach
    from sr_export.onnx_file import OnnxFacts, add_deep_door, add_pixel_door, read_facts, write_facts

    if door == "float":
        raise ModelError(f"{model.path}: is an ONNX file already; only --door pixel can be made from it")
    graph = _load_onnx(model.path)
    known = read_facts(graph)
    if known is not None and known.door == door:
        onnx.save(graph, str(path))
        return
    if known is not None and known.door != "float":
        raise ModelError(
            f"{model.path}: has the {known.door} door, which takes 8 bits a channel and no more; for pictures of "
            "16 bits name the checkpoint, or an ONNX file with the float door (sr-export onnx)"
        )
    _check_float_door(model.path, graph)
    run = _float_runner(model.path)
    if known is not None:
        facts = OnnxFacts(known.scale, known.halo, known.halo_measured, door, known.precision, model.sha256)
    else:
        scale = _find_scale(model.path, run)
        reach = measure_reach(run, scale)
        facts = OnnxFacts(scale, reach, measure_halo(run, scale, reach), door, "fp32", model.sha256)
    wrapped = add_pixel_door(graph) if door == "pixel" else add_deep_door(graph)
    write_facts(wrapped, facts)
    onnx.save(wrapped, str(path))


def _load_onnx(path: Path) -> onnx.ModelProto:
    import onnx

    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf and onnx raise unrelated types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: is not a complete ONNX file ({reason}); copy or export it again") from error


def _check_float_door(path: Path, graph: onnx.ModelProto) -> None:
    """Raise ModelError unless the graph takes and gives one NCHW RGB float image of any height and width."""
    from sr_export.onnx_file import FLOAT_TYPES, real_inputs

    inputs = real_inputs(graph.graph)
    if len(inputs) != 1 or len(graph.graph.output) != 1:
        raise ModelError(
            f"{path}: has {len(inputs)} inputs and {len(graph.graph.output)} outputs; an upscaler has one of each"
        )
    kind = inputs[0].type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    wanted = "export it with one float input [batch, 3, height, width], RGB in [0, 1], height and width dynamic"
    if kind.elem_type not in FLOAT_TYPES:
        raise ModelError(f"{path}: its input is not float32 or float16; {wanted}")
    if len(dims) != 4 or dims[1] not in (3, None):
        raise ModelError(f"{path}: its input is {_shape(dims)}; {wanted}")
    if dims[2] is not None or dims[3] is not None:
        raise ModelError(f"{path}: runs only at the fixed size {_shape(dims)}; {wanted}")


def _shape(dims: list[int | None]) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in dims) + "]"


def _float_runner(path: Path) -> RunFloat:
    """The float door run by ONNX Runtime on the CPU, in the file's own float type."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own, unrelated types
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({_first_line(error)})") from error
    entry = session.get_inputs()[0]
    dtype = np.float16 if "float16" in entry.type else np.float32

    def run(image: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        try:
            result: NDArray[np.floating[Any]] = session.run(None, {entry.name: image.astype(dtype)})[0]
        except Exception as error:
            raise ModelError(
                f"{path}: fails on an image of {image.shape[2]}x{image.shape[3]} ({_first_line(error)}); "
                "it must take any height and width"
            ) from error
        return result

    return run


def _find_scale(path: Path, run: RunFloat) -> int:
    shape = run(np.full((1, 3, PROBE_SIDE, PROBE_SIDE + 7), 0.5, dtype=np.float32)).shape
    scale = shape[2] // PROBE_SIDE if len(shape) == 4 else 0
    if scale < 1 or shape != (1, 3, PROBE_SIDE * scale, (PROBE_SIDE + 7) * scale):
        raise ModelError(
            f"{path}: turns [1, 3, {PROBE_SIDE}, {PROBE_SIDE + 7}] into {list(shape)}; "
            "an upscaler gives a whole multiple of the height and width, in RGB"
        )
    return scale


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _model_folder() -> Path:
    return Path(str(files("sr_export").joinpath("models")))
