"""Sets of decoded pictures that windows are read from: a folder of image files, or a packed file (see pack.py).

A window is read as uint8 HWC RGB. Orientation from EXIF is applied, alpha dropped, grey repeated, 16 bits taken to 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sr_train.errors import DataError
from sr_train.metrics import Pixels

__all__ = ["FolderPictures", "Pictures", "Skipped", "Window", "decode", "find_files", "open_folder"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".jp2", ".png", ".ppm", ".tga", ".tif", ".tiff", ".webp"})
MANY_LEVELS = ("I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of 16-bit grey
NOT_PICTURES = ("F", "I")  # of unknown range


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: rows top to bottom - 1, columns left to right - 1."""

    top: int
    left: int
    height: int
    width: int

    def grown(self, margin: int, limits: tuple[int, int]) -> Window:
        """With `margin` more on each side, as far as a picture of (height, width) `limits` goes."""
        top, left = max(0, self.top - margin), max(0, self.left - margin)
        bottom = min(limits[0], self.top + self.height + margin)
        right = min(limits[1], self.left + self.width + margin)
        return Window(top, left, bottom - top, right - left)

    def divided(self, scale: int) -> Window:
        """The same rectangle in a picture `scale` times smaller; all four numbers must be multiples of it."""
        assert not any(n % scale for n in (self.top, self.left, self.height, self.width))
        return Window(self.top // scale, self.left // scale, self.height // scale, self.width // scale)

    def inside(self, outer: Window) -> Window:
        """The same rectangle, counted from `outer`'s corner."""
        return Window(self.top - outer.top, self.left - outer.left, self.height, self.width)

    def of(self, pixels: Pixels) -> Pixels:
        """The rectangle cut from HWC pixels; a view."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Skipped:
    """A file that is left out, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class Pictures(Protocol):
    """Pictures by index. `sizes` are (height, width)."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def sizes(self) -> Sequence[tuple[int, int]]: ...
    def read(self, index: int, window: Window) -> Pixels:
        """uint8 HWC RGB, not to be written to. May be called from several threads."""


@dataclass(frozen=True)
class FolderPictures:
    """Image files, decoded anew for each window."""

    paths: Sequence[Path]
    names: Sequence[str]
    sizes: Sequence[tuple[int, int]]

    def read(self, index: int, window: Window) -> Pixels:
        """Raises DataError when the file is no longer the picture that it was."""
        try:
            pixels = decode(self.paths[index])
        except ValueError as error:
            raise DataError(
                f"{self.paths[index]}: {error}, but could be read at the start; keep files as they are"
            ) from error
        if pixels.shape[:2] != self.sizes[index]:
            raise DataError(f"{self.paths[index]}: was changed while training; start again")
        return window.of(pixels)


def decode(path: Path) -> Pixels:
    """A whole image file as uint8 HWC RGB. Raises ValueError, with the reason, for one that cannot be used."""
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode in NOT_PICTURES:
                raise ValueError(f"has pixels of mode {image.mode}, whose range is not known")
            if image.mode in MANY_LEVELS:
                grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise ValueError("is not a picture of a kind that Pillow reads") from error
    except (OSError, SyntaxError, Image.DecompressionBombError, EOFError, MemoryError) as error:
        raise ValueError(f"cannot be read as an image ({error})") from error


def find_files(roots: Sequence[Path]) -> list[Path]:
    """All image files in the folders and below them, by path; a file named itself counts too. Raises DataError."""
    found: list[Path] = []
    for root in roots:
        if not root.exists():
            raise DataError(f"{root}: there is no such folder; check the path")
        below = [root] if root.is_file() else sorted(root.rglob("*"))
        images = [p for p in below if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()]
        if not images:
            raise DataError(f"{root}: holds no image files ({', '.join(sorted(SUFFIXES))}); name a folder of photos")
        found += images
    return found


def open_folder(roots: Sequence[Path], least: int, threads: int, skip: Callable[[Skipped], None]) -> FolderPictures:
    """The pictures of folders that can be decoded and have at least `least` pixels a side; the others are `skip`ped.

    Every file is decoded once here, so that a broken one is known before training starts and not in its middle.
    Raises DataError when none is left.
    """
    paths = find_files(roots)
    with ThreadPoolExecutor(threads) as pool:
        checked = list(pool.map(_check, paths, [least] * len(paths)))
    kept: list[tuple[Path, tuple[int, int]]] = []
    for path, result in zip(paths, checked, strict=True):
        if isinstance(result, str):
            skip(Skipped(path, result))
        else:
            kept.append((path, result))
    if not kept:
        raise DataError(
            f"{', '.join(map(str, roots))}: none of {len(paths)} image files can be used ({checked[0]}); "
            "use larger photos, or smaller crops with --set data.crop=N"
        )
    names = [_name(path, roots) for path, _ in kept]
    return FolderPictures([path for path, _ in kept], names, [size for _, size in kept])


def _check(path: Path, least: int) -> tuple[int, int] | str:
    """The picture's (height, width), or why it cannot be used."""
    try:
        height, width = decode(path).shape[:2]
    except ValueError as error:
        return str(error)
    if min(height, width) < least:
        return f"is {height}x{width} pixels, at least {least} a side are needed"
    return height, width


def _name(path: Path, roots: Sequence[Path]) -> str:
    """The path below its folder, without its suffix."""
    root = next(root for root in roots if path == root or root in path.parents)
    return (path.relative_to(root) if path != root else Path(path.name)).with_suffix("").as_posix()
