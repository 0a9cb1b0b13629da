"""Why a file could not be read, for people: the libraries' words say what they stumbled over, not what is wrong."""

from __future__ import annotations

import re
import struct
from codecs import getincrementaldecoder
from pathlib import Path

from sr_batch.photos.formats import JXL_STARTS

__all__ = ["lacks_its_end", "reason_of", "what_it_is"]

START_BYTES = 4096
END_BYTES = 1 << 16  # at the end of a file, in which its end mark is looked for
TRUNCATED = re.compile(
    r"truncated|only got|got 0|failed to read \d+ bytes|unexpected end|end of file|insufficient", re.I
)
UNSUPPORTED = re.compile(r"unsupported|not supported|not implemented|unknown compression|no decoder|requires the", re.I)
WORDS = 100  # characters of a library's own words
OF_PROGRAMS = (TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, struct.error, re.error)
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+",
            b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ", *JXL_STARTS)  # fmt: skip
OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a compressed archive"),
    (b"Rar!", "an archive"),
    (b"7z\xbc\xaf", "an archive"),
    (b"\x1a\x45\xdf\xa3", "a video"),
    (b"ID3", "music"),
    (b"8BPS", "a Photoshop document"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
VIDEO_BRANDS = (b"iso", b"mp4", b"qt  ", b"M4V", b"3gp", b"avc1", b"dash")
STARTS_OF_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<svg")


def what_it_is(start: bytes) -> str | None:
    """What a file that starts so is, if it is no picture and can be told: "a PDF document"."""
    if start and not start.strip(b"\0"):
        return "nothing but zeros, as after a failed copy"
    for mark, name in OTHERS:
        if start.startswith(mark):
            return name
    if start[4:8] == b"ftyp" and start[8:12].startswith(VIDEO_BRANDS):
        return "a video"
    if start.startswith(b"RIFF") and start[8:12] != b"WEBP":
        return "a video or sound"
    if start.lstrip().lower().startswith(STARTS_OF_PAGES):
        return "a web page or a drawing in XML"
    try:
        text = getincrementaldecoder("utf-8")().decode(start)  # its last character may be cut in two
    except UnicodeDecodeError:
        return None
    return "text" if text and all(c.isprintable() or c in "\r\n\t\f" for c in text) else None


def lacks_its_end(path: Path) -> bool:
    """Whether a file is shorter than it says, or lacks what its format ends with. Raises OSError."""
    return _is_cut_off(*_ends(path))


def reason_of(error: Exception, path: Path) -> str:
    """A sentence for what a library raised about this file, which is there and not empty. Raises OSError."""
    start, end, size = _ends(path)
    if (other := what_it_is(start)) is not None:
        return f"not a picture, whatever its name says: it is {other}"
    words = _words(error)
    if UNSUPPORTED.search(words):
        return (
            f"stored in a way that is not read here ({words}); save it anew as PNG or TIFF in the program that made it"
        )
    if _is_cut_off(start, end, size) or TRUNCATED.search(words):
        return "truncated: the file ends before the picture does; copy or download it again"
    if not _is_picture(start):
        return "damaged, or not a picture of a known format, whatever its name says"
    return f"damaged: its content cannot be decoded{f' ({words})' if words else ''}"


def _ends(path: Path) -> tuple[bytes, bytes, int]:
    """The beginning and the end of a file, and its size."""
    with path.open("rb") as file:
        start = file.read(START_BYTES)
        size = file.seek(0, 2)
        file.seek(max(0, size - END_BYTES))
        return start, file.read(), size


def _words(error: Exception) -> str:
    """A library's own, on one line; nothing where Python speaks of the program."""
    if isinstance(error, OF_PROGRAMS):
        return ""
    words = " ".join(str(error).split())
    if words.startswith(("cannot identify image file", "Generic Error")):  # Pillow's, with the path; libjxl's
        return ""
    first = words.split(". ")[0]
    return first if len(first) <= WORDS else first[: WORDS - 3] + "..."


def _is_picture(start: bytes) -> bool:
    return start.startswith(PICTURES) or start[4:8] == b"ftyp" or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def _is_cut_off(start: bytes, end: bytes, size: int) -> bool:
    """Whether a file says that it is longer than it is, or lacks what its format ends with."""
    if start.startswith(b"\x89PNG"):
        return b"IEND" not in end
    if start.startswith(b"\xff\xd8\xff"):
        return b"\xff\xd9" not in end
    if start.startswith(b"GIF8"):
        return not end.rstrip(b"\0").endswith(b";")
    if start.startswith(b"RIFF"):
        return len(start) >= 8 and int.from_bytes(start[4:8], "little") + 8 > size
    if start[4:8] == b"ftyp":
        return _box_is_cut_off(start, size)
    return False


def _box_is_cut_off(start: bytes, size: int) -> bool:
    """Of the boxes whose heads are in what the file starts with."""
    place = 0
    while place + 8 <= len(start):
        length = int.from_bytes(start[place : place + 4], "big")
        if length == 1 and place + 16 <= len(start):
            length = int.from_bytes(start[place + 8 : place + 16], "big")
        if length == 0 or length < 8:
            return False  # the last one, however long; or damaged
        place += length
    return place > size
