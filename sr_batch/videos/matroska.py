"""The shape of pixels in a finished Matroska or WebM file: what PyAV cannot tell its muxer.

FFmpeg's muxer leaves room (a Void element) in front of Info and Tracks. These move into it by the length of the two
elements that are added to the track; nothing behind them moves, so clusters and cues stay right. IDs and layout:
RFC 9559 (Matroska) and RFC 8794 (EBML).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from sr_batch.errors import UnwritableVideo

__all__ = ["write_pixel_aspect"]

SEGMENT, SEEK_HEAD, SEEK, SEEK_POSITION = 0x18538067, 0x114D9B74, 0x4DBB, 0x53AC
VOID, CRC, TRACKS, TRACK, VIDEO, DISPLAY_UNIT = 0xEC, 0xBF, 0x1654AE6B, 0xAE, 0xE0, 0x54B2
DISPLAY_WIDTH, DISPLAY_HEIGHT = b"\x54\xb0", b"\x54\xba"
MOST_HEADER = 16 << 20  # bytes: codec headers of all tracks are in it
LEAST_VOID = 2  # bytes


@dataclass(frozen=True)
class _Element:
    """Where it lies in the file."""

    id: int
    start: int
    size_at: int  # where its size is written
    data: int
    stop: int


def write_pixel_aspect(path: Path, track: int, size: tuple[int, int], aspect: Fraction) -> None:
    """Say in a finished file that the pixels of a track (0: the first one) are `aspect` times as wide as they are high.

    `size`: (height, width) of its pictures. Raises UnwritableVideo for a file that is not laid out as FFmpeg does it,
    and OSError.
    """
    with path.open("r+b") as file:
        header = bytearray(file.read(MOST_HEADER))
        stop = _insert(header, track, _display_size(size, aspect))
        file.seek(0)
        file.write(header[:stop])


def _display_size(size: tuple[int, int], aspect: Fraction) -> bytes:
    """DisplayWidth and DisplayHeight. Whole numbers of exactly this ratio: their common factor says nothing."""
    wide = Fraction(size[1]) * aspect
    values = wide.numerator, size[0] * wide.denominator
    return b"".join(
        name + b"\x84" + value.to_bytes(4, "big")
        for name, value in zip((DISPLAY_WIDTH, DISPLAY_HEIGHT), values, strict=True)
    )


def _insert(header: bytearray, track: int, added: bytes) -> int:
    """Add to the Video element of a track. Returns the end of what has changed."""
    try:
        segment = next(e for e in _elements(header, 0, len(header)) if e.id == SEGMENT)
        children: dict[int, _Element] = {}
        for child in _elements(header, segment.data, len(header)):
            children.setdefault(child.id, child)
            if child.id == TRACKS:
                break
        void, tracks = children[VOID], children[TRACKS]
        entry = [e for e in _elements(header, tracks.data, tracks.stop) if e.id == TRACK][track]
        video = next(e for e in _elements(header, entry.data, entry.stop) if e.id == VIDEO)
        if void.stop - void.data < len(added) + LEAST_VOID or tracks.stop > len(header):
            raise ValueError("no room")
        for child in _elements(header, video.data, video.stop):
            if child.id == DISPLAY_UNIT:  # FFmpeg says "unknown" where it has no shape; 0: pixels
                header[child.data : child.stop] = bytes(child.stop - child.data)
        _move(header, void, (tracks, entry, video), added)
        _correct_seek_head(header, children[SEEK_HEAD], segment, range(void.stop, video.stop), len(added))
    except (KeyError, IndexError, StopIteration, ValueError, OverflowError) as error:
        raise UnwritableVideo(
            f"its pixels' shape cannot be written into this container ({error}); name an output ending in .mp4"
        ) from error
    return tracks.stop


def _move(header: bytearray, void: _Element, grown: tuple[_Element, ...], added: bytes) -> None:
    """`grown`: Tracks, the track and its Video, one in the other."""
    count, stop = len(added), grown[-1].stop
    header[void.stop - count : stop] = header[void.stop : stop] + added
    _write_size(header, void, 0, -count)
    for element in grown:
        _write_size(header, element, -count, count)
    tracks = grown[0]
    _correct_checksum(header, tracks.data - count, tracks.stop)


def _correct_seek_head(header: bytearray, head: _Element, segment: _Element, moved: range, count: int) -> None:
    """Its positions count from the segment's content."""
    for seek in _elements(header, head.data, head.stop):
        for part in _elements(header, seek.data, seek.stop) if seek.id == SEEK else ():
            at = int.from_bytes(header[part.data : part.stop], "big")
            if part.id == SEEK_POSITION and segment.data + at in moved:
                header[part.data : part.stop] = (at - count).to_bytes(part.stop - part.data, "big")
    _correct_checksum(header, head.data, head.stop)


def _correct_checksum(header: bytearray, start: int, stop: int) -> None:
    """Of an element's content, if it begins with one."""
    first = next(_elements(header, start, stop))
    if first.id == CRC:
        header[first.data : first.stop] = zlib.crc32(header[first.stop : stop]).to_bytes(4, "little")


def _elements(header: bytearray, start: int, stop: int) -> Iterator[_Element]:
    while start < stop:
        size_at = start + _length(header, start)
        length = _length(header, size_at)
        size = int.from_bytes(header[size_at : size_at + length], "big") & ~(1 << 7 * length)
        data = size_at + length
        yield _Element(int.from_bytes(header[start:size_at], "big"), start, size_at, data, data + size)
        start = data + size


def _length(header: bytearray, at: int) -> int:
    """Of a number that says its own length by its leading zero bits."""
    if not header[at]:
        raise ValueError("not a Matroska element")
    return 9 - header[at].bit_length()


def _write_size(header: bytearray, element: _Element, moved: int, grown: int) -> None:
    """In as many bytes as it had: their number is in the leading bits."""
    length = element.data - element.size_at
    size = element.stop - element.data + grown
    if size >= (1 << 7 * length) - 1:
        raise ValueError("no room for a size")
    at = element.size_at + moved
    header[at : at + length] = (size | 1 << 7 * length).to_bytes(length, "big")
