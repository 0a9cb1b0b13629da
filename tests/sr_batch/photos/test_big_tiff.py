"""TIFFs above 4 GB: classic ones count their bytes in 32 bits."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from sr_batch.errors import UnreadablePhoto
from sr_batch.photos import (
    PhotoFormat,
    ReadOptions,
    Sequence,
    Size,
    WriteOptions,
    inspect_photo,
    open_sequence_writer,
    open_writer,
    read_further,
    read_photo,
)
from sr_batch.photos.tiff import TiffFolders, TiffWriter
from tests.conftest import random_pixels

CLASSIC, BIG = b"II*\0", b"II+\0"


@pytest.mark.parametrize(
    ("side", "depth", "head"),
    [
        (37_000, np.uint8, CLASSIC),  # 4.1 GB of RGB
        (38_000, np.uint8, BIG),  # 4.3 GB
        (26_000, np.uint16, CLASSIC),
        (27_000, np.uint16, BIG),
        (18_000, np.float32, CLASSIC),
        (19_000, np.float32, BIG),
    ],
)
def test_a_result_that_may_not_fit_a_classic_tiff_is_a_big_one(
    tmp_path: Path, side: int, depth: type, head: bytes
) -> None:
    """Decided before the first row, by the bytes of its pixels."""
    tifffile.imwrite(tmp_path / "photo.tif", random_pixels(4, 4).astype(depth) // 255, photometric="rgb")
    file = io.BytesIO()
    open_writer(file, PhotoFormat.TIFF, read_photo(tmp_path / "photo.tif"), Size(side, side), WriteOptions())
    assert file.getvalue()[:4] == head


@pytest.mark.parametrize(("count", "head"), [(2, CLASSIC), (60, BIG)])
def test_pages_together_decide(count: int, head: bytes) -> None:
    """Of 1 MP each, 4x, in whatever depth each may be."""
    file, pages = io.BytesIO(), Sequence(count, False, pixels=count * 10**6)
    open_sequence_writer(file, PhotoFormat.TIFF, pages, 16, WriteOptions())
    assert file.getvalue()[:4] == head


@pytest.mark.skipif(sys.platform == "win32", reason="files with holes")
def test_what_lies_above_4_gb_is_found_by_another_reader(tmp_path: Path) -> None:
    """Behind a hole of 5 GB, which takes no room on the disk: two pages with their strips, folders and tags."""
    pictures = [random_pixels(300, 2000, seed) for seed in (1, 2)]
    path = tmp_path / "large.tif"
    with path.open("w+b") as file:
        writer = TiffWriter(file, big=True)
        file.seek(5 << 30)
        file.write(b"\0")
        for picture in pictures:
            height, width, channels = picture.shape
            writer.begin(height, width, channels, np.dtype(np.uint8))
            writer.write(picture)
            writer.end(TiffFolders({270: "far away"}))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff and len(tiff.pages) == 2
        for page, picture in zip(tiff.pages, pictures, strict=True):
            assert isinstance(page, tifffile.TiffPage)
            assert len(page.dataoffsets) > 1 and min(page.dataoffsets) > 5 << 30
            assert page.tags["ImageDescription"].value == "far away"
            assert np.array_equal(page.asarray(), picture)
    first, second = read_photo(path), next(read_further(path, ReadOptions()))
    assert np.array_equal(first.rgb, pictures[0]) and np.array_equal(second.rgb, pictures[1])
    assert inspect_photo(path).held_bytes == pictures[0].nbytes


@pytest.mark.skipif(sys.platform == "win32", reason="files with holes")
def test_a_kind_that_is_not_found_above_4_gb_is_refused_and_never_black(tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    with path.open("w+b") as file:
        writer = TiffWriter(file, big=True)
        file.seek(5 << 30)
        file.write(b"\0")
        writer.begin(20, 20, 4, np.dtype(np.uint8))
        writer.write(np.zeros((20, 20, 4), np.uint8))
        writer.end(TiffFolders({}))
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        place = page.tags["PhotometricInterpretation"].valueoffset
    with path.open("r+b") as content:
        content.seek(place)
        content.write((5).to_bytes(2, "little"))  # CMYK
    with pytest.raises(UnreadablePhoto, match="beyond 4 GB"):
        read_photo(path)
