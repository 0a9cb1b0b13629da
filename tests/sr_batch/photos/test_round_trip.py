from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from sr_batch.errors import UnreadablePhoto, UnwritablePhoto
from sr_batch.photos import (
    Photo,
    PhotoFormat,
    Size,
    WriteOptions,
    check_size,
    open_writer,
    probe,
    read_photo,
)
from tests.conftest import random_pixels
from tests.sr_batch.stubs import enlarge

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MEAN_LEVELS_LOST = {
    PhotoFormat.PNG: 0,
    PhotoFormat.TIFF: 0,
    PhotoFormat.JPEG: 2,
    PhotoFormat.WEBP: 4,
    PhotoFormat.AVIF: 4,
}
WRITTEN = list(MEAN_LEVELS_LOST)


def _exif(**tags: object) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = tags.get("orientation", 1)
    exif[0x8769] = {0x9003: "2026:11:22 10:00:00"}
    exif[0x8825] = {1: "N", 2: (46.0, 30.0, 0.0)}
    return exif.tobytes()


def _upscaled(source: Path, kind: PhotoFormat) -> Image.Image:
    """Read a photo and write it 4x by pixel repetition, in two bands."""
    photo = read_photo(source)
    size = photo.size.times(4)
    photo = photo.for_result(kind, size)
    file = io.BytesIO()
    writer = open_writer(file, kind, photo, size, WriteOptions())
    large = enlarge(photo.rgb)
    for band in np.array_split(large, 2):
        if len(band):
            writer.write(band)
    writer.finish()
    image = Image.open(io.BytesIO(file.getvalue()))
    image.load()
    return image


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_colour_and_grey_come_back_as_they_were(tmp_path: Path, kind: PhotoFormat, mode: str) -> None:
    picture = Image.fromarray(random_pixels(24, 30)).convert(mode)
    source = tmp_path / "photo.png"
    picture.save(source)
    result = _upscaled(source, kind)
    assert result.format == kind.pillow_name
    assert result.mode == (mode if kind.keeps_grey else "RGB")
    expected = enlarge(np.asarray(picture.convert("RGB"))).astype(int)
    off = np.asarray(result.convert("RGB")) - expected
    assert np.abs(off).mean() <= MEAN_LEVELS_LOST[kind]
    assert np.abs(off.mean(axis=(0, 1))).max() < 0.5


@pytest.mark.parametrize("kind", [PhotoFormat.PNG, PhotoFormat.TIFF, PhotoFormat.WEBP, PhotoFormat.AVIF])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_kept(tmp_path: Path, kind: PhotoFormat, mode: str) -> None:
    alpha = np.zeros((24, 30), dtype=np.uint8)
    alpha[:, 15:] = 255
    picture = Image.fromarray(random_pixels(24, 30))
    if mode == "P":
        picture = picture.quantize(16)
        picture.save(tmp_path / "photo.png", transparency=0)
        with Image.open(tmp_path / "photo.png") as image:
            expected = enlarge(np.asarray(image.convert("RGBA"))[..., 3:])[..., 0]
    else:
        picture = picture.convert(mode)
        picture.putalpha(Image.fromarray(alpha))
        picture.save(tmp_path / "photo.png")
        expected = enlarge(alpha[..., None])[..., 0]
    found = np.asarray(_upscaled(tmp_path / "photo.png", kind).getchannel("A")).astype(int)
    assert (np.abs(found - expected) <= 1).mean() > 0.7  # the edges are interpolated
    if mode != "P":
        assert (found[:, :48] == 0).all()
        assert (found[:, 72:] == 255).all()


def test_what_was_transparent_is_white_in_a_jpeg(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    picture.save(tmp_path / "photo.png")
    assert (np.asarray(_upscaled(tmp_path / "photo.png", PhotoFormat.JPEG)) == 255).all()


@pytest.mark.parametrize("kind", WRITTEN)
def test_profile_date_place_and_maker_are_kept(tmp_path: Path, kind: PhotoFormat) -> None:
    Image.fromarray(random_pixels(8, 8)).save(tmp_path / "photo.jpg", icc_profile=ICC, exif=_exif())
    result = _upscaled(tmp_path / "photo.jpg", kind)
    assert result.info["icc_profile"] == ICC
    exif = result.getexif()
    assert exif[0x010F] == "Maker"
    assert exif.get_ifd(0x8769)[0x9003] == "2026:11:22 10:00:00"
    assert exif.get_ifd(0x8825)[2] == (46.0, 30.0, 0.0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_comes_out_upright_and_is_not_turned_again(tmp_path: Path, orientation: int) -> None:
    upright = random_pixels(16, 24)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that stores it so
    stored = Image.fromarray(upright)
    if orientation > 1:
        back = {5: 5, 6: 2, 7: 6, 8: 4}.get(orientation, turns[orientation])
        stored = stored.transpose(Image.Transpose(back))
    stored.save(tmp_path / "photo.png", exif=_exif(orientation=orientation))
    photo = read_photo(tmp_path / "photo.png")
    assert probe(tmp_path / "photo.png") == Size(16, 24)
    assert np.array_equal(photo.rgb, upright)
    assert _upscaled(tmp_path / "photo.png", PhotoFormat.JPEG).getexif().get(0x0112, 1) == 1


def test_a_tiffs_old_layout_is_not_carried_into_the_new_file(tmp_path: Path) -> None:
    Image.fromarray(random_pixels(40, 8)).save(tmp_path / "photo.tif", description="a note", compression="tiff_lzw")
    result = _upscaled(tmp_path / "photo.tif", PhotoFormat.JPEG).getexif()
    assert result[270] == "a note"
    assert set(result).isdisjoint({256, 257, 273, 278, 279, 259})


def test_cmyk_becomes_rgb_without_a_profile_that_would_not_fit(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "print.jpg", icc_profile=b"a CMYK profile", quality=95)
    photo = read_photo(tmp_path / "print.jpg")
    assert photo.icc is None
    assert photo.warnings == ("CMYK became RGB by the simple formula: the file has no profile that says how",)
    assert np.abs(photo.rgb.astype(int) - (255, 0, 0)).max() < 10


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_cost_the_photo(tmp_path: Path) -> None:
    Image.fromarray(random_pixels(8, 8)).save(tmp_path / "photo.jpg", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff\1\2\3")
    assert read_photo(tmp_path / "photo.jpg").rgb.shape == (8, 8, 3)


def _broken(path: Path, kind: str) -> Path:
    Image.fromarray(random_pixels(64, 64)).save(path)
    whole = path.read_bytes()
    match kind:
        case "truncated":
            path.write_bytes(whole[: len(whole) // 2])
        case "header only":
            path.write_bytes(whole[:24])
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("this is not a picture")
        case "garbage inside":
            path.write_bytes(whole[:60] + bytes(len(whole) - 120) + whole[-60:])
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("kind", ["truncated", "header only", "empty", "text"])
def test_a_broken_file_is_one_clear_error(tmp_path: Path, suffix: str, kind: str) -> None:
    path = _broken(tmp_path / f"photo{suffix}", kind)
    with pytest.raises(UnreadablePhoto) as caught:
        read_photo(path)
    message = str(caught.value)
    assert "\n" not in message
    assert {"empty": "empty", "text": "not a picture"}.get(kind, "") in message


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_garbage_inside_is_an_error_or_a_picture_but_never_a_crash(tmp_path: Path, suffix: str) -> None:
    try:
        photo = read_photo(_broken(tmp_path / f"photo{suffix}", "garbage inside"))
    except UnreadablePhoto:
        return
    assert photo.rgb.shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("kind", "height", "width", "fits"),
    [
        (PhotoFormat.WEBP, 10, 4095, True),
        (PhotoFormat.WEBP, 10, 4096, False),
        (PhotoFormat.JPEG, 16375, 10, True),
        (PhotoFormat.JPEG, 16376, 10, False),
        (PhotoFormat.TIFF, 9000, 9000, True),
        (PhotoFormat.PNG, 1, 100_000, True),
    ],
)
def test_a_result_too_large_for_its_format_is_refused_with_one_that_fits(
    kind: PhotoFormat, height: int, width: int, fits: bool
) -> None:
    if fits:
        check_size(Size(height, width).times(4), kind)
    else:
        with pytest.raises(UnwritablePhoto, match="use --format png"):
            check_size(Size(height, width).times(4), kind)


def test_quality_is_the_jpegs_quality_and_colour_is_not_subsampled() -> None:
    photo = Photo(random_pixels(32, 32), grey=False, alpha=None, icc=None)
    sizes = []
    for quality in (50, 95):
        file = io.BytesIO()
        writer = open_writer(file, PhotoFormat.JPEG, photo, photo.size, WriteOptions(quality))
        writer.write(photo.rgb)
        writer.finish()
        sizes.append(len(file.getvalue()))
        with Image.open(file) as image:
            assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]
    assert sizes[0] < sizes[1]
