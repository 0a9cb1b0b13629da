"""The JSON beside an INT8 file: everything that it was made from, and how it was judged. Readable, and reusable.

schema        1
model         name of the model it was made from; `model_sha256` of its file is in `ranges`
target, rest  whose rules it follows (cpu, tensorrt); float type of what is not INT8
keep          layers that stay in float
shift         taken out of the last bias (calib.closing)
figures       against fp32 on the held-out tiles, by ONNX Runtime on a CPU (calib.gate.Figures)
verdict       {use, reasons}, speed not asked for
ranges        calib.ranges.Ranges: method, data and its sha256, each tensor's range and channel means
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calib.errors import CalibrationError
from calib.gate import decide
from calib.quantize import Target
from calib.ranges import Ranges, read_ranges
from calib.search import Candidate

__all__ = ["Recipe", "sidecar_of", "to_json"]

SCHEMA = 1


@dataclass(frozen=True)
class Recipe:
    """What, with the fp32 file, makes an INT8 file."""

    target: Target
    rest: str  # "fp32" or "fp16"
    keep: tuple[str, ...]
    shift: tuple[float, ...]
    ranges: Ranges

    @classmethod
    def read(cls, path: Path, model_sha256: str) -> Recipe:
        """From a sidecar. Raises CalibrationError unless it is one, for this model."""
        ranges = read_ranges(path, model_sha256)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(Target(found["target"]), found["rest"], tuple(found["keep"]), tuple(found["shift"]), ranges)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CalibrationError(f"{path}: is not a sidecar of sr-calib; quantise the model again") from error


def sidecar_of(int8: Path) -> Path:
    """Where the sidecar of an INT8 file lies."""
    return int8.with_name(int8.name + ".json")


def to_json(model: str, recipe: Recipe, candidate: Candidate) -> dict[str, Any]:
    """The sidecar's content."""
    verdict = decide(candidate.figures)
    return {
        "schema": SCHEMA,
        "model": model,
        "target": recipe.target.value,
        "rest": recipe.rest,
        "keep": list(recipe.keep),
        "shift": list(recipe.shift),
        "figures": asdict(candidate.figures),
        "verdict": {"use": verdict.use, "reasons": list(verdict.reasons)},
        "ranges": recipe.ranges.to_json(),
    }
