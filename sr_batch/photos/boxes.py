"""Boxes: how JPEG 2000 and JPEG XL files are built (ISO/IEC 14496-12: length, four letters, content)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

__all__ = ["Box", "read_boxes"]

MOST_BOXES = 10_000
MOST_BYTES = 64 << 20  # of a box that is read: descriptions and profiles, never pixels


@dataclass(frozen=True)
class Box:
    kind: bytes
    start: int  # of its content
    end: int

    def read(self, file: IO[bytes], most: int = MOST_BYTES) -> bytes:
        """Its content, or as much of it."""
        file.seek(self.start)
        return file.read(min(self.end - self.start, most))


def read_boxes(file: IO[bytes], start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes between two places of a file; what is damaged ends them, without an error."""
    end = file.seek(0, 2) if end is None else end
    for _ in range(MOST_BOXES):
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">L4s", head[:8])
        content = start + 8
        if length == 1 and len(head) == 16:
            length, content = int.from_bytes(head[8:], "big"), start + 16
        stop = end if length == 0 else start + length
        if stop < content or stop > end:
            return
        yield Box(kind, content, stop)
        start = stop
