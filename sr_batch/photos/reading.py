"""Photos in: a file becomes an RGB array, as deep as the file, and what must come back with it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sr_batch.depth import Pixels, bits_of, full_scale, to_depth
from sr_batch.errors import UnreadablePhoto
from sr_batch.photos.colour import IccChoice, deep_to_srgb, profile_of_code_points, profile_space, srgb_profile, to_srgb
from sr_batch.photos.deep import (
    Raster,
    is_read_by_tifffile,
    raster_of,
    read_deep_image,
    read_deep_png,
    read_tiff_page,
)
from sr_batch.photos.formats import PhotoFormat, Sequence, Size, check_sequence
from sr_batch.photos.jpeg2000 import Jp2Facts
from sr_batch.photos.jpegxl import JxlFacts, read_jxl_pixels
from sr_batch.photos.metadata import (
    TIFF_ICC,
    Metadata,
    fit_metadata,
    read_metadata,
    read_tiff_metadata,
    resize_metadata,
)
from sr_batch.photos.opening import EXIF_ORIENTATION, UPRIGHT_FORMATS, Source, open_source
from sr_batch.photos.png_words import png_without_pixels
from sr_batch.photos.streaming import StreamedFile, streamed_file
from sr_batch.photos.tiff import read_folders
from sr_batch.photos.transparency import bleed
from sr_batch.streamed import Rows, StreamedPixels

__all__ = [
    "MAX_PIXELS",
    "Photo",
    "PhotoFacts",
    "ReadOptions",
    "inspect_photo",
    "open_photo",
    "probe",
    "read_further",
    "read_photo",
]

MAX_PIXELS = 500_000_000  # input; more is mostly a decompression bomb
STREAMED_BYTES = 32 << 20  # about what is held of a large photo that is decoded while it is cut
READ_DEEPER = ("JPEG2000", "AVIF", "HEIF")  # Pillow's names
PROFILE_SPACES = {2: "GRAY", 3: "RGB"}  # which profile describes colours of so many dimensions
SAME_LEVELS = 2.0  # of 255, on average: what two decoders of one picture may differ by


@dataclass(frozen=True)
class ReadOptions:
    icc: IccChoice = IccChoice.KEEP
    strip: bool = False  # leave the metadata out; the colour profile stays
    max_pixels: int = MAX_PIXELS  # more is refused before it is decoded
    clip: bool = False  # floats outside [0, 1] are clipped, not refused


@dataclass(frozen=True)
class Photo:
    """A decoded photo: what the network gets, and what must come out with it. Its arrays have one depth."""

    # [h, w, 3] RGB, as displayed; uint8, uint16 or float32 in [0, 1]; colours bled under full transparency
    pixels: Pixels | StreamedPixels
    grey: bool  # the file has one colour channel, and so shall its result
    alpha: Pixels | None  # [h, w]
    icc: bytes | None  # profile of the result: GRAY if `grey`, else RGB
    metadata: Metadata = field(default=Metadata())
    warnings: tuple[str, ...] = field(default=())  # what could not be kept, for the report
    sequence: Sequence | None = None  # of which this is one picture
    milliseconds: float = 0.0  # how long a frame of an animation is shown

    @property
    def rgb(self) -> Pixels:
        """The pixels of a photo that was decoded whole."""
        assert not isinstance(self.pixels, StreamedPixels)
        return self.pixels

    @property
    def size(self) -> Size:
        return Size(self.pixels.shape[0], self.pixels.shape[1])

    @property
    def depth(self) -> np.dtype[Any]:
        return self.pixels.dtype

    def for_result(self, kind: PhotoFormat, size: Size) -> Photo:
        """The same as a result of this format and size can hold it; what does not fit becomes a warning.

        Raises UnwritablePhoto where the format cannot hold the sequence that the photo belongs to.
        """
        if self.sequence is not None:
            check_sequence(self.sequence, kind)
        metadata, lost = fit_metadata(resize_metadata(self.metadata, size), kind)
        pixels, alpha = self.pixels, self.alpha
        if self.depth not in kind.depths:
            deepest = kind.depths[-1]
            pixels = pixels.converted(deepest) if isinstance(pixels, StreamedPixels) else to_depth(pixels, deepest)
            alpha = None if alpha is None else to_depth(alpha, deepest)
            is_whole = self.depth.kind == "u"
            before, holds = ("more than 8 bits a channel", "png") if is_whole else ("floats", "tiff")
            lost.append(f"{before} became {bits_of(deepest)} bits: {kind.name} keeps no more (--format {holds} does)")
        return replace(self, pixels=pixels, alpha=alpha, metadata=metadata, warnings=(*self.warnings, *lost))


@dataclass(frozen=True)
class PhotoFacts:
    """What a file's header says."""

    size: Size  # as displayed; of several pictures the first's
    sequence: Sequence | None
    held_bytes: int  # about how much open_photo holds of the first picture

    @property
    def pixels(self) -> int:
        """Of all pictures together."""
        return self.size.pixels if self.sequence is None else self.sequence.pixels

    def result_pixels(self, result: Size) -> int:
        """Of all results together, if that of the first has this size."""
        return round(self.pixels * result.pixels / self.size.pixels)


def inspect_photo(path: Path, max_pixels: int = MAX_PIXELS) -> PhotoFacts:
    """Read a photo's header. Raises UnreadablePhoto when it is not a photo that can be upscaled."""
    with open_source(path, max_pixels, pixels=False) as source:
        size = source.size(0)
        whole = size.pixels * source.channels(0) * source.depth(0).itemsize
        return PhotoFacts(size, source.sequence, whole if streamed_file(source) is None else STREAMED_BYTES)


def probe(path: Path, max_pixels: int = MAX_PIXELS) -> Size:
    """The size that a photo's header says; see inspect_photo."""
    return inspect_photo(path, max_pixels).size


def open_photo(path: Path, options: ReadOptions) -> Photo:
    """The same, but a large one that can be decoded row by row is decoded while it is cut; see photos/streaming.py."""
    with open_source(path, options.max_pixels) as source:
        file = streamed_file(source)
        return _streamed(source, file, options) if file is not None else _read_picture(source, 0, options)


def read_photo(path: Path, options: ReadOptions | None = None) -> Photo:
    """Decode a photo, turned as its EXIF orientation says; of several pictures the first, which says so.

    Raises UnreadablePhoto with the reason.
    """
    options = options or ReadOptions()
    with open_source(path, options.max_pixels) as source:
        return _read_picture(source, 0, options)


def read_further(path: Path, options: ReadOptions) -> Iterator[Photo]:
    """The pictures after the first of a file with several, each decoded when it is asked for; see read_photo."""
    with open_source(path, options.max_pixels) as source:
        for index in range(1, source.count):
            yield _read_picture(source, index, options)


def _read_picture(source: Source, index: int, options: ReadOptions) -> Photo:
    lost: list[str] = []
    sequence = source.sequence
    promised = source.size(index)
    raster, icc, metadata = _decode(source, index, options, lost)
    colour, icc = _convert_colour(raster.colour, icc, options.icc, lost)
    if (found := Size(colour.shape[0], colour.shape[1])) != promised:
        raise UnreadablePhoto(f"damaged: {promised} pixels by its header, {found} by its content")
    lost += source.doubts if index == 0 else ()
    if index == 0 and source.first > 0:
        lost.append("the picture that it shows where animations do not play is not one of its frames and was left out")
    grey = colour.ndim == 2
    rgb = np.repeat(colour[:, :, None], 3, axis=2) if grey else colour
    alpha = raster.alpha
    if sequence is not None and sequence.is_animation and _any_frame_may_be_transparent(source):
        alpha = alpha if alpha is not None else np.full(rgb.shape[:2], full_scale(rgb.dtype), dtype=rgb.dtype)
    if alpha is not None:
        rgb = bleed(rgb, alpha)
    milliseconds = float(source.image.info.get("duration") or 0) if source.image is not None else 0.0
    kept = Metadata() if options.strip else metadata
    return Photo(rgb, grey, alpha, icc, kept, tuple(lost), sequence, milliseconds)


def _streamed(source: Source, file: StreamedFile, options: ReadOptions) -> Photo:
    """A large photo. All of it is decoded once, so that damage is found before any work, and nothing is kept."""
    lost: list[str] = []
    if source.pages:
        icc, metadata = _tiff_metadata(source, 0, lost)
    elif file.loader == "png":
        with Image.open(io.BytesIO(png_without_pixels(source.path)), formats=["PNG"]) as image:
            icc, metadata = _metadata(image, lost)
    else:
        assert source.image is not None
        icc, metadata = _metadata(source.image, lost)
    example, icc_after = _convert_colour(file.begin()(0, 1), icc, options.icc, lost)

    def begin() -> Rows:
        rows = file.begin()

        def converted(top: int, count: int) -> Pixels:
            colour, _ = _convert_colour(rows(top, count), icc, options.icc, [])
            return np.repeat(colour[:, :, None], 3, axis=2) if colour.ndim == 2 else colour

        return converted

    rgb = StreamedPixels(file.size.height, file.size.width, file.depth, begin)
    for _ in rgb.bands():
        pass
    kept = Metadata() if options.strip else metadata
    return Photo(rgb, example.ndim == 2, None, icc_after, kept, tuple(lost))


def _any_frame_may_be_transparent(source: Source) -> bool:
    """All frames of an animation get the same channels; a GIF's say one by one whether something shines through."""
    assert source.image is not None
    return source.image.format == "GIF" or source.image.has_transparency_data


def _decode(source: Source, index: int, options: ReadOptions, lost: list[str]) -> tuple[Raster, bytes | None, Metadata]:
    """The picture upright, its profile and its metadata."""
    if not source.pages:
        assert source.image is not None
        if source.count > 1:
            source.image.seek(source.first + index)
        source.image.load()
        icc, metadata = _metadata(source.image, lost)
        if icc is None and (points := source.code_points()) is not None:
            icc, doubt = profile_of_code_points(*points)
            lost += [doubt] if doubt is not None and index == 0 else []
        raster, icc = _decode_image(source, index, icc, lost, clip=options.clip)
        return raster, icc, metadata
    page = source.pages[index]
    icc, metadata = _tiff_metadata(source, index, lost)
    if is_read_by_tifffile(page):
        raster = read_tiff_page(page, lost, clip=options.clip)
        return raster.turned(source.orientation(index)), icc, metadata
    assert source.image is not None
    source.image.seek(page.index)
    source.image.load()
    raster, icc = _decode_image(source, index, icc, lost, clip=options.clip)
    return raster, icc, metadata


def _metadata(image: Image.Image, lost: list[str]) -> tuple[bytes | None, Metadata]:
    return image.info.get("icc_profile") or None, read_metadata(image, lost)


def _tiff_metadata(source: Source, index: int, lost: list[str]) -> tuple[bytes | None, Metadata]:
    with source.path.open("rb") as file:
        folders = read_folders(file, source.pages[index].offset)
    icc = folders.main.get(TIFF_ICC)
    return icc if isinstance(icc, bytes) and icc else None, read_tiff_metadata(folders, lost)


def _decode_image(
    source: Source, index: int, icc: bytes | None, lost: list[str], *, clip: bool
) -> tuple[Raster, bytes | None]:
    """What Pillow has loaded, upright. CMYK and Lab become sRGB, and their profile with them."""
    image = source.image
    assert image is not None
    bits = source.bits(index)
    if isinstance(source.facts, JxlFacts):
        if source.facts.is_animated:
            lost.append("is an animation, of which only the first frame was read: JPEG XL's are not upscaled")
        if not getattr(image, "jpeg", False):
            return raster_of(read_jxl_pixels(source.path), bits, clip=clip), icc
    if image.format == "PNG" and bits == 16 and source.count == 1:
        raster = read_deep_png(source.path)
        return raster.turned(source.orientation(index)), icc
    upright = _upright(source)
    if bits > 8 and image.format in READ_DEEPER and source.count == 1:
        deeper = _read_deeper(source, bits)
        if deeper is not None:
            return deeper if image.format in UPRIGHT_FORMATS else deeper.turned(source.orientation(index)), icc
    if image.mode.startswith("I;16"):
        return Raster(np.asarray(upright).astype(np.uint16)), icc
    if image.mode in ("I", "F"):
        raise UnreadablePhoto("32-bit pictures of this format are not upscaled; convert it to 16 bits first")
    if bits > 8:
        lost.append(f"{bits} bits a channel, read as 8{': it is an animation' if source.count > 1 else ''}")
    if image.mode == "1":
        lost.append("black and white became grey")
    colour, alpha = _split_alpha(upright)
    if colour.mode in ("CMYK", "LAB"):
        converted = to_srgb(colour, icc)
        if converted is None:
            lost.append(f"{colour.mode} became RGB by the simple formula: the file has no profile that says how")
        colour, icc = (colour.convert("RGB"), None) if converted is None else (converted, srgb_profile())
    return Raster(np.asarray(colour), alpha), icc


def _upright(source: Source) -> Image.Image:
    """What Pillow has loaded, turned as it is to be seen."""
    image = source.image
    assert image is not None
    if isinstance(source.facts, JxlFacts):  # made of a JPEG, and not turned; EXIF may say something else
        image.getexif()[EXIF_ORIENTATION] = source.facts.orientation
    elif image.format in UPRIGHT_FORMATS:
        return image
    return ImageOps.exif_transpose(image)


def _read_deeper(source: Source, bits: int) -> Raster | None:
    """The picture in its own depth, or None where only Pillow can read it: then in 8 bits."""
    image = source.image
    assert image is not None and image.format is not None
    if isinstance(source.facts, Jp2Facts) and not source.facts.is_plain:
        return None
    try:
        raster = read_deep_image(source.path, image.format, bits)
    except Exception:  # Pillow has read it
        return None
    colour, alpha = _split_alpha(image)
    known = np.asarray(image) >> 8 if image.mode.startswith("I;16") else np.asarray(colour)
    seen = to_depth(raster.colour, np.dtype(np.uint8))
    if seen.shape != known.shape or (raster.alpha is None) != (alpha is None):
        return None
    every = (slice(None, None, 4),) * 2
    return raster if np.abs(seen[every].astype(int) - known[every]).mean() < SAME_LEVELS else None


def _split_alpha(image: Image.Image) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """The colours as L, RGB, CMYK or LAB, and the alpha channel [h, w] if there is one."""
    grey = image.mode in ("L", "LA", "La", "1")
    if image.has_transparency_data:
        straight = image.convert("LA" if grey else "RGBA")
        return straight.convert("L" if grey else "RGB"), np.asarray(straight.getchannel("A"))
    if image.mode in ("CMYK", "LAB"):
        return image, None
    return image.convert("L" if grey else "RGB"), None


def _convert_colour(
    colour: Pixels, icc: bytes | None, choice: IccChoice, lost: list[str]
) -> tuple[Pixels, bytes | None]:
    """Colours as the choice wants them, [h, w] or [h, w, 3], and the profile that describes them then."""
    if icc is None:
        return colour, None
    if profile_space(icc) != PROFILE_SPACES[colour.ndim]:
        if colour.ndim == 2 and profile_space(icc) == "RGB":  # a grey picture saved with its camera's profile
            return _convert_colour(np.repeat(colour[:, :, None], 3, axis=2), icc, choice, lost)
        lost.append("its colour profile does not describe its pixels and was left out")
        return colour, None
    if choice is IccChoice.KEEP:
        return colour, icc
    converted: Pixels | None
    if colour.dtype == np.uint8:
        image = to_srgb(Image.fromarray(colour), icc)
        converted = None if image is None else np.asarray(image)
    else:
        converted = deep_to_srgb(colour, icc)
    if converted is None:
        lost.append("its colour profile is damaged: nothing was converted")
        return colour, None
    return converted, srgb_profile()
