"""ICC profiles, through LittleCMS: what the numbers of a picture mean is either kept with it or properly converted."""

from __future__ import annotations

import io
from collections.abc import Callable
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from sr_batch.depth import Pixels as DeepPixels

__all__ = [
    "IccChoice",
    "deep_to_srgb",
    "grey_to_srgb",
    "profile_of_code_points",
    "profile_space",
    "srgb_profile",
    "to_srgb",
]

Pixels = NDArray[np.uint8]
# Colours inside both gamuts stay what they are, black becomes black: what viewers do for photos.
INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}

# ITU-T H.273, tables 2 and 3: chromaticities of red, green and blue by number; curves that reach above white.
WIDE_PRIMARIES = {
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
HDR_CURVES = {16: "PQ", 18: "HLG"}
D65 = (0.3127, 0.3290)
CURVE_POINTS = 4096


class IccChoice(StrEnum):
    KEEP = "keep"  # the pixels' numbers and their profile stay together
    SRGB = "srgb"  # colours are converted to sRGB


@cache
def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile_space(icc: bytes) -> str | None:
    """The colour space that a profile describes ("RGB", "GRAY", "CMYK", "Lab"), or None if it is damaged."""
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile.xcolor_space.strip()
    except (OSError, ImageCms.PyCMSError):
        return None


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image | None:
    """An L, RGB, CMYK or LAB picture as sRGB, of mode RGB; None if the profile does not describe it.

    LAB needs no profile. Transparency is not looked at.
    """
    if image.mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    elif icc is None or profile_space(icc) != SPACES.get(image.mode):
        return None
    else:
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    try:
        return ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), INTENT, outputMode="RGB", flags=FLAGS
        )
    except ImageCms.PyCMSError:
        return None


def deep_to_srgb(colour: DeepPixels, icc: bytes) -> DeepPixels | None:
    """uint16 or float32, [h, w] in a grey profile or [h, w, 3] in an RGB one, as sRGB [h, w, 3] of the same depth.

    None if the profile is damaged. Pillow's LittleCMS takes 8 bits only; imagecodecs brings its own. What lies
    outside sRGB is clamped.
    """
    import imagecodecs

    try:
        converted: DeepPixels = imagecodecs.cms_transform(
            np.ascontiguousarray(colour),
            icc,
            srgb_profile(),
            colorspace="gray" if colour.ndim == 2 else "rgb",
            outcolorspace="rgb",
            outdtype=colour.dtype,
            intent=INTENT,
            flags=FLAGS | ImageCms.Flags.NOOPTIMIZE,  # else through a coarse table, levels off
        )
    except (imagecodecs.CmsError, ValueError):
        return None
    return np.clip(converted, 0, 1) if converted.dtype.kind == "f" else converted


def profile_of_code_points(primaries: int, transfer: int) -> tuple[bytes | None, str | None]:
    """An RGB profile for what AVIF and HEIC say in numbers (ITU-T H.273), and a sentence where none can say it.

    Neither for what is sRGB, or near it, or is not said. Curves for video are read as sRGB's: as browsers show stills.
    """
    if transfer in HDR_CURVES:
        return None, f"its colours are HDR ({HDR_CURVES[transfer]}): no profile describes them, so they will look flat"
    if primaries not in WIDE_PRIMARIES:
        return None, None
    return _wide_profile(primaries), None


@cache
def _wide_profile(primaries: int) -> bytes:
    import imagecodecs

    light = np.linspace(0, 1, CURVE_POINTS)  # IEC 61966-2-1's, from numbers to light
    curve = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    corners = [number for x, y in WIDE_PRIMARIES[primaries] for number in (x, y, 1.0)]
    return bytes(
        imagecodecs.cms_profile(
            "rgb", whitepoint=(*D65, 1.0), primaries=corners, transferfunction=curve.astype(np.float32)
        )
    )


def grey_to_srgb(icc: bytes) -> Callable[[Pixels], Pixels]:
    """A conversion of uint8 [h, w] in this grey profile to sRGB [h, w, 3]."""
    transform = ImageCms.buildTransform(
        io.BytesIO(icc), ImageCms.createProfile("sRGB"), "L", "RGB", INTENT, flags=FLAGS
    )

    def convert(grey: Pixels) -> Pixels:
        converted = ImageCms.applyTransform(Image.fromarray(grey), transform)
        assert converted is not None  # only an in-place transform returns none
        return np.asarray(converted)

    return convert
