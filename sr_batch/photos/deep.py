"""Pictures with more than 8 bits a channel, exactly as they are in the file: Pillow would cut them to 8 in silence.

Depth is what the header says, never what the values look like. PNG, JPEG 2000, AVIF and TIFF's compressions are
imagecodecs' affair, HEIC is pillow-heif's, so nothing here knows a compression.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sr_batch.depth import Pixels, full_scale, to_depth
from sr_batch.errors import UnreadablePhoto

if TYPE_CHECKING:
    from tifffile import TiffPage

__all__ = [
    "Raster",
    "is_read_by_tifffile",
    "png_depth",
    "raster_of",
    "read_deep_image",
    "read_deep_png",
    "read_tiff_page",
]

PNG_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
PNG_DEPTH_AT = 24
MIN_IS_WHITE, MIN_IS_BLACK, RGB = 0, 1, 2  # TIFF's photometric interpretations
PILLOWS_LAST_BYTE = 2**32 - 1  # of a TIFF
ASSOCIATED, STRAIGHT = 1, 2  # TIFF's kinds of alpha: colours multiplied by it, or not


@dataclass(frozen=True)
class Raster:
    """The decoded channels of a picture, all of one depth: uint8, uint16 or float32 in [0, 1]."""

    colour: Pixels  # [h, w] for grey, [h, w, 3] for RGB
    alpha: Pixels | None = None  # [h, w], straight

    def turned(self, orientation: int) -> Raster:
        """Upright, if this is how it is stored and `orientation` is what EXIF or TIFF says of it (1 to 8)."""
        return Raster(_turn(self.colour, orientation), None if self.alpha is None else _turn(self.alpha, orientation))


def png_depth(start: bytes) -> int | None:
    """Bits a channel of a PNG that starts so; None for other files."""
    return start[PNG_DEPTH_AT] if start.startswith(PNG_HEAD) and len(start) > PNG_DEPTH_AT else None


def read_deep_png(path: Path) -> Raster:
    """A 16-bit PNG as it is stored, not turned. Raises what libpng says of damaged ones."""
    import imagecodecs

    pixels: NDArray[np.uint16] = imagecodecs.png_decode(path.read_bytes())
    return _split(pixels if pixels.ndim == 3 else pixels[:, :, None])


def read_deep_image(path: Path, kind: str, bits: int) -> Raster:
    """The picture of a JPEG 2000, AVIF or HEIC file (Pillow's name) of so many bits, over all 16, as Pillow has it.

    Not turned by EXIF. Raises what the libraries do: not only of damage, they do not know all that Pillow knows.
    """
    import imagecodecs

    match kind:
        case "JPEG2000":
            pixels = imagecodecs.jpeg2k_decode(path.read_bytes())
        case "AVIF":
            pixels = imagecodecs.avif_decode(path.read_bytes(), index=0)
        case _:
            import pillow_heif

            pixels = np.asarray(pillow_heif.open_heif(path, convert_hdr_to_8bit=False, hdr_to_16bit=False))
    if pixels.dtype != np.uint16:
        raise ValueError(f"{pixels.dtype} where {bits} bits were promised")
    return raster_of(pixels, bits, clip=False)


def raster_of(pixels: NDArray[Any], bits: int, *, clip: bool) -> Raster:
    """[h, w] or [h, w, 1 to 4] of 8 bits, `bits` in 16, or floats. Raises UnreadablePhoto for other shapes."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4:
        raise UnreadablePhoto(f"has an unusual shape {pixels.shape}; only grey and RGB pictures are upscaled")
    if pixels.dtype.kind == "f":
        return _split(_check_range(pixels, clip))
    return _split(pixels if pixels.dtype == np.uint8 else _spread(pixels, bits))


def is_read_by_tifffile(page: TiffPage) -> bool:
    """Whether a page is grey or RGB, and Pillow would cut it to 8 bits, or not find it so far behind in its file.

    Raises UnreadablePhoto for what nobody can mean. Palettes, CMYK, Lab and YCbCr are not: Pillow knows them.
    """
    far = max(page.offset, *page.dataoffsets) > PILLOWS_LAST_BYTE
    if page.photometric not in (MIN_IS_WHITE, MIN_IS_BLACK, RGB) or page.bitspersample < (8 if far else 9):
        if far:  # it would be black, without a word
            raise UnreadablePhoto(
                "lies beyond 4 GB in its file, where only grey and RGB are read; save it anew as those"
            )
        return False
    if page.dtype is None or page.dtype.kind not in "uf" or (page.dtype.kind == "u" and page.bitspersample > 16):
        kind = "signed" if page.dtype is not None and page.dtype.kind == "i" else "of more than 16 bits"
        raise UnreadablePhoto(f"its whole numbers are {kind}: not a photo's; convert it to 16 bits or to float first")
    return True


def read_tiff_page(page: TiffPage, lost: list[str], *, clip: bool) -> Raster:
    """A page of which `is_read_by_tifffile` is true, as it is stored, not turned. What is left out is told in `lost`.

    More than 8 bits come back as uint16 (a camera's 12, too, spread over all 16), floats as float32;
    those outside [0, 1] are refused, or clipped if `clip`. Raises UnreadablePhoto, and what tifffile raises of damage.
    """
    pixels = page.asarray()
    planar = page.planarconfig == 2 and page.samplesperpixel > 1
    pixels = np.moveaxis(pixels, 0, -1) if planar else pixels
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape != (page.imagelength, page.imagewidth, page.samplesperpixel):
        raise UnreadablePhoto(f"has an unusual shape ({page.axes}); only flat pictures are upscaled")
    deep: Pixels = pixels
    if pixels.dtype != np.uint8:
        deep = _check_range(pixels, clip) if pixels.dtype.kind == "f" else _spread(pixels, page.bitspersample)
    if page.photometric == MIN_IS_WHITE:
        deep = (full_scale(deep.dtype) - deep).astype(deep.dtype)
    colours = 3 if page.photometric == RGB else 1
    extras = [int(kind) for kind in page.extrasamples]
    alphas = [index for index, kind in enumerate(extras) if kind in (ASSOCIATED, STRAIGHT)]
    if len(alphas) < len(extras):
        lost.append("channels that are neither colour nor transparency were left out")
    raster = _split(deep[:, :, [*range(colours), *(colours + index for index in alphas[:1])]])
    return _straighten(raster) if alphas and extras[alphas[0]] == ASSOCIATED else raster


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _split(pixels: Pixels) -> Raster:
    """[h, w, 1 to 4]: grey, grey and alpha, RGB, RGBA."""
    channels = pixels.shape[2]
    alpha = np.ascontiguousarray(pixels[:, :, -1]) if channels in (2, 4) else None
    colour = pixels[:, :, 0] if channels < 3 else pixels[:, :, :3]
    return Raster(np.ascontiguousarray(colour), alpha)


def _check_range(pixels: NDArray[Any], clip: bool) -> NDArray[np.float32]:
    values = pixels.astype(np.float32, copy=False)
    lowest, highest = float(values.min()), float(values.max())
    if not np.isfinite(lowest) or not np.isfinite(highest):  # one that is not a number makes both so
        raise UnreadablePhoto("some of its values are not numbers or infinite; repair it in the program that made it")
    if lowest >= 0 and highest <= 1:
        return values
    if not clip:
        raise UnreadablePhoto(
            f"its values go from {lowest:.4g} to {highest:.4g}, but only 0 to 1 can be kept; scale it, or add --clip"
        )
    return np.clip(values, np.float32(0), np.float32(1))


def _spread(pixels: NDArray[Any], bits: int) -> NDArray[np.uint16]:
    deep: NDArray[np.uint16] = pixels.astype(np.uint16, copy=False)
    if bits == 16:
        return deep
    top = 2**bits - 1
    spread: NDArray[np.uint16] = ((deep.astype(np.uint32) * 65535 + top // 2) // top).astype(np.uint16)
    return spread


def _straighten(raster: Raster) -> Raster:
    """Colours that were multiplied by alpha, divided by it again; black where nothing is visible."""
    assert raster.alpha is not None
    alpha = to_depth(raster.alpha, np.dtype(np.float32))
    colour = to_depth(raster.colour, np.dtype(np.float32))
    weight = alpha if colour.ndim == 2 else alpha[:, :, None]
    straight = np.divide(colour, weight, out=np.zeros_like(colour), where=weight > 0)
    return Raster(to_depth(np.clip(straight, 0, 1), raster.colour.dtype), raster.alpha)
