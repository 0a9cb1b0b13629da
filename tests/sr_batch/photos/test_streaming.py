"""Large photos decoded while they are cut: the same pixels, the same words about them. Here all photos are large."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from sr_batch import pipeline
from sr_batch.depth import to_depth
from sr_batch.errors import UnreadablePhoto
from sr_batch.events import Summary
from sr_batch.folders import PhotoJob
from sr_batch.glimpse import Look
from sr_batch.photos import IccChoice, Photo, PhotoFormat, ReadOptions, Size, open_photo, read_photo, streaming
from sr_batch.streamed import StreamedPixels
from sr_batch.upscale import Band
from tests.conftest import random_pixels
from tests.sr_batch.stubs import enlarge, repeat_4x
from tests.sr_batch.test_pipeline import Recorder

pytest.importorskip("pyvips", reason="pyvips has no wheel for this platform")

Array = NDArray[Any]
HEIGHT, WIDTH = 90, 41
EIGHT = random_pixels(HEIGHT, WIDTH)
SIXTEEN = np.ascontiguousarray(EIGHT.astype(np.uint16) * 257 ^ 85)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "WHOLE_PIXELS", 0)


def _png(pixels: Array, **options: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        path = folder / "photo.png"
        if pixels.dtype == np.uint8:
            Image.fromarray(pixels).save(path, **options)
        else:
            path.write_bytes(imagecodecs.png_encode(pixels))
        return path

    return save


def _jpeg(pixels: Array, **options: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        Image.fromarray(pixels).save(folder / "photo.jpg", quality=90, **options)
        return folder / "photo.jpg"

    return save


def _tiff(pixels: Array, **options: Any) -> Callable[[Path], Path]:
    def save(folder: Path) -> Path:
        photometric = options.pop("photometric", "rgb" if pixels.shape[-1] in (3, 4) else "minisblack")
        tifffile.imwrite(folder / "photo.tif", pixels, photometric=photometric, metadata=None, **options)
        return folder / "photo.tif"

    return save


STREAMED = {
    "png": _png(EIGHT),
    "png grey": _png(EIGHT[:, :, 0]),
    "png 16": _png(SIXTEEN),
    "png 16 grey": _png(np.ascontiguousarray(SIXTEEN[:, :, 0])),
    "jpeg 4:4:4": _jpeg(EIGHT, subsampling="4:4:4"),
    "jpeg 4:2:0": _jpeg(EIGHT, subsampling="4:2:0"),
    "jpeg 4:2:2": _jpeg(EIGHT, subsampling="4:2:2"),
    "jpeg progressive": _jpeg(EIGHT, progressive=True),
    "jpeg grey": _jpeg(EIGHT[:, :, 0]),
    "jpeg restarts": _jpeg(EIGHT, restart_marker_rows=1),
    "tiff": _tiff(EIGHT, rowsperstrip=7),
    "tiff grey": _tiff(np.ascontiguousarray(EIGHT[:, :, 0])),
    "tiff 16": _tiff(SIXTEEN, rowsperstrip=7),
    "tiff 16 grey": _tiff(np.ascontiguousarray(SIXTEEN[:, :, 0]), compression="zlib", predictor=True),
    "tiff tiles": _tiff(SIXTEEN, tile=(16, 16)),
    "tiff lzw": _tiff(EIGHT, compression="lzw", predictor=True),
    "tiff big endian": _tiff(SIXTEEN, byteorder=">"),
    "bigtiff deflate": _tiff(SIXTEEN, bigtiff=True, compression="zlib", predictor=True, tile=(32, 16)),
}
WHOLE = {
    "png with transparency": _png(np.dstack([EIGHT, EIGHT[:, :, 0]])),
    "png with a transparent colour": _png(EIGHT, transparency=(1, 2, 3)),
    "jpeg turned": _jpeg(EIGHT, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
    "jpeg cmyk": lambda folder: _save(Image.fromarray(EIGHT).convert("CMYK"), folder / "photo.jpg"),
    "png palette": lambda folder: _save(Image.fromarray(EIGHT).quantize(16), folder / "photo.png"),
    "tiff float": _tiff(EIGHT.astype(np.float32) / 255),
    "tiff 12 bits": _tiff((SIXTEEN >> 4).astype(np.uint16), photometric="rgb", bitspersample=12),
    "tiff white is zero": _tiff(np.ascontiguousarray(EIGHT[:, :, 0]), photometric="miniswhite"),
    "tiff planar": _tiff(np.ascontiguousarray(np.moveaxis(EIGHT, 2, 0)), planarconfig="separate", photometric="rgb"),
    "tiff pages": _tiff(np.stack([EIGHT, EIGHT]), photometric="rgb"),
    "webp": lambda folder: _save(Image.fromarray(EIGHT), folder / "photo.webp"),
}


def _save(image: Image.Image, path: Path) -> Path:
    image.save(path)
    return path


def _rows_of(photo: Photo, step: int, overlap: int) -> Array:
    """As tiles take them: overlapping windows in two columns, top down."""
    found: list[Array] = []
    for top in range(0, HEIGHT, step):
        rows = slice(max(0, top - overlap), min(HEIGHT, top + step + overlap))
        halves = [photo.pixels[rows, columns] for columns in (slice(0, 20), slice(20, WIDTH))]
        found.append(np.concatenate(halves, axis=1)[top - rows.start :][:step])
    return np.concatenate(found)


@pytest.mark.parametrize("save", STREAMED.values(), ids=STREAMED)
def test_windows_of_a_large_photo_are_those_of_the_whole_one(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    path = save(tmp_path)
    streamed, whole = open_photo(path, ReadOptions()), read_photo(path)
    assert isinstance(streamed.pixels, StreamedPixels) and streamed.pixels.nbytes == 0
    assert (streamed.size, streamed.depth, streamed.grey) == (whole.size, whole.depth, whole.grey)
    assert np.array_equal(_rows_of(streamed, 13, 4), whole.rgb)
    assert streamed.pixels.nbytes < whole.rgb.nbytes / 3
    assert replace(streamed, pixels=whole.pixels) == whole


@pytest.mark.parametrize("save", WHOLE.values(), ids=WHOLE)
def test_what_cannot_be_had_top_down_is_decoded_whole(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    assert not isinstance(open_photo(save(tmp_path), ReadOptions()).pixels, StreamedPixels)


def test_a_photo_that_is_not_large_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "WHOLE_PIXELS", HEIGHT * WIDTH)
    assert not isinstance(open_photo(_png(EIGHT)(tmp_path), ReadOptions()).pixels, StreamedPixels)


@pytest.mark.parametrize("name", ["png", "jpeg 4:2:0", "tiff"])
def test_colours_are_converted_as_those_of_a_whole_photo(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"photo.{name[:4].strip()}"
    kind = {"png": "PNG", "tiff": "TIFF"}.get(name, "JPEG")
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for icc in (SRGB, lab):  # one that fits, one that does not
        Image.fromarray(EIGHT).save(path, kind, icc_profile=icc)
        options = ReadOptions(IccChoice.SRGB)
        streamed, whole = open_photo(path, options), read_photo(path, options)
        assert isinstance(streamed.pixels, StreamedPixels)
        assert np.array_equal(_rows_of(streamed, 40, 3), whole.rgb)
        assert (streamed.icc, streamed.warnings) == (whole.icc, whole.warnings)


def test_what_a_png_says_behind_its_pixels_is_kept(tmp_path: Path) -> None:
    text, exif, path = PngInfo(), Image.Exif(), tmp_path / "photo.png"
    text.add_text("Title", "before")
    exif[0x010F] = "Maker"
    Image.fromarray(EIGHT).save(path, pnginfo=text, exif=exif, dpi=(300, 300), icc_profile=SRGB)
    content, late = path.read_bytes(), b"tEXtAuthor\0Somebody"
    chunk = struct.pack(">I", len(late) - 4) + late + struct.pack(">I", zlib.crc32(late))
    path.write_bytes(content[:-12] + chunk + content[-12:])  # IEND is the last
    streamed, whole = open_photo(path, ReadOptions()), read_photo(path)
    assert isinstance(streamed.pixels, StreamedPixels)
    assert ("Author", "Somebody") in streamed.metadata.text
    assert streamed.metadata == whole.metadata and streamed.icc == whole.icc


@pytest.mark.parametrize("name", ["png", "png 16", "jpeg 4:2:0", "tiff lzw"])
def test_damage_is_found_before_any_work(tmp_path: Path, name: str) -> None:
    path = STREAMED[name](tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(UnreadablePhoto):
        open_photo(path, ReadOptions())


def test_a_report_shows_the_same_of_it(tmp_path: Path) -> None:
    path, window = STREAMED["jpeg 4:2:0"](tmp_path), Size(60, 80)
    glimpses = []
    for photo in (open_photo(path, ReadOptions()), read_photo(path)):
        look = Look(photo, WIDTH * 4, window)
        look.add(Band(0, enlarge(read_photo(path).rgb)))
        glimpses.append(look.glimpse())
    assert glimpses[0] == glimpses[1]


@pytest.mark.parametrize("name", ["png", "png 16", "jpeg 4:2:0", "tiff tiles"])
def test_the_batch_makes_the_same_files_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = STREAMED[name](tmp_path)
    for folder, limit in (("streamed", 0), ("whole", HEIGHT * WIDTH)):
        monkeypatch.setattr(streaming, "WHOLE_PIXELS", limit)
        kind = PhotoFormat.of(path)
        assert kind is not None
        summary = _batch(PhotoJob(path, tmp_path / folder / path.name, kind, root=tmp_path / folder))
        assert (summary.done, summary.failures) == (1, [])
    assert (tmp_path / "streamed" / path.name).read_bytes() == (tmp_path / "whole" / path.name).read_bytes()


def test_a_photo_that_is_cut_off_meanwhile_fails_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was checked, before it is cut."""
    path = STREAMED["png"](tmp_path)

    def cut_off(path: Path, options: ReadOptions) -> Photo:
        photo = open_photo(path, options)
        path.write_bytes(path.read_bytes()[:5000])
        return photo

    monkeypatch.setattr(pipeline, "open_photo", cut_off)
    summary = _batch(PhotoJob(path, tmp_path / "out" / "photo.png", PhotoFormat.PNG, root=tmp_path / "out"))
    assert summary.done == 0
    assert "damaged" in summary.failures[0].reason
    assert list((tmp_path / "out").iterdir()) == []


def _batch(job: PhotoJob) -> Summary:
    summary = Summary()
    pipeline.run_batch([job], repeat_4x, pipeline.Settings(4, 24, 4), Recorder(), summary)
    return summary


def test_a_deep_photo_is_reduced_as_the_format_asks(tmp_path: Path) -> None:
    path = STREAMED["png 16"](tmp_path)
    photo = open_photo(path, ReadOptions())
    photo = photo.for_result(PhotoFormat.JPEG, photo.size.times(4))
    assert any("more than 8 bits a channel became 8" in warning for warning in photo.warnings)
    assert np.array_equal(_rows_of(photo, 50, 0), to_depth(SIXTEEN, np.dtype(np.uint8)))


def test_the_same_name_with_other_content_is_read_anew(tmp_path: Path) -> None:
    """libvips remembers what it opened."""
    first = open_photo(_png(EIGHT)(tmp_path), ReadOptions())
    assert np.array_equal(first.pixels[0:HEIGHT, 0:WIDTH], EIGHT)
    second = open_photo(_png(EIGHT[::-1])(tmp_path), ReadOptions())
    assert np.array_equal(second.pixels[0:HEIGHT, 0:WIDTH], EIGHT[::-1])
