"""What the network drew, RGB whatever the photo was, turned into the channels that a file of it keeps."""

from __future__ import annotations

import numpy as np

from sr_batch.depth import Pixels
from sr_batch.photos.colour import grey_to_srgb, srgb_profile
from sr_batch.photos.formats import PhotoFormat, Size
from sr_batch.photos.reading import Photo
from sr_batch.photos.transparency import LanczosAlpha, on_white

__all__ = ["OutputRows"]

# Weights of red, green and blue in grey, in 65536ths, as Pillow's (ITU-R BT.601): equal channels stay what they are.
RED, GREEN, BLUE = 19595, 38470, 7471


class OutputRows:
    """Converts the rows of one result, top down."""

    def __init__(self, photo: Photo, kind: PhotoFormat, size: Size, alpha: Pixels | None = None) -> None:
        """`alpha`: of the result's size and the photo's depth; without it the photo's own is enlarged by Lanczos."""
        self._grey, self._keep_alpha = photo.grey, kind is not PhotoFormat.JPEG
        self._alpha, self._own_alpha = alpha, None
        if photo.alpha is not None and alpha is None:
            self._own_alpha = LanczosAlpha(photo.alpha, size)
        has_alpha = alpha is not None or self._own_alpha is not None
        self._next_row = 0
        self.icc, self._from_grey = photo.icc, None
        if photo.grey and photo.icc is not None and not kind.keeps_grey:  # a grey profile does not describe RGB
            self.icc, self._from_grey = srgb_profile(), grey_to_srgb(photo.icc)
        colours = 1 if photo.grey and self._from_grey is None else 3
        self.channels = colours + (1 if has_alpha and self._keep_alpha else 0)

    def convert(self, rgb: Pixels) -> Pixels:
        """The next [rows, w, 3] -> [rows, w, channels]."""
        rows = self._colours(rgb)
        top, self._next_row = self._next_row, self._next_row + len(rows)
        if self._own_alpha is not None:
            alpha = self._own_alpha.rows(top, len(rows))[:, :, None]
        elif self._alpha is not None:
            alpha = self._alpha[top : self._next_row, :, None]
        else:
            return rows
        return np.concatenate([rows, alpha], axis=2) if self._keep_alpha else on_white(rows, alpha)

    def _colours(self, rgb: Pixels) -> Pixels:
        if not self._grey:
            return rgb
        if self._from_grey is not None:
            return self._from_grey(_grey(rgb)[:, :, 0].astype(np.uint8, copy=False))
        return _grey(rgb)


def _grey(rgb: Pixels) -> Pixels:
    """[rows, w, 3] -> [rows, w, 1] of the same depth."""
    if rgb.dtype.kind == "f":
        weighted = rgb @ (np.array([[RED], [GREEN], [BLUE]], dtype=np.float32) / np.float32(65536))
        return np.asarray(weighted, dtype=np.float32)
    wide = rgb.astype(np.uint32)  # 65535 · 65536 + 32768 fits
    weighted = (wide[..., :1] * RED + wide[..., 1:2] * GREEN + wide[..., 2:] * BLUE + 32768) >> 16
    return np.asarray(weighted, dtype=rgb.dtype)
