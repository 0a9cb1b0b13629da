"""TIFF: its folders of tags read, its pages written while they are made.

A TIFF is a chain of folders (IFDs) of tags, one a page; EXIF and GPS are folders of their own that a tag points to.
Classic files have 32-bit offsets, BigTIFF 64-bit ones. Pixels are written in strips, top down, so no more than one
is held: Pillow would hold the whole picture, and knows neither 16-bit RGB nor EXIF in compressed files.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from sr_batch.depth import Pixels
from sr_batch.row_strips import RowStrips

__all__ = [
    "EXIF_FOLDER",
    "GPS_FOLDER",
    "INTEROP_FOLDER",
    "TIFF_XMP",
    "TiffFolders",
    "TiffWriter",
    "is_tiff",
    "needs_big",
    "read_folders",
]

EXIF_FOLDER, GPS_FOLDER, INTEROP_FOLDER = 0x8769, 0x8825, 0xA005
TIFF_XMP = 700
CLASSIC, BIG = 42, 43  # the version number in the file's head
CLASSIC_MAX_BYTES = 2**32 - 2**24  # of pixels: offsets have 32 bits, and the tags need room too
STRIP_BYTES = 1 << 20  # of pixels, before deflate
DEFLATE_LEVEL = 2
SHORT, LONG, LONG8 = 3, 4, 16  # types of values
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIP_OFFSETS = 256, 257, 258, 259, 262, 273
SAMPLES, STRIP_ROWS, STRIP_COUNTS, PLANAR, PAGE_NUMBER = 277, 278, 279, 284, 297
PREDICTOR, EXTRA_SAMPLES, SAMPLE_FORMAT = 317, 338, 339
ADOBE_DEFLATE, MIN_IS_BLACK, RGB, UNSIGNED, FLOAT, STRAIGHT_ALPHA = 8, 1, 2, 1, 3, 2
HORIZONTAL, FLOATING_POINT = 2, 3  # predictors: TIFF 6.0, section 14, and its Technical Note 3


@dataclass(frozen=True)
class TiffFolders:
    """The tags of one page, and of the folders that they point to (by the tag that does)."""

    main: Mapping[int, Any]
    folders: Mapping[int, Mapping[int, Any]] = field(default_factory=dict)


def is_tiff(start: bytes) -> bool:
    """Whether a file that starts so is a TIFF of either kind."""
    return start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def needs_big(content_bytes: int) -> bool:
    """Whether so many bytes of pixels need a BigTIFF: deflated they may be fewer, but nobody knows before."""
    return content_bytes > CLASSIC_MAX_BYTES


def read_folders(file: IO[bytes], offset: int | None = None) -> TiffFolders:
    """The folder at this place, or the file's first, and its EXIF and GPS. Raises what Pillow raises of damage."""
    file.seek(0)
    head = file.read(16)
    head = head if BIG in (head[2], head[3]) else head[:8]

    def folder(place: int, group: int | None = None) -> ImageFileDirectory_v2:
        tags = ImageFileDirectory_v2(head, group=group)
        file.seek(place)
        tags.load(file)
        return tags

    main = folder(offset if offset is not None else ImageFileDirectory_v2(head).next)
    folders: dict[int, dict[int, Any]] = {}
    for tag in (EXIF_FOLDER, GPS_FOLDER):
        place = main.get(tag)
        if isinstance(place, int):
            folders[tag] = dict(folder(place, tag))
            inner = folders[tag].get(INTEROP_FOLDER)
            if isinstance(inner, int):
                folders[tag][INTEROP_FOLDER] = dict(folder(inner, INTEROP_FOLDER))
    return TiffFolders(dict(main), folders)


class TiffWriter:
    """Writes pages, one after the other, into an empty binary file, which is the caller's to flush and close.

    For each page: `begin`, `write` its rows top down, `end`. Pixels are deflated; alpha is straight.
    """

    def __init__(self, file: IO[bytes], *, big: bool) -> None:
        """`big`: a BigTIFF; see needs_big, and give it the sum of all pages."""
        self._file, self._big = file, big
        self._head = b"II+\0\x08\0\0\0" + bytes(8) if big else b"II*\0" + bytes(4)
        self._link = 8 if big else 4  # where the next page's place is to be written
        file.write(self._head)

    def begin(self, height: int, width: int, channels: int, depth: np.dtype[Any]) -> None:
        """A page of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels, of uint8, uint16 or float32."""
        self._shape, self._depth = (height, width, channels), depth
        self._gathered: RowStrips[np.uint8 | np.uint16 | np.float32] = RowStrips(
            max(1, STRIP_BYTES // (width * channels * depth.itemsize))
        )
        self._strips: list[tuple[int, int]] = []  # place and length of each strip written

    def write(self, rows: Pixels) -> None:
        """[rows, width, channels], as begun."""
        assert rows.dtype == self._depth and rows.shape[1:] == self._shape[1:]
        for strip in self._gathered.add(rows):
            self._write_strip(strip)

    def end(self, tags: TiffFolders) -> None:
        """All rows were given: the page's folder, with these tags."""
        for strip in self._gathered.rest():
            self._write_strip(strip)
        said = ImageFileDirectory_v2(self._head)
        for tag, value in {**tags.main, **tags.folders}.items():
            said[tag] = value
        head, entry = (8, 20) if self._big else (2, 12)
        offset = self._end_on_even()
        block = said.tobytes(offset)  # its entries are copied into the page's own folder, below
        self._file.write(block)
        entries = [block[head + entry * i :][:entry] for i in range(len(said))]
        entries += [self._entry(tag, kind, values) for tag, kind, values in self._structure()]
        entries.sort(key=lambda packed: int(struct.unpack("<H", packed[:2])[0]))
        offset = self._end_on_even()
        self._file.write(struct.pack("<Q" if self._big else "<H", len(entries)) + b"".join(entries))
        following = self._file.tell()
        self._file.write(bytes(8 if self._big else 4))
        self._file.seek(self._link)
        self._file.write(struct.pack("<Q" if self._big else "<L", offset))
        self._link = following
        self._file.seek(0, 2)

    def _structure(self) -> list[tuple[int, int, list[int]]]:
        """Tag, type and values of what describes how the pixels are stored."""
        height, width, channels = self._shape
        is_float, colours = self._depth.kind == "f", 3 if channels > 2 else 1
        offset_type = LONG8 if self._big else LONG
        structure = [
            (WIDTH, LONG, [width]),
            (HEIGHT, LONG, [height]),
            (BITS, SHORT, channels * [8 * self._depth.itemsize]),
            (COMPRESSION, SHORT, [ADOBE_DEFLATE]),
            (PHOTOMETRIC, SHORT, [RGB if colours == 3 else MIN_IS_BLACK]),
            (STRIP_OFFSETS, offset_type, [place for place, _ in self._strips]),
            (SAMPLES, SHORT, [channels]),
            (STRIP_ROWS, LONG, [self._gathered.height]),
            (STRIP_COUNTS, LONG, [length for _, length in self._strips]),
            (PLANAR, SHORT, [1]),
            (PREDICTOR, SHORT, [FLOATING_POINT if is_float else HORIZONTAL]),
            (SAMPLE_FORMAT, SHORT, channels * [FLOAT if is_float else UNSIGNED]),
        ]
        return structure + ([(EXTRA_SAMPLES, SHORT, [STRAIGHT_ALPHA])] if channels > colours else [])

    def _entry(self, tag: int, kind: int, values: list[int]) -> bytes:
        """Packed; values that do not fit into it are written first."""
        packed = struct.pack(f"<{len(values)}{ {SHORT: 'H', LONG: 'L', LONG8: 'Q'}[kind] }", *values)
        room = 8 if self._big else 4
        if len(packed) > room:
            place = self._end_on_even()
            self._file.write(packed)
            packed = struct.pack("<Q" if self._big else "<L", place)
        return struct.pack("<HHQ" if self._big else "<HHL", tag, kind, len(values)) + packed.ljust(room, b"\0")

    def _write_strip(self, rows: Pixels) -> None:
        predicted = _float_differences(rows) if self._depth.kind == "f" else _differences(rows)
        content = _deflate(predicted.tobytes())
        self._strips.append((self._end_on_even(), len(content)))
        self._file.write(content)

    def _end_on_even(self) -> int:
        if self._file.seek(0, 2) % 2:
            self._file.write(b"\0")
        return self._file.tell()


def _differences(rows: Pixels) -> Pixels:
    """Each sample less the one of the pixel to its left, modulo its range."""
    differences: NDArray[Any] = rows.astype(rows.dtype.newbyteorder("<"))
    differences[:, 1:] -= rows[:, :-1]
    return differences


def _float_differences(rows: Pixels) -> NDArray[np.uint8]:
    """Of each row the highest bytes of all samples, then the next, ...; each byte less the one `samples` before."""
    height, width, samples = rows.shape
    octets = rows.astype(">f4").view(np.uint8).reshape(height, width * samples, 4)
    planes = np.ascontiguousarray(octets.transpose(0, 2, 1)).reshape(height, -1)
    differences = planes.copy()
    differences[:, samples:] -= planes[:, :-samples]
    return differences


def _deflate(content: bytes) -> bytes:
    try:
        from isal import isal_zlib
    except ImportError:  # no wheel for this platform
        return zlib.compress(content, 1)
    packed: bytes = isal_zlib.compress(content, DEFLATE_LEVEL)
    return packed
