"""How an HR picture becomes the LR picture that the network learns to undo.

`bicubic` is the field's: one antialiased shrinking, nothing else. `photo` is mild blur, a resize on the way, noise and
JPEG, and for half of such pictures JPEG once more at the end, so that the weights also serve pictures from a phone. Two
pictures in five it only shrinks: weights that never see a clean one smooth it as if it were not. Both are pure
functions: of the pixels, and of the random numbers that the caller hands over (which it derives from seed, epoch and
index).
"""

from __future__ import annotations

import io
from enum import StrEnum

import numpy as np
from PIL import Image, ImageFilter

from sr_train.metrics import Pixels

__all__ = ["Degradation", "degrade", "shrink", "through_jpeg"]

CLEAN_SHARE = 0.4  # of pictures that are shrunk as by bicubic; the rest of what stands here is of the others
BLUR = (0.2, 1.6)  # sigma in HR pixels at 4x, before shrinking
DETOUR = (1.0, 2.0)  # sides of the picture between the two resizes, in units of the LR's
NOISE = (0.0, 6.0)  # deviation in grey levels
JPEG_QUALITY = (70, 97)
SUBSAMPLINGS = ("4:2:0", "4:4:4")  # of JPEG's colour: halved, as phones have it, or whole, as cameras at high quality
LAST_SHARE = 0.5  # of those that end as JPEG: blocks of 8x8 pixels, as phones and the web save them
LAST_QUALITY = (60, 97)
FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS, Image.Resampling.BOX)


class Degradation(StrEnum):
    """Which LR picture is made of an HR one."""

    BICUBIC = "bicubic"
    PHOTO = "photo"

    @property
    def context(self) -> int:
        """LR pixels around a crop that may change it: they are made too, and cut off.

        bicubic: its kernel ends 2 LR pixels from a pixel's centre. photo: JPEG's blocks twice (of 16 x 16 where colour
        is halved, and its interpolation looks at the next block too: 16), two resizes (3 each), blur (2).
        """
        return 2 if self is Degradation.BICUBIC else 40


def shrink(pixels: Pixels, scale: int) -> Pixels:
    """uint8 HWC RGB with sides that are multiples of `scale` -> uint8, `scale` times smaller, antialiased bicubic."""
    height, width = pixels.shape[0] // scale, pixels.shape[1] // scale
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def degrade(pixels: Pixels, scale: int, degradation: Degradation, random: np.random.Generator) -> Pixels:
    """uint8 HWC RGB with sides that are multiples of `scale` -> uint8 HWC RGB, `scale` times smaller."""
    if degradation is Degradation.BICUBIC or random.random() < CLEAN_SHARE:
        return shrink(pixels, scale)
    blur, detour, noise = random.uniform(*BLUR) * scale / 4, random.uniform(*DETOUR), random.uniform(*NOISE)
    first, second = random.integers(len(FILTERS), size=2)
    quality, last_quality = (int(random.integers(*between)) for between in (JPEG_QUALITY, LAST_QUALITY))
    subsampling = SUBSAMPLINGS[random.integers(len(SUBSAMPLINGS))]
    is_last = random.random() < LAST_SHARE  # all drawn before the noise, which takes more numbers for larger pictures

    image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(blur))
    size = (image.width // scale, image.height // scale)
    image = image.resize((round(size[0] * detour), round(size[1] * detour)), FILTERS[first])
    noisy = np.asarray(image) + random.normal(0, noise, (image.height, image.width, 3))
    image = Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    image = through_jpeg(image, quality, subsampling).resize(size, FILTERS[second])
    return np.asarray(through_jpeg(image, last_quality, subsampling) if is_last else image)


def through_jpeg(image: Image.Image, quality: int, subsampling: str = "4:2:0") -> Image.Image:
    """The RGB picture after saving as JPEG and opening again; `quality` (1 to 100) and `subsampling` are Pillow's."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=subsampling)
    file.seek(0)
    with Image.open(file) as opened:
        return opened.convert("RGB")
