"""An INT8 file on trial: on each engine of this machine that runs it, against the fp32 file that it was made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.errors import CalibrationError
from calib.gate import Figures, PerceptualDistance, Truth, Verdict, decide, measure
from calib.int8 import engine_run
from calib.network import load_network
from calib.samples import Samples
from calib.search import run_with_onnxruntime
from calib.sidecar import sidecar_of
from calib.speed import seconds_a_tile
from sr_export.engines import Engine, EngineName, Precision, open_engine
from sr_export.model import ModelKind, Prepared, find_model, prepare, shipped_models
from sr_train.errors import SRError

__all__ = ["Checked", "FormResult", "check", "open_forms", "source_of", "to_json"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class FormResult:
    """How the INT8 file did on one engine. `fp32`, `int8`: both results for the tile that differs most."""

    figures: Figures
    speed: float  # against the fastest float form of this machine, 1 for equal
    verdict: Verdict
    fp32: Pixels
    int8: Pixels


@dataclass(frozen=True)
class Checked:
    """All engines. `results`: INT8 forms by description; `seconds`: a tile's, of INT8 and float forms."""

    results: Mapping[str, FormResult]
    seconds: Mapping[str, float]

    def use(self) -> bool:
        """Whether INT8 should be used on any engine here."""
        return any(result.verdict.use for result in self.results.values())


def source_of(int8: Prepared, against: str | None) -> Prepared:
    """The fp32 form of an INT8 file: the model named, or the one that its sidecar names.

    Raises CalibrationError when the file is not INT8, or was not made from that model.
    """
    path = int8.model.path
    if int8.facts.precision != Precision.INT8:
        raise CalibrationError(f"{path.name}: is not an INT8 file; make one with sr-calib quantize {path.name}")
    name = against or _named_in(sidecar_of(path))
    if name is None:
        raise CalibrationError(
            f"{path.name}: has no sidecar that says what it was made from; name that model with --against "
            f"({', '.join(shipped_models())}, or a file)"
        )
    source = prepare(find_model(name))
    if int8.facts.source_sha256 != source.facts.source_sha256:
        raise CalibrationError(f"{path.name}: was not made from {name}; name its source with --against")
    return source


def _named_in(sidecar: Path) -> str | None:
    try:
        name = json.loads(sidecar.read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(name) if name in shipped_models() else None


def open_forms(int8: Prepared, fp32: Prepared, stack: ExitStack) -> dict[str, Engine]:
    """Every engine of this CPU in every precision that it runs, by description; closed with the stack."""
    wanted = [(name, int8, Precision.INT8) for name in (EngineName.OPENVINO, EngineName.ONNX)]
    wanted += [(EngineName.OPENVINO, fp32, precision) for precision in (Precision.FP32, Precision.BF16)]
    wanted += [(EngineName.ONNX, fp32, Precision.FP32)]
    if fp32.model.kind is ModelKind.CHECKPOINT:
        wanted += [(EngineName.TORCH, fp32, Precision.FP32)]
    engines = {}
    for name, prepared, precision in wanted:
        try:
            engine = stack.enter_context(open_engine(prepared, name, precision, "cpu"))
        except SRError:
            continue  # not on this machine: a package or an instruction set is missing
        engines[engine.traits.describe()] = engine
    return engines


def check(int8: Prepared, fp32: Prepared, samples: Samples, lpips: PerceptualDistance | None = None) -> Checked:
    """Measure and judge. Raises CalibrationError where no engine runs INT8."""
    truth = Truth.of(samples.held_out, fp32.facts.scale, run_with_onnxruntime(load_network(fp32)))
    with ExitStack() as stack:
        engines = open_forms(int8, fp32, stack)
        judged = {name: engine for name, engine in engines.items() if engine.traits.precision is Precision.INT8}
        if not judged:
            raise CalibrationError("no engine here runs INT8; pip install openvino or onnxruntime")
        seconds = seconds_a_tile(engines)
        fastest = min(value for name, value in seconds.items() if name not in judged)
        results = {}
        for name, engine in judged.items():
            figures = measure(truth, engine_run(engine), lpips)
            speed = fastest / seconds[name]
            worst = figures.worst_tile
            pictures = truth.of_middles[worst], engine_run(engine)(truth.middles[worst])
            results[name] = FormResult(figures, speed, decide(figures, speed), *pictures)
    return Checked(results, seconds)


def to_json(checked: Checked, samples: Samples) -> dict[str, Any]:
    """For programs: schema 1."""
    forms = [
        {"form": name, "use": r.verdict.use, "reasons": list(r.verdict.reasons), "speed": r.speed} | asdict(r.figures)
        for name, r in checked.results.items()
    ]
    return {"schema": 1, "data": samples.source, "int8": forms, "seconds_a_tile": dict(checked.seconds)}
