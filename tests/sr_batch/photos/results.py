"""The file that a photo becomes, without a pipeline around it."""

from __future__ import annotations

import io
from pathlib import Path

from sr_batch.photos import PhotoFormat, ReadOptions, WriteOptions, open_writer, read_photo
from tests.sr_batch.stubs import enlarge


def result_of(source: Path, kind: PhotoFormat, options: ReadOptions | None = None) -> tuple[bytes, tuple[str, ...]]:
    """A photo, enlarged four times by the exact stand-in: the result's bytes and what was said."""
    photo = read_photo(source, options)
    photo = photo.for_result(kind, photo.size.times(4))
    file = io.BytesIO()
    writer = open_writer(file, kind, photo, photo.size.times(4), WriteOptions())
    writer.write(enlarge(photo.rgb))
    writer.finish()
    return file.getvalue(), photo.warnings
