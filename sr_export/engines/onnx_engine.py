"""ONNX Runtime: fp32 on the CPU; fp32 and fp16 on CUDA, with bound inputs and outputs.

The CUDA part is written from ONNX Runtime's documentation ("CUDA Execution Provider", "I/O Binding") and has never run
on a GPU; its order of calls is tested with CPU memory.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnxruntime

from sr_export.engines.base import EngineName, Pixels, Precision, Traits, Watch
from sr_export.errors import EngineFailed, EngineUnavailable, OutOfDeviceMemory
from sr_export.gpu import ask_driver
from sr_export.model import Prepared

__all__ = ["OnnxEngine", "has_cuda_provider"]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
BEST_TILE = 256  # LR pixels, measured on a CPU: benchmarks/README.md
CUDA_OPTIONS = {
    "cudnn_conv_algo_search": "EXHAUSTIVE",  # once for each shape
    "prefer_nhwc": "1",  # tensor cores want channels last
}


def has_cuda_provider() -> bool:
    """Whether this build of ONNX Runtime has the CUDA provider; whether it loads is seen when it is used."""
    return CUDA in onnxruntime.get_available_providers()


class OnnxEngine:
    """See sr_export.engines.base.Engine. Any shape."""

    def __init__(self, prepared: Prepared, precision: Precision, threads: int, device: str = "cpu") -> None:
        """Load the model on "cpu" or "cuda:N".

        Raises EngineUnavailable for a precision or provider that is not there, EngineFailed if the model won't load.
        """
        on_cpu = device == "cpu"
        if on_cpu and precision not in (Precision.FP32, Precision.INT8):
            raise EngineUnavailable(
                f"engine onnx computes in fp32 or int8 on a CPU, not {precision}; use --precision fp32"
            )
        if precision not in (Precision.FP32, Precision.FP16, Precision.INT8):
            raise EngineUnavailable(f"engine onnx has no {precision}; use --precision fp32, fp16 or int8")
        facts = prepared.facts
        self._index = 0 if on_cpu else int(device.removeprefix("cuda:"))
        self._memory = "cpu" if on_cpu else "cuda"
        provider = CPU if on_cpu else CUDA
        self._session = _open_session(_graph(prepared, precision), provider, self._index, threads)
        self.traits = Traits(
            EngineName.ONNX, precision, device, onnxruntime.__version__, facts.scale, facts.halo, facts.halo_measured,
            BEST_TILE, threads if on_cpu else 0,
        )  # fmt: skip

    def stream(self, batches: Iterable[Pixels], watch: Watch | None = None) -> Generator[Pixels]:
        run = self._run if self._memory == "cpu" else self._run_bound
        for batch in batches:
            try:
                result = run(batch, watch)
            except Exception as error:  # onnxruntime's errors share no base class
                if "Failed to allocate memory" in str(error):
                    raise OutOfDeviceMemory(
                        f"ONNX Runtime has too little GPU memory ({error}); use a smaller --tile"
                    ) from error
                raise EngineFailed(f"ONNX Runtime failed ({error})") from error
            yield result

    def _run(self, batch: Pixels, watch: Watch | None = None) -> Pixels:
        begun = time.perf_counter()
        result: Pixels = self._session.run(None, {self._session.get_inputs()[0].name: batch})[0]
        if watch is not None:
            watch("compute", begun, time.perf_counter())
        return result

    def _run_bound(self, batch: Pixels, watch: Watch | None = None) -> Pixels:
        """With the input put on the device by us and the output left there until it is read: one copy each way."""
        times = [time.perf_counter()]
        value = onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(batch), self._memory, self._index)
        times.append(time.perf_counter())
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._session.get_inputs()[0].name, value)
        binding.bind_output(self._session.get_outputs()[0].name, self._memory, self._index)
        self._session.run_with_iobinding(binding)
        if watch is not None:
            binding.synchronize_outputs()  # else the copy below waits for the GPU
        times.append(time.perf_counter())
        result: Pixels = binding.copy_outputs_to_cpu()[0]
        times.append(time.perf_counter())
        if watch is not None:
            for what, begun, ended in zip(("upload", "compute", "download"), times, times[1:], strict=False):
                watch(what, begun, ended)
        return result

    def close(self) -> None:
        del self._session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _graph(prepared: Prepared, precision: Precision) -> Path:
    if precision in (Precision.FP32, Precision.INT8):
        return prepared.onnx_path
    from sr_export.export import fp16_onnx

    return fp16_onnx(prepared)


def _open_session(path: Path, provider: str, index: int, threads: int) -> Any:
    """A session on this provider and no other: ONNX Runtime falls back to the CPU with a log line only."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    with_options = [(provider, {"device_id": str(index), **CUDA_OPTIONS})] if provider == CUDA else [provider]
    if provider not in onnxruntime.get_available_providers():
        raise EngineUnavailable(
            "this ONNX Runtime has no CUDA provider (pip uninstall onnxruntime, then pip install onnxruntime-gpu); "
            "use --device cpu"
        )
    if provider == CUDA:
        # Asked first: without a driver ONNX Runtime writes a page of its own log to stderr.
        if problem := ask_driver().problem:
            raise EngineUnavailable(f"engine onnx cannot run on CUDA: {problem}; use --device cpu")
        onnxruntime.preload_dlls()  # CUDA and cuDNN from the pip packages that torch brings
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=with_options)
    except Exception as error:  # onnxruntime's errors share no base class
        raise EngineFailed(f"ONNX Runtime cannot load the model ({error})") from error
    if session.get_providers()[0] != provider:
        raise EngineUnavailable(
            "ONNX Runtime's CUDA provider does not load here (it needs CUDA and cuDNN of its own versions, see "
            "sr-export doctor); use --device cpu"
        )
    return session
