"""The model in fp32 on the CPU, whatever engine does the work: opened when it is first asked. For the guard."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Self

from sr_batch.doors import Doors
from sr_export.engines import Engine, EngineName, Pixels, Precision, open_engine
from sr_export.model import Prepared, prepare

__all__ = ["Exact"]


class Exact:
    """Both doors of a model in fp32. A context manager."""

    def __init__(self, prepared: Prepared, say: Callable[[str], None]) -> None:
        self._prepared, self._say = prepared, say
        self._doors: Doors | None = None

    def stream(self, batches: Iterable[Pixels]) -> Generator[Pixels]:
        """See Doors.stream. Raises SRError when the engine cannot be opened."""
        if self._doors is None:
            pixel, say = self._prepared, self._say
            self._doors = Doors(_open(pixel), lambda: _open(prepare(pixel.model, say, "deep")))
        yield from self._doors.stream(batches)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._doors is not None:
            self._doors.__exit__(kind, error, trace)


def _open(prepared: Prepared) -> Engine:
    return open_engine(prepared, EngineName.ONNX, Precision.FP32, "cpu")
