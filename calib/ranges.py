"""What activations do on sample tiles: the ranges that INT8 scales come from, and the means that biases are mended by.

A range belongs to the input of one convolution. It is measured by ONNX Runtime's calibrators: `minmax` covers every
value seen, `percentile` all but one in 100,000 on each side together, `entropy` what loses least information.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

from calib.errors import CalibrationError
from calib.network import convolutions, equalise, equalising_factors, observed
from sr_export.machine import cpu_threads

__all__ = ["Method", "Ranges", "TensorRange", "measure_ranges", "read_ranges"]

SCHEMA = 1
PERCENTILE = 99.999
BINS = 2048  # of the histograms
Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Progress = Callable[[str, int, int], None]  # what is done, steps done, steps in all


class Method(StrEnum):
    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"


@dataclass(frozen=True)
class TensorRange:
    """One activation tensor: its range, and each channel's mean value."""

    low: float
    high: float
    means: tuple[float, ...]


@dataclass(frozen=True)
class Ranges:
    """Everything that quantising needs to know of the samples. `tensors`: by name, of the equalised graph."""

    method: str
    data: str  # for people: where the samples came from
    data_sha256: str
    model_sha256: str  # of the model's source file
    tensors: Mapping[str, TensorRange]
    factors: Mapping[str, tuple[float, ...]]  # of equalisation, by first convolution; empty: not equalised

    def to_json(self) -> dict[str, Any]:
        """As the sidecar holds it."""
        return {
            "schema": SCHEMA,
            "method": self.method,
            "data": self.data,
            "data_sha256": self.data_sha256,
            "model_sha256": self.model_sha256,
            "tensors": {
                name: {"low": r.low, "high": r.high, "means": [float(f"{m:.6g}") for m in r.means]}
                for name, r in self.tensors.items()
            },
            "factors": {name: [float(f"{f:.6g}") for f in values] for name, values in self.factors.items()},
        }

    def equalised(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """The graph that these ranges were measured on."""
        return equalise(graph, {name: np.array(values, np.float32) for name, values in self.factors.items()})


def read_ranges(path: Path, model_sha256: str) -> Ranges:
    """The ranges of a sidecar or of a file of ranges alone. Raises CalibrationError unless they are this model's."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found = found.get("ranges", found)
        if found["schema"] != SCHEMA:
            raise CalibrationError(f"{path}: is of another version ({found['schema']}); calibrate again")
        ranges = Ranges(
            found["method"],
            found["data"],
            found["data_sha256"],
            found["model_sha256"],
            {n: TensorRange(float(r["low"]), float(r["high"]), tuple(r["means"])) for n, r in found["tensors"].items()},
            {name: tuple(values) for name, values in found["factors"].items()},
        )
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CalibrationError(f"{path}: is not a file of ranges; give the .json beside an INT8 model") from error
    if ranges.model_sha256 != model_sha256:
        raise CalibrationError(f"{path}: holds the ranges of another model; calibrate this one (leave --ranges out)")
    return ranges


def measure_ranges(
    graph: onnx.ModelProto,
    tiles: Sequence[Pixels],
    method: Method,
    model_sha256: str,
    *,
    data: tuple[str, str],
    equalised: bool = True,
    progress: Progress = lambda *_: None,
) -> Ranges:
    """Run the pixel-door `graph` on uint8 HWC tiles. `data`: where they came from, and their sha256.

    Raises CalibrationError when a tensor comes out constant: the tiles say nothing of it.
    """
    factors: dict[str, Floats] = {}
    if equalised:
        seen = _channels(graph, tiles, lambda values: np.abs(values).max(axis=(0, 2, 3)), np.maximum, progress)
        factors = equalising_factors(graph, seen)
        graph = equalise(graph, factors)
    bounds = _bounds(graph, tiles, method, progress)
    sums = _channels(graph, tiles, lambda values: values.mean(axis=(0, 2, 3)), np.add, progress)
    inputs = [conv.input for conv in convolutions(graph)]
    dead = [name for name in inputs if bounds[name][1] - bounds[name][0] < 1e-6]
    if dead:
        raise CalibrationError(
            f"on these tiles {len(dead)} of {len(inputs)} layers see nothing but one value; use photos with content"
        )
    means = {name: tuple(float(m) / len(tiles) for m in sums[name]) for name in inputs}
    return Ranges(
        method.value,
        *data,
        model_sha256,
        {name: TensorRange(*bounds[name], means[name]) for name in inputs},
        {name: tuple(map(float, values)) for name, values in factors.items()},
    )


class _Reader(CalibrationDataReader):  # type: ignore[misc] # onnxruntime has no types
    """Feeds one tile."""

    def __init__(self, name: str, tile: Pixels) -> None:
        self._left = [{name: tile[None]}]

    def get_next(self) -> dict[str, Pixels] | None:
        return self._left.pop() if self._left else None


def _bounds(
    graph: onnx.ModelProto, tiles: Sequence[Pixels], method: Method, progress: Progress
) -> dict[str, tuple[float, float]]:
    """The range of each float tensor around the convolutions, by ONNX Runtime's calibrator, tile after tile."""
    kinds = {
        Method.MINMAX: CalibrationMethod.MinMax,
        Method.ENTROPY: CalibrationMethod.Entropy,
        Method.PERCENTILE: CalibrationMethod.Percentile,
    }
    options = {"percentile": PERCENTILE, "num_bins": BINS} if method is Method.PERCENTILE else {}
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):  # it prints
        source = Path(name) / "source.onnx"
        onnx.save(graph, str(source))
        calibrator = create_calibrator(
            str(source), ["Conv"], str(Path(name) / "augmented.onnx"), kinds[method], extra_options=options
        )
        for index, tile in enumerate(tiles):
            progress("ranges", index, len(tiles))
            calibrator.collect_data(_Reader(graph.graph.input[0].name, tile))
        data = calibrator.compute_data()
    limits = {name: data[name].range_value for name in data.keys()}  # noqa: SIM118
    return {name: (float(np.ravel(low)[0]), float(np.ravel(high)[0])) for name, (low, high) in limits.items()}


def _channels(
    graph: onnx.ModelProto,
    tiles: Iterable[Pixels],
    reduce: Callable[[Floats], Floats],
    join: Callable[[Floats, Floats], Floats],
    progress: Progress,
) -> dict[str, Floats]:
    """One figure for each channel of each convolution's input (float NCHW), joined over the tiles."""
    names = list(dict.fromkeys(conv.input for conv in convolutions(graph)))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        observed(graph, names).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    entry, result = graph.graph.input[0].name, dict[str, Floats]()
    tiles = list(tiles)
    for index, tile in enumerate(tiles):
        progress("channels", index, len(tiles))
        for name, values in zip(names, session.run(names, {entry: tile[None]}), strict=True):
            figure = reduce(values).astype(np.float32)
            result[name] = join(result[name], figure) if name in result else figure
    return result
