"""Photos in and out: files become arrays and bands of rows become files.

    file ──probe──▶ Size ──read_photo──▶ Photo (RGB array + what must come back)
    bands ──open_writer──▶ file (PNG, TIFF and JPEG streamed; WebP and AVIF gathered by Pillow)

formats.py       which formats there are, and how large their pictures may be
opening.py       a file opened: what is in it, which library reads it; their errors are translated here
reasons.py       why a file could not be read, for people
reading.py       file -> Photo
streaming.py     large ones decoded while they are cut
png_words.py     what a PNG says, without its pixels
deep.py          more than 8 bits a channel: PNG, TIFF, JPEG 2000, AVIF, HEIC
jpegxl.py        JPEG XL: its header, its pixels
jpeg2000.py      JPEG 2000: what Pillow does not say of it
boxes.py         how both are built
writing.py       rows -> file
rows.py          the channels that a file keeps
sequences.py     animations and pages -> file
colour.py        ICC profiles, through LittleCMS
transparency.py  colour under transparency, and the upscaled alpha channel
metadata.py      EXIF, XMP, IPTC, resolution, text: read, corrected, and in each format's own shape
xmp.py           XMP packets, and the segments of a JPEG that hold them
tiff.py          TIFF's folders of tags, and a writer of pages
"""

from sr_batch.photos.colour import IccChoice
from sr_batch.photos.formats import PhotoFormat, Sequence, Size, check_sequence, check_size
from sr_batch.photos.opening import use_own_limits
from sr_batch.photos.reading import (
    Photo,
    PhotoFacts,
    ReadOptions,
    inspect_photo,
    open_photo,
    probe,
    read_further,
    read_photo,
)
from sr_batch.photos.sequences import SequenceWriter, open_sequence_writer
from sr_batch.photos.transparency import AlphaChoice
from sr_batch.photos.writing import PngLevel, WriteOptions, Writer, open_writer

__all__ = [
    "AlphaChoice",
    "IccChoice",
    "Photo",
    "PhotoFacts",
    "PhotoFormat",
    "PngLevel",
    "ReadOptions",
    "Sequence",
    "SequenceWriter",
    "Size",
    "WriteOptions",
    "Writer",
    "check_sequence",
    "check_size",
    "inspect_photo",
    "open_photo",
    "open_sequence_writer",
    "open_writer",
    "probe",
    "read_further",
    "read_photo",
    "use_own_limits",
]
