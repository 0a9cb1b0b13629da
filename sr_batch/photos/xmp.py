"""XMP packets: corrected for the larger, upright result, and put together from and cut into a JPEG's segments.

A JPEG's segment holds 64 KB. What is longer is two documents (XMP specification, part 3, 1.1.3.1): a packet that fits,
which names the second by its MD5 in xmpNote:HasExtendedXMP, and the second one in pieces ("extended XMP"). Everywhere
else a packet has any length, so here it is always one.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable
from xml.dom.minidom import Document, Element, Node, parseString
from xml.parsers.expat import ExpatError

from sr_batch.sizes import Size

__all__ = ["clean_xmp", "join_jpeg_xmp", "jpeg_xmp_segments", "resize_xmp", "xmp_orientation"]

STANDARD_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_HEAD = b"http://ns.adobe.com/xmp/extension/\0"
STANDARD_BYTES = 65502  # of a packet in a segment, by the specification
EXTENDED_BYTES = 65400  # of each piece
MARK_BYTES = 200  # what naming the second document adds to the packet
MOST_EXTENDED_BYTES = 64 << 20  # of what is put together: more is no description of a photo
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NOTE = "http://ns.adobe.com/xmp/note/"
NAMED = re.compile(rb"""HasExtendedXMP(?:\s*=\s*["']|>)([0-9A-Fa-f]{32})""")
MARKS = re.compile(rb"""\s\w+:HasExtendedXMP\s*=\s*(?:"[^"]*"|'[^']*')|<(\w+:HasExtendedXMP)>[^<]*</\1>""")
ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)(\d)')
UPRIGHT = re.compile(rb'(tiff:Orientation(?:="|>))\d')
NUMBERS = {b"tiff:ImageWidth": "width", b"exif:PixelXDimension": "width",
           b"tiff:ImageLength": "height", b"exif:PixelYDimension": "height"}  # fmt: skip
THUMBNAILS = re.compile(rb"<xmp:Thumbnails>.*?</xmp:Thumbnails>", re.DOTALL)
WRAPPED = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n%s\n<?xpacket end="w"?>'


def clean_xmp(xmp: object) -> bytes | None:
    """A packet without the old picture's orientation and thumbnails; None for what is none."""
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if not isinstance(xmp, bytes) or not xmp.strip(b"\0 \n"):
        return None
    return THUMBNAILS.sub(b"", UPRIGHT.sub(rb"\g<1>1", xmp.rstrip(b"\0")))


def xmp_orientation(xmp: object) -> int:
    """The orientation that a packet names, else 1: for files that say it nowhere else, as Pillow has it."""
    found = ORIENTATION.search(xmp) if isinstance(xmp, bytes) else None
    return int(found[1]) if found is not None else 1


def resize_xmp(xmp: bytes, size: Size) -> bytes:
    """The same with this size where the old one was named."""
    for name, side in NUMBERS.items():
        number = str(getattr(size, side)).encode()
        xmp = re.sub(rb"(" + name + rb'(?:="|>))\d+', rb"\g<1>" + number, xmp)
    return xmp


def join_jpeg_xmp(xmp: bytes, segments: Iterable[bytes]) -> tuple[bytes, str | None]:
    """A JPEG's packet, completed by what is in its APP1 segments (their contents, heads included; others are ignored).

    What cannot be completed stays as it is, and a sentence says so.
    """
    named = NAMED.search(xmp)
    if named is None:
        return xmp, None
    alone, extended = MARKS.sub(b"", xmp), _assemble(segments, named[1].upper())
    if extended is None:
        return alone, "a part of its XMP (extended XMP) is missing or damaged and was left out"
    try:
        return _merge(alone, extended), None
    except (ExpatError, ValueError) as error:
        return alone, f"a part of its XMP (extended XMP) is damaged and was left out ({error})"


def jpeg_xmp_segments(xmp: bytes) -> bytes | None:
    """The APP1 segments that hold a packet of any length in a JPEG; None for one that is too long and cannot be cut."""
    if len(xmp) > STANDARD_BYTES:
        xmp = _without_padding(xmp)
    if len(xmp) <= STANDARD_BYTES:
        return _segment(STANDARD_HEAD + xmp)
    try:
        standard, extended = _cut(xmp)
    except (ExpatError, ValueError):
        return None
    if len(standard) > STANDARD_BYTES:
        return None
    head = EXTENDED_HEAD + _identity(extended) + struct.pack(">L", len(extended))
    pieces = (
        _segment(head + struct.pack(">L", start) + extended[start : start + EXTENDED_BYTES])
        for start in range(0, len(extended), EXTENDED_BYTES)
    )
    return _segment(STANDARD_HEAD + standard) + b"".join(pieces)


def _segment(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def _identity(extended: bytes) -> bytes:
    """Its MD5, in capitals: a name, not a protection."""
    return hashlib.md5(extended, usedforsecurity=False).hexdigest().upper().encode()


def _assemble(segments: Iterable[bytes], identity: bytes) -> bytes | None:
    """The second document from its pieces, in whatever order they come; None where it is not whole."""
    start, pieces, length = len(EXTENDED_HEAD), {}, 0
    for segment in segments:
        if segment.startswith(EXTENDED_HEAD) and segment[start : start + 32].upper() == identity:
            length, offset = struct.unpack_from(">LL", segment.ljust(start + 40, b"\0"), start + 32)
            pieces[offset] = segment[start + 40 :]
    if length > MOST_EXTENDED_BYTES:
        return None
    whole = b"".join(pieces[offset] for offset in sorted(pieces))
    return whole if len(whole) == length and _identity(whole) == identity else None


def _merge(standard: bytes, extended: bytes) -> bytes:
    """One packet that says what both say. Raises ExpatError, and ValueError for XML that is no XMP."""
    document = _parse(standard)
    rdf = _rdf(document)
    further = _rdf(_parse(extended))
    prefixes = _prefixes(further)
    for child in list(further.childNodes):
        if isinstance(child, Element):
            copy = document.importNode(child, True)
            for name, value in prefixes.items():
                if not copy.hasAttribute(name):
                    copy.setAttribute(name, value)
            rdf.appendChild(copy)
    return _packet(document)


def _cut(xmp: bytes) -> tuple[bytes, bytes]:
    """A packet that fits and the second document, which gets the longest properties. See _merge for the errors."""
    document = _parse(xmp)
    rdf = _rdf(document)
    further = parseString('<x:xmpmeta xmlns:x="adobe:ns:meta/"/>')
    outer = further.createElementNS(RDF, "rdf:RDF")
    outer.setAttribute("xmlns:rdf", RDF)
    further.documentElement.appendChild(outer)  # type: ignore[union-attr]
    too_many = len(_packet(document)) + MARK_BYTES - STANDARD_BYTES
    for size, element, place in sorted(_properties(rdf), key=lambda found: -found[0]):
        if too_many <= 0:
            break
        outer.appendChild(_moved(further, element, place))
        too_many -= size
    extended = further.documentElement.toxml().encode()  # type: ignore[union-attr]
    mark = document.createElementNS(RDF, "rdf:Description")
    for name, value in (("xmlns:rdf", RDF), ("rdf:about", ""), ("xmlns:xmpNote", NOTE)):
        mark.setAttribute(name, value)
    mark.setAttribute("xmpNote:HasExtendedXMP", _identity(extended).decode())
    rdf.appendChild(mark)
    return _packet(document), extended


def _properties(rdf: Element) -> list[tuple[int, Element, str | Element]]:
    """Of every description: how long each property is, and where: an attribute's name, or an element."""
    found: list[tuple[int, Element, str | Element]] = []
    for element in rdf.childNodes:
        if not isinstance(element, Element):
            continue
        for name, value in element.attributes.items():
            if not name.startswith(("xml", "rdf:")):
                found.append((len(name) + len(value.encode()) + 4, element, name))
        found += [(len(child.toxml().encode()), element, child) for child in element.childNodes
                  if isinstance(child, Element)]  # fmt: skip
    return found


def _moved(further: Document, element: Element, place: str | Element) -> Element:
    """One property taken out of its description, in a description of its own."""
    copy = further.createElementNS(RDF, "rdf:Description")
    about = element.getAttributeNS(RDF, "about")
    for name, value in (_prefixes(element) | {"xmlns:rdf": RDF, "rdf:about": about}).items():
        copy.setAttribute(name, value)
    if isinstance(place, str):
        copy.setAttribute(place, element.getAttribute(place))
        element.removeAttribute(place)
    else:
        copy.appendChild(further.importNode(place, True))
        element.removeChild(place)
    return copy


def _prefixes(element: Element) -> dict[str, str]:
    """The namespaces that are declared at an element or around it."""
    declared: dict[str, str] = {}
    around: Node | None = element
    while isinstance(around, Element):
        names = {name: value for name, value in around.attributes.items() if name.startswith("xmlns")}
        declared = names | declared
        around = around.parentNode
    return declared


def _parse(xmp: bytes) -> Document:
    if b"<!DOCTYPE" in xmp or b"<!ENTITY" in xmp:
        raise ValueError("it declares entities, which XMP has not")
    return parseString(xmp.strip(b"\0 \r\n\t"))


def _rdf(document: Document) -> Element:
    found = document.getElementsByTagNameNS(RDF, "RDF")
    if not found:
        raise ValueError("there is no RDF in it")
    return found[0]


def _packet(document: Document) -> bytes:
    return WRAPPED % document.documentElement.toxml().encode()  # type: ignore[union-attr]


def _without_padding(xmp: bytes) -> bytes:
    """Without the white space that packets end with, left for editing in place."""
    end = xmp.rfind(b"<?xpacket end=")
    return xmp if end < 0 else xmp[:end].rstrip() + b"\n" + xmp[end:]
