from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import tifffile
from PIL import Image, IptcImagePlugin

from sr_batch.photos import PhotoFormat, ReadOptions
from sr_batch.photos.metadata import photoshop_segment
from tests.conftest import random_pixels
from tests.sr_batch.photos.results import result_of

WRITTEN = [kind for kind in PhotoFormat if kind.is_written]
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    b'xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    b'tiff:Orientation="6" exif:PixelXDimension="24"><exif:PixelYDimension>16</exif:PixelYDimension>'
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)
CITY = struct.pack(">BBBH", 0x1C, 2, 90, 4) + b"Bern"


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = 6
    exif[0x8769] = {0x9003: "2026:11:22 10:00:00", 0xA002: 24, 0xA003: 16, 0x9286: b"ASCII\0\0\0a note"}
    exif[0x8825] = {1: "N", 2: (46.0, 30.0, 0.0)}
    return exif


def _photo(folder: Path) -> Path:
    """A turned JPEG, 24x16 as stored, with everything that a JPEG can say."""
    path = folder / "photo.jpg"
    picture = Image.fromarray(random_pixels(16, 24))
    picture.save(
        path, exif=_exif().tobytes(), xmp=XMP, dpi=(300, 300), comment="by hand", extra=photoshop_segment(CITY)
    )
    return path


@pytest.mark.parametrize("kind", WRITTEN)
def test_exif_is_kept_and_its_size_and_orientation_are_the_results(tmp_path: Path, kind: PhotoFormat) -> None:
    content, _ = result_of(_photo(tmp_path), kind)
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (64, 96)
        exif = image.getexif()
        assert exif.get(0x0112, 1) == 1
        assert exif[0x010F] == "Maker"
        folder = exif.get_ifd(0x8769)
        assert (folder[0xA002], folder[0xA003]) == (64, 96)
        assert folder[0x9003] == "2026:11:22 10:00:00"
        assert folder[0x9286] == b"ASCII\0\0\0a note"
        assert exif.get_ifd(0x8825)[2] == (46.0, 30.0, 0.0)


@pytest.mark.parametrize("kind", WRITTEN)
def test_xmp_is_kept_and_its_size_and_orientation_are_the_results(tmp_path: Path, kind: PhotoFormat) -> None:
    content, _ = result_of(_photo(tmp_path), kind)
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        xmp = image.info["xmp"]
    assert b'tiff:Orientation="1"' in xmp
    assert b'exif:PixelXDimension="64"' in xmp
    assert b"<exif:PixelYDimension>96<" in xmp


@pytest.mark.parametrize("kind", WRITTEN)
def test_iptc_is_kept_or_its_loss_is_told(tmp_path: Path, kind: PhotoFormat) -> None:
    content, warnings = result_of(_photo(tmp_path), kind)
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        match kind:
            case PhotoFormat.JPEG | PhotoFormat.TIFF:
                assert (IptcImagePlugin.getiptcinfo(image) or {})[(2, 90)] == b"Bern"
            case PhotoFormat.PNG:
                digits = image.info["Raw profile type iptc"].split(maxsplit=2)[2]
                assert CITY in bytes.fromhex("".join(digits.split()))
            case _:
                assert any("IPTC" in line for line in warnings)


@pytest.mark.parametrize("kind", [PhotoFormat.PNG, PhotoFormat.JPEG, PhotoFormat.TIFF])
def test_the_resolution_is_kept(tmp_path: Path, kind: PhotoFormat) -> None:
    content, _ = result_of(_photo(tmp_path), kind)
    with Image.open(io.BytesIO(content)) as image:
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.02)


def test_text_is_kept_or_its_loss_is_told(tmp_path: Path) -> None:
    content, _ = result_of(_photo(tmp_path), PhotoFormat.JPEG)
    with Image.open(io.BytesIO(content)) as image:
        assert image.info["comment"] == b"by hand"
    content, _ = result_of(_photo(tmp_path), PhotoFormat.PNG)
    (tmp_path / "photo.png").write_bytes(content)
    content, warnings = result_of(tmp_path / "photo.png", PhotoFormat.PNG)
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.info["Comment"] == "by hand"
    _, warnings = result_of(tmp_path / "photo.png", PhotoFormat.WEBP)
    assert any("text" in line for line in warnings)


@pytest.mark.parametrize("kind", WRITTEN)
def test_strip_leaves_nothing_but_the_picture(tmp_path: Path, kind: PhotoFormat) -> None:
    content, _ = result_of(_photo(tmp_path), kind, ReadOptions(strip=True))
    for word in (b"Maker", b"2026:11:22", b"xmpmeta", b"Bern", b"by hand"):
        assert word not in content


def test_a_thumbnail_of_the_old_picture_does_not_come_along(tmp_path: Path) -> None:
    thumbnail = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(thumbnail, "JPEG")
    tail = struct.pack("<H", 2) + struct.pack("<HHLL", 0x0201, 4, 1, 44)
    tail += struct.pack("<HHLL", 0x0202, 4, 1, len(thumbnail.getvalue())) + bytes(4)
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<L", 14) + tail + thumbnail.getvalue()
    Image.fromarray(random_pixels(8, 8)).save(tmp_path / "photo.jpg", exif=b"Exif\0\0" + exif)
    assert thumbnail.getvalue() in (tmp_path / "photo.jpg").read_bytes()
    content, _ = result_of(tmp_path / "photo.jpg", PhotoFormat.JPEG)
    assert b"\xff\xd8" not in content[2:]


def test_a_tiff_is_compressed_and_another_reader_finds_date_and_place(tmp_path: Path) -> None:
    content, _ = result_of(_photo(tmp_path), PhotoFormat.TIFF)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.tags["ExifTag"].value["DateTimeOriginal"] == "2026:11:22 10:00:00"
        assert page.tags["GPSTag"].value["GPSLatitude"] == (46, 1, 30, 1, 0, 1)
        assert page.asarray().shape == (96, 64, 3)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("kind", WRITTEN)
def test_exiftool_finds_all_of_it_and_nothing_to_complain_about(tmp_path: Path, kind: PhotoFormat) -> None:
    content, _ = result_of(_photo(tmp_path), kind)
    result = tmp_path / f"result{kind.suffixes[0]}"
    result.write_bytes(content)
    ran = subprocess.run(["exiftool", "-json", "-n", "-G1", result], capture_output=True, check=True)
    (found,) = json.loads(ran.stdout)
    assert found["IFD0:Make"] == "Maker"
    assert found["ExifIFD:DateTimeOriginal"] == "2026:11:22 10:00:00"
    assert found["GPS:GPSLatitude"] == pytest.approx(46.5)
    assert found.get("IFD0:Orientation", 1) == 1 and found["XMP-tiff:Orientation"] == 1
    assert (found["XMP-exif:ExifImageWidth"], found["XMP-exif:ExifImageHeight"]) == (64, 96)
    assert (found["ExifIFD:ExifImageWidth"], found["ExifIFD:ExifImageHeight"]) == (64, 96)
    if kind not in (PhotoFormat.WEBP, PhotoFormat.AVIF):
        assert found["IPTC:City"] == "Bern"
    assert not [line for line in found if line in ("ExifTool:Warning", "ExifTool:Error")]
