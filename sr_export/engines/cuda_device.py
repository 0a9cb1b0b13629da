"""CUDA memory and streams for the slots, by way of torch. Has never run: there was no GPU where it was written.

Calls: docs.pytorch.org, "CUDA semantics" (streams, pinned memory, CUDA graphs) and torch.cuda.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sr_export.engines.slots import Launch
from sr_export.errors import OutOfDeviceMemory

__all__ = ["CudaDevice", "CudaMark", "CudaStream"]


class CudaDevice:
    """See sr_export.engines.slots.Device."""

    def __init__(self, index: int) -> None:
        self._device = torch.device("cuda", index)

    def host_buffer(self, size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.uint8, pin_memory=True)

    def device_buffer(self, size: int) -> Tensor:
        try:
            return torch.zeros(size, dtype=torch.uint8, device=self._device)
        except torch.OutOfMemoryError as error:
            raise OutOfDeviceMemory(f"GPU {self._device.index} has no {size / 1e6:.0f} MB left") from error

    def stream(self) -> CudaStream:
        # The buffers are zeroed on the default stream; the slot's own stream must not overtake it.
        torch.cuda.synchronize(self._device)
        return CudaStream(torch.cuda.Stream(self._device))  # type: ignore[no-untyped-call]


class CudaMark:
    """See sr_export.engines.slots.Mark."""

    def __init__(self, event: torch.cuda.Event) -> None:
        self._event = event

    def seconds_after(self, earlier: CudaMark) -> float:
        return float(earlier._event.elapsed_time(self._event)) / 1000


class CudaStream:
    """See sr_export.engines.slots.Stream."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream

    @property
    def handle(self) -> int:
        return int(self._stream.cuda_stream)

    def copy(self, source: Tensor, target: Tensor) -> None:
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)

    def run(self, launch: Launch) -> None:
        with torch.cuda.stream(self._stream):  # makes its GPU the current one, as TensorRT needs
            launch()

    def capture(self, launch: Launch) -> Launch:
        graph = torch.cuda.CUDAGraph()
        # "thread_local": other threads of this process (decoding, another GPU's engine) may go on meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            launch()

        def replay() -> None:
            with torch.cuda.stream(self._stream):
                graph.replay()

        return replay

    def mark(self) -> CudaMark:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return CudaMark(event)

    def follow(self) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))

    def synchronize(self) -> None:
        self._stream.synchronize()
