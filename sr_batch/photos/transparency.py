"""Transparency: what the network sees under it, and the alpha channel of the result."""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
from PIL import Image

from sr_batch.depth import Pixels, full_scale, to_depth
from sr_batch.photos.formats import Size

__all__ = ["AlphaChoice", "LanczosAlpha", "bleed", "enlarge_alpha", "mean_channel", "on_white", "tame_alpha"]


LOBES = 3  # of Lanczos: input pixels on each side of an output pixel that it looks at, when nothing is shrunk


class AlphaChoice(StrEnum):
    LANCZOS = "lanczos"
    MODEL = "model"  # the network upscales it as a grey picture: sharper edges, twice the work


def bleed(rgb: Pixels, alpha: Pixels) -> Pixels:
    """[h, w, 3] in which every fully transparent pixel has the colour of the nearest visible one.

    What lies under transparency is often black or white, and the network would draw it into the visible edge.
    Visible pixels stay as they are; so does a picture of which nothing is visible.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return rgb
    import cv2

    _, nearest = cv2.distanceTransformWithLabels(
        hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(nearest.max()) + 1, 3), dtype=rgb.dtype)
    colours[nearest[~hidden]] = rgb[~hidden]  # each visible pixel is its own nearest
    filled: Pixels = colours[nearest]
    return filled


class LanczosAlpha:
    """An alpha channel [h, w] enlarged to the size of a result, rows at a time, as deep as it was."""

    def __init__(self, alpha: Pixels, size: Size) -> None:
        self._alpha, self._size = alpha, size
        self._is_flat = bool(alpha.min() == alpha.max())
        if not self._is_flat:
            is_plain = alpha.dtype == np.uint8
            self._image = Image.fromarray(alpha if is_plain else to_depth(alpha, np.dtype(np.float32)))
            self._bounds = _bounds(alpha)

    def rows(self, top: int, count: int) -> Pixels:
        """[count, size.width]."""
        if self._is_flat:
            return np.full((count, self._size.width), self._alpha[0, 0], dtype=self._alpha.dtype)
        height, width = self._alpha.shape
        step = height / self._size.height
        reach = math.ceil(LOBES * max(step, 1)) + 1
        start, stop = max(0, math.floor(top * step) - reach), min(height, math.ceil((top + count) * step) + reach)
        # First all columns, then all rows: Pillow would take the order that is cheaper for just these rows.
        wide = self._image.crop((0, start, width, stop)).resize(
            (self._size.width, stop - start), Image.Resampling.LANCZOS
        )
        box = (0, top * step - start, self._size.width, min((top + count) * step, height) - start)
        large = np.asarray(wide.resize((self._size.width, count), Image.Resampling.LANCZOS, box))
        return _tame(to_depth(large, self._alpha.dtype), self._bounds, top, self._size)


def enlarge_alpha(alpha: Pixels, size: Size) -> Pixels:
    """All rows of LanczosAlpha."""
    return LanczosAlpha(alpha, size).rows(0, size.height)


def mean_channel(rows: Pixels) -> Pixels:
    """[rows, w, 3], an alpha channel that the network drew as a grey picture, -> [rows, w] of the same depth."""
    return np.asarray(rows.mean(axis=2).round() if rows.dtype.kind == "u" else rows.mean(axis=2)).astype(rows.dtype)


def tame_alpha(alpha: Pixels, large: Pixels) -> Pixels:
    """The enlarged alpha, kept within what the 3x3 input pixels around each place span.

    So what is fully opaque or transparent stays exactly that, and no edge rings.
    """
    return _tame(large, _bounds(alpha), 0, Size(*large.shape[:2]))


def _bounds(alpha: Pixels) -> tuple[Pixels, Pixels]:
    """Of each pixel, the lowest and the highest of the 3x3 around it; what is outside counts as neither."""
    import cv2

    around = np.ones((3, 3), dtype=np.uint8)
    return np.asarray(cv2.erode(alpha, around)), np.asarray(cv2.dilate(alpha, around))


def _tame(large: Pixels, bounds: tuple[Pixels, Pixels], top: int, size: Size) -> Pixels:
    """`large`: rows from `top` on of an alpha channel of this size."""
    lowest, highest = bounds
    rows = (np.arange(top, top + len(large)) * lowest.shape[0]) // size.height
    columns = (np.arange(size.width) * lowest.shape[1]) // size.width
    nearest = np.ix_(rows, columns)
    tamed: Pixels = np.clip(large, lowest[nearest], highest[nearest])
    return tamed


def on_white(rows: Pixels, alpha: Pixels) -> Pixels:
    """[rows, w, c] seen through alpha [rows, w, 1] of the same depth, with white behind."""
    white = full_scale(rows.dtype)
    if rows.dtype == np.uint8:
        mixed = rows.astype(np.uint32) * alpha + 255 * (255 - alpha.astype(np.uint32))
        return ((mixed + 127) // 255).astype(np.uint8)
    opacity = alpha / np.float32(white)
    return to_depth(rows / np.float32(white) * opacity + (1 - opacity), rows.dtype)
