"""The protocol that every engine follows, and the names of engines and precisions."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Engine", "EngineName", "Pixels", "Precision", "StreamsTensors", "Traits", "Watch"]

Pixels = NDArray[np.uint8 | np.float32]  # [n, h, w, 3] RGB: uint8, or float32 in [0, 1] through the deep door


class EngineName(StrEnum):
    TORCH = "torch"
    ONNX = "onnx"  # ONNX Runtime
    OPENVINO = "openvino"
    TRT = "trt"  # TensorRT
    RTX = "rtx"  # TensorRT-RTX


class Precision(StrEnum):
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


@dataclass(frozen=True)
class Traits:
    """What an open engine is: constant while it is open."""

    name: EngineName
    precision: Precision
    device: str  # "cpu", "cuda:0", ...
    version: str  # of the library that computes
    scale: int  # output side / input side
    halo: int | None  # LR pixels that an output pixel can see; None: further than could be measured
    halo_measured: int | None  # smallest halo with an error below half a level; None: none was found
    tile: int  # LR pixels: the window side that ran fastest here (benchmarks/README.md)
    threads: int  # CPU threads that compute; 0 on a GPU
    fixed_tile: bool = False  # full windows of exactly `tile` run fastest, and larger ones not at all

    def describe(self) -> str:
        """One line for people: `openvino 2026.4 fp32 on cpu (2 threads)`."""
        threads = f" ({self.threads} thread{'s' if self.threads != 1 else ''})" if self.threads else ""
        return f"{self.name} {self.version} {self.precision} on {self.device}{threads}"


class Watch(Protocol):
    """Whoever is told what an engine did, and when: for profiles. Called from any thread."""

    def __call__(self, what: str, begun: float, ended: float, lane: int = 0) -> None:
        """`what`: upload, compute or download; from when to when, in seconds of time.perf_counter.

        It may have begun by waiting for what was told before it: an engine has one place to compute in. `lane`: which
        of several engines.
        """


class Engine(Protocol):
    """Runs one model. A context manager: closing frees the device.

    `stream` takes batches, uint8 [n, h, w, 3] RGB of any n, h, w >= 1, and yields uint8
    [n, scale·h, scale·w, 3] in the same order, one for each. Opened on a deep door (sr_export.deploy) it takes and
    yields float32 in [0, 1] instead, not rounded. It works ahead: batches are read before earlier results are asked
    for, and must not change until their result has come. A yielded array belongs to the engine and is valid until
    the next one is asked for. (Engines with `fixed_tile` take batches and windows up to the shape they were
    opened for.) One stream at a time; an abandoned one must be closed before the next.
    Raises EngineFailed with the library's own words. `watch` is told what took how long.
    """

    @property
    def traits(self) -> Traits: ...

    def stream(self, batches: Iterable[Pixels], watch: Watch | None = None) -> Generator[Pixels]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class StreamsTensors(Protocol):
    """An engine that also takes what lies on its device already, as torch has it, and leaves its results there.

    `stream_tensors` is `Engine.stream` for tensors of the same shapes and dtype on `traits.device`. What the caller has
    queued on torch's current stream of that device is waited for; a yielded tensor is the engine's, complete, and valid
    until the next one is asked for.
    """

    def stream_tensors(self, batches: Iterable[Tensor]) -> Generator[Tensor]: ...
