"""A streaming PNG writer: rows in, file out, a fraction of the time that libpng's adaptive filters and zlib take.

Each row is filtered with Up (PNG specification, third edition, 9.2: the difference to the row above), then deflated by
ISA-L. Measured in benchmarks/README.md. Holds no more than the rows it is given.
"""

from __future__ import annotations

import struct
import zlib
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["PngWriter"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> grey, grey + alpha, RGB, RGBA
UP = 2  # filter type
ZLIB_LEVEL = 1
MAX_SIDE = 2**31 - 1
STRIP_BYTES = 1 << 22  # filtered and deflated at a time


class _Deflater(Protocol):
    def compress(self, data: bytes | memoryview, /) -> bytes: ...

    def flush(self) -> bytes: ...


class PngWriter:
    """Writes one 8-bit PNG to a binary file, top down.

    `write` takes uint8 [rows, width, channels] with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels; `finish`
    must be called after the last row. `icc` and `exif` are raw profiles (EXIF from its TIFF header on), or None.
    The file is the caller's: it is neither closed nor flushed.
    """

    def __init__(
        self,
        file: IO[bytes],
        height: int,
        width: int,
        channels: int,
        icc: bytes | None = None,
        exif: bytes | None = None,
    ) -> None:
        self._file = file
        self._rows_left = height
        self._above = np.zeros((1, width * channels), dtype=np.uint8)
        self._deflater = _deflater()
        file.write(SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0))
        if icc:
            self._chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
        if exif:
            self._chunk(b"eXIf", exif)

    def write(self, rows: NDArray[np.uint8]) -> None:
        flat = rows.reshape(rows.shape[0], -1)
        self._rows_left -= len(flat)
        assert self._rows_left >= 0 and flat.shape[1] == self._above.shape[1]
        step = max(1, STRIP_BYTES // flat.shape[1])
        for start in range(0, len(flat), step):
            strip = flat[start : start + step]
            filtered = np.empty((len(strip), 1 + flat.shape[1]), dtype=np.uint8)
            filtered[:, 0] = UP
            np.subtract(strip[:1], self._above, out=filtered[:1, 1:])
            np.subtract(strip[1:], strip[:-1], out=filtered[1:, 1:])
            self._above = strip[-1:].copy()
            self._chunk(b"IDAT", self._deflater.compress(filtered.data))

    def finish(self) -> None:
        assert self._rows_left == 0
        self._chunk(b"IDAT", self._deflater.flush())
        self._chunk(b"IEND", b"")

    def _chunk(self, kind: bytes, content: bytes) -> None:
        if kind == b"IDAT" and not content:
            return  # the deflater keeps what does not fill a block yet
        checksum = zlib.crc32(content, zlib.crc32(kind))
        self._file.write(struct.pack(">I", len(content)) + kind)
        self._file.write(content)
        self._file.write(struct.pack(">I", checksum))


def _deflater() -> _Deflater:
    try:
        from isal import isal_zlib
    except ImportError:  # no wheel for this platform: the same bytes a few times slower
        return zlib.compressobj(ZLIB_LEVEL)
    deflater: _Deflater = isal_zlib.compressobj(ZLIB_LEVEL)
    return deflater
