"""Slots: how batches flow through execution contexts so that upload, compute and download overlap. Knows no TensorRT.

Each slot has its own context, stream, pinned host buffers, device buffers and CUDA graph. One batch is in each slot:

    batch ──host_in──copy──▶ device_in ──launch or replay──▶ device_out ──copy──▶ host_out ──▶ result
            └─────────────── all on the slot's stream; only reading host_out waits for it ──┘

Buffers have the largest shape that the contexts take; addresses never change, so a graph stays valid for a shape.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from sr_export.engines.base import Pixels, Watch
from sr_export.errors import EngineFailed
from sr_export.shape import BatchShape

__all__ = ["Context", "Device", "Mark", "SlotRunner", "Stream"]

Launch = Callable[[], None]
Batch = TypeVar("Batch")


class Context(Protocol):
    """What we call of a TensorRT execution context; the names are TensorRT's."""

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool: ...

    def set_tensor_address(self, name: str, memory: int) -> bool: ...

    def execute_async_v3(self, stream_handle: int) -> bool: ...


class Mark(Protocol):
    """A place in a stream's work."""

    def seconds_after(self, earlier: Any) -> float:  # another mark of the same device
        """Between the moments at which the device came to the two; both must have been waited for."""


class Stream(Protocol):
    """An ordered queue of work on the device."""

    @property
    def handle(self) -> int: ...

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Queue a copy between host and device memory of one size."""

    def run(self, launch: Launch) -> None:
        """Let `launch` queue its work here."""

    def capture(self, launch: Launch) -> Launch:
        """Record what `launch` queues, without running it; the result queues all of it at once."""

    def mark(self) -> Mark:
        """Queue a mark."""

    def follow(self) -> None:
        """Let what is queued from now on wait for what the caller has queued elsewhere on the device."""

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""


class Device(Protocol):
    """Where memory and streams come from."""

    def host_buffer(self, size: int) -> Tensor:
        """Pinned uint8 memory, zeroed."""

    def device_buffer(self, size: int) -> Tensor:
        """uint8 memory on the device, zeroed."""

    def stream(self) -> Stream: ...


class _Slot:
    """One context and its buffers. `graph` belongs to `shape`."""

    def __init__(
        self, context: Context, device: Device, names: tuple[str, str], most: BatchShape, scale: int, item_bytes: int
    ) -> None:
        inputs, outputs = (int(np.prod(shape)) * item_bytes for shape in (most.nhwc(), most.nhwc(scale)))
        self.context, self.stream = context, device.stream()
        self.host_in, self.host_out = device.host_buffer(inputs), device.host_buffer(outputs)
        self.device_in, self.device_out = device.device_buffer(inputs), device.device_buffer(outputs)
        self.shape: BatchShape | None = None
        self.graph: Launch | None = None
        self.filled = 0  # images of the batch in flight
        self.kept: Tensor | None = None  # the batch in flight, where it lies on the device: until it is read
        self.marks: list[Mark] = []  # where its upload, compute and download begin and the last ends; with a watch
        for name, memory in zip(names, (self.device_in, self.device_out), strict=True):
            if not context.set_tensor_address(name, memory.data_ptr()):
                raise EngineFailed(f"TensorRT does not take memory for tensor '{name}'")


class _Clock:
    """Tells a watch when the steps of a slot's work were, by the device's own clock."""

    def __init__(self, stream: Stream, watch: Watch) -> None:
        self._watch, self._origin = watch, stream.mark()
        stream.synchronize()
        self._began = time.perf_counter()

    def tell(self, marks: Sequence[Mark]) -> None:
        """`marks` have been waited for."""
        times = [self._began + mark.seconds_after(self._origin) for mark in marks]
        for what, begun, ended in zip(("upload", "compute", "download"), times, times[1:], strict=False):
            self._watch(what, begun, ended)


class SlotRunner:
    """Runs batches through the contexts of one plan, one slot for each context.

    A batch may have fewer images than `most.count`: it runs in the full shape, and what the other images give is not
    looked at. Images do not influence each other, so this is exact. Height and width are the batch's own: a network
    pads with zeros in every layer, so a larger image with the batch in its corner would give other pixels.
    """

    def __init__(
        self,
        contexts: Sequence[Context],
        device: Device,
        names: tuple[str, str],  # of the input and the output tensor
        most: BatchShape,  # the largest shape that the contexts take
        scale: int,
        graphs: bool = True,  # replay a CUDA graph from the second batch of a shape on
        dtype: type[np.uint8 | np.float32] = np.uint8,  # of both tensors
    ) -> None:
        self.most = most
        self._input, self._scale, self._graphs, self._dtype = names[0], scale, graphs, np.dtype(dtype)
        item_bytes = self._dtype.itemsize
        self._slots = [_Slot(context, device, names, most, scale, item_bytes) for context in contexts]

    def with_slots(self, count: int) -> SlotRunner:
        """A runner on the first `count` of these slots, to compare with. Not to be used at the same time."""
        twin = copy.copy(self)
        twin._slots = self._slots[:count]
        return twin

    def stream(self, batches: Iterable[Pixels], watch: Watch | None = None) -> Generator[Pixels]:
        """See sr_export.engines.base.Engine. Batches of up to `most.count` images, heights and widths within `most`."""
        clock = _Clock(self._slots[0].stream, watch) if watch is not None else None
        start, finish = partial(self._start, marked=clock is not None), partial(self._finish, clock=clock)
        yield from self._flow(batches, start, finish)

    def stream_tensors(self, batches: Iterable[Tensor]) -> Generator[Tensor]:
        """See sr_export.engines.base.StreamsTensors."""
        yield from self._flow(batches, self._start_on_device, self._finish_on_device)

    def _flow(
        self, batches: Iterable[Batch], start: Callable[[_Slot, Batch], None], finish: Callable[[_Slot], Batch]
    ) -> Generator[Batch]:
        free = deque(self._slots)
        running: deque[_Slot] = deque()
        try:
            for batch in batches:
                slot = free.popleft()
                running.append(slot)
                start(slot, batch)
                if not free:
                    yield finish(running[0])
                    free.append(running.popleft())
            while running:
                yield finish(running[0])
                running.popleft()
        finally:
            for slot in running:  # the stream was abandoned: nothing may write into the buffers later
                slot.stream.synchronize()

    def _shape_of(self, batch_shape: Sequence[int]) -> BatchShape:
        """What a batch runs in."""
        if not self.most.holds(BatchShape(*batch_shape[:3])):
            raise EngineFailed(
                f"a batch of {'x'.join(map(str, batch_shape[:3]))} is larger than this engine's {self.most}; "
                "use a smaller --tile"
            )
        return BatchShape(self.most.count, *batch_shape[1:3])

    def _start(self, slot: _Slot, batch: Pixels, *, marked: bool) -> None:
        shape = self._shape_of(batch.shape)
        slot.filled = len(batch)
        filled = batch.size * self._dtype.itemsize
        host = slot.host_in[:filled]
        host.numpy().view(self._dtype).reshape(batch.shape)[...] = batch  # a strided or read-only view will do
        size = filled * self._scale**2
        slot.marks = []
        for work in (
            partial(slot.stream.copy, host, slot.device_in[:filled]),
            partial(self._launch, slot, shape),
            partial(slot.stream.copy, slot.device_out[:size], slot.host_out[:size]),
        ):
            if marked:
                slot.marks.append(slot.stream.mark())
            work()
        if marked:
            slot.marks.append(slot.stream.mark())

    def _start_on_device(self, slot: _Slot, batch: Tensor) -> None:
        shape = self._shape_of(batch.shape)
        slot.filled = len(batch)
        slot.kept = batch.contiguous()
        source = slot.kept.view(torch.uint8).flatten()
        # The batch is made, and the slot's last result read, in what the caller queued: this comes after both.
        slot.stream.follow()
        slot.stream.copy(source, slot.device_in[: len(source)])
        self._launch(slot, shape)

    def _launch(self, slot: _Slot, shape: BatchShape) -> None:
        """Queue the network. The first batch of a shape is enqueued plainly: TensorRT sets itself up in it, and what
        it does then must not be part of a graph."""
        if slot.shape != shape:
            slot.stream.synchronize()
            if not slot.context.set_input_shape(self._input, shape.nhwc()):
                raise EngineFailed(f"TensorRT does not take {shape} in this plan; use a smaller --tile")
            slot.shape, slot.graph = shape, None
            slot.stream.run(lambda: self._enqueue(slot))
        elif not self._graphs:
            slot.stream.run(lambda: self._enqueue(slot))
        else:
            if slot.graph is None:
                slot.stream.synchronize()
                slot.graph = slot.stream.capture(lambda: self._enqueue(slot))
            slot.graph()

    @staticmethod
    def _enqueue(slot: _Slot) -> None:
        if not slot.context.execute_async_v3(slot.stream.handle):
            raise EngineFailed("TensorRT refuses to run the network; its reason is in its log")

    def _finish(self, slot: _Slot, clock: _Clock | None) -> Pixels:
        slot.stream.synchronize()  # the only wait for the GPU
        if clock is not None:
            clock.tell(slot.marks)
        assert slot.shape is not None
        shape = BatchShape(slot.filled, slot.shape.height, slot.shape.width).nhwc(self._scale)
        size = int(np.prod(shape)) * self._dtype.itemsize
        result: Pixels = slot.host_out[:size].numpy().view(self._dtype).reshape(shape)
        return result

    def _finish_on_device(self, slot: _Slot) -> Tensor:
        slot.stream.synchronize()
        slot.kept = None
        assert slot.shape is not None
        shape = BatchShape(slot.filled, slot.shape.height, slot.shape.width).nhwc(self._scale)
        dtype = torch.uint8 if self._dtype == np.uint8 else torch.float32
        return slot.device_out[: int(np.prod(shape)) * self._dtype.itemsize].view(dtype).reshape(shape)
