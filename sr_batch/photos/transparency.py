"""Transparency: what the network sees under it, and the alpha channel of the result."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from sr_batch.photos.formats import Size

__all__ = ["AlphaChoice", "bleed", "enlarge_alpha", "tame_alpha"]

Pixels = NDArray[np.uint8]


class AlphaChoice(StrEnum):
    LANCZOS = "lanczos"
    MODEL = "model"  # the network upscales it as a grey picture: sharper edges, twice the work


def bleed(rgb: Pixels, alpha: Pixels) -> Pixels:
    """uint8 [h, w, 3] in which every fully transparent pixel has the colour of the nearest visible one.

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
    colours = np.zeros((int(nearest.max()) + 1, 3), dtype=np.uint8)
    colours[nearest[~hidden]] = rgb[~hidden]  # each visible pixel is its own nearest
    filled: Pixels = colours[nearest]
    return filled


def enlarge_alpha(alpha: Pixels, size: Size) -> Pixels:
    """uint8 [h, w] by Lanczos to the size of the result."""
    if alpha.min() == alpha.max():
        return np.full((size.height, size.width), alpha[0, 0], dtype=np.uint8)
    large = Image.fromarray(alpha).resize((size.width, size.height), Image.Resampling.LANCZOS)
    return tame_alpha(alpha, np.asarray(large))


def tame_alpha(alpha: Pixels, large: Pixels) -> Pixels:
    """The enlarged alpha, kept within what the 3x3 input pixels around each place span.

    So what is fully opaque or transparent stays exactly that, and no edge rings.
    """
    source, size = Image.fromarray(alpha), (large.shape[1], large.shape[0])
    lowest = source.filter(ImageFilter.MinFilter(3)).resize(size, Image.Resampling.NEAREST)
    highest = source.filter(ImageFilter.MaxFilter(3)).resize(size, Image.Resampling.NEAREST)
    tamed: Pixels = np.clip(large, np.asarray(lowest), np.asarray(highest))
    return tamed
