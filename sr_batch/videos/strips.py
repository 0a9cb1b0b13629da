"""Work on a picture strip by strip: a strip's floats stay in the processor's cache, a whole picture's would not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor

__all__ = ["Strips", "in_strips"]

STRIP_BYTES = 2 << 20  # of a strip as float32 RGB: below that the calls cost more than the memory
STEP = 2  # strips begin at even rows: a chroma sample's rows are in one strip

Strips = Sequence[range]  # of rows, one strip after the other; none is empty, the first is the longest


def in_strips(work: Callable[[Strips], None], size: tuple[int, int], pool: Executor | None, workers: int = 1) -> None:
    """Call `work` on strips that together are all rows of a picture (h, w), each row in one.

    With a pool: on `workers` shares of them at the same time, each a run of neighbouring strips. Raises what it raises.
    """
    strips = _strips(*size)
    if pool is None or workers == 1:
        return work(strips)
    for _ in pool.map(work, _shares(strips, workers)):
        pass
    return None


def _strips(height: int, width: int) -> list[range]:
    rows = max(STEP, STRIP_BYTES // (width * 3 * 4) // STEP * STEP)
    return [range(start, min(start + rows, height)) for start in range(0, height, rows)]


def _shares(strips: list[range], count: int) -> Iterator[list[range]]:
    """At most `count`, as equal as can be."""
    each = -(-len(strips) // count)
    return (strips[start : start + each] for start in range(0, len(strips), each))
