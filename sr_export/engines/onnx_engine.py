"""ONNX Runtime on the CPU, fp32. (Its CUDA provider comes with the GPU engines.)"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from types import TracebackType
from typing import Self

import onnxruntime

from sr_export.engines.base import EngineName, Pixels, Precision, Traits
from sr_export.errors import EngineFailed, EngineUnavailable
from sr_export.model import Prepared

__all__ = ["OnnxEngine"]

PROVIDER = "CPUExecutionProvider"
BEST_TILE = 256  # LR pixels, measured: benchmarks/README.md


class OnnxEngine:
    """See sr_export.engines.base.Engine. Any shape."""

    def __init__(self, prepared: Prepared, precision: Precision, threads: int) -> None:
        """Load the model. Raises EngineUnavailable for another precision than fp32, EngineFailed if it won't load."""
        if precision is not Precision.FP32:
            raise EngineUnavailable(f"engine onnx computes in fp32 on a CPU, not {precision}; use --precision fp32")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(str(prepared.onnx_path), options, providers=[PROVIDER])
        except Exception as error:  # onnxruntime's errors share no base class
            raise EngineFailed(f"ONNX Runtime cannot load the model ({error})") from error
        # It falls back to other providers with a log line only.
        assert self._session.get_providers() == [PROVIDER]
        facts = prepared.facts
        self.traits = Traits(
            EngineName.ONNX, precision, "cpu", onnxruntime.__version__, facts.scale, facts.halo, facts.halo_measured,
            BEST_TILE, threads,
        )  # fmt: skip

    def stream(self, batches: Iterable[Pixels]) -> Generator[Pixels]:
        name = self._session.get_inputs()[0].name
        for batch in batches:
            try:
                result: Pixels = self._session.run(None, {name: batch})[0]
            except Exception as error:  # onnxruntime's errors share no base class
                raise EngineFailed(f"ONNX Runtime failed ({error})") from error
            yield result

    def close(self) -> None:
        del self._session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
