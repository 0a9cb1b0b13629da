"""XMP of any length, in JPEGs too: what another reader finds in the result is what the photo said."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sr_batch.photos import PhotoFormat, probe, read_photo
from tests.conftest import random_pixels
from tests.sr_batch.photos.results import result_of

WRITTEN = [kind for kind in PhotoFormat if kind.is_written]
XMP_HEAD, MORE_HEAD = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
DC, TIFF, EXIF, NOTE = (
    "http://purl.org/dc/elements/1.1/",
    "http://ns.adobe.com/tiff/1.0/",
    "http://ns.adobe.com/exif/1.0/",
    "http://ns.adobe.com/xmp/note/",
)
DEPTH = "http://ns.google.com/photos/1.0/depthmap/"
LONG = "".join(f"{number:05}" for number in range(50_000))  # 250 KB, of which no piece is like another


def _packet(about: str = "", more: str = "", inside: str = "") -> bytes:
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        f'xmlns:tiff="{TIFF}" xmlns:exif="{EXIF}" xmlns:dc="{DC}" xmlns:GDepth="{DEPTH}" xmlns:xmpNote="{NOTE}">'
        f'<rdf:Description rdf:about="{about}" tiff:Orientation="6" exif:PixelXDimension="24" {more}>'
        f"<dc:source>caf\u00e9 &amp; bar</dc:source>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def _second() -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:GDepth="{DEPTH}" GDepth:Data="{LONG}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


def _jpeg(path: Path, packet: bytes, second: bytes, *, name: bytes | None = None, leave_out: int = -1) -> Path:
    """With extended XMP in pieces of 30 KB, last first, among pieces of another document."""
    name = name or hashlib.md5(second, usedforsecurity=False).hexdigest().upper().encode()
    contents = [XMP_HEAD + packet]
    for number, start in enumerate(range(0, len(second), 30_000)):
        piece = struct.pack(">LL", len(second), start) + second[start : start + 30_000]
        if number != leave_out:
            contents.insert(1, MORE_HEAD + name + piece)
        contents.append(MORE_HEAD + b"0" * 32 + piece[:100])
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content for content in contents)
    Image.fromarray(random_pixels(16, 24)).save(path, "JPEG", extra=segments)
    return path


def _extended_jpeg(path: Path) -> Path:
    second = _second()
    digest = hashlib.md5(second, usedforsecurity=False).hexdigest().upper()
    return _jpeg(path, _packet(more=f'xmpNote:HasExtendedXMP="{digest}"'), second)


def _documents(content: bytes, kind: PhotoFormat) -> list[bytes]:
    """The XMP of a result: its packet, and of a JPEG the second document too, put together by hand."""
    if kind is PhotoFormat.TIFF:
        with tifffile.TiffFile(io.BytesIO(content)) as tiff:
            page = tiff.pages[0]
            assert isinstance(page, tifffile.TiffPage)
            value = page.tags[700].value
            return [value if isinstance(value, bytes) else bytes(value)]
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        packet = image.info["xmp"]
    if kind is not PhotoFormat.JPEG:
        return [packet]
    pieces: list[bytes] = []
    place = 2
    while content[place + 1] != 0xDA:  # start of scan
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        body = content[place + 4 : place + 2 + length]
        if body.startswith(MORE_HEAD):
            total, offset = struct.unpack(">LL", body[len(MORE_HEAD) + 32 :][:8])
            assert offset == sum(map(len, pieces))
            pieces.append(body[len(MORE_HEAD) + 40 :])
            name = body[len(MORE_HEAD) :][:32].decode()
        place += 2 + length
    second = b"".join(pieces)
    assert len(second) == total and hashlib.md5(second, usedforsecurity=False).hexdigest().upper() == name
    assert f'HasExtendedXMP="{name}"'.encode() in packet and len(packet) <= 65502
    return [packet, second]


def _said(documents: list[bytes]) -> dict[str, str]:
    """All properties of the descriptions in these documents."""
    found: dict[str, str] = {}
    for document in documents:
        for element in ElementTree.fromstring(document.strip()).iter(
            "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
        ):
            found |= dict(element.attrib) | {child.tag: child.text or "" for child in element}
    return found


@pytest.mark.parametrize("kind", WRITTEN)
def test_extended_xmp_of_a_jpeg_is_kept_in_every_format(tmp_path: Path, kind: PhotoFormat) -> None:
    content, warnings = result_of(_extended_jpeg(tmp_path / "photo.jpg"), kind)
    assert not [line for line in warnings if "XMP" in line]
    said = _said(_documents(content, kind))
    assert said[f"{{{DEPTH}}}Data"] == LONG
    assert said[f"{{{DC}}}source"] == "caf\u00e9 & bar"
    assert (said[f"{{{TIFF}}}Orientation"], said[f"{{{EXIF}}}PixelXDimension"]) == ("1", "64")
    assert (f"{{{NOTE}}}HasExtendedXMP" in said) == (kind is PhotoFormat.JPEG)


@pytest.mark.parametrize("kind", [kind for kind in WRITTEN if kind is not PhotoFormat.JPEG])
def test_long_xmp_of_every_format_is_kept_in_a_jpeg_and_comes_back(tmp_path: Path, kind: PhotoFormat) -> None:
    content, _ = result_of(_extended_jpeg(tmp_path / "photo.jpg"), kind)
    path = tmp_path / f"between{kind.suffixes[0]}"
    path.write_bytes(content)
    content, warnings = result_of(path, PhotoFormat.JPEG)
    assert not [line for line in warnings if "XMP" in line]
    said = _said(_documents(content, PhotoFormat.JPEG))
    assert (said[f"{{{DEPTH}}}Data"], said[f"{{{EXIF}}}PixelXDimension"]) == (LONG, "256")


@pytest.mark.parametrize("count", [1, 1000])
def test_long_properties_and_many_short_ones_are_cut(tmp_path: Path, count: int) -> None:
    """As elements inside one description, as cameras' histories are."""
    inside = "".join(f"<dc:p{number}>{LONG[: 100_000 // count]}</dc:p{number}>" for number in range(count))
    Image.fromarray(random_pixels(16, 24)).save(tmp_path / "photo.png")
    image = Image.open(tmp_path / "photo.png")
    image.save(tmp_path / "photo.tif", tiffinfo={700: _packet("uuid:1", inside=inside)})
    content, warnings = result_of(tmp_path / "photo.tif", PhotoFormat.JPEG)
    said = _said(_documents(content, PhotoFormat.JPEG))
    assert not warnings
    assert all(said[f"{{{DC}}}p{number}"] == LONG[: 100_000 // count] for number in range(count))


def test_padding_for_editing_in_place_needs_no_second_document(tmp_path: Path) -> None:
    padded = b'<?xpacket begin="" id="a"?>' + _packet() + b" " * 70_000 + b'<?xpacket end="w"?>'
    Image.fromarray(random_pixels(16, 24)).save(tmp_path / "photo.tif", tiffinfo={700: padded})
    content, warnings = result_of(tmp_path / "photo.tif", PhotoFormat.JPEG)
    assert not warnings and MORE_HEAD not in content
    assert b"caf\xc3\xa9" in content


@pytest.mark.parametrize("damage", ["a piece is missing", "another document", "no second document"])
def test_a_damaged_second_document_is_told_and_the_first_is_kept(tmp_path: Path, damage: str) -> None:
    second = _second()
    digest = hashlib.md5(second, usedforsecurity=False).hexdigest().upper()
    packet = _packet(more=f'xmpNote:HasExtendedXMP="{digest}"')
    match damage:
        case "a piece is missing":
            _jpeg(tmp_path / "photo.jpg", packet, second, leave_out=2)
        case "another document":
            _jpeg(tmp_path / "photo.jpg", packet, second.replace(b"00017", b"71000"), name=digest.encode())
        case _:
            _jpeg(tmp_path / "photo.jpg", packet, b"")
    content, warnings = result_of(tmp_path / "photo.jpg", PhotoFormat.PNG)
    assert [line for line in warnings if "extended XMP" in line]
    said = _said(_documents(content, PhotoFormat.PNG))
    assert said[f"{{{DC}}}source"] == "caf\u00e9 & bar" and f"{{{NOTE}}}HasExtendedXMP" not in said


def test_long_xmp_that_is_no_xml_is_left_out_of_a_jpeg_with_a_word(tmp_path: Path) -> None:
    Image.fromarray(random_pixels(16, 24)).save(tmp_path / "photo.tif", tiffinfo={700: b"<x>" + bytes(70_000) + b"a"})
    content, warnings = result_of(tmp_path / "photo.tif", PhotoFormat.JPEG)
    assert [line for line in warnings if "XMP is too large" in line]
    assert XMP_HEAD not in content


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_an_orientation_that_only_xmp_names_turns_a_tiff_as_it_turns_a_jpeg(tmp_path: Path, depth: type) -> None:
    pixels: NDArray[Any] = random_pixels(16, 24).astype(depth)
    tag = (700, 1, len(_packet()), _packet(), True)
    tifffile.imwrite(tmp_path / "photo.tif", pixels, photometric="rgb", metadata=None, extratags=[tag])
    photo = read_photo(tmp_path / "photo.tif")
    assert probe(tmp_path / "photo.tif") == photo.size
    assert np.array_equal(photo.rgb, np.rot90(pixels, -1))


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_puts_our_jpegs_xmp_together_and_has_nothing_to_complain_about(tmp_path: Path) -> None:
    content, _ = result_of(_extended_jpeg(tmp_path / "photo.jpg"), PhotoFormat.JPEG)
    (tmp_path / "result.jpg").write_bytes(content)
    ran = subprocess.run(
        ["exiftool", "-json", "-b", "-G1", "-validate", "-warning", "-XMP:all", tmp_path / "result.jpg"],
        capture_output=True,
        check=True,
    )
    (found,) = json.loads(ran.stdout)
    assert len(next(value for name, value in found.items() if name.endswith("GDepth:DepthImage"))) > 0
    assert found["XMP-dc:Source"] == "caf\u00e9 & bar"
    assert "ExifTool:Warning" not in found
