"""A streaming JPEG writer: rows in, file out, holding one strip of them.

libjpeg wants no more than a few rows at a time, but Pillow hands it whole pictures. So each strip becomes a JPEG of
its own, and their scans are joined into one: a restart marker stands after every row of blocks (ITU-T T.81, B.2.1 and
E.1.4), where the coder forgets all that came before. The tables are the standard's (no `optimize`), thus the same in
every strip, and the pixels are those that the picture would have if it were encoded at once.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sr_batch.row_strips import RowStrips

__all__ = ["JpegWriter"]

BLOCK = 8  # pixels: a row of blocks where no channel is subsampled
RESTARTS = 8  # markers, used in turn: a strip of so many rows of blocks begins with the first one again
STRIP_BYTES = 1 << 20  # of pixels, or the fewest rows that are a strip
LAST_RESTART = b"\xff\xd7"
START_OF_IMAGE, END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
HOW = {"subsampling": "4:4:4", "restart_marker_rows": 1, "optimize": False, "progressive": False}
SHAPING = {"quality", *HOW}  # the options that every strip is encoded with
BASELINE, HUFFMAN_TABLES, START_OF_SCAN, QUANTISATION, RESTART_INTERVAL = 0xC0, 0xC4, 0xDA, 0xDB, 0xDD


class JpegWriter:
    """Writes one baseline JPEG to a binary file, top down, no channel subsampled.

    `write` takes uint8 [rows, width, channels] with 1 (grey) or 3 (RGB) channels; `finish` must be called after the
    last row. The file is the caller's: it is neither closed nor flushed.
    """

    def __init__(self, file: IO[bytes], height: int, width: int, channels: int, options: Mapping[str, object]) -> None:
        """`options`: of Pillow's JPEG plugin: quality, exif, icc_profile, …"""
        self._file, self._height, self._shape = file, height, (width, channels)
        self._options = {**options, **HOW}
        least = BLOCK * RESTARTS
        strip_rows = max(1, STRIP_BYTES // (width * channels * least)) * least
        self._gathered: RowStrips[np.uint8] = RowStrips(strip_rows)
        self._rows_left = height
        self._tables: list[tuple[int, bytes]] = []  # of the first strip, and so of all
        self._begun = False

    def write(self, rows: NDArray[np.uint8]) -> None:
        assert rows.dtype == np.uint8 and rows.shape[1:] == self._shape and len(rows) <= self._rows_left
        self._rows_left -= len(rows)
        for strip in self._gathered.add(rows):
            self._write_strip(strip)

    def finish(self) -> None:
        assert self._rows_left == 0
        for strip in self._gathered.rest():
            self._write_strip(strip)
        self._file.write(END_OF_IMAGE)

    def _write_strip(self, rows: NDArray[np.uint8]) -> None:
        strip = self._encoded(rows)
        segments, scan = _split(strip)
        tables = [(kind, content) for kind, content in segments if kind in (HUFFMAN_TABLES, QUANTISATION)]
        if self._begun:
            assert tables == self._tables, "the libjpeg in use makes tables of its own for each picture"
            self._file.write(LAST_RESTART)
        else:
            self._begun, self._tables = True, tables
            self._file.write(START_OF_IMAGE)
            for kind, content in segments:
                self._file.write(_segment(kind, self._whole_height(content) if kind == BASELINE else content))
        self._file.write(scan)

    def _encoded(self, rows: NDArray[np.uint8]) -> bytes:
        buffer = io.BytesIO()
        image = Image.fromarray(rows[:, :, 0] if rows.shape[2] == 1 else rows)
        options = self._options
        if self._begun:  # what stands in the file's head is there
            options = {name: value for name, value in options.items() if name in SHAPING}
        image.save(buffer, "JPEG", **options)
        return buffer.getvalue()

    def _whole_height(self, frame: bytes) -> bytes:
        """A frame header (T.81, B.2.2: precision, height, width, …) of the picture instead of the strip."""
        return frame[:1] + struct.pack(">H", self._height) + frame[3:]


def _split(jpeg: bytes) -> tuple[list[tuple[int, bytes]], memoryview]:
    """The segments up to the scan's header, each by its marker, without its length; and the scan's content."""
    segments: list[tuple[int, bytes]] = []
    place = len(START_OF_IMAGE)
    while True:
        marker, kind, length = struct.unpack_from(">BBH", jpeg, place)
        assert marker == 0xFF
        segments.append((kind, jpeg[place + 4 : place + 2 + length]))
        place += 2 + length
        if kind == START_OF_SCAN:
            break
    kinds = [kind for kind, _ in segments]
    assert BASELINE in kinds and RESTART_INTERVAL in kinds and jpeg.endswith(END_OF_IMAGE)
    return segments, memoryview(jpeg)[place : -len(END_OF_IMAGE)]


def _segment(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(content) + 2) + content
