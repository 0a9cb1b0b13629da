"""Is there room on the disk? Asked of the whole batch before the work, and of each photo before its inference.

Counted is what results take at least: whether a photo becomes 0.3 or 3 bytes a pixel shows only when it is encoded.
So "no" is certain, and "yes" is not: a disk that fills up all the same fails the photos that do not fit.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sr_batch.photos import PhotoFormat, Size
from sr_batch.pipeline import LEAST_BYTES_PER_PIXEL
from sr_train.errors import UsageError

__all__ = ["Needed"]

MEGA = 1e6


def least_bytes(size: Size, kind: PhotoFormat) -> float:
    return size.pixels * LEAST_BYTES_PER_PIXEL[kind]


class Needed:
    """What all results of a batch take at least, by the disk that they go to."""

    def __init__(self) -> None:
        self._by_disk: dict[int, tuple[Path, float]] = {}  # a folder on it, bytes
        self._disks: dict[Path, int] = {}  # of output folders

    def add(self, folder: Path, size: Size, kind: PhotoFormat) -> None:
        """A result of this size will go to (a folder below) `folder`, which may not be there yet."""
        if folder not in self._disks:
            there = folder.absolute()
            while not there.exists():
                there = there.parent
            self._disks[folder] = there.stat().st_dev
            self._by_disk.setdefault(self._disks[folder], (there, 0.0))
        disk = self._disks[folder]
        there, needed = self._by_disk[disk]
        self._by_disk[disk] = (there, needed + least_bytes(size, kind))

    def check(self) -> None:
        """Raise UsageError where all of them cannot fit."""
        for folder, needed in self._by_disk.values():
            free = shutil.disk_usage(folder).free
            if free < needed:
                raise UsageError(
                    f"the results need at least {_amount(needed)}, and {_amount(free)} are free on the disk of "
                    f"{folder}; free some, name another folder with -o, or ask for less (--scale, --format jpg)"
                )


def _amount(size: float) -> str:
    """Bytes for people."""
    return f"{size / MEGA:.1f} MB" if size < 1000 * MEGA else f"{size / MEGA / 1000:.1f} GB"
