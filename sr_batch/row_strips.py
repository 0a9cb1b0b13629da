"""Rows that come in any number, handed on in strips of one height: how TIFF and JPEG store a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["RowStrips"]

Number = TypeVar("Number", bound=np.generic)


class RowStrips(Generic[Number]):
    """Gathers rows [rows, width, channels] of one dtype, top down; holds copies of less than one strip."""

    def __init__(self, height: int) -> None:
        """`height`: rows of each strip but the last, which has what is left."""
        self.height = height
        self._waiting: list[NDArray[Number]] = []

    def add(self, rows: NDArray[Number]) -> Iterator[NDArray[Number]]:
        """The strips that these rows complete. To be exhausted: rows are taken while it runs."""
        while len(rows):
            missing = self.height - sum(map(len, self._waiting))
            self._waiting.append(rows[:missing].copy())
            rows = rows[missing:]
            if sum(map(len, self._waiting)) == self.height:
                yield self._taken()

    def rest(self) -> Iterator[NDArray[Number]]:
        """The last strip, if any row is left."""
        if self._waiting:
            yield self._taken()

    def _taken(self) -> NDArray[Number]:
        waiting, self._waiting = self._waiting, []
        return waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
