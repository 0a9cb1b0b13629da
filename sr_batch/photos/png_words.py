"""All that a PNG says, without its pixels: Pillow decodes the whole picture to see what stands behind it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

__all__ = ["png_without_pixels"]

SIGNATURE_BYTES, HEAD_BYTES = 8, 33  # the signature; with IHDR, which is always first
DEPTH, COLOUR_TYPE = 24, 25  # places in the head
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type: grey, RGB, palette, grey and alpha, RGBA
PICTURES = {b"IDAT", b"acTL", b"fcTL", b"fdAT"}  # pixels, and what animations say about theirs


def png_without_pixels(path: Path) -> bytes:
    """A PNG of one black pixel with the words of this one: EXIF, texts, profile, resolution, palette.

    For files that begin as a PNG does; one that breaks off later just ends. Raises OSError, and KeyError for a colour
    type that there is not.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        depth, colours = head[DEPTH], head[COLOUR_TYPE]
        size = struct.pack(">IIBBBBB", 1, 1, depth, colours, 0, 0, 0)
        row = bytes(1 + (depth * CHANNELS[colours] + 7) // 8)  # the row's filter, and the pixel
        parts, pixel = [head[:SIGNATURE_BYTES], _chunk(b"IHDR", size)], _chunk(b"IDAT", zlib.compress(row))
        while len(start := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", start)
            if name in PICTURES:
                file.seek(length + 4, io.SEEK_CUR)
                parts += [pixel] if name == b"IDAT" else []
                pixel = pixel if name != b"IDAT" else b""  # where the first one is
            else:
                parts += [start, file.read(length + 4)]
    return b"".join(parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content), name) + content + struct.pack(">I", zlib.crc32(name + content))
