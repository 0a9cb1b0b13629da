"""What a file says about its picture: read, corrected for the larger and upright result, and given to each format.

EXIF keeps everything about the photo (date, place, camera, lens, notes of the maker) and nothing about how the old
file stored it. Its thumbnail, which would show the old picture, is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from sr_batch.photos.formats import PhotoFormat, Size
from sr_batch.photos.tiff import EXIF_FOLDER, GPS_FOLDER, INTEROP_FOLDER, TIFF_XMP, TiffFolders
from sr_batch.photos.xmp import clean_xmp, join_jpeg_xmp, jpeg_xmp_segments, resize_xmp

__all__ = [
    "PHOTOSHOP_IPTC",
    "Metadata",
    "fit_metadata",
    "jpeg_segments",
    "photoshop_segment",
    "png_raw_profile",
    "read_metadata",
    "read_tiff_metadata",
    "resize_metadata",
    "tiff_folders",
]

EXIF_HEAD = b"Exif\0\0"
EXIF_WIDTH, EXIF_HEIGHT = 0xA002, 0xA003
# TIFF tags that describe how the old file stored its pixels; everything else in EXIF describes the photo.
STRUCTURAL_TAGS = {*range(254, 270), 273, 274, 277, 278, 279, 284, 317, *range(320, 324), 324, 325, 330, 338, 339, 347,
                   513, 514, *range(529, 533), 700, 33723, 34377, 34675}  # fmt: skip
TIFF_IPTC, TIFF_ICC = 33723, 34675
TIFF_X_RESOLUTION, TIFF_Y_RESOLUTION, TIFF_RESOLUTION_UNIT = 282, 283, 296
TIFF_DOTS_PER_INCH = {2: 1.0, 3: 2.54}  # by unit: inch, centimetre
PHOTOSHOP_IPTC = 0x0404  # the image resource that holds IPTC-IIM records
JPEG_MAX_SEGMENT = 65533
PHOTOSHOP_HEAD = b"Photoshop 3.0\0"
PNG_OWN_TEXT = {"XML:com.adobe.xmp"}  # kept as XMP
COMMENT = "Comment"  # PNG's registered keyword; what JPEG and GIF call their comment


@dataclass(frozen=True)
class Metadata:
    """All of it optional; the default is none."""

    exif: bytes | None = None  # from the TIFF header on; orientation 1
    xmp: bytes | None = None  # the packet
    iptc: bytes | None = None  # IPTC-IIM records
    dpi: tuple[float, float] | None = None  # horizontal, vertical
    text: tuple[tuple[str, str], ...] = field(default=())  # PNG's keywords and texts; a JPEG's comment as "Comment"


def read_metadata(image: Image.Image, lost: list[str]) -> Metadata:
    """The metadata of a loaded picture, not a TIFF. What is damaged is left out, with a sentence in `lost`."""
    dpi = image.info.get("dpi")
    return Metadata(
        _clean_exif(lambda: _exif_folders(image), lost),
        _xmp(image, lost),
        _find_iptc(image),
        (float(dpi[0]), float(dpi[1])) if isinstance(dpi, tuple) and min(dpi) > 0 else None,
        _texts(image),
    )


def read_tiff_metadata(folders: TiffFolders, lost: list[str]) -> Metadata:
    """The same of one page of a TIFF."""
    iptc = folders.main.get(TIFF_IPTC)
    return Metadata(
        _clean_exif(lambda: folders, lost),
        clean_xmp(folders.main.get(TIFF_XMP)),
        iptc if isinstance(iptc, bytes) else None,
        _tiff_resolution(folders.main),
    )


def tiff_folders(metadata: Metadata, icc: bytes | None) -> TiffFolders:
    """What a TIFF's page says besides its pixels."""
    main: dict[int, object] = {}
    folders: dict[int, dict[int, Any]] = {}
    if metadata.exif:
        exif = Image.Exif()
        exif.load(EXIF_HEAD + metadata.exif)
        folders = {tag: dict(exif.get_ifd(tag)) for tag in (EXIF_FOLDER, GPS_FOLDER) if exif.get_ifd(tag)}
        main = {tag: value for tag, value in exif.items() if tag not in (EXIF_FOLDER, GPS_FOLDER)}
    if metadata.dpi:
        main[TIFF_X_RESOLUTION], main[TIFF_Y_RESOLUTION] = metadata.dpi
        main[TIFF_RESOLUTION_UNIT] = 2
    packets = {TIFF_XMP: metadata.xmp, TIFF_IPTC: metadata.iptc, TIFF_ICC: icc}
    return TiffFolders(main | {tag: packet for tag, packet in packets.items() if packet}, folders)


def resize_metadata(metadata: Metadata, size: Size) -> Metadata:
    """The same with the result's size where the old one was named."""
    exif, xmp = metadata.exif, metadata.xmp
    if exif is not None:
        tags = Image.Exif()
        tags.load(EXIF_HEAD + exif)
        folder = tags.get_ifd(EXIF_FOLDER)
        if EXIF_WIDTH in folder or EXIF_HEIGHT in folder:
            folder[EXIF_WIDTH], folder[EXIF_HEIGHT] = size.width, size.height
            tags.get_ifd(GPS_FOLDER)
            exif = tags.tobytes().removeprefix(EXIF_HEAD)
    if xmp is not None:
        xmp = resize_xmp(xmp, size)
    return replace(metadata, exif=exif, xmp=xmp)


def fit_metadata(metadata: Metadata, kind: PhotoFormat) -> tuple[Metadata, list[str]]:
    """What a format can hold of it, and a sentence for each thing that it cannot."""
    lost, name = [], kind.name
    exif, xmp, iptc, text = metadata.exif, metadata.xmp, metadata.iptc, metadata.text
    if kind is PhotoFormat.JPEG:
        if exif is not None and len(exif) > JPEG_MAX_SEGMENT - len(EXIF_HEAD):
            exif = None
            lost.append("its EXIF is too large for a JPEG and was left out")
        if xmp is not None and jpeg_xmp_segments(xmp) is None:
            xmp = None
            lost.append("its XMP is too large for a JPEG, cannot be cut because it is damaged, and was left out")
    if iptc is not None and (kind in (PhotoFormat.WEBP, PhotoFormat.AVIF) or len(iptc) > JPEG_MAX_SEGMENT - 64):
        iptc = None
        lost.append(f"its IPTC does not fit {name} and was left out")
    if kind is not PhotoFormat.PNG:
        kept = tuple(item for item in text if kind is PhotoFormat.JPEG and item[0] == COMMENT)
        if len(kept) < len(text):
            lost.append(f"its text fields do not fit {name} and were left out")
        text = kept
    return Metadata(exif, xmp, iptc, metadata.dpi, text), lost


def jpeg_segments(metadata: Metadata) -> bytes:
    """The APP segments of a JPEG for what Pillow does not write: XMP of any length, and IPTC."""
    xmp = jpeg_xmp_segments(metadata.xmp) if metadata.xmp else None
    return (xmp or b"") + (photoshop_segment(metadata.iptc) if metadata.iptc else b"")


def photoshop_segment(iptc: bytes) -> bytes:
    """A JPEG APP13 segment that holds IPTC records as Photoshop's image resource."""
    content = PHOTOSHOP_HEAD + photoshop_resource(iptc)
    return b"\xff\xed" + struct.pack(">H", len(content) + 2) + content


def photoshop_resource(iptc: bytes) -> bytes:
    """Signature, number, empty name, length, records, padded to even."""
    return b"8BIM" + struct.pack(">HHL", PHOTOSHOP_IPTC, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def png_raw_profile(iptc: bytes) -> str:
    """IPTC as PNG text, in the form that ImageMagick made common and ExifTool reads."""
    resource = photoshop_resource(iptc)
    digits = resource.hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    return f"\niptc\n{len(resource):8}\n{lines}\n"


def _exif_folders(image: Image.Image) -> TiffFolders:
    exif = image.getexif()
    folders: dict[int, dict[int, Any]] = {}
    for tag in (EXIF_FOLDER, GPS_FOLDER):
        folders[tag] = dict(exif.get_ifd(tag))
        if INTEROP_FOLDER in folders[tag]:
            folders[tag][INTEROP_FOLDER] = dict(exif.get_ifd(INTEROP_FOLDER))
    return TiffFolders(exif, folders)


def _clean_exif(read: Callable[[], TiffFolders], lost: list[str]) -> bytes | None:
    """The photo's EXIF without orientation (it is applied) and without what described the old file's storage."""
    try:
        old, new = read(), Image.Exif()
        for tag, value in old.main.items():
            if tag not in STRUCTURAL_TAGS and tag not in (EXIF_FOLDER, GPS_FOLDER):
                new[tag] = value
        for tag, folder in old.folders.items():
            if folder:
                new.get_ifd(tag).update(folder)
                new[tag] = new.get_ifd(tag)
        return new.tobytes().removeprefix(EXIF_HEAD) if len(new) else None
    except Exception as error:  # EXIF is written by thousands of programs; the photo matters more
        lost.append(f"its EXIF is damaged and was left out ({error})")
        return None


def _xmp(image: Image.Image, lost: list[str]) -> bytes | None:
    xmp = clean_xmp(image.info.get("xmp"))
    if xmp is None:
        return None
    segments = (content for name, content in getattr(image, "applist", ()) if name == "APP1")
    xmp, damage = join_jpeg_xmp(xmp, segments)
    lost += [damage] if damage is not None else []
    return clean_xmp(xmp)  # again: the thumbnail may have been in the second part


def _find_iptc(image: Image.Image) -> bytes | None:
    resources = image.info.get("photoshop")
    records = resources.get(PHOTOSHOP_IPTC) if isinstance(resources, dict) else None
    return records if isinstance(records, bytes) and records else None


def _tiff_resolution(tags: Mapping[int, Any]) -> tuple[float, float] | None:
    try:
        factor = TIFF_DOTS_PER_INCH[tags.get(TIFF_RESOLUTION_UNIT, 2)]
        across, down = float(tags[TIFF_X_RESOLUTION]), float(tags[TIFF_Y_RESOLUTION])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None  # not said, without a unit, or damaged
    return (across * factor, down * factor) if 0 < across < float("inf") and 0 < down < float("inf") else None


def _texts(image: Image.Image) -> tuple[tuple[str, str], ...]:
    if isinstance(image, PngImageFile):
        return tuple((str(key), str(text)) for key, text in image.text.items() if key not in PNG_OWN_TEXT)
    comment = image.info.get("comment")
    if isinstance(comment, bytes) and comment.strip(b"\0 "):
        return ((COMMENT, comment.rstrip(b"\0").decode("utf-8", "replace")),)
    return ()
