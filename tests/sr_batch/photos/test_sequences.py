"""Animations and pages: every picture, how long it is shown, how often all are, as other readers see them."""

from __future__ import annotations

import io
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sr_batch.errors import UnwritablePhoto
from sr_batch.photos import (
    PhotoFormat,
    ReadOptions,
    WriteOptions,
    open_sequence_writer,
    probe,
    read_further,
    read_photo,
)
from tests.conftest import random_pixels
from tests.sr_batch.stubs import enlarge

HEIGHT, WIDTH = 20, 28
ANIMATED = [PhotoFormat.PNG, PhotoFormat.WEBP, PhotoFormat.AVIF]
MILLISECONDS = [40, 300, 70]


def _frames(channels: int = 3) -> list[NDArray[np.uint8]]:
    """Three pictures that differ in every pixel, with a hole that moves where there is alpha."""
    frames = []
    for index in range(3):
        frame = random_pixels(HEIGHT, WIDTH, index + 1)
        if channels == 4:
            alpha = np.full((HEIGHT, WIDTH, 1), 255, dtype=np.uint8)
            alpha[4:12, 4 + 6 * index : 10 + 6 * index] = 0
            frame = np.concatenate([frame, alpha], axis=2)
        frames.append(frame)
    return frames


def _save(path: Path, frames: list[NDArray[np.uint8]], **options: Any) -> Path:
    """By Pillow, as far as it goes without loss."""
    first, *further = (Image.fromarray(frame) for frame in frames)
    choices: dict[str, dict[str, Any]] = {".webp": {"lossless": True}, ".avif": {"quality": 100}}
    lossless = choices.get(path.suffix, {})
    first.save(path, save_all=True, append_images=further, duration=MILLISECONDS, **lossless, **options)
    return path


def _result(source: Path, kind: PhotoFormat) -> bytes:
    """Through our reader and writer, each picture 4x by pixel repetition."""
    first = read_photo(source)
    assert first.sequence is not None
    file = io.BytesIO()
    writer = open_sequence_writer(file, kind, first.sequence, 16, WriteOptions())
    for photo in chain([first], read_further(source, ReadOptions())):
        size = photo.size.times(4)
        photo = photo.for_result(kind, size)
        writer.begin(photo, size)
        for band in np.array_split(enlarge(photo.rgb), 3):
            writer.write(band)
    writer.finish()
    return file.getvalue()


def _seen(content: bytes | Path) -> tuple[list[NDArray[np.uint8]], list[float]]:
    """Frames as shown, RGBA, and their durations, by Pillow."""
    frames, durations = [], []
    with Image.open(content if isinstance(content, Path) else io.BytesIO(content)) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()
            durations.append(float(image.info["duration"]))
            frames.append(np.asarray(image.convert("RGBA")))
    return frames, durations


@pytest.mark.parametrize("kind", ANIMATED)
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
@pytest.mark.parametrize("channels", [3, 4])
def test_an_animation_keeps_its_frames_and_their_times(
    tmp_path: Path, kind: PhotoFormat, suffix: str, channels: int
) -> None:
    source = _save(tmp_path / f"moving{suffix}", _frames(channels), **({"disposal": 2} if suffix == ".gif" else {}))
    before, times = _seen(source)
    assert times == MILLISECONDS
    after, kept = _seen(_result(source, kind))
    assert kept == MILLISECONDS
    assert len(after) == len(before) == 3
    for old, new in zip(before, after, strict=True):
        visible = old[:, :, 3] == 255
        inside = cv2.erode(visible.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)  # edges are interpolated
        off = np.abs(new[2::4, 2::4].astype(int) - old)
        assert off[inside].mean() <= {PhotoFormat.PNG: 0, PhotoFormat.WEBP: 6, PhotoFormat.AVIF: 6}[kind]
        hidden = cv2.erode((~visible).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        assert (new[2::4, 2::4][hidden][:, 3] <= (0 if kind is PhotoFormat.PNG else 3)).all()


@pytest.mark.parametrize("kind", [PhotoFormat.PNG, PhotoFormat.WEBP])
@pytest.mark.parametrize(
    ("suffix", "said", "plays"),
    [
        (".gif", None, 1),
        (".gif", 0, 0),
        (".gif", 2, 3),
        (".webp", 0, 0),
        (".webp", 3, 3),
        (".png", 0, 0),
        (".png", 3, 3),
    ],
)
def test_an_animation_is_played_as_often_as_before(
    tmp_path: Path, kind: PhotoFormat, suffix: str, said: int | None, plays: int
) -> None:
    """A GIF says how often it is repeated (nothing: played once), the others how often it is played; 0: for ever."""
    source = _save(tmp_path / f"moving{suffix}", _frames(), **({} if said is None else {"loop": said}))
    with Image.open(io.BytesIO(_result(source, kind))) as image:
        assert image.info["loop"] == plays


@pytest.mark.parametrize("kind", [PhotoFormat.PNG, PhotoFormat.WEBP])
def test_another_player_sees_the_same_frames_and_times(tmp_path: Path, kind: PhotoFormat) -> None:
    """OpenCV, which has decoders of its own for both."""
    if not hasattr(cv2, "imreadanimation"):
        pytest.skip("this OpenCV does not play animations")
    source = _save(tmp_path / "moving.png", _frames(4))
    result = tmp_path / f"result{kind.suffixes[0]}"
    result.write_bytes(_result(source, kind))
    is_read, animation = cv2.imreadanimation(str(result))
    assert is_read and list(animation.durations) == MILLISECONDS
    for frame, expected in zip(animation.frames, _frames(4), strict=True):
        opaque = expected[:, :, 3] == 255
        off = np.abs(frame[2::4, 2::4, 2::-1].astype(int) - expected[:, :, :3])[opaque]
        assert off.mean() <= (0.5 if kind is PhotoFormat.PNG else 8)


def test_viewers_without_animation_see_the_first_frame(tmp_path: Path) -> None:
    source = _save(tmp_path / "moving.png", _frames())
    found = cv2.imdecode(np.frombuffer(_result(source, PhotoFormat.PNG), np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert np.array_equal(found[:, :, 2::-1], enlarge(_frames()[0]))


def test_the_still_picture_before_an_animation_is_no_frame_and_its_loss_is_told(tmp_path: Path) -> None:
    """A PNG may have one for viewers without animation."""
    source = _save(
        tmp_path / "moving.png", [np.zeros((HEIGHT, WIDTH, 3), np.uint8), *_frames()][:3], default_image=True
    )
    photo = read_photo(source)
    assert photo.sequence is not None and photo.sequence.count == 2
    assert np.array_equal(photo.rgb, _frames()[0])
    assert ["where animations do not play" in line for line in photo.warnings] == [True]
    assert [further.warnings for further in read_further(source, ReadOptions())] == [()]
    assert read_photo(_save(tmp_path / "plain.png", _frames())).warnings == ()


@pytest.mark.parametrize("kind", [PhotoFormat.JPEG, PhotoFormat.TIFF])
def test_an_animation_in_a_format_that_holds_one_picture_is_refused(tmp_path: Path, kind: PhotoFormat) -> None:
    photo = read_photo(_save(tmp_path / "moving.gif", _frames()))
    with pytest.raises(UnwritablePhoto, match=r"3 frames.*--format png"):
        photo.for_result(kind, photo.size)


def test_pages_keep_their_own_size_depth_channels_and_tags(tmp_path: Path) -> None:
    pages: list[NDArray[Any]] = [
        random_pixels(20, 28, 1),
        random_pixels(12, 30, 2)[:, :, 0].astype(np.uint16) * 257,
        (random_pixels(9, 9, 3) / 255).astype(np.float32),
    ]
    with tifffile.TiffWriter(tmp_path / "pages.tif") as tiff:
        for index, page in enumerate(pages):
            kind = "rgb" if page.ndim == 3 else "minisblack"
            tiff.write(page, photometric=kind, metadata=None, description=f"page {index}", resolution=(300, 300))
    assert probe(tmp_path / "pages.tif").height == 20
    with tifffile.TiffFile(io.BytesIO(_result(tmp_path / "pages.tif", PhotoFormat.TIFF))) as tiff_read:
        assert len(tiff_read.pages) == 3
        for index, (page, found) in enumerate(zip(pages, tiff_read.pages, strict=True)):
            assert isinstance(found, tifffile.TiffPage)
            assert found.tags["ImageDescription"].value == f"page {index}"
            assert found.tags["XResolution"].value == (300, 1)
            expected = enlarge(page if page.ndim == 3 else page[:, :, None]).squeeze()
            assert found.asarray().dtype == page.dtype
            assert np.array_equal(found.asarray(), expected)


@pytest.mark.parametrize("kind", [PhotoFormat.PNG, PhotoFormat.JPEG, PhotoFormat.WEBP, PhotoFormat.AVIF])
def test_pages_in_another_format_are_refused(tmp_path: Path, kind: PhotoFormat) -> None:
    tifffile.imwrite(tmp_path / "pages.tif", np.stack(_frames()), photometric="rgb")
    photo = read_photo(tmp_path / "pages.tif")
    with pytest.raises(UnwritablePhoto, match=r"3 pages.*--format tiff"):
        photo.for_result(kind, photo.size)
