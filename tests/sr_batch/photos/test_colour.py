"""Colours before and after, compared through LittleCMS."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from sr_batch.photos import IccChoice, PhotoFormat, ReadOptions, WriteOptions, open_writer, read_photo
from sr_batch.photos.colour import profile_space, srgb_profile
from tests.conftest import random_pixels
from tests.sr_batch.stubs import enlarge


def _tag(kind: bytes, content: bytes) -> bytes:
    return kind + bytes(4) + content


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", connection: bytes = b"XYZ ") -> bytes:
    """A version 2 ICC profile with these tags (ICC.1:2001-04, 6 and 7)."""
    tags = {b"desc": _tag(b"desc", struct.pack(">L", 5) + b"test\0" + bytes(78)), b"cprt": _tag(b"text", b"-\0")} | tags
    table, data, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sLL", name, start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack(">L4sL4s4s4s", start + len(data), bytes(4), 0x02400000, kind, space, connection)
    head += struct.pack(">6H4s4sLLLQL", 2026, 1, 1, 0, 0, 0, b"acsp", bytes(4), 0, 0, 0, 0, 0)
    head += _fixed(0.9642, 1.0, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">L", len(tags)) + table + data


def _gamma(value: float) -> bytes:
    return _tag(b"curv", struct.pack(">LH", 1, round(value * 256)))


GREY_22 = _profile(b"GRAY", {b"wtpt": _tag(b"XYZ ", _fixed(0.9642, 1, 0.8249)), b"kTRC": _gamma(1.5)})
# Adobe RGB (1998), D50-adapted primaries
WIDE = _profile(
    b"RGB ",
    {
        b"wtpt": _tag(b"XYZ ", _fixed(0.9642, 1, 0.8249)),
        b"rXYZ": _tag(b"XYZ ", _fixed(0.60974, 0.31111, 0.01947)),
        b"gXYZ": _tag(b"XYZ ", _fixed(0.20528, 0.62567, 0.06087)),
        b"bXYZ": _tag(b"XYZ ", _fixed(0.14919, 0.06322, 0.74457)),
        **{name: _gamma(2.19921875) for name in (b"rTRC", b"gTRC", b"bTRC")},
    },
)


def _cmyk_profile() -> bytes:
    """Inks of a strange printer: magenta is Lab (50, 72, 0), black is black, the others are white (lut8Type, 6.5.8)."""
    straight = bytes(range(256))
    corners = bytearray()
    for ink in range(16):  # bits: cyan, magenta, yellow, black
        corners += bytes((0, 128, 128) if ink & 1 else (128, 200, 128) if ink & 4 else (255, 128, 128))
    matrix = _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table = _tag(b"mft1", bytes((4, 3, 2, 0)) + matrix + 4 * straight + bytes(corners) + 3 * straight)
    white = {b"wtpt": _tag(b"XYZ ", _fixed(0.9642, 1, 0.8249))}
    return _profile(b"CMYK", white | {b"A2B0": table}, b"prtr", b"Lab ")


def test_cmyk_becomes_srgb_by_its_own_profile(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 0, 0)).save(tmp_path / "print.tif", icc_profile=_cmyk_profile())
    photo = read_photo(tmp_path / "print.tif")
    assert photo.warnings == ()
    assert photo.icc == srgb_profile()
    ink = ImageCms.profileToProfile(
        Image.new("LAB", (1, 1), (128, 200, 128)),
        ImageCms.createProfile("LAB"),
        ImageCms.createProfile("sRGB"),
        outputMode="RGB",
    )
    assert ink is not None
    assert np.abs(photo.rgb.astype(int) - np.asarray(ink)[0, 0]).max() <= 3  # the simple formula says 255, 0, 255


def _lab(image: Image.Image) -> NDArray[np.float64]:
    """What the picture looks like: CIE L, a, b of each pixel, through the profile in it."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info.get("icc_profile", srgb_profile())))
    lab = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("LAB"), outputMode="LAB")
    assert lab is not None
    values = np.asarray(lab).astype(float)
    values[..., 1:] = (values[..., 1:] + 128) % 256 - 128  # a and b are signed
    return values * (100 / 255, 1, 1)


def _result(path: Path, kind: PhotoFormat, choice: IccChoice) -> Image.Image:
    photo = read_photo(path, ReadOptions(icc=choice))
    file = io.BytesIO()
    writer = open_writer(file, kind, photo, photo.size.times(4), WriteOptions())
    writer.write(enlarge(photo.rgb))
    writer.finish()
    image = Image.open(io.BytesIO(file.getvalue()))
    image.load()
    return image


@pytest.mark.parametrize("kind", [kind for kind in PhotoFormat if kind.is_written])
@pytest.mark.parametrize("choice", IccChoice)
@pytest.mark.parametrize(("mode", "profile"), [("RGB", WIDE), ("L", GREY_22)])
def test_a_photo_looks_the_same_after_as_before(
    tmp_path: Path, kind: PhotoFormat, choice: IccChoice, mode: str, profile: bytes
) -> None:
    """Colours inside sRGB; wide ones cannot be when sRGB is asked for."""
    muted = (random_pixels(16, 16) // 3 + 80).astype(np.uint8)
    Image.fromarray(muted).convert(mode).save(tmp_path / "photo.png", icc_profile=profile)
    with Image.open(tmp_path / "photo.png") as before:
        expected = _lab(before)
    result = _result(tmp_path / "photo.png", kind, choice)
    assert result.info["icc_profile"] == (
        srgb_profile() if choice is IccChoice.SRGB or (mode == "L" and not kind.keeps_grey) else profile
    )
    difference = _lab(result)[2::4, 2::4] - expected
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.5
    assert np.abs(difference).mean() < 1.5


@pytest.mark.parametrize("depth", [np.uint16, np.float32])
@pytest.mark.parametrize(("channels", "profile"), [(3, WIDE), (1, GREY_22)])
def test_a_deep_photo_is_converted_as_an_8_bit_one_but_finer(
    tmp_path: Path, depth: type[np.uint16 | np.float32], channels: int, profile: bytes
) -> None:
    """Within an 8-bit level of what Pillow's LittleCMS makes of the same photo in 8 bits, and in many more steps."""
    ramp = np.linspace(110, 150, 4096).reshape(64, 64)  # in 8-bit levels; inside sRGB
    levels = np.dstack([ramp, ramp.T, 240 - ramp])[:, :, :channels]
    white = 65535 if depth is np.uint16 else 1.0
    photometric = "rgb" if channels == 3 else "minisblack"
    deep = (levels / 255 * white).astype(depth)
    tifffile.imwrite(tmp_path / "deep.tif", deep.squeeze(), photometric=photometric, iccprofile=profile)
    Image.fromarray(levels.round().astype(np.uint8).squeeze()).save(tmp_path / "shallow.png", icc_profile=profile)
    found = read_photo(tmp_path / "deep.tif", ReadOptions(icc=IccChoice.SRGB))
    expected = read_photo(tmp_path / "shallow.png", ReadOptions(icc=IccChoice.SRGB))
    assert found.icc == expected.icc == srgb_profile()
    assert np.abs(found.rgb / white * 255 - expected.rgb).max() < 2
    assert len(np.unique(found.rgb[:, :, 0])) > 3000
    assert np.abs(levels - expected.rgb).max() > 4  # something was converted


def test_converting_changes_the_numbers_of_a_wide_photo(tmp_path: Path) -> None:
    """The test above would pass if nothing were converted and the profile were ignored by both sides."""
    Image.fromarray(random_pixels(8, 8)).save(tmp_path / "photo.png", icc_profile=WIDE)
    kept = read_photo(tmp_path / "photo.png")
    converted = read_photo(tmp_path / "photo.png", ReadOptions(icc=IccChoice.SRGB))
    assert np.abs(kept.rgb.astype(int) - converted.rgb).max() > 10


def test_a_grey_photo_with_a_camera_profile_keeps_its_look(tmp_path: Path) -> None:
    Image.fromarray(random_pixels(8, 8)).convert("L").save(tmp_path / "photo.jpg", icc_profile=WIDE, quality=100)
    photo = read_photo(tmp_path / "photo.jpg")
    assert (photo.grey, photo.icc) == (False, WIDE)


def test_a_profile_that_is_not_one_is_left_out_with_a_word(tmp_path: Path) -> None:
    Image.fromarray(random_pixels(8, 8)).save(tmp_path / "photo.png", icc_profile=b"not a profile")
    photo = read_photo(tmp_path / "photo.png")
    assert photo.icc is None
    assert "profile" in photo.warnings[0]


def test_lab_becomes_srgb(tmp_path: Path) -> None:
    Image.new("LAB", (8, 8), (128, 128, 128)).save(tmp_path / "photo.tif")
    photo = read_photo(tmp_path / "photo.tif")
    assert photo.icc is not None and profile_space(photo.icc) == "RGB"
    assert np.ptp(photo.rgb.reshape(-1)) <= 2  # a middle grey
    assert 100 < photo.rgb.mean() < 140


def _avif(path: Path, primaries: int, transfer: int) -> Path:
    """Colours that are said in numbers only: red and grey."""
    pixels = np.full((16, 16, 3), 128, np.uint8)
    pixels[:8] = (255, 0, 0)
    content = imagecodecs.avif_encode(
        pixels, level=100, speed=8, pixelformat="444", primaries=primaries, transfer=transfer, matrix=6
    )
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("primaries", "red"),
    [(12, (0.5151, 0.2412, -0.0011)), (9, (0.6735, 0.2791, -0.0019))],  # published D50 colorants of both spaces
    ids=["Display P3", "BT.2020"],
)
def test_wide_colours_that_an_avif_says_in_numbers_get_a_profile(
    tmp_path: Path, primaries: int, red: tuple[float, float, float]
) -> None:
    result = _result(_avif(tmp_path / "photo.avif", primaries, 13), PhotoFormat.PNG, IccChoice.KEEP)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(result.info["icc_profile"])).profile
    assert profile.red_colorant is not None
    assert np.abs(np.array(profile.red_colorant[0]) - red).max() < 0.002
    lab = _lab(result)
    assert np.abs(lab[40, 32] - (53.6, 0, 0)).max() < 1.5  # grey is sRGB's grey
    converted = _result(tmp_path / "photo.avif", PhotoFormat.PNG, IccChoice.SRGB)
    assert np.abs(_lab(converted)[40, 32] - lab[40, 32]).max() < 1.5


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_that_no_profile_describes_is_said(tmp_path: Path, transfer: int, name: str) -> None:
    photo = read_photo(_avif(tmp_path / "photo.avif", 9, transfer))
    assert photo.icc is None and [f"HDR ({name})" in line for line in photo.warnings] == [True]


@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (2, 2), (1, 1), (6, 6)])
def test_usual_numbers_need_no_profile(tmp_path: Path, primaries: int, transfer: int) -> None:
    photo = read_photo(_avif(tmp_path / "photo.avif", primaries, transfer))
    assert photo.icc is None and photo.warnings == ()
