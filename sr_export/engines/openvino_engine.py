"""OpenVINO on the CPU: the fastest engine without a GPU. fp32 and INT8 everywhere; bf16 where the CPU has it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable
from functools import cache
from types import TracebackType
from typing import Self

import numpy as np
import openvino

from sr_export.engines.base import EngineName, Pixels, Precision, Traits, Watch
from sr_export.errors import EngineFailed, EngineUnavailable
from sr_export.model import Prepared

__all__ = ["OpenVinoEngine", "computes_in_bf16", "openvino_core"]

HINTS = {Precision.FP32: "f32", Precision.BF16: "bf16"}  # INT8: the file's own, the rest as fast as this CPU can
IN_FLIGHT = 2  # requests: while one computes, the next waits in the queue and the last is stitched
BEST_TILE = 352  # LR pixels, measured: benchmarks/README.md


@cache
def openvino_core() -> openvino.Core:
    """The one of this process, which lives as long as it does.

    A Core gives the thread that loads its CPU plugin a signal stack, and puts the one before back in its end. When two
    end in the order in which they began, the thread is left with a stack that is no more, and the next signal, a
    Ctrl-C say, ends the process by a segmentation fault (seen with OpenVINO 2026.4).
    """
    return openvino.Core()


def computes_in_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16 (AVX512_BF16 or AMX), by OpenVINO's own account."""
    capabilities: list[str] = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


class OpenVinoEngine:
    """See sr_export.engines.base.Engine. Any shape; each new shape costs a fraction of a second once."""

    def __init__(self, prepared: Prepared, precision: Precision, threads: int) -> None:
        """Compile the model. Raises EngineUnavailable for a precision this CPU lacks, EngineFailed if it won't load."""
        if precision is not Precision.INT8 and precision not in HINTS:
            raise EngineUnavailable(f"engine openvino has no {precision}; use --precision fp32, bf16 or int8")
        if precision is Precision.BF16 and not computes_in_bf16():
            raise EngineUnavailable(
                "this CPU does not compute in bf16 (it needs AVX512_BF16 or AMX); use --precision fp32"
            )
        rest = Precision.BF16 if computes_in_bf16() else Precision.FP32
        options = {
            "INFERENCE_PRECISION_HINT": HINTS[rest if precision is Precision.INT8 else precision],
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # decoding and encoding share these cores
        }
        try:
            core = openvino_core()
            compiled = core.compile_model(core.read_model(prepared.onnx_path), "CPU", options)
            self._requests = [compiled.create_infer_request() for _ in range(IN_FLIGHT)]
        except RuntimeError as error:
            raise EngineFailed(f"OpenVINO cannot load the model ({_short(error)}); try --engine onnx") from error
        facts = prepared.facts
        version = openvino.get_version().split("-")[0]
        self.traits = Traits(
            EngineName.OPENVINO, precision, "cpu", version, facts.scale, facts.halo, facts.halo_measured,
            BEST_TILE, threads,
        )  # fmt: skip

    def stream(self, batches: Iterable[Pixels], watch: Watch | None = None) -> Generator[Pixels]:
        free = deque(self._requests)
        running: deque[tuple[openvino.InferRequest, Pixels, float]] = (
            deque()
        )  # the batch is kept alive until it is read
        try:
            for batch in batches:
                request, contiguous = free.popleft(), np.require(batch, requirements=("C", "W"))
                request.set_input_tensor(openvino.Tensor(contiguous, shared_memory=True))
                request.start_async()
                running.append((request, contiguous, time.perf_counter()))
                if not free:
                    yield self._finish(running[0][0], running[0][2], watch)
                    free.append(running.popleft()[0])
            while running:
                yield self._finish(running[0][0], running[0][2], watch)
                running.popleft()
        except RuntimeError as error:
            raise EngineFailed(f"OpenVINO failed ({_short(error)})") from error
        finally:
            for request, _, _ in running:  # the stream was abandoned: let what computes end before it starts anew
                request.wait()

    def close(self) -> None:
        self._requests.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _finish(request: openvino.InferRequest, begun: float, watch: Watch | None) -> Pixels:
        request.wait()
        if watch is not None:  # OpenVINO's own clock runs until the result was there, whenever somebody asks for it
            watch("compute", begun, begun + request.latency / 1000)
        result: Pixels = request.get_output_tensor().data
        return result


def _short(error: Exception) -> str:
    """OpenVINO's last line holds the reason; the lines before are source positions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
