"""PyTorch: the reference. Runs checkpoints of ours on the CPU (fp32), on CUDA and on Apple's MPS (fp32, fp16)."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sr_export.deploy import DeepDoor, deploy
from sr_export.engines.base import EngineName, Pixels, Precision, Traits, Watch
from sr_export.errors import EngineFailed, EngineUnavailable, OutOfDeviceMemory
from sr_export.model import ModelKind, Prepared
from sr_train.checkpoint import load_checkpoint

__all__ = ["TorchEngine"]

BEST_TILE = 256  # LR pixels, measured: benchmarks/README.md


class TorchEngine:
    """See sr_export.engines.base.Engine. Any shape."""

    def __init__(
        self, prepared: Prepared, precision: Precision, device: str, threads: int, compiled: bool = False
    ) -> None:
        """Load the checkpoint; `compiled`: through torch.compile, at the first batch, for any shape.

        Raises EngineUnavailable for an ONNX model, a missing device or another precision.
        """
        if prepared.model.kind is not ModelKind.CHECKPOINT:
            raise EngineUnavailable("engine torch runs .safetensors checkpoints only; use --engine openvino or onnx")
        allowed = (Precision.FP32,) if device == "cpu" else (Precision.FP32, Precision.FP16)
        if precision not in allowed:
            raise EngineUnavailable(
                f"engine torch on {device} has no {precision}; use --precision {' or '.join(allowed)}"
            )
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise EngineUnavailable(f"PyTorch finds no CUDA device for {device}; use --device cpu")
        if device == "mps" and not torch.backends.mps.is_available():
            raise EngineUnavailable("PyTorch finds no Apple GPU (mps); use --device cpu")
        generator, _ = load_checkpoint(prepared.model.path)
        deployed = deploy(generator)
        module = DeepDoor(deployed.core).eval() if prepared.facts.door == "deep" else deployed
        if device == "cpu":
            torch.set_num_threads(threads)
        if precision is Precision.FP16:
            module = module.half()
        try:
            # Channels last is what tensor cores compute in, and how the pixels lie already. It changes no result's
            # meaning, and the CPU's kernels are left as they were measured.
            layout = torch.contiguous_format if device == "cpu" else torch.channels_last
            module = module.to(device).to(memory_format=layout)
        except RuntimeError as error:  # for example an index beyond the last GPU
            raise EngineUnavailable(f"PyTorch cannot use device {device} ({error}); use --device cpu") from error
        self._run: Callable[[Tensor], Tensor] = torch.compile(module, dynamic=True) if compiled else module
        facts = prepared.facts
        self.traits = Traits(
            EngineName.TORCH, precision, device, torch.__version__, facts.scale, facts.halo, facts.halo_measured,
            BEST_TILE, threads if device == "cpu" else 0,
        )  # fmt: skip

    def stream(self, batches: Iterable[Pixels], watch: Watch | None = None) -> Generator[Pixels]:
        for batch in batches:
            with _failures_translated(), torch.inference_mode():
                pixels = torch.from_numpy(np.require(batch, requirements=("C", "W")))
                if watch is None:
                    result = self._run(pixels.to(self.traits.device)).cpu()  # syncs on a GPU
                else:
                    result = self._watched(pixels, watch)
            yield result.numpy()

    def stream_tensors(self, batches: Iterable[Tensor]) -> Generator[Tensor]:
        """See sr_export.engines.base.StreamsTensors."""
        for batch in batches:
            with _failures_translated(), torch.inference_mode():
                result = self._run(batch.contiguous())
            yield result

    def _watched(self, pixels: Tensor, watch: Watch) -> Tensor:
        """The result on the CPU; on a GPU it waits after each step, to know how long each took."""
        device, times = torch.device(self.traits.device), [time.perf_counter()]
        moved = pixels.to(device)
        _wait_for(device)
        times.append(time.perf_counter())
        computed = self._run(moved)
        _wait_for(device)
        times.append(time.perf_counter())
        result = computed.cpu()
        times.append(time.perf_counter())
        for what, begun, ended in zip(("upload", "compute", "download"), times, times[1:], strict=False):
            if what == "compute" or device.type != "cpu":
                watch(what, begun, ended)
        return result

    def close(self) -> None:
        del self._run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _failures_translated() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfDeviceMemory(f"PyTorch has too little GPU memory ({error}); use a smaller --tile") from error
    except RuntimeError as error:
        raise EngineFailed(f"PyTorch failed ({error})") from error


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
