"""JPEG XL, JPEG 2000, AVIF and HEIC of more than 8 bits: read as deep as they are, or it is said that they are not."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from sr_batch.errors import PhotoOutOfReach, UnreadablePhoto
from sr_batch.photos import ReadOptions, inspect_photo, probe, read_photo
from sr_batch.photos.jpegxl import read_jxl
from sr_batch.png import PngAnimation, PngWriter
from tests.conftest import random_pixels

Array = NDArray[Any]
HEIGHT, WIDTH = 24, 36
CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA"}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" note="by hand"/>'


def _picture(bits: int, channels: int) -> Array:
    """A slow gradient [h, w, channels], of as many levels as so many bits have or the picture has pixels."""
    top = 2**bits - 1
    values = np.linspace(0, top, HEIGHT * WIDTH * min(channels, 3)).round().astype(np.uint16)
    pixels = values.reshape(HEIGHT, WIDTH, min(channels, 3))
    return np.dstack([pixels, np.full((HEIGHT, WIDTH), top // 3, np.uint16)]) if channels == 4 else pixels


def _jxl(pixels: Array, bits: int) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, bitspersample=bits))


def _jp2(pixels: Array, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, bitspersample=bits))


def _j2k(pixels: Array, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, bitspersample=bits, codecformat="j2k"))


def _avif(pixels: Array, bits: int) -> bytes:
    form = "400" if pixels.ndim == 2 else "444"
    return bytes(imagecodecs.avif_encode(pixels, level=100, speed=8, bitspersample=bits, pixelformat=form))


def _heic(pixels: Array, bits: int) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    mode = {1: "I;16", 3: "RGB;16", 4: "RGBA;16"}[1 if pixels.ndim == 2 else pixels.shape[2]]
    pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    file, content = io.BytesIO(), (pixels << (16 - bits)).tobytes()
    try:
        pillow_heif.from_bytes(mode=mode, size=(WIDTH, HEIGHT), data=content).save(file, quality=-1, chroma=444)
    finally:
        pillow_heif.options.SAVE_HDR_TO_12_BIT = False
    return file.getvalue()


CASES = [
    (suffix, encode, bits)
    for suffix, encode, depths in (
        (".jxl", _jxl, (10, 12, 16)),
        (".jp2", _jp2, (10, 12, 16)),
        (".j2k", _j2k, (16,)),
        (".avif", _avif, (10, 12)),
        (".heic", _heic, (10, 12)),
    )
    for bits in depths
]


@pytest.mark.parametrize("channels", CHANNELS, ids=CHANNELS.get)
@pytest.mark.parametrize(("suffix", "encode", "bits"), CASES, ids=[f"{case[0]} {case[2]}" for case in CASES])
def test_deep_pictures_are_read_in_their_own_depth(
    tmp_path: Path, suffix: str, encode: Callable[[Array, int], bytes], bits: int, channels: int
) -> None:
    pytest.importorskip("pillow_jxl" if suffix == ".jxl" else "pillow_heif")
    pixels, path = _picture(bits, channels), tmp_path / f"photo{suffix}"
    path.write_bytes(encode(pixels[:, :, 0] if channels == 1 else pixels, bits))
    photo = read_photo(path)
    assert photo.warnings == ()
    assert photo.depth == np.uint16
    assert (photo.grey, photo.alpha is not None) == (channels == 1, channels == 4)
    known = inspect_photo(path)
    assert known.size == photo.size
    assert known.held_bytes in (photo.rgb.nbytes, photo.rgb.nbytes * 4 // 3)  # transparency, or maybe
    expected = np.broadcast_to(pixels[:, :, :3], (HEIGHT, WIDTH, 3)) / (2**bits - 1)
    is_exact = suffix in (".jxl", ".jp2", ".j2k")  # the others store luma and chroma
    off = np.abs(photo.rgb / 65535 - expected)
    assert off.max() <= (0.5 / 65535 if is_exact else 3 / (2**bits - 1)), f"mean {off.mean()}, max {off.max()}"
    assert len(np.unique(photo.rgb)) > 0.8 * min(2**bits, expected[:, :, : min(channels, 3)].size)
    if photo.alpha is not None:
        assert np.abs(photo.alpha / 65535 - pixels[:, :, 3] / (2**bits - 1)).max() < 1e-3


def test_float_jpeg_xl_stays_float(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    pixels = (_picture(16, 3) / 65535).astype(np.float32)
    (tmp_path / "photo.jxl").write_bytes(imagecodecs.jpegxl_encode(pixels, lossless=True))
    photo = read_photo(tmp_path / "photo.jxl")
    assert photo.depth == np.float32 and np.array_equal(photo.rgb, pixels)
    assert inspect_photo(tmp_path / "photo.jxl").held_bytes >= photo.rgb.nbytes
    (tmp_path / "photo.jxl").write_bytes(imagecodecs.jpegxl_encode(pixels * 2, lossless=True))
    with pytest.raises(UnreadablePhoto, match="--clip"):
        read_photo(tmp_path / "photo.jxl")
    assert read_photo(tmp_path / "photo.jxl", ReadOptions(clip=True)).rgb.max() == 1


def test_what_cannot_be_read_deeper_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photo.avif"
    path.write_bytes(_avif(_picture(10, 3), 10))

    def broken(*_: object) -> None:
        raise RuntimeError("as of a decoder that does not know this kind")

    monkeypatch.setattr("sr_batch.photos.reading.read_deep_image", broken)
    photo = read_photo(path)
    assert photo.depth == np.uint8 and photo.warnings == ("10 bits a channel, read as 8",)


def test_a_deep_animation_is_read_in_8_bits_and_it_is_said(tmp_path: Path) -> None:
    file = io.BytesIO()
    writer = PngWriter(file, HEIGHT, WIDTH, 3, depth=16, animation=PngAnimation(2))
    for _ in range(2):
        writer.begin_frame(40)
        writer.write(_picture(16, 3))
    writer.finish()
    (tmp_path / "photo.png").write_bytes(file.getvalue())
    assert read_photo(tmp_path / "photo.png").warnings == ("16 bits a channel, read as 8: it is an animation",)


def _boxed(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content) + 8) + kind + content


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    return exif.tobytes()


def test_a_jpeg_xl_made_of_a_jpeg_comes_out_upright_with_its_metadata(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    pixels, file = random_pixels(16, 24), io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0, exif=_exif(6), xmp=XMP)
    (tmp_path / "photo.jxl").write_bytes(imagecodecs.jpegxl_encode_jpeg(file.getvalue(), usecontainer=True))
    photo = read_photo(tmp_path / "photo.jxl")
    assert probe(tmp_path / "photo.jxl") == photo.size
    with Image.open(file) as image:
        expected = np.rot90(np.asarray(image), -1)
    assert np.array_equal(photo.rgb, expected)
    assert photo.metadata.exif is not None and b"Maker" in photo.metadata.exif
    assert photo.metadata.xmp == XMP


@pytest.mark.parametrize("compressed", [False, True])
def test_metadata_of_jpeg_xl_boxes_is_found(tmp_path: Path, compressed: bool) -> None:
    pytest.importorskip("pillow_jxl")
    codestream = bytes(imagecodecs.jpegxl_encode(random_pixels(16, 24), lossless=True, usecontainer=False))
    said = [(b"Exif", bytes(4) + _exif(6).removeprefix(b"Exif\0\0")), (b"xml ", XMP)]
    boxes = [_boxed(b"brob", kind + imagecodecs.brotli_encode(content)) if compressed else _boxed(kind, content)
             for kind, content in said]  # fmt: skip
    head = _boxed(b"JXL ", b"\r\n\x87\n") + _boxed(b"ftyp", b"jxl \0\0\0\0jxl ")
    (tmp_path / "photo.jxl").write_bytes(head + b"".join(boxes) + _boxed(b"jxlc", codestream))
    photo = read_photo(tmp_path / "photo.jxl")
    assert (photo.size.height, photo.size.width) == (16, 24)  # the codestream says how it is turned, EXIF does not
    assert photo.metadata.xmp == XMP
    assert photo.metadata.exif is not None and b"Maker" in photo.metadata.exif


def test_an_animated_jpeg_xl_is_its_first_frame_and_it_is_said(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    frames = np.stack([random_pixels(16, 24, seed) for seed in (1, 2)])
    (tmp_path / "photo.jxl").write_bytes(imagecodecs.jpegxl_encode(frames, lossless=True))
    photo = read_photo(tmp_path / "photo.jxl")
    assert np.array_equal(photo.rgb, frames[0])
    assert ["only the first frame" in line for line in photo.warnings] == [True]


def test_a_jpeg_xl_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    """60,000 x 60,000 pixels; nothing follows, so that whoever decodes it first says something else."""
    side = 60_000 - 1
    bits = [(0, 1), (3, 2), (side, 30), (0, 3), (3, 2), (side, 30), (1, 1)]
    number = place = 0
    for value, count in bits:
        number, place = number | value << place, place + count
    (tmp_path / "bomb.jxl").write_bytes(b"\xff\x0a" + number.to_bytes(20, "little"))
    with pytest.raises(PhotoOutOfReach, match="--max-pixels"):
        probe(tmp_path / "bomb.jxl")
    assert probe(tmp_path / "bomb.jxl", 10**10).width == 60_000


@pytest.mark.parametrize("seed", range(30))
def test_a_jpeg_xl_header_is_read_as_libjxl_writes_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = (int(side) for side in random.integers(1, 700, 2))
    if seed % 3 == 0:
        height, width = 8 * (1 + height % 32), 8 * (1 + width % 32)
    if seed % 5 == 0:  # one of the ratios that have a number of their own
        across, down = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[seed % 7]
        width = height * across // down
    bits = int(random.choice([8, 10, 12, 14, 16, 32]))
    pixels = np.zeros((height, width, 3), {8: np.uint8, 32: np.float32}.get(bits, np.uint16))
    depth = bits if 8 < bits < 16 else None
    content = imagecodecs.jpegxl_encode(pixels, lossless=bool(seed % 2), bitspersample=depth)
    facts = read_jxl(io.BytesIO(content))
    assert (facts.size.height, facts.size.width) == (height, width)
    assert (facts.bits, facts.is_float, facts.is_animated) == (bits, bits == 32, False)


def test_profile_and_metadata_of_a_jpeg_2000_are_kept(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    city = struct.pack(">BBBH", 0x1C, 2, 90, 4) + b"Bern"
    content = bytes(imagecodecs.jpeg2k_encode(random_pixels(16, 24), level=0, reversible=True))
    start = content.index(b"colr") - 4
    length = int.from_bytes(content[start : start + 4], "big")
    header = content.index(b"jp2h") - 4
    colour = _boxed(b"colr", b"\2\0\0" + icc)
    grown = int.from_bytes(content[header : header + 4], "big") + len(colour) - length
    packets = {
        b"JpgTiffExif->JP2": _exif(6).removeprefix(b"Exif\0\0"),
        bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): XMP,
        bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): city,
    }
    (tmp_path / "photo.jp2").write_bytes(
        content[:header] + struct.pack(">L", grown) + content[header + 4 : start] + colour
        + content[start + length : content.index(b"jp2c") - 4]
        + b"".join(_boxed(b"uuid", name + packet) for name, packet in packets.items())
        + content[content.index(b"jp2c") - 4 :]
    )  # fmt: skip
    photo = read_photo(tmp_path / "photo.jp2")
    assert np.array_equal(photo.rgb, np.rot90(random_pixels(16, 24), -1))
    assert (photo.icc, photo.metadata.xmp, photo.metadata.iptc) == (icc, XMP, city)
    assert photo.metadata.exif is not None and b"Maker" in photo.metadata.exif
