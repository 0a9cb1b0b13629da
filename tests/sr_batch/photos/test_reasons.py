"""What a person reads about a file that could not be read."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
import tifffile
from PIL import Image

from sr_batch.errors import UnreadablePhoto
from sr_batch.photos import read_photo
from tests.conftest import random_pixels


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "text")
    return file.getvalue()


def _encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(random_pixels(96, 96)).save(file, kind)
    return file.getvalue()


def _reason(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(UnreadablePhoto) as caught:
        read_photo(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Gr\u00fc\u00dfe\n".encode() * 1000, "it is text"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (_zip(), "a ZIP archive"),
        (b"%PDF-1.7\n\xe2\xe3", "a PDF document"),
        (bytes(3000), "nothing but zeros"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(64), "a video"),
        (b"RIFF\x10\0\0\0AVI LIST", "a video or sound"),
        (b"\x80\x04\x95 a pickle", "not a picture of a known format"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_picture_is_called_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in _reason(tmp_path / "photo.jpg", content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "AVIF", "BMP"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_truncated_photo_is_called_truncated(tmp_path: Path, kind: str, share: float) -> None:
    content = _encoded(kind)
    reason = _reason(tmp_path / f"photo.{kind.lower()}", content[: int(len(content) * share)])
    assert reason.startswith("truncated: the file ends before the picture does")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_a_photo_with_damage_in_the_middle_is_called_damaged(tmp_path: Path, kind: str) -> None:
    octets = bytearray(_encoded(kind))
    octets[len(octets) // 3 : len(octets) // 3 + 400] = b"\xff\xc4" * 200
    reason = _reason(tmp_path / f"photo.{kind.lower()}", bytes(octets))
    assert reason.startswith("damaged: its content cannot be decoded")


def test_a_way_of_storing_that_nobody_here_reads_is_called_so(tmp_path: Path) -> None:
    octets = bytearray(_encoded("BMP"))
    octets[28:30] = struct.pack("<H", 7)  # bits a pixel
    assert "stored in a way that is not read here" in _reason(tmp_path / "photo.bmp", bytes(octets))


def test_words_of_the_program_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged numbers lead libraries to errors that speak of Python."""
    tifffile.imwrite(tmp_path / "photo.tif", random_pixels(8, 8), photometric="rgb")

    def broken(*_: object, **__: object) -> None:
        raise TypeError("'<=' not supported between instances of 'tuple' and 'int'")

    monkeypatch.setattr("sr_batch.photos.opening.is_read_by_tifffile", broken)
    with pytest.raises(UnreadablePhoto) as caught:
        read_photo(tmp_path / "photo.tif")
    assert str(caught.value) == "damaged: its content cannot be decoded"
