"""Is there room on the disk? Asked of the whole batch before the work, and of each photo before its inference.

Counted is what results take at least: whether a photo becomes 0.3 or 3 bytes a pixel shows only when it is encoded.
So "no" is certain, and "yes" is not: a disk that fills up all the same fails the photos that do not fit.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sr_batch.errors import UnwritablePhoto
from sr_batch.photos import PhotoFormat
from sr_train.errors import UsageError

__all__ = ["Needed", "check_room", "disk_full"]

MEGA = 1e6
# Least bytes per output pixel that a photo of each format takes on disk (smooth ones take less).
LEAST_BYTES_PER_PIXEL = {
    PhotoFormat.PNG: 0.1,
    PhotoFormat.JPEG: 0.02,
    PhotoFormat.WEBP: 0.01,
    PhotoFormat.TIFF: 0.1,
    PhotoFormat.AVIF: 0.001,
}


def _least_bytes(pixels: int, kind: PhotoFormat) -> float:
    return pixels * LEAST_BYTES_PER_PIXEL[kind]


def check_room(folder: Path, pixels: int, kind: PhotoFormat) -> None:
    """Raise UnwritablePhoto where a result of so many pixels cannot fit."""
    try:
        free, needed = shutil.disk_usage(folder).free, _least_bytes(pixels, kind)
    except OSError as error:
        raise UnwritablePhoto(f"its folder {folder} cannot be used ({error.strerror})") from error
    if free < needed:
        raise UnwritablePhoto(disk_full(folder, f"{_amount(free)} are free, at least {_amount(needed)} are needed"))


def disk_full(folder: Path, detail: str) -> str:
    return f"no space left in {folder} ({detail}); free some and run the same command again"


class Needed:
    """What all results of a batch take at least, by the disk that they go to."""

    def __init__(self) -> None:
        self._by_disk: dict[int, tuple[Path, float]] = {}  # a folder on it, bytes
        self._disks: dict[Path, int] = {}  # of output folders

    def add(self, folder: Path, pixels: int, kind: PhotoFormat) -> None:
        """A result of so many pixels will go to (a folder below) `folder`, which may not be there yet."""
        if folder not in self._disks:
            there = folder.absolute()
            while not there.exists():
                there = there.parent
            self._disks[folder] = there.stat().st_dev
            self._by_disk.setdefault(self._disks[folder], (there, 0.0))
        disk = self._disks[folder]
        there, needed = self._by_disk[disk]
        self._by_disk[disk] = (there, needed + _least_bytes(pixels, kind))

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
