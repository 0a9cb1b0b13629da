"""A streaming PNG writer: rows in, file out, a fraction of the time that libpng's adaptive filters and zlib take.

Each row is filtered with Up (PNG specification, third edition, 9.2: the difference to the row above), then deflated by
ISA-L. Measured in benchmarks/README.md. Holds no more than the rows it is given. PngLevel.SMALL trades time for size.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sr_batch.depth import Pixels

__all__ = ["PngAnimation", "PngLevel", "PngTags", "PngWriter"]

Bytes = NDArray[np.uint8]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> grey, grey + alpha, RGB, RGBA
SUB, UP = 1, 2  # filter types; 3 is Average, 4 is Paeth
ZLIB_LEVEL = 1
SMALL_ZLIB_LEVEL = 6
METRES_PER_INCH = 0.0254
XMP_KEYWORD = b"XML:com.adobe.xmp"
MAX_KEYWORD = 79  # bytes
LONG_TEXT = 1024  # bytes; longer texts are compressed
MAX_SIDE = 2**31 - 1
MAX_DELAY = 2**16 - 1  # numerator and denominator of a frame's seconds
KEEP, REPLACE = 0, 0  # what becomes of a frame afterwards, and of what lies below it: frames cover the whole picture
STRIP_BYTES = 1 << 22  # filtered and deflated at a time


class PngLevel(StrEnum):
    FAST = "fast"  # Up for every row, ISA-L's deflate
    SMALL = "small"  # the best of four filters for each row, zlib's deflate: slower by a factor of ten or more


@dataclass(frozen=True)
class PngTags:
    """What a PNG says besides its pixels: raw profiles (EXIF from its TIFF header on), keywords with texts."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: tuple[tuple[str, str], ...] = field(default=())


@dataclass(frozen=True)
class PngAnimation:
    """Makes a PNG an animated one (APNG; PNG specification, third edition, 11.3.6)."""

    frames: int
    plays: int = 0  # 0: for ever


class _Deflater(Protocol):
    def compress(self, data: bytes | memoryview, /) -> bytes: ...

    def flush(self) -> bytes: ...


class PngWriter:
    """Writes one PNG to a binary file, top down.

    `write` takes [rows, width, channels] with 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA) channels, uint8, or
    uint16 where `depth` is 16; `finish` must be called after the last row. Of an animation, `begin_frame` comes before
    the rows of each frame; all frames cover the whole picture. The file is the caller's: it is neither closed nor
    flushed.
    """

    def __init__(
        self,
        file: IO[bytes],
        height: int,
        width: int,
        channels: int,
        *,
        depth: int = 8,
        tags: PngTags | None = None,
        level: PngLevel = PngLevel.FAST,
        animation: PngAnimation | None = None,
    ) -> None:
        self._file = file
        self._height, self._width = height, width
        self._rows_left = height
        self._frames_left = animation.frames if animation is not None else 0
        self._sequence = 0  # the number of the next chunk of an animation
        self._is_default_image = True  # what viewers without animation show: the first frame
        self._pixel_bytes = channels * depth // 8
        self._type: np.dtype[Any] = np.dtype(np.uint8 if depth == 8 else np.uint16)
        self._above = np.zeros((1, width * self._pixel_bytes), dtype=np.uint8)
        self._level = level
        self._filter = _filter_up if level is PngLevel.FAST else self._filter_best
        self._deflater = self._new_deflater()
        file.write(SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, COLOUR_TYPES[channels], 0, 0, 0))
        self._write_tags(tags or PngTags())
        if animation is not None:
            self._rows_left = 0  # until a frame is begun
            self._chunk(b"acTL", struct.pack(">II", animation.frames, animation.plays))

    def begin_frame(self, milliseconds: float) -> None:
        """The next frame of an animation, and how long it is shown."""
        assert self._rows_left == 0 and self._frames_left > 0
        if self._sequence > 0:
            self._pixels(self._deflater.flush())
            self._is_default_image = False
            self._deflater = self._new_deflater()
        self._above = np.zeros_like(self._above)
        self._rows_left, self._frames_left = self._height, self._frames_left - 1
        numerator, denominator = _delay(milliseconds)
        place = struct.pack(">IIIII", self._sequence, self._width, self._height, 0, 0)
        self._chunk(b"fcTL", place + struct.pack(">HHBB", numerator, denominator, KEEP, REPLACE))
        self._sequence += 1

    def write(self, rows: Pixels) -> None:
        assert rows.dtype == self._type
        octets: Bytes = rows.astype(self._type.newbyteorder(">"), copy=False).view(np.uint8)
        flat = octets.reshape(len(rows), -1)
        self._rows_left -= len(flat)
        assert self._rows_left >= 0 and flat.shape[1] == self._above.shape[1]
        step = max(1, STRIP_BYTES // flat.shape[1])
        for start in range(0, len(flat), step):
            strip = flat[start : start + step]
            filtered = self._filter(strip, self._above)
            self._above = strip[-1:].copy()
            self._pixels(self._deflater.compress(filtered.data))

    def finish(self) -> None:
        assert self._rows_left == 0 and self._frames_left == 0
        self._pixels(self._deflater.flush())
        self._chunk(b"IEND", b"")

    def _new_deflater(self) -> _Deflater:
        return _deflater() if self._level is PngLevel.FAST else zlib.compressobj(SMALL_ZLIB_LEVEL)

    def _pixels(self, content: bytes) -> None:
        if not content:
            return None  # the deflater keeps what does not fill a block yet
        if self._is_default_image:
            return self._chunk(b"IDAT", content)
        self._chunk(b"fdAT", struct.pack(">I", self._sequence) + content)
        self._sequence += 1
        return None

    def _filter_best(self, strip: Bytes, above: Bytes) -> Bytes:
        """Each row by the filter with the smallest sum of absolute differences, as the specification suggests."""
        over = np.concatenate([above, strip[:-1]])
        left, over_left = _shifted(strip, self._pixel_bytes), _shifted(over, self._pixel_bytes)
        average = ((left.astype(np.uint16) + over) >> 1).astype(np.uint8)
        choices = np.stack([strip - left, strip - over, strip - average, strip - _paeth(left, over, over_left)])
        costs = np.abs(choices.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)
        best = costs.argmin(axis=0)
        filtered = np.empty((len(strip), 1 + strip.shape[1]), dtype=np.uint8)
        filtered[:, 0] = best + SUB
        filtered[:, 1:] = choices[best, np.arange(len(strip))]
        return filtered

    def _write_tags(self, tags: PngTags) -> None:
        if tags.icc:
            self._chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(tags.icc))
        if tags.exif:
            self._chunk(b"eXIf", tags.exif)
        if tags.dpi:
            across, down = (round(value / METRES_PER_INCH) for value in tags.dpi)
            self._chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
        if tags.xmp:
            self._chunk(b"iTXt", XMP_KEYWORD + b"\0\0\0\0\0" + tags.xmp)
        for keyword, text in tags.text:
            self._write_text(keyword.encode("latin-1", "replace")[:MAX_KEYWORD] or b"Comment", text)

    def _write_text(self, keyword: bytes, text: str) -> None:
        """Latin-1 as tEXt, or compressed where it is long; anything else as iTXt in UTF-8."""
        try:
            plain = text.encode("latin-1")
        except UnicodeEncodeError:
            self._chunk(b"iTXt", keyword + b"\0\0\0\0\0" + text.encode("utf-8", "replace"))
            return
        if len(plain) > LONG_TEXT:
            self._chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(plain))
        else:
            self._chunk(b"tEXt", keyword + b"\0" + plain)

    def _chunk(self, kind: bytes, content: bytes) -> None:
        checksum = zlib.crc32(content, zlib.crc32(kind))
        self._file.write(struct.pack(">I", len(content)) + kind)
        self._file.write(content)
        self._file.write(struct.pack(">I", checksum))


def _delay(milliseconds: float) -> tuple[int, int]:
    """Seconds as a fraction of two 16-bit numbers; what is longer than they can say is cut."""
    seconds = Fraction(milliseconds) / 1000
    short = seconds.limit_denominator(MAX_DELAY if seconds < 1 else int(MAX_DELAY / seconds) or 1)
    return min(short.numerator, MAX_DELAY), short.denominator


def _filter_up(strip: Bytes, above: Bytes) -> Bytes:
    filtered = np.empty((len(strip), 1 + strip.shape[1]), dtype=np.uint8)
    filtered[:, 0] = UP
    np.subtract(strip[:1], above, out=filtered[:1, 1:])
    np.subtract(strip[1:], strip[:-1], out=filtered[1:, 1:])
    return filtered


def _shifted(rows: Bytes, pixel_bytes: int) -> Bytes:
    """The same bytes one pixel to the right, zero at the left end."""
    shifted = np.zeros_like(rows)
    shifted[:, pixel_bytes:] = rows[:, :-pixel_bytes]
    return shifted


def _paeth(left: Bytes, over: Bytes, over_left: Bytes) -> Bytes:
    """Whichever of the three is nearest to left + over - over_left; ties in that order (specification, 9.4)."""
    a, b, c = left.astype(np.int16), over.astype(np.int16), over_left.astype(np.int16)
    to_left, to_over, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    nearest = np.where(to_over <= to_corner, over, over_left)
    predicted: Bytes = np.where((to_left <= to_over) & (to_left <= to_corner), left, nearest)
    return predicted


def _deflater() -> _Deflater:
    try:
        from isal import isal_zlib
    except ImportError:  # no wheel for this platform: the same bytes a few times slower
        return zlib.compressobj(ZLIB_LEVEL)
    deflater: _Deflater = isal_zlib.compressobj(ZLIB_LEVEL)
    return deflater
