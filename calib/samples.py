"""Sample tiles: what activations are measured on, and what the finished INT8 form is judged by.

photos ──every fourth held out──▶ candidate windows ──five kinds, in turn──▶ Samples

Users give photos as they come, so the tiles are cut from photos as they come: no shrinking. Photos are either
calibrated with or judged by, never both.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import as_file, files
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calib.errors import CalibrationError

__all__ = ["CALIBRATION_SIDE", "HELD_OUT_SIDE", "Kind", "Samples", "built_in_samples", "draw_samples", "kind_of"]

Pixels = NDArray[np.uint8]  # [h, w, 3] RGB
Say = Callable[[str], None]

CALIBRATION_SIDE = 96  # pixels: twice the network's reach and a little
HELD_OUT_SIDE = 192  # pixels: ground truth; shrunk by the scale it is the network's input
LEAST_PHOTOS = 4  # so that one is held out
WINDOWS_OF_A_PHOTO = 12  # candidates of each
SUFFIXES = {".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class Kind(StrEnum):
    """What a tile is most of all; the order is that of the questions in kind_of."""

    DARK = "dark"
    BRIGHT = "bright"
    SATURATED = "saturated"
    FLAT = "flat"
    TEXTURED = "textured"


@dataclass(frozen=True)
class Samples:
    """Tiles to calibrate with and tiles to judge by."""

    calibration: tuple[Pixels, ...]  # CALIBRATION_SIDE square
    held_out: tuple[Pixels, ...]  # HELD_OUT_SIDE square, of other photos
    source: str  # for people: "built-in tiles" or the folder's name

    def sha256(self) -> str:
        """Of all pixels, in order: 64 hex digits."""
        digest = hashlib.sha256()
        for tile in (*self.calibration, *self.held_out):
            digest.update(np.ascontiguousarray(tile).tobytes())
        return digest.hexdigest()


def kind_of(tile: Pixels) -> Kind:
    """The kind of a tile, by its mean luma (BT.601), its HSV saturation and its mean gradient, all in levels of 255."""
    luma = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    mean = float(luma.mean())
    if mean < 50:
        return Kind.DARK
    if mean > 205:
        return Kind.BRIGHT
    if float(cv2.cvtColor(tile, cv2.COLOR_RGB2HSV)[..., 1].mean()) > 140:
        return Kind.SATURATED
    values = luma.astype(np.float32)
    gradient = np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean()
    return Kind.FLAT if gradient < 8 else Kind.TEXTURED


def built_in_samples() -> Samples:
    """The tiles that come with the package; sources and licences in tiles/README.md."""

    def read(name: str) -> tuple[Pixels, ...]:
        with as_file(files("calib").joinpath("tiles", name)) as folder:
            return tuple(_open(path) for path in sorted(folder.glob("*.jpg")))

    return Samples(read("calibration"), read("held_out"), "built-in tiles")


def draw_samples(
    folder: Path, calibration: int = 24, held_out: int = 12, seed: int = 0, say: Say = lambda _: None
) -> Samples:
    """`calibration` and `held_out` tiles of a folder's photos (recursive), the same ones for the same seed and files.

    The five kinds come in turn as far as the photos have them. Unreadable and too small photos are told to `say`.
    Raises CalibrationError for a folder with too few usable photos, or with grey ones only.
    """
    if not folder.is_dir():
        raise CalibrationError(f"{folder}: is not a folder of photos; give one with --data, or none for built-in tiles")
    names = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    photos = [(path, pixels) for path, pixels in _usable(names, say)]
    if len(photos) < LEAST_PHOTOS:
        raise CalibrationError(
            f"{folder}: has {len(photos)} usable photos of {len(names)}; at least {LEAST_PHOTOS} of at least "
            f"{HELD_OUT_SIDE} pixels a side are needed (or leave --data out for the built-in tiles)"
        )
    if all(_is_grey(pixels) for _, pixels in photos):
        raise CalibrationError(
            f"{folder}: all photos are grey, which says nothing of how colours come out; add colour photos"
        )
    order = random.Random(seed)
    order.shuffle(photos)
    judged = [pixels for index, (_, pixels) in enumerate(photos) if index % LEAST_PHOTOS == 0]
    used = [pixels for index, (_, pixels) in enumerate(photos) if index % LEAST_PHOTOS]
    return Samples(
        tuple(_draw(used, CALIBRATION_SIDE, calibration, order)),
        tuple(_draw(judged, HELD_OUT_SIDE, held_out, order)),
        folder.name,
    )


def _usable(names: Sequence[Path], say: Say) -> Iterator[tuple[Path, Pixels]]:
    for path in names:
        try:
            pixels = _open(path)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            say(f"{path}: cannot be read ({error}); not calibrated with")
            continue
        if min(pixels.shape[:2]) < HELD_OUT_SIDE:
            say(f"{path}: is smaller than {HELD_OUT_SIDE} pixels a side; not calibrated with")
            continue
        yield path, pixels


def _open(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _is_grey(pixels: Pixels) -> bool:
    return bool((pixels[..., :1] == pixels).all())


def _draw(photos: Sequence[Pixels], side: int, count: int, order: random.Random) -> list[Pixels]:
    """`count` square windows, the five kinds in turn; fewer if there are not so many candidates."""
    found: dict[Kind, list[Pixels]] = {kind: [] for kind in Kind}
    for pixels in photos:
        for _ in range(WINDOWS_OF_A_PHOTO):
            top = order.randrange(pixels.shape[0] - side + 1)
            left = order.randrange(pixels.shape[1] - side + 1)
            tile = np.ascontiguousarray(pixels[top : top + side, left : left + side])
            found[kind_of(tile)].append(tile)
    for tiles in found.values():
        order.shuffle(tiles)
    drawn: list[Pixels] = []
    while len(drawn) < count and any(found.values()):
        drawn += [tiles.pop() for tiles in found.values() if tiles]
    return drawn[:count]
