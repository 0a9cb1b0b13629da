"""Transparency: what the network sees under it, and the alpha channel of the result."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from PIL import Image

from sr_batch.depth import Pixels, full_scale, to_depth
from sr_batch.photos.formats import Size

__all__ = ["AlphaChoice", "bleed", "enlarge_alpha", "mean_channel", "on_white", "tame_alpha"]


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


def enlarge_alpha(alpha: Pixels, size: Size) -> Pixels:
    """[h, w] by Lanczos to the size of the result, as deep as it was."""
    if alpha.min() == alpha.max():
        return np.full((size.height, size.width), alpha[0, 0], dtype=alpha.dtype)
    wanted = (size.width, size.height)
    if alpha.dtype == np.uint8:
        return tame_alpha(alpha, np.asarray(Image.fromarray(alpha).resize(wanted, Image.Resampling.LANCZOS)))
    floats = Image.fromarray(to_depth(alpha, np.dtype(np.float32)))
    large = np.asarray(floats.resize(wanted, Image.Resampling.LANCZOS))
    return tame_alpha(alpha, to_depth(large, alpha.dtype))


def mean_channel(rows: Pixels) -> Pixels:
    """[rows, w, 3], an alpha channel that the network drew as a grey picture, -> [rows, w] of the same depth."""
    return np.asarray(rows.mean(axis=2).round() if rows.dtype.kind == "u" else rows.mean(axis=2)).astype(rows.dtype)


def tame_alpha(alpha: Pixels, large: Pixels) -> Pixels:
    """The enlarged alpha, kept within what the 3x3 input pixels around each place span.

    So what is fully opaque or transparent stays exactly that, and no edge rings.
    """
    import cv2

    around = np.ones((3, 3), dtype=np.uint8)
    lowest, highest = cv2.erode(alpha, around), cv2.dilate(alpha, around)  # outside counts as neither
    rows = (np.arange(large.shape[0]) * alpha.shape[0]) // large.shape[0]
    columns = (np.arange(large.shape[1]) * alpha.shape[1]) // large.shape[1]
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
