"""Several pictures in one file: animations (PNG, WebP, AVIF) and documents of pages (TIFF).

Nothing gathers a sequence: PNG and TIFF are written while the frames come. WebP and AVIF, whose encoders want to pull
frames, get them from an animated PNG that is written, without a name, where the result will be.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from PIL import Image

from sr_batch.depth import Pixels, bits_of
from sr_batch.errors import UnwritablePhoto
from sr_batch.photos.formats import PhotoFormat, Sequence, Size
from sr_batch.photos.metadata import Metadata, tiff_folders
from sr_batch.photos.reading import Photo
from sr_batch.photos.rows import OutputRows
from sr_batch.photos.tiff import TiffFolders, TiffWriter, needs_big
from sr_batch.photos.writing import WriteOptions, open_writer, pillow_options, png_tags
from sr_batch.png import PngAnimation, PngLevel, PngTags, PngWriter

__all__ = ["SequenceWriter", "open_sequence_writer"]

MOST_BYTES_PER_PIXEL = 16  # of TIFF pages that are not known yet: RGBA in floats


class SequenceWriter(Protocol):
    """Takes the pictures of a sequence in order: `begin` each, `write` its rows top down; `finish` after the last."""

    def begin(self, photo: Photo, size: Size, alpha: Pixels | None = None) -> None:
        """The next picture, `for_result`, and its result's size; see open_writer."""

    def write(self, rows: Pixels) -> None: ...

    def finish(self) -> None: ...


def open_sequence_writer(
    file: IO[bytes], kind: PhotoFormat, sequence: Sequence | None, enlarged: float, options: WriteOptions
) -> SequenceWriter:
    """A writer for a sequence that the format holds (`check_sequence`), into a binary file open for both ways.

    No sequence is a single picture. `enlarged`: how many pixels of the result come of one of the input. The file is
    the caller's to flush and close.
    """
    if sequence is None:
        return _OnePicture(file, kind, options)
    match kind:
        case PhotoFormat.PNG:
            return _PngFrames(file, sequence, options.png_level, kind)
        case PhotoFormat.TIFF:
            return _TiffPages(file, sequence, enlarged)
        case _:
            return _PillowFrames(file, kind, sequence, options.quality)


class _OnePicture:
    def __init__(self, file: IO[bytes], kind: PhotoFormat, options: WriteOptions) -> None:
        self._file, self._kind, self._options = file, kind, options

    def begin(self, photo: Photo, size: Size, alpha: Pixels | None = None) -> None:
        self._writer = open_writer(self._file, self._kind, photo, size, self._options, alpha)

    def write(self, rows: Pixels) -> None:
        self._writer.write(rows)

    def finish(self) -> None:
        self._writer.finish()


class _PngFrames:
    def __init__(self, file: IO[bytes], sequence: Sequence, level: PngLevel, kind: PhotoFormat) -> None:
        """`kind`: what it becomes in the end; only a PNG gets the metadata here."""
        self._file, self._sequence, self._level, self._kind = file, sequence, level, kind
        self._png: PngWriter | None = None

    def begin(self, photo: Photo, size: Size, alpha: Pixels | None = None) -> None:
        self._rows = OutputRows(photo, self._kind, size, alpha)
        if self._png is None:
            tags = png_tags(photo.metadata, self._rows.icc) if self._kind is PhotoFormat.PNG else PngTags()
            animation = PngAnimation(self._sequence.count, self._sequence.plays)
            self._png = PngWriter(
                self._file,
                size.height,
                size.width,
                self._rows.channels,
                depth=bits_of(photo.depth),
                tags=tags,
                level=self._level,
                animation=animation,
            )
        self._png.begin_frame(photo.milliseconds)

    @property
    def icc(self) -> bytes | None:
        """The profile of the frame being written."""
        return self._rows.icc

    def write(self, rows: Pixels) -> None:
        assert self._png is not None
        self._png.write(self._rows.convert(rows))

    def finish(self) -> None:
        assert self._png is not None
        self._png.finish()


class _TiffPages:
    def __init__(self, file: IO[bytes], sequence: Sequence, enlarged: float) -> None:
        self._tiff = TiffWriter(file, big=needs_big(round(sequence.pixels * enlarged * MOST_BYTES_PER_PIXEL)))
        self._tags: TiffFolders | None = None  # of the page being written

    def begin(self, photo: Photo, size: Size, alpha: Pixels | None = None) -> None:
        self._end_page()
        self._rows = OutputRows(photo, PhotoFormat.TIFF, size, alpha)
        self._tags = tiff_folders(photo.metadata, self._rows.icc)
        self._tiff.begin(size.height, size.width, self._rows.channels, photo.depth)

    def write(self, rows: Pixels) -> None:
        self._tiff.write(self._rows.convert(rows))

    def finish(self) -> None:
        self._end_page()

    def _end_page(self) -> None:
        if self._tags is not None:
            self._tiff.end(self._tags)


class _PillowFrames:
    """By way of an animated PNG: Pillow takes its frames from there one by one."""

    def __init__(self, file: IO[bytes], kind: PhotoFormat, sequence: Sequence, quality: int) -> None:
        folder = Path(file.name).parent if isinstance(getattr(file, "name", None), str) else None
        self._between = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed in finish, or with the last reference
        self._frames = _PngFrames(self._between, sequence, PngLevel.FAST, kind)
        self._file, self._kind, self._sequence, self._quality = file, kind, sequence, quality
        self._metadata = Metadata()
        self._milliseconds: list[int] = []

    def begin(self, photo: Photo, size: Size, alpha: Pixels | None = None) -> None:
        if not self._milliseconds:
            self._metadata = photo.metadata
        if self._kind is PhotoFormat.AVIF and photo.alpha is None:
            alpha = np.full((size.height, size.width), 255, dtype=np.uint8)  # for the colours' sake: see _PillowWriter
        self._milliseconds.append(round(photo.milliseconds))
        self._frames.begin(photo, size, alpha)

    def write(self, rows: Pixels) -> None:
        self._frames.write(rows)

    def finish(self) -> None:
        self._frames.finish()
        try:
            with self._between, Image.open(self._between, formats=["PNG"]) as image:
                options = pillow_options(self._kind, self._metadata, self._frames.icc, self._quality)
                options |= {"save_all": True, "duration": self._milliseconds, "loop": self._sequence.plays}
                image.save(self._file, self._kind.pillow_name, **options)
        except (ValueError, struct.error, RuntimeError) as error:
            raise UnwritablePhoto(f"Pillow cannot write it as {self._kind.name} ({error})") from error
