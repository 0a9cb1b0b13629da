"""The shape of one engine call, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from sr_train.errors import UsageError

__all__ = ["BatchShape"]


@dataclass(frozen=True, order=True)
class BatchShape:
    """A batch of `count` RGB images of height x width input pixels."""

    count: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.count, self.height, self.width) < 1:
            raise UsageError(f"shape {self} is empty; each of batch, height and width must be at least 1")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "NxHxW", or "HxW" for one image. Raises UsageError."""
        parts = text.lower().split("x")
        if len(parts) not in (2, 3) or not all(part.isdecimal() for part in parts):
            raise UsageError(f"'{text}' is not a shape; write BATCHxHEIGHTxWIDTH, as in 1x256x256")
        numbers = [int(part) for part in parts]
        return cls(*numbers) if len(numbers) == 3 else cls(1, *numbers)

    def nhwc(self, scale: int = 1) -> tuple[int, int, int, int]:
        """Of the pixel door's array; with the scale, of its result."""
        return self.count, self.height * scale, self.width * scale, 3

    def holds(self, other: BatchShape) -> bool:
        """Whether the other shape is no larger along any axis."""
        return other.count <= self.count and other.height <= self.height and other.width <= self.width

    def __str__(self) -> str:
        return f"{self.count}x{self.height}x{self.width}"
