"""From a prepared model to its INT8 form: calibrate, search, write; and the cached one that `--precision int8` runs.

Prepared (fp32) ──calibrate──▶ Recipe (the sidecar) ──write_form──▶ INT8 ONNX ──judge_here──▶ Verdict on this machine
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from calib.closing import shift_output
from calib.errors import CalibrationError, GateRefused
from calib.gate import Figures, Run, Truth, decide, measure
from calib.network import load_network
from calib.quantize import Target, half_rest, quantize
from calib.ranges import Method, Progress, Ranges, measure_ranges
from calib.samples import Samples, built_in_samples
from calib.search import Candidate, Found, run_with_onnxruntime, search
from calib.sidecar import Recipe, to_json
from calib.speed import seconds_a_tile
from sr_export.derived import derived_file, sha256_of
from sr_export.engines import Engine, EngineName, Precision
from sr_export.flavour import Flavour, missing_package
from sr_export.gpu import ask_driver
from sr_export.machine import has_nvidia_driver
from sr_export.model import Model, ModelKind, Prepared
from sr_export.onnx_file import read_facts

__all__ = [
    "Wish",
    "as_prepared",
    "calibrate",
    "engine_run",
    "int8_form",
    "judge",
    "machine_key",
    "require_int8",
    "target_for",
    "write_form",
]

RECIPE_VERSION = 1  # raise it when the same model must give another INT8 form
Pixels = NDArray[np.uint8]
Say = Callable[[str], None]
Auto = Literal["auto"]
OpenHere = Callable[[Prepared, Precision | Auto], Engine]


@dataclass(frozen=True)
class Wish:
    """How a model is to be quantised."""

    target: Target = Target.CPU
    rest: str = "fp32"  # float type of what is not INT8: "fp32" or "fp16"
    method: Method = Method.PERCENTILE
    keep: tuple[str, ...] = ()  # layers that stay float in any case
    equalised: bool = False  # measured on the shipped model: no gain (docs/calib.md)


def target_for(engine: EngineName | Auto, device: str) -> Target:
    """Whose rules the INT8 form for this engine on this device follows; `auto`: for what it will choose there."""
    if engine == "auto" and device not in ("cpu", "mps", "-1") and has_nvidia_driver():
        return Target.TENSORRT if any(missing_package(flavour) is None for flavour in Flavour) else Target.CPU
    return Target.TENSORRT if engine in (EngineName.TRT, EngineName.RTX) else Target.CPU


def calibrate(
    prepared: Prepared,
    samples: Samples,
    wish: Wish,
    ranges: Ranges | None = None,
    *,
    progress: Progress = lambda *_: None,
    found: Found = lambda *_: None,
) -> tuple[Recipe, Candidate]:
    """Measure the ranges (unless they are given) and find the layers that may run in INT8.

    The returned candidate may not have passed the gate: the caller decides. Raises CalibrationError.
    """
    if prepared.facts.precision == Precision.INT8:
        raise CalibrationError(f"{prepared.model.path.name}: is quantised already; give the model it was made from")
    if not samples.calibration or not samples.held_out:
        raise CalibrationError("there are no tiles to calibrate with; use photos with more content")
    graph = load_network(prepared)
    if ranges is None:
        ranges = measure_ranges(
            graph,
            samples.calibration,
            wish.method,
            prepared.model.sha256,
            data=(samples.source, samples.sha256()),
            equalised=wish.equalised,
            progress=progress,
        )
    truth = Truth.of(samples.held_out, prepared.facts.scale, run_with_onnxruntime(graph))
    candidate = search(
        graph, ranges, wish.target, samples.calibration, truth, wish.keep, progress=progress, found=found
    )
    return Recipe(wish.target, wish.rest, candidate.keep, candidate.shift, ranges), candidate


def write_form(prepared: Prepared, recipe: Recipe, path: Path) -> None:
    """Write the INT8 file of a recipe. Raises CalibrationError for one of another model."""
    graph = load_network(prepared)
    int8 = shift_output(quantize(graph, recipe.ranges, recipe.target, recipe.keep), recipe.shift)
    onnx.save(half_rest(int8) if recipe.rest == "fp16" else int8, str(path))


def as_prepared(name: str, int8: Path) -> Prepared:
    """An INT8 file, ready for any engine."""
    facts = read_facts(onnx.load(str(int8)))
    assert facts is not None  # written by write_form
    return Prepared(Model(name, int8, ModelKind.ONNX, sha256_of(int8)), int8, facts)


def int8_form(prepared: Prepared, target: Target, say: Say = lambda _: None) -> Prepared:
    """The cached INT8 form of a model, made from the built-in tiles on first use. Raises GateRefused, CalibrationError.

    Two derived files: the recipe (minutes), and the ONNX file that follows from it (a second).
    """
    rest = "fp16" if target is Target.TENSORRT else "fp32"
    samples = built_in_samples()
    wish = Wish(target, rest)
    key: dict[str, str | int | float | None] = {
        "recipe": RECIPE_VERSION,
        "form": "int8",
        "target": target.value,
        "rest": rest,
        "method": wish.method.value,
        "source_sha256": prepared.model.sha256,
        "data_sha256": samples.sha256(),
        "onnxruntime": _onnxruntime_version(),
    }

    def build(path: Path) -> None:
        say(f"calibrating {prepared.model.name} for INT8 (first use, one to three minutes; kept for the next run)")
        recipe, candidate = calibrate(prepared, samples, wish)
        path.write_text(json.dumps(to_json(prepared.model.name, recipe, candidate), indent=1), encoding="utf-8")

    sidecar = derived_file(prepared.model.name, ".int8.json", key, build)
    verdict = json.loads(sidecar.read_text(encoding="utf-8"))["verdict"]
    if not verdict["use"]:
        raise GateRefused(
            f"INT8 is not good enough for model {prepared.model.name}: {'; '.join(verdict['reasons'])}; "
            "use --precision auto"
        )
    recipe = Recipe.read(sidecar, prepared.model.sha256)
    path = derived_file(
        prepared.model.name, ".int8.onnx", key | {"sidecar_sha256": sha256_of(sidecar)},
        lambda partial: write_form(prepared, recipe, partial),
    )  # fmt: skip
    return as_prepared(prepared.model.name, path)


def require_int8(prepared: Prepared, target: Target, open_here: OpenHere, say: Say = lambda _: None) -> Prepared:
    """What `--precision int8` runs: the cached INT8 form, judged once on the engine that will run it here.

    A file that is INT8 already is taken as it is: whoever names it has chosen. `open_here` opens the engine that is
    wanted with a form of the model in a precision, "auto" for its fastest float one.
    Raises GateRefused when INT8 is not good enough or not faster here, CalibrationError, and what `open_here` raises.
    """
    if prepared.facts.precision == Precision.INT8:
        return prepared
    int8 = int8_form(prepared, target, say)
    with open_here(int8, Precision.INT8) as fast:
        traits = fast.traits
        key: dict[str, str | int | float | None] = {
            "recipe": f"int8 gate {RECIPE_VERSION}",
            "int8_sha256": int8.model.sha256,
            "engine": f"{traits.name} {traits.version} {traits.device} {traits.threads} {traits.tile}",
            "machine": machine_key(),
        }

        def build(path: Path) -> None:
            say("judging INT8 on this machine (first use, less than a minute)")
            with open_here(prepared, "auto") as float_form:
                figures, speed = judge(prepared, fast, float_form)
            verdict = decide(figures, speed)
            found = {"use": verdict.use, "reasons": verdict.reasons, "speed": speed, "figures": asdict(figures)}
            path.write_text(json.dumps(found, indent=1), encoding="utf-8")

        found = json.loads(derived_file(prepared.model.name, ".int8.gate.json", key, build).read_text(encoding="utf-8"))
    if not found["use"]:
        raise GateRefused(
            f"INT8 is refused for model {prepared.model.name} on {traits.describe()}: {'; '.join(found['reasons'])}; "
            "use --precision auto"
        )
    return int8


def judge(
    prepared: Prepared, int8: Engine, float_form: Engine, samples: Samples | None = None
) -> tuple[Figures, float]:
    """An open INT8 engine against the fp32 form's pictures, and its speed against that of an open float form."""
    tiles = (samples or built_in_samples()).held_out
    truth = Truth.of(tiles, prepared.facts.scale, run_with_onnxruntime(load_network(prepared)))
    figures = measure(truth, engine_run(int8))
    seconds = seconds_a_tile({"float": float_form, "int8": int8})
    return figures, seconds["float"] / seconds["int8"]


def engine_run(engine: Engine) -> Run:
    """An open engine as a function of one uint8 HWC picture."""

    def run(pixels: Pixels) -> Pixels:
        return np.array(next(iter([result.copy() for result in engine.stream([pixels[None]])]))[0])

    return run


def _onnxruntime_version() -> str:
    try:
        return version("onnxruntime")
    except PackageNotFoundError:
        return version("onnxruntime-gpu")


def machine_key() -> str:
    """What decides whether INT8 is fast here: the CPU's kind and its instructions for it, and the GPUs."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        flags = set()
    known = sorted(flags & {"avx2", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm"})
    gpus = [gpu.name for gpu in ask_driver().gpus] if has_nvidia_driver() else []
    return " ".join([platform.machine(), platform.processor(), *known, *gpus])
