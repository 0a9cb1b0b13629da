"""Photos out: bands of RGB rows become a file. PNG, TIFF and JPEG are streamed; WebP and AVIF gathered for Pillow."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Protocol

import numpy as np
from PIL import Image, features

from sr_batch.depth import Pixels, bits_of
from sr_batch.errors import UnwritablePhoto
from sr_batch.jpeg import JpegWriter
from sr_batch.photos.formats import PhotoFormat, Size
from sr_batch.photos.metadata import EXIF_HEAD, Metadata, jpeg_segments, png_raw_profile, tiff_folders
from sr_batch.photos.reading import Photo
from sr_batch.photos.rows import OutputRows
from sr_batch.photos.tiff import TiffFolders, TiffWriter, needs_big
from sr_batch.png import PngLevel, PngTags, PngWriter

__all__ = ["PngLevel", "WriteOptions", "Writer", "open_writer", "pillow_options", "png_tags"]


class Writer(Protocol):
    """Takes the output's rows, top down."""

    def write(self, rows: Pixels) -> None:
        """The next [rows, width, 3] RGB rows of the output, as deep as the photo."""

    def finish(self) -> None:
        """All rows were given: complete the file's content."""


@dataclass(frozen=True)
class WriteOptions:
    quality: int = 95  # JPEG, WebP and AVIF, 1 to 100
    png_level: PngLevel = PngLevel.FAST


def open_writer(
    file: IO[bytes], kind: PhotoFormat, photo: Photo, size: Size, options: WriteOptions, alpha: Pixels | None = None
) -> Writer:
    """A writer for the result of `photo`, of this size, into a binary file open for reading and writing.

    The photo is one `for_result` of this format. Grey stays grey, depth stays. Alpha is put back (JPEG has none: the
    photo lies on white there): `alpha`, of the result's size and depth, or else the photo's own by Lanczos. The file
    is the caller's to flush and close.
    """
    assert photo.depth in kind.depths
    rows = OutputRows(photo, kind, size, alpha)
    icc = rows.icc
    inner: Writer
    match kind:
        case PhotoFormat.PNG:
            tags, depth = png_tags(photo.metadata, icc), bits_of(photo.depth)
            inner = PngWriter(
                file, size.height, size.width, rows.channels, depth=depth, tags=tags, level=options.png_level
            )
        case PhotoFormat.TIFF:
            inner = _TiffPage(file, size, rows.channels, photo.depth, tiff_folders(photo.metadata, icc))
        case PhotoFormat.JPEG if not _has_mozjpeg():
            inner = _JpegPage(file, photo, icc, size, rows.channels, options)
        case _:
            inner = _PillowWriter(file, kind, photo, icc, size, rows.channels, options)
    return _Composed(rows, inner)


def png_tags(data: Metadata, icc: bytes | None) -> PngTags:
    text = data.text + ((("Raw profile type iptc", png_raw_profile(data.iptc)),) if data.iptc else ())
    return PngTags(icc, data.exif, data.xmp, data.dpi, text)


class _Composed:
    """A Writer: rows are converted, then handed to the file's own writer."""

    def __init__(self, rows: OutputRows, inner: Writer) -> None:
        self._rows, self._inner = rows, inner

    def write(self, rows: Pixels) -> None:
        self._inner.write(self._rows.convert(rows))

    def finish(self) -> None:
        self._inner.finish()


class _TiffPage:
    """The only page of a TIFF."""

    def __init__(self, file: IO[bytes], size: Size, channels: int, depth: np.dtype[Any], tags: TiffFolders) -> None:
        self._tiff = TiffWriter(file, big=needs_big(size.pixels * channels * depth.itemsize))
        self._tiff.begin(size.height, size.width, channels, depth)
        self._tags = tags

    def write(self, rows: Pixels) -> None:
        self._tiff.write(rows)

    def finish(self) -> None:
        self._tiff.end(self._tags)


class _JpegPage:
    """JpegWriter with what Pillow writes beside the pixels."""

    def __init__(
        self, file: IO[bytes], photo: Photo, icc: bytes | None, size: Size, channels: int, options: WriteOptions
    ) -> None:
        tags = pillow_options(PhotoFormat.JPEG, photo.metadata, icc, options.quality)
        self._writer = JpegWriter(file, size.height, size.width, channels, tags)

    def write(self, rows: Pixels) -> None:
        with _pillow_errors(PhotoFormat.JPEG):
            self._writer.write(rows.astype(np.uint8, copy=False))  # it is: `for_result` saw to that

    def finish(self) -> None:
        with _pillow_errors(PhotoFormat.JPEG):
            self._writer.finish()


class _PillowWriter:
    """Gathers the rows in one Pillow image (4 bytes a pixel for RGB) and encodes it at the end."""

    def __init__(
        self,
        file: IO[bytes],
        kind: PhotoFormat,
        photo: Photo,
        icc: bytes | None,
        size: Size,
        channels: int,
        options: WriteOptions,
    ) -> None:
        mode = ("L", "LA", "RGB", "RGBA")[channels - 1]
        if kind is PhotoFormat.AVIF and mode == "RGB":
            mode = (
                "RGBA"  # libavif then rounds chroma (of RGB it cuts it off: half a level), and leaves opaque alpha out
            )
        self._image = Image.new(mode, (size.width, size.height))
        self._file, self._kind, self._metadata, self._icc = file, kind, photo.metadata, icc
        self._quality = options.quality
        self._next_row = 0

    def write(self, rows: Pixels) -> None:
        band = Image.fromarray(rows[:, :, 0] if rows.shape[2] == 1 else rows)
        self._image.paste(band, (0, self._next_row))
        self._next_row += len(rows)

    def finish(self) -> None:
        with _pillow_errors(self._kind):
            self._image.save(
                self._file,
                self._kind.pillow_name,
                **pillow_options(self._kind, self._metadata, self._icc, self._quality),
            )


@contextmanager
def _pillow_errors(kind: PhotoFormat) -> Iterator[None]:
    """Those of its plugins, as ours; libavif raises RuntimeError."""
    try:
        yield
    except (ValueError, struct.error, RuntimeError) as error:
        raise UnwritablePhoto(f"Pillow cannot write it as {kind.name} ({error})") from error


def _has_mozjpeg() -> bool:
    """Whether Pillow was built with MozJPEG, which makes tables for each picture: its strips cannot be joined."""
    return "mozjpeg" in features.features and bool(features.check("mozjpeg"))


def pillow_options(kind: PhotoFormat, data: Metadata, icc: bytes | None, quality: int) -> dict[str, object]:
    """What Pillow is told when it saves."""
    options: dict[str, object] = {"icc_profile": icc} if icc else {}
    if data.exif:
        options["exif"] = EXIF_HEAD + data.exif
    if data.xmp and kind is not PhotoFormat.JPEG:
        options["xmp"] = data.xmp
    match kind:
        case PhotoFormat.JPEG:
            options |= {"quality": quality, "subsampling": "4:4:4"}
            options |= {"dpi": tuple(round(value) for value in data.dpi)} if data.dpi else {}
            options |= {"extra": jpeg_segments(data)}
            options |= {"comment": data.text[0][1].encode()} if data.text else {}
        case PhotoFormat.WEBP:
            options |= {"quality": quality, "method": 2}
        case PhotoFormat.AVIF:
            options |= {"quality": quality, "subsampling": "4:4:4", "speed": 8}
    return options
