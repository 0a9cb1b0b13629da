"""Photos in: a file becomes an 8-bit RGB array and what must come back with it.

Pillow's errors are translated here and nowhere else on the way in.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from sr_batch.errors import PhotoOutOfReach, UnreadablePhoto
from sr_batch.photos.colour import IccChoice, profile_space, srgb_profile, to_srgb
from sr_batch.photos.formats import PhotoFormat, Size, pillow_formats
from sr_batch.photos.metadata import Metadata, fit_metadata, read_metadata, resize_metadata
from sr_batch.photos.transparency import bleed

__all__ = ["Photo", "ReadOptions", "probe", "read_photo", "use_own_limits"]

Pixels = NDArray[np.uint8]

MAX_PIXELS = 500_000_000  # input; more is a decompression bomb or needs streaming, which this release has not
EXIF_ORIENTATION = 0x0112
TIFF_BITS_PER_SAMPLE = 258
UPRIGHT_FORMATS = {"TIFF", "HEIF", "JXL"}  # their plugins turn the picture themselves and give its size as displayed
SINGLE_PICTURES = {"MPO", "HEIF"}  # further pictures in the file are previews, depth maps, other views
PROFILED_MODES = {"L": "GRAY", "RGB": "RGB"}  # which profile describes a result of this mode
AVIF_HEAD_BYTES = 4096  # the item properties come first
AVIF_BITS = b"pixi"  # box: version and flags (4 bytes), number of channels, bits of each


@dataclass(frozen=True)
class ReadOptions:
    icc: IccChoice = IccChoice.KEEP
    strip: bool = False  # leave the metadata out; the colour profile stays
    max_pixels: int = MAX_PIXELS  # more is refused before it is decoded


@dataclass(frozen=True)
class Photo:
    """A decoded photo: what the network gets, and what must come out with it."""

    rgb: Pixels  # [h, w, 3], as displayed; colours bled under full transparency
    grey: bool  # the file has one colour channel, and so shall its result
    alpha: Pixels | None  # [h, w]
    icc: bytes | None  # profile of the result: GRAY if `grey`, else RGB
    metadata: Metadata = field(default=Metadata())
    warnings: tuple[str, ...] = field(default=())  # what could not be kept, for the report

    @property
    def size(self) -> Size:
        return Size(self.rgb.shape[0], self.rgb.shape[1])

    def for_result(self, kind: PhotoFormat, size: Size) -> Photo:
        """The same with the metadata of a result of this format and size; what does not fit becomes a warning."""
        metadata, lost = fit_metadata(resize_metadata(self.metadata, size), kind)
        return replace(self, metadata=metadata, warnings=(*self.warnings, *lost))


def use_own_limits() -> None:
    """Tell Pillow, for the whole process, that size limits are checked here, and to keep its warnings to itself.

    For command lines: Pillow would refuse 180 MP, and print its doubts about EXIF with source lines.
    """
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module="PIL")


def probe(path: Path, max_pixels: int = MAX_PIXELS) -> Size:
    """Read a photo's header. Raises UnreadablePhoto when it is not a photo that can be upscaled."""
    with _open(path, max_pixels) as image:
        return _size_as_displayed(image)


def read_photo(path: Path, options: ReadOptions | None = None) -> Photo:
    """Decode a photo to 8-bit RGB, turned as its EXIF orientation says. Raises UnreadablePhoto with the reason."""
    options = options or ReadOptions()
    with _open(path, options.max_pixels) as image:
        lost, promised = _what_is_lost(image, path), _size_as_displayed(image)
        image.load()
        metadata = Metadata() if options.strip else read_metadata(image, lost)
        icc = image.info.get("icc_profile") or None
        upright = image if image.format in UPRIGHT_FORMATS else ImageOps.exif_transpose(image)
        colour, alpha = _split_alpha(_reduce_depth(upright))
        colour, icc = _convert_colour(colour, icc, options.icc, lost)
        grey = colour.mode == "L"
        rgb = np.asarray(colour.convert("RGB"))
        if (found := Size(rgb.shape[0], rgb.shape[1])) != promised:
            raise UnreadablePhoto(f"damaged: {promised} pixels by its header, {found} by its content")
    if alpha is not None:
        rgb = bleed(rgb, alpha)
    return Photo(rgb, grey, alpha, icc, metadata, tuple(lost))


def _size_as_displayed(image: Image.Image) -> Size:
    turned = image.format not in UPRIGHT_FORMATS and image.getexif().get(EXIF_ORIENTATION, 1) >= 5
    return Size(*((image.width, image.height) if turned else (image.height, image.width)))


@contextmanager
def _open(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """An opened, not yet decoded file; whatever Pillow raises in the block becomes UnreadablePhoto."""
    try:
        if path.stat().st_size == 0:
            raise UnreadablePhoto("the file is empty (0 bytes)")
        with Image.open(path, formats=pillow_formats(path)) as image:
            if image.width * image.height > max_pixels:
                raise PhotoOutOfReach(
                    f"{image.width}x{image.height} pixels are more than the limit of {max_pixels / 10**6:g} MP; "
                    "if the file can be trusted, raise it with --max-pixels"
                )
            yield image
    except UnreadablePhoto:
        raise
    except UnidentifiedImageError as error:
        raise UnreadablePhoto("damaged, or not a picture of a known format, whatever its name says") from error
    except MemoryError as error:
        raise PhotoOutOfReach("too large for this machine's memory") from error
    except OSError as error:
        if error.errno is not None:  # the system's, not Pillow's
            raise PhotoOutOfReach(f"cannot be read ({error.strerror})") from error
        raise UnreadablePhoto(f"cannot be read ({_one_line(error)})") from error
    except Exception as error:  # damaged files raise SyntaxError, ValueError, struct.error and more in Pillow's plugins
        raise UnreadablePhoto(f"damaged, cannot be decoded ({_one_line(error)})") from error


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def _what_is_lost(image: Image.Image, path: Path) -> list[str]:
    """One sentence for each thing that this release does not carry over."""
    lost = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in SINGLE_PICTURES:
        raise UnreadablePhoto(f"has {frames} frames or pages; this release upscales single pictures only")
    bits = _bits_per_channel(image, path)
    if bits > 8:
        lost.append(f"{bits} bits a channel became 8")
    if image.mode == "1":
        lost.append("black and white became grey")
    return lost


def _bits_per_channel(image: Image.Image, path: Path) -> int:
    """From the header, never from the values; Pillow opens 16-bit RGB as 8-bit without a word."""
    match image.format:
        case "PNG":
            with path.open("rb") as file:
                return file.read(25)[24]  # IHDR's bit depth
        case "AVIF":
            with path.open("rb") as file:
                head = file.read(AVIF_HEAD_BYTES)
            bits = head[head.find(AVIF_BITS) + 9 :] if AVIF_BITS in head else b""
            return bits[0] if bits else 8
        case "HEIF":
            return int(image.info.get("bit_depth", 8))
    if isinstance(image, TiffImageFile):
        return max(map(int, image.tag_v2.get(TIFF_BITS_PER_SAMPLE, (8,))))
    return 16 if image.mode.startswith("I;16") else 8


def _reduce_depth(image: Image.Image) -> Image.Image:
    """16-bit grey to 8-bit by rounding; Pillow's own conversion would clip it. Other deep modes are refused."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnreadablePhoto("32-bit and float pictures are not upscaled in this release")
    return image


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Pixels | None]:
    """The colours as L, RGB, CMYK or LAB, and the alpha channel [h, w] if there is one."""
    grey = image.mode in ("L", "LA", "La", "1")
    if image.has_transparency_data:
        straight = image.convert("LA" if grey else "RGBA")
        return straight.convert("L" if grey else "RGB"), np.asarray(straight.getchannel("A"))
    if image.mode in ("CMYK", "LAB"):
        return image, None
    return image.convert("L" if grey else "RGB"), None


def _convert_colour(
    image: Image.Image, icc: bytes | None, choice: IccChoice, lost: list[str]
) -> tuple[Image.Image, bytes | None]:
    """The picture as L or RGB, and the profile that describes it then."""
    if image.mode not in PROFILED_MODES:
        converted = to_srgb(image, icc)
        if converted is None:
            lost.append(f"{image.mode} became RGB by the simple formula: the file has no profile that says how")
            return image.convert("RGB"), None
        return converted, srgb_profile()
    if icc is not None and profile_space(icc) != PROFILED_MODES[image.mode]:
        if image.mode == "L" and profile_space(icc) == "RGB":  # a grey picture saved with its camera's profile
            return _convert_colour(image.convert("RGB"), icc, choice, lost)
        lost.append("its colour profile does not describe its pixels and was left out")
        return image, None
    if icc is not None and choice is IccChoice.SRGB:
        converted = to_srgb(image, icc)
        if converted is not None:
            return converted, srgb_profile()
        lost.append("its colour profile is damaged: nothing was converted")
        return image, None
    return image, icc
