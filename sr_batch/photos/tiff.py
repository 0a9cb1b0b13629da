"""EXIF's sub-folders in a compressed TIFF: Pillow writes them only into uncompressed ones, so they are appended here.

A TIFF is a chain of folders (IFDs) of 12-byte entries; a folder may lie anywhere in the file. The first one is
written again at the end, with one more entry for each sub-folder, and the file's head is pointed to it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import IO

from PIL.TiffImagePlugin import ImageFileDirectory_v2

__all__ = ["append_folders"]

ENTRY_BYTES = 12
LONG = 4


def append_folders(file: IO[bytes], folders: Mapping[int, Mapping[int, object]]) -> None:
    """Add sub-folders, by the tag that points to each, to the first page of a classic TIFF, open for both ways.

    Leaves the position at the end. Raises ValueError when the file is not a classic TIFF.
    """
    file.seek(0)
    head = file.read(8)
    if head[:4] not in (b"II*\0", b"MM\0*"):
        raise ValueError("not a classic TIFF")
    order = "<" if head[:2] == b"II" else ">"
    (first,) = struct.unpack(order + "L", head[4:])
    file.seek(first)
    (count,) = struct.unpack(order + "H", file.read(2))
    entries = [file.read(ENTRY_BYTES) for _ in range(count)]
    following = file.read(4)
    for tag, values in folders.items():
        offset = _end_on_even(file)
        folder = ImageFileDirectory_v2(head, group=tag)
        for key, value in values.items():
            folder[key] = value
        file.write(folder.tobytes(offset))
        entries.append(struct.pack(order + "HHLL", tag, LONG, 1, offset))
    entries.sort(key=lambda entry: int(struct.unpack(order + "H", entry[:2])[0]))
    offset = _end_on_even(file)
    file.write(struct.pack(order + "H", len(entries)) + b"".join(entries) + following)
    file.seek(4)
    file.write(struct.pack(order + "L", offset))
    file.seek(0, 2)


def _end_on_even(file: IO[bytes]) -> int:
    if file.seek(0, 2) % 2:
        file.write(b"\0")
    return file.tell()
