"""What a JPEG XL file says before its pixels, so that it need not be decoded to know its size; and its pixels.

ISO/IEC 18181-1 (the codestream's header), 18181-2 (boxes). Pillow's plugin decodes as it opens and cuts to 8 bits: of
it only the colour profile is taken, and the pixels of what was made of a JPEG: exactly that JPEG's, not turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from numpy.typing import NDArray

from sr_batch.errors import UnreadablePhoto
from sr_batch.photos.boxes import read_boxes
from sr_batch.sizes import Size

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JxlFacts", "read_jxl", "read_jxl_pixels"]

CODESTREAM = b"\xff\x0a"
HEADER_BYTES = 64
MOST_TEXT = 16 << 20  # bytes of a description that is stored compressed
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height, by a number from 1


@dataclass(frozen=True)
class JxlFacts:
    size: Size  # as displayed
    orientation: int = 1  # EXIF's number, of how it is stored
    bits: int = 8
    is_float: bool = False
    is_animated: bool = False
    exif: bytes | None = None  # from the TIFF header on
    xmp: bytes | None = None


def read_jxl(file: IO[bytes]) -> JxlFacts:
    """Of a file or a bare codestream. Raises UnreadablePhoto for one whose header is cut off."""
    file.seek(0)
    head = file.read(HEADER_BYTES)
    said: dict[str, bytes] = {}
    if not head.startswith(CODESTREAM):
        head = b""
        for box in read_boxes(file):
            if box.kind in (b"jxlc", b"jxlp") and not head:
                head = box.read(file, HEADER_BYTES)[4 if box.kind == b"jxlp" else 0 :]
            elif box.kind in (b"Exif", b"xml ", b"brob"):
                said |= _description(box.kind, box.read(file))
    if not head.startswith(CODESTREAM):
        raise UnreadablePhoto("damaged: there is no picture in this JPEG XL file")
    return _header(_Bits(head[2:]), said)


def read_jxl_pixels(path: Path) -> NDArray[Any]:
    """The first picture, [h, w] or [h, w, channels], as displayed and as deep as it is. Raises what libjxl says."""
    import imagecodecs

    pixels: NDArray[Any] = imagecodecs.jpegxl_decode(path.read_bytes(), index=0)
    return pixels


def _description(kind: bytes, content: bytes) -> dict[str, bytes]:
    if kind == b"brob":  # another box, compressed
        import imagecodecs

        kind = content[:4]
        if kind not in (b"Exif", b"xml "):
            return {}
        try:
            content = bytes(imagecodecs.brotli_decode(content[4:], out=MOST_TEXT))
        except imagecodecs.BrotliError:
            return {}
    if kind == b"xml ":
        return {"xmp": content}
    start = 4 + int.from_bytes(content[:4], "big")  # of the TIFF header
    return {"exif": content[start:]} if content[start:] else {}


class _Bits:
    """Numbers from a codestream, lowest bit first. Raises UnreadablePhoto at its end."""

    def __init__(self, content: bytes) -> None:
        self._value, self._left = int.from_bytes(content, "little"), 8 * len(content)

    def take(self, count: int) -> int:
        if count > self._left:
            raise UnreadablePhoto("truncated: its header is not whole")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def choice(self, *ways: tuple[int, int]) -> int:
        """One of four ways, each a number to start from and how many bits to add."""
        start, count = ways[self.take(2)]
        return start + self.take(count)


def _header(bits: _Bits, said: dict[str, bytes]) -> JxlFacts:
    size = _size(bits)
    if bits.take(1):  # everything at its default
        return JxlFacts(size, **said)  # type: ignore[arg-type]
    is_animated, orientation = False, 1
    if bits.take(1):
        orientation = 1 + bits.take(3)
        size = Size(size.width, size.height) if orientation >= 5 else size
        if bits.take(1):
            _size(bits)  # for display
        if bits.take(1):
            _preview(bits)
        is_animated = bool(bits.take(1))
        if is_animated:
            _animation(bits)
    if bits.take(1):
        depth = bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
        return JxlFacts(size, orientation, depth, True, is_animated, **said)
    return JxlFacts(size, orientation, bits.choice((8, 0), (10, 0), (12, 0), (1, 6)), False, is_animated, **said)


def _size(bits: _Bits) -> Size:
    """SizeHeader."""
    is_small = bits.take(1)

    def side() -> int:
        return 8 * (1 + bits.take(5)) if is_small else bits.choice((1, 9), (1, 13), (1, 18), (1, 30))

    return _with_ratio(bits, side)


def _preview(bits: _Bits) -> None:
    """PreviewHeader."""
    is_small = bits.take(1)

    def side() -> int:
        return (
            8 * bits.choice((16, 0), (32, 0), (1, 5), (33, 9))
            if is_small
            else bits.choice((1, 6), (65, 8), (321, 10), (1345, 12))
        )

    _with_ratio(bits, side)


def _with_ratio(bits: _Bits, side: Callable[[], int]) -> Size:
    height, ratio = side(), bits.take(3)
    if ratio == 0:
        return Size(height, side())
    across, down = RATIOS[ratio - 1]
    return Size(height, height * across // down)


def _animation(bits: _Bits) -> None:
    """AnimationHeader."""
    bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
    bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
    bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
    bits.take(1)
