"""What a JPEG 2000 file says that Pillow does not hand on: depth, colour profile, EXIF, XMP, IPTC.

ISO/IEC 15444-1: annex A.5.1 (the codestream's SIZ), annex I (boxes).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO

from sr_batch.photos.boxes import Box, read_boxes

__all__ = ["Jp2Facts", "read_jp2"]

START_AND_SIZE = b"\xff\x4f\xff\x51"  # the codestream's first two markers
COMPONENTS_AT = 40  # bytes from there to the number of components; three bytes for each follow
PROFILE_METHODS = (2, 3)  # of a colour box that holds an ICC profile
EXIF = b"JpgTiffExif->JP2"
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")


@dataclass(frozen=True)
class Jp2Facts:
    bits: int = 8  # of the deepest channel
    is_plain: bool = True  # all channels have this depth, no signs, and the picture's size
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None


def read_jp2(file: IO[bytes]) -> Jp2Facts:
    """Of a file (.jp2) or a bare codestream (.j2k). What is not said or damaged is left at its default."""
    file.seek(0)
    if file.read(4) == START_AND_SIZE:
        return Jp2Facts(*_depth(file, 0))
    said: dict[str, bytes] = {}
    bits, is_plain = 8, True
    for box in read_boxes(file):
        match box.kind:
            case b"jp2h":
                said |= _profile(file, box)
            case b"jp2c":
                bits, is_plain = _depth(file, box.start)
            case b"uuid":
                content = box.read(file)
                name = {EXIF: "exif", XMP: "xmp", IPTC: "iptc"}.get(content[:16])
                said |= {name: content[16:]} if name is not None and content[16:] else {}
    return Jp2Facts(bits, is_plain, **said)


def _depth(file: IO[bytes], start: int) -> tuple[int, bool]:
    file.seek(start)
    head = file.read(COMPONENTS_AT + 2 + 3 * 256)
    if not head.startswith(START_AND_SIZE) or len(head) < COMPONENTS_AT + 5:
        return 8, True
    (count,) = struct.unpack_from(">H", head, COMPONENTS_AT)
    components = {head[place : place + 3] for place in range(COMPONENTS_AT + 2, COMPONENTS_AT + 2 + 3 * count, 3)}
    depths = {component[0] for component in components if component}
    bits = max(((depth & 0x7F) + 1 for depth in depths), default=8)
    return bits, depths == {bits - 1} and all(component[1:] == b"\1\1" for component in components)


def _profile(file: IO[bytes], header: Box) -> dict[str, bytes]:
    for box in read_boxes(file, header.start, header.end):
        if box.kind == b"colr":
            content = box.read(file)
            if content[:1] and content[0] in PROFILE_METHODS:
                return {"icc": content[3:]}
    return {}
