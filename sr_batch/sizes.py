"""How large results are, and which photos are left alone: from headers, before anything is decoded.

--scale 2                 Scaled: each side of the photo times this
--target-size 1920x1080   Inside: as large as fits, the photo's shape kept
--target-size long=3840   LongestSide
--target-size mp=12       Megapixels: as many as that, no more

The network enlarges by its own factor; where the result is to have another size, resize.py makes it of that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sr_batch.errors import UnwritablePhoto

__all__ = [
    "Inside",
    "Limit",
    "LongestSide",
    "Megapixels",
    "Scaled",
    "Size",
    "SizePolicy",
    "Target",
    "enlarged_beyond",
    "parse_limit",
]

MEGA = 1_000_000
# Of a result; what the largest photo that is read without asking (--max-pixels) becomes at 4x.
MAX_OUTPUT_PIXELS = 8000 * MEGA


@dataclass(frozen=True)
class Size:
    """Of a picture as displayed, in pixels."""

    height: int
    width: int

    @property
    def pixels(self) -> int:
        return self.height * self.width

    def times(self, scale: int) -> Size:
        return Size(self.height * scale, self.width * scale)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True)
class Scaled:
    """Each side times `factor`, rounded."""

    factor: float

    def result_of(self, size: Size) -> Size:
        return _rounded(size, self.factor)

    def __str__(self) -> str:
        return f"{self.factor:g}x"


@dataclass(frozen=True)
class Inside:
    """The largest size of the photo's shape that fits into height x width."""

    height: int
    width: int

    def result_of(self, size: Size) -> Size:
        return _rounded(size, min(self.height / size.height, self.width / size.width))

    def is_below(self, size: Size) -> bool:
        """Whether this size is above the limit."""
        return size.height > self.height or size.width > self.width

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True)
class LongestSide:
    pixels: int

    def result_of(self, size: Size) -> Size:
        return _rounded(size, self.pixels / max(size.height, size.width))

    def is_below(self, size: Size) -> bool:
        return max(size.height, size.width) > self.pixels

    def __str__(self) -> str:
        return f"long={self.pixels}"


@dataclass(frozen=True)
class Megapixels:
    """Millions of pixels; a result has the most that are no more than that."""

    count: float

    def result_of(self, size: Size) -> Size:
        factor = math.sqrt(self.count * MEGA / size.pixels)
        height, width = (math.floor(side * factor + 1e-9) for side in (size.height, size.width))
        return Size(max(1, height), max(1, width))

    def is_below(self, size: Size) -> bool:
        return size.pixels > self.count * MEGA

    def __str__(self) -> str:
        return f"mp={self.count:g}"


Limit = Inside | LongestSide | Megapixels
Target = Scaled | Limit


@dataclass(frozen=True)
class SizePolicy:
    """What size each photo's result has, and which photos get none."""

    target: Target | None = None  # None: as large as the network gives
    larger_than: Limit | None = None  # photos above this are left alone: they are large enough
    max_output: int = MAX_OUTPUT_PIXELS  # of a result; more is refused

    def why_left_alone(self, size: Size) -> str | None:
        """The reason why a photo of this size is not to be done; None: it is."""
        if self.larger_than is None or not self.larger_than.is_below(size):
            return None
        return f"{size} is larger than {self.larger_than}, which --skip-larger-than leaves alone"

    def target_for(self, scale: int) -> Target:
        """What results of a network of this scale are to be like."""
        return self.target or Scaled(float(scale))

    def result_of(self, size: Size, scale: int) -> Size:
        """The size of a photo's result with a network of this scale. Raises UnwritablePhoto when above `max_output`."""
        result = self.target_for(scale).result_of(size)
        if result.pixels > self.max_output:
            raise UnwritablePhoto(
                f"the result of {result} has more pixels than the limit of {self.max_output / MEGA:g} MP; "
                "if that is meant, raise it with --max-output"
            )
        return result


def enlarged_beyond(result: Size, drawn: Size) -> str | None:
    """A sentence where a result is larger than what the network has drawn; None where it is not."""
    if result.height <= drawn.height and result.width <= drawn.width:
        return None
    return f"the network gives {drawn}; from there to {result} it was enlarged without new detail"


def parse_limit(text: str) -> Limit:
    """WxH, long=N or mp=N. Raises ValueError with a sentence for anything else."""
    kind, found, value = text.partition("=")
    try:
        if found and kind == "long" and int(value) > 0:
            return LongestSide(int(value))
        if found and kind == "mp" and 0 < float(value) < math.inf:
            return Megapixels(float(value))
        width, found, height = text.partition("x")
        if found and int(width) > 0 and int(height) > 0:
            return Inside(int(height), int(width))
    except ValueError:
        pass
    raise ValueError(f"'{text}' is none of WxH (1920x1080), long=N (longest side) and mp=N (megapixels)")


def _rounded(size: Size, factor: float) -> Size:
    return Size(max(1, round(size.height * factor)), max(1, round(size.width * factor)))
