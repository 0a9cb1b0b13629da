"""Packed pictures: every photo decoded once, side by side in one memory-mapped file; a window is then a plain copy.

8 bytes     b"SRPACK1\\n"
pixels      uint8 HWC RGB, picture after picture
index       JSON: [[name, height, width, offset], ...], offset in bytes from the file's start
8 bytes     the index's length, little endian
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sr_train.atomic_file import atomic_file
from sr_train.errors import DataError, SaveFailed
from sr_train.metrics import Pixels
from sr_train.pictures import Skipped, Window, decode, open_folder

__all__ = ["SUFFIX", "PackedPictures", "open_pack", "write_pack"]

SUFFIX = ".srpack"
MAGIC = b"SRPACK1\n"
LENGTH_BYTES = 8


@dataclass(frozen=True)
class PackedPictures:
    """The pictures of a pack, memory-mapped."""

    data: NDArray[np.uint8]  # the whole file
    names: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    offsets: Sequence[int]

    def read(self, index: int, window: Window) -> Pixels:
        """A view of the file."""
        height, width = self.sizes[index]
        start = self.offsets[index]
        return window.of(self.data[start : start + height * width * 3].reshape(height, width, 3))


def write_pack(
    roots: Sequence[Path], target: Path, least: int, threads: int, skip: Callable[[Skipped], None]
) -> tuple[int, int]:
    """Pack all pictures of the folders into `target`, atomically; returns how many, and the file's bytes.

    Raises DataError when there is none, SaveFailed when the file cannot be written.
    """
    pictures = open_folder(roots, least, threads, skip)
    index: list[tuple[str, int, int, int]] = []
    try:
        with atomic_file(target) as partial, partial.open("wb") as file, ThreadPoolExecutor(threads) as pool:
            file.write(MAGIC)
            for start in range(0, len(pictures.paths), threads):  # a few at a time: memory stays small
                some = slice(start, start + threads)
                for name, pixels in zip(pictures.names[some], pool.map(decode, pictures.paths[some]), strict=True):
                    index.append((name, pixels.shape[0], pixels.shape[1], file.tell()))
                    file.write(np.ascontiguousarray(pixels).tobytes())
            text = json.dumps(index).encode()
            file.write(text)
            file.write(len(text).to_bytes(LENGTH_BYTES, "little"))
    except OSError as error:
        raise SaveFailed(f"{target}: cannot be written ({error.strerror or error}); free some space") from error
    return len(index), target.stat().st_size


def open_pack(path: Path) -> PackedPictures:
    """Map a pack. Raises DataError for anything else."""
    try:
        data = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); make it with sr-train pack") from error
    try:
        if bytes(data[: len(MAGIC)]) != MAGIC:
            raise ValueError("it does not start as a pack does")
        end = len(data) - LENGTH_BYTES
        length = int.from_bytes(bytes(data[end:]), "little")
        index = json.loads(bytes(data[end - length : end]))
        names, sizes, offsets = zip(*(((n, (h, w), at)) for n, h, w, at in index), strict=True)
        if any(at + h * w * 3 > end - length for (h, w), at in zip(sizes, offsets, strict=True)):
            raise ValueError("it is cut short")
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"{path}: is damaged or not a pack ({error}); make it again with sr-train pack") from error
    return PackedPictures(data, names, sizes, offsets)
