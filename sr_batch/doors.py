"""The engine's two doors behind one stream: the pixel door for uint8 pictures, the deep door for deeper ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from sr_export.engines import Engine, Pixels, StreamsTensors, Watch
from sr_train.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DeviceEngine", "Doors"]


@dataclass(frozen=True)
class DeviceEngine:
    """An engine for what lies on its device: see sr_export.engines.base.StreamsTensors."""

    stream: Callable[[Iterable[Tensor]], Generator[Tensor]]
    device: str  # torch's name of it


class Doors:
    """An open pixel engine, and a deep one that is opened when the first float32 batch comes. A context manager.

    `stream` is Engine.stream for batches of either dtype; all batches of one stream have the same.
    """

    def __init__(self, pixel: Engine, open_deep: Callable[[], Engine]) -> None:
        """Takes over `pixel`. `open_deep` may raise SRError: then the picture that asked for it fails."""
        self._stack = ExitStack()
        self._pixel, self._open_deep = self._stack.enter_context(pixel), open_deep
        self._deep: Engine | None = None

    def stream(self, batches: Iterable[Pixels], watch: Watch | None = None) -> Generator[Pixels]:
        """uint8 [n, h, w, 3] -> uint8, or float32 in [0, 1] -> float32; see sr_export.engines.base.Engine."""
        remaining = iter(batches)
        first = next(remaining, None)
        if first is not None:
            engine = self._pixel if first.dtype == np.uint8 else self.deep()
            yield from engine.stream(chain([first], remaining), watch)

    def deep(self) -> Engine:
        """The engine of the deep door, opened now if it was not."""
        if self._deep is None:
            self._deep = self._stack.enter_context(self._open_deep())
        return self._deep

    def on_device(self, deep: bool) -> DeviceEngine:
        """The engine of one door, for pictures that lie on its device. UsageError where it does not take them."""
        engine = self.deep() if deep else self._pixel
        if not isinstance(engine, StreamsTensors):
            raise UsageError(
                f"engine {engine.traits.name} does not take pictures that are on a GPU already: use --engine trt, rtx "
                "or torch, with one --device cuda:N"
            )
        return DeviceEngine(engine.stream_tensors, engine.traits.device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
