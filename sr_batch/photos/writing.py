"""Photos out: bands of RGB rows become a file. PNG is streamed; the others are gathered and encoded by Pillow."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from sr_batch.depth import Pixels
from sr_batch.errors import UnwritablePhoto
from sr_batch.photos.colour import grey_to_srgb, srgb_profile
from sr_batch.photos.formats import PhotoFormat, Size
from sr_batch.photos.metadata import EXIF_FOLDER, EXIF_HEAD, GPS_FOLDER, TIFF_IPTC, photoshop_segment, png_raw_profile
from sr_batch.photos.reading import Photo
from sr_batch.photos.tiff import append_folders
from sr_batch.photos.transparency import enlarge_alpha
from sr_batch.png import PngLevel, PngTags, PngWriter

__all__ = ["PngLevel", "WriteOptions", "Writer", "open_writer"]

TIFF_XMP = 700
BYTE, UNDEFINED = 1, 7  # TIFF's types


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

    Grey stays grey. Alpha is put back (JPEG has none: the photo lies on white there): `alpha`, uint8 of the result's
    size, or else the photo's own by Lanczos. The file is the caller's to flush and close.
    """
    if photo.alpha is not None and alpha is None:
        alpha = enlarge_alpha(photo.alpha, size)
    icc, from_grey = photo.icc, None
    if photo.grey and icc is not None and not kind.keeps_grey:
        icc, from_grey = srgb_profile(), grey_to_srgb(icc)  # the file will be RGB: a grey profile does not describe it
    rows = _Rows(photo.grey, alpha, from_grey, keep_alpha=kind is not PhotoFormat.JPEG)
    inner: Writer
    if kind is PhotoFormat.PNG:
        data = photo.metadata
        text = data.text + ((("Raw profile type iptc", png_raw_profile(data.iptc)),) if data.iptc else ())
        tags = PngTags(icc, data.exif, data.xmp, data.dpi, text)
        inner = PngWriter(file, size.height, size.width, rows.channels, tags=tags, level=options.png_level)
    else:
        inner = _PillowWriter(file, kind, photo, icc, size, rows.channels, options)
    return _Composed(rows, inner)


class _Rows:
    """RGB rows of the output turned into the channels that its file keeps."""

    def __init__(
        self,
        grey: bool,
        alpha: Pixels | None,
        from_grey: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None,
        *,
        keep_alpha: bool,
    ) -> None:
        self._grey, self._alpha, self._from_grey, self._keep_alpha = grey, alpha, from_grey, keep_alpha
        self._next_row = 0
        self.channels = (1 if grey and from_grey is None else 3) + (1 if alpha is not None and keep_alpha else 0)

    def convert(self, rgb: Pixels) -> Pixels:
        rows = self._colours(rgb)
        if self._alpha is None:
            return rows
        alpha = self._alpha[self._next_row : self._next_row + len(rows), :, None]
        self._next_row += len(rows)
        if self._keep_alpha:
            return np.concatenate([rows, alpha], axis=2)
        on_white = rows.astype(np.uint32) * alpha + 255 * (255 - alpha.astype(np.uint32))
        return ((on_white + 127) // 255).astype(np.uint8)

    def _colours(self, rgb: Pixels) -> Pixels:
        if not self._grey:
            return rgb
        grey = np.asarray(Image.fromarray(rgb).convert("L"))
        return grey[:, :, None] if self._from_grey is None else self._from_grey(grey)


class _Composed:
    """A Writer: rows are converted, then handed to the file's own writer."""

    def __init__(self, rows: _Rows, inner: Writer) -> None:
        self._rows, self._inner = rows, inner

    def write(self, rows: Pixels) -> None:
        self._inner.write(self._rows.convert(rows))

    def finish(self) -> None:
        self._inner.finish()


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
        self._image = Image.new(("L", "LA", "RGB", "RGBA")[channels - 1], (size.width, size.height))
        self._file, self._kind, self._metadata, self._icc = file, kind, photo.metadata, icc
        self._quality = options.quality
        self._next_row = 0

    def write(self, rows: Pixels) -> None:
        band = Image.fromarray(rows[:, :, 0] if rows.shape[2] == 1 else rows)
        self._image.paste(band, (0, self._next_row))
        self._next_row += len(rows)

    def finish(self) -> None:
        try:
            self._image.save(self._file, self._kind.pillow_name, **self._pillow_options())
            if self._kind is PhotoFormat.TIFF and self._metadata.exif:
                exif = self._exif()
                folders = {tag: exif.get_ifd(tag) for tag in (EXIF_FOLDER, GPS_FOLDER) if exif.get_ifd(tag)}
                append_folders(self._file, folders)
        except (ValueError, struct.error, RuntimeError) as error:  # Pillow's plugins; libavif raises RuntimeError
            raise UnwritablePhoto(f"Pillow cannot write it as {self._kind.name} ({error})") from error

    def _pillow_options(self) -> dict[str, object]:
        data = self._metadata
        options: dict[str, object] = {"icc_profile": self._icc} if self._icc else {}
        if self._kind is PhotoFormat.TIFF:
            options |= {"compression": "tiff_adobe_deflate", "tiffinfo": self._tiff_tags()}
            return options | ({"dpi": data.dpi} if data.dpi else {})
        if data.exif:
            options["exif"] = EXIF_HEAD + data.exif
        if data.xmp:
            options["xmp"] = data.xmp
        match self._kind:
            case PhotoFormat.JPEG:
                options |= {"quality": self._quality, "subsampling": "4:4:4"}
                options |= {"dpi": tuple(round(value) for value in data.dpi)} if data.dpi else {}
                options |= {"extra": photoshop_segment(data.iptc)} if data.iptc else {}
                options |= {"comment": data.text[0][1].encode()} if data.text else {}
            case PhotoFormat.WEBP:
                options |= {"quality": self._quality, "method": 2}
            case PhotoFormat.AVIF:
                options |= {"quality": self._quality, "subsampling": "4:4:4", "speed": 8}
        return options

    def _exif(self) -> Image.Exif:
        exif = Image.Exif()
        exif.load(EXIF_HEAD + (self._metadata.exif or b""))
        return exif

    def _tiff_tags(self) -> ImageFileDirectory_v2:
        """EXIF's main folder, XMP and IPTC; its sub-folders are appended to the finished file."""
        tags = ImageFileDirectory_v2()
        if self._metadata.exif:
            for tag, value in self._exif().items():
                if tag not in (EXIF_FOLDER, GPS_FOLDER):
                    tags[tag] = value
        for tag, packet in ((TIFF_XMP, self._metadata.xmp), (TIFF_IPTC, self._metadata.iptc)):
            if packet:
                tags.tagtype[tag] = BYTE if tag == TIFF_XMP else UNDEFINED
                tags[tag] = packet
        return tags
