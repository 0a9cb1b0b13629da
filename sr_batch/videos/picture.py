"""What a video's pictures are: size, samples, and what their numbers mean; from the stream and its first frame.

Code points (matrix, primaries, transfer) are those of ITU-T H.273, which FFmpeg uses as they are: 2 means "not said".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

from sr_batch.videos.siting import chroma_shift

if TYPE_CHECKING:
    from av.video.format import VideoFormat
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["ChromaSiting", "Colour", "ContentLight", "MasteringDisplay", "Matrix", "Picture", "Samples", "read_picture"]

NOT_SAID = (0, 2)  # 0 is GBR for a matrix, handled before; for primaries and transfer it is reserved
RANGE_NOT_SAID = (0,)
BT709, BT470BG, SMPTE170M = 1, 5, 6
FULL, LIMITED = 2, 1  # FFmpeg's AVColorRange
PROGRESSIVE = (0, 1)  # FFmpeg's AVFieldOrder: not said, progressive; 2 to 5 are interlaced
# Their sequence headers say the position, or define it when they do not; in the others "centre" may mean "not said".
SAY_THEIR_SITING = ("h264", "hevc")
# These define their luma as limited where nothing is said, monochrome or not; a grey picture of others is full range.
LIMITED_UNLESS_SAID = ("h264", "hevc", "av1", "vp9", "vp8", "mpeg2video", "mpeg4", "mpeg1video")


class Matrix(IntEnum):
    """The H.273 code points of the matrices that `colour` knows, and of what it takes for them."""

    RGB = 0
    BT709 = 1
    FCC = 4
    BT470BG = 5  # BT.601 with 625 lines
    SMPTE170M = 6  # BT.601 with 525 lines
    SMPTE240M = 7
    YCGCO = 8
    BT2020 = 9
    BT2020_CONSTANT = 10


class ChromaSiting(StrEnum):
    """Where a chroma sample lies in its block of luma samples; the values are FFmpeg's option values."""

    LEFT = "left"  # horizontally on the first luma column, vertically between: MPEG-2, H.264, HEVC
    CENTRE = "center"  # in the middle: MPEG-1, JPEG
    TOP_LEFT = "topleft"  # on the first luma sample: BT.2020 and most HDR video
    TOP = "top"
    BOTTOM_LEFT = "bottomleft"
    BOTTOM = "bottom"

    @property
    def shift(self) -> tuple[float, float]:
        """(down, right) from the first luma sample of its block, in luma samples."""
        return SHIFTS[self]


SHIFTS = {
    ChromaSiting.LEFT: (0.5, 0.0),
    ChromaSiting.CENTRE: (0.5, 0.5),
    ChromaSiting.TOP_LEFT: (0.0, 0.0),
    ChromaSiting.TOP: (0.0, 0.5),
    ChromaSiting.BOTTOM_LEFT: (1.0, 0.0),
    ChromaSiting.BOTTOM: (1.0, 0.5),
}


@dataclass(frozen=True)
class Samples:
    """How a pixel format stores a picture."""

    name: str  # FFmpeg's name of it
    depth: int  # bits of one component
    rgb: bool
    grey: bool
    alpha: bool
    subsampling: tuple[int, int]  # luma samples for one chroma sample, (down, right): 4:2:0 is (2, 2), 4:2:2 is (1, 2)

    @classmethod
    def of(cls, video_format: VideoFormat) -> Samples:
        """Of a frame's format (its width and height must be known) or of one by name."""
        components = video_format.components
        colours = [component for component in components if not component.is_alpha]
        # A width that any subsampling divides (4:1:0 has a quarter in both directions).
        chroma_right = 64 // video_format.chroma_width(64)
        chroma_down = 64 // video_format.chroma_height(64)
        return cls(
            name=video_format.name,
            depth=8 if video_format.has_palette else max(component.bits for component in components),
            rgb=video_format.is_rgb or video_format.has_palette or video_format.is_bayer,
            grey=len(colours) == 1 and not video_format.has_palette and not video_format.is_bayer,
            alpha=len(colours) < len(components) or video_format.has_palette,
            subsampling=(chroma_down, chroma_right),
        )

    @classmethod
    def named(cls, name: str) -> Samples:
        """Of a pixel format by FFmpeg's name; ValueError if there is none."""
        from av.video.format import VideoFormat

        return cls.of(VideoFormat(name, 64, 64))


@dataclass(frozen=True)
class Colour:
    """What the numbers mean. Complete: what the video does not say has been guessed, as players do, and is listed."""

    matrix: int  # H.273
    full_range: bool
    primaries: int  # H.273
    transfer: int  # H.273
    siting: ChromaSiting
    monochrome: bool = False  # a grey picture: what is written has neutral chroma, if any
    guessed: tuple[str, ...] = ()  # of "matrix", "range", "primaries", "transfer", "siting"


@dataclass(frozen=True)
class MasteringDisplay:
    """SMPTE ST 2086: the display on which an HDR video was graded. Chromaticities are (x, y), luminances in cd/m²."""

    red: tuple[Fraction, Fraction]
    green: tuple[Fraction, Fraction]
    blue: tuple[Fraction, Fraction]
    white: tuple[Fraction, Fraction]
    darkest: Fraction
    brightest: Fraction


@dataclass(frozen=True)
class ContentLight:
    """CTA-861.3, in cd/m²."""

    brightest_pixel: int  # MaxCLL
    brightest_frame_average: int  # MaxFALL


@dataclass(frozen=True)
class Picture:
    """A video's pictures as they are stored: before rotation, with the pixels' own aspect."""

    height: int
    width: int
    samples: Samples
    colour: Colour
    pixel_aspect: Fraction | None  # width / height of one pixel; None: not said, so square
    rotation: int  # degrees counter-clockwise that a player turns it by: 0, 90, -90, 180
    display_matrix: tuple[int, ...] | None  # FFmpeg's 3x3 of 16.16 and 2.30 numbers; also says mirrored
    interlaced: bool
    mastering_display: MasteringDisplay | None = None
    content_light: ContentLight | None = None
    dynamic_hdr: tuple[str, ...] = ()  # per-frame grading that is not carried: "Dolby Vision", "HDR10+"
    dolby_vision: int | None = None  # 5: not to be understood without its grading; 8: another profile; None: none
    captions: bool = False  # closed captions inside the pictures (CEA-608, CEA-708), not carried

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def deep(self) -> bool:
        """More than 8 bits: these pictures go through the float door."""
        return self.samples.depth > 8


def read_picture(stream: VideoStream, first: VideoFrame) -> Picture:
    """The facts of a stream, with its first decoded frame, which knows more than the header."""
    samples = Samples.of(first.format)
    side_data = _side_data(first)
    matrix = side_data.get("DISPLAYMATRIX")
    return Picture(
        height=first.height,
        width=first.width,
        samples=samples,
        colour=_colour(stream, first, samples),
        pixel_aspect=_aspect(stream),
        rotation=first.rotation,
        display_matrix=struct.unpack("=9i", matrix) if matrix and len(matrix) == 36 else None,
        interlaced=first.interlaced_frame or stream.codec_context.field_order not in PROGRESSIVE,
        mastering_display=_mastering_display(side_data.get("MASTERING_DISPLAY_METADATA")),
        content_light=_content_light(side_data.get("CONTENT_LIGHT_LEVEL")),
        dynamic_hdr=tuple(name for key, name in DYNAMIC.items() if key in side_data),
        dolby_vision=_dolby_vision_profile(side_data.get("DOVI_METADATA")),
        captions="A53_CC" in side_data,
    )


DYNAMIC = {"DOVI_METADATA": "Dolby Vision", "DYNAMIC_HDR_PLUS": "HDR10+", "DYNAMIC_HDR_VIVID": "HDR Vivid"}
WANTED = ("DISPLAYMATRIX", "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "A53_CC", *DYNAMIC)


def _side_data(frame: VideoFrame) -> dict[str, bytes]:
    """Asked for one by one: what iterating over them yields differs between versions of PyAV."""
    from av.sidedata.sidedata import Type

    container = cast("Mapping[Type, Any]", frame.side_data)
    found = {}
    for name in WANTED:
        try:
            found[name] = bytes(container[Type[name]])
        except KeyError:
            continue
    return found


def _aspect(stream: VideoStream) -> Fraction | None:
    ratio = stream.sample_aspect_ratio
    if ratio is None or ratio.numerator <= 0 or ratio.denominator <= 0:
        return None
    return Fraction(ratio.numerator, ratio.denominator)


def _colour(stream: VideoStream, frame: VideoFrame, samples: Samples) -> Colour:
    """The frame's tags, else the stream's, else mpv's guesses: they are what people see when nothing is said."""
    context = stream.codec_context
    high_definition = frame.width >= 1280 or frame.height > 576
    guessed = []

    def said(name: str, values: tuple[int, ...], guess: int, nothing: tuple[int, ...] = NOT_SAID) -> int:
        for value in values:
            if value not in nothing:
                return value
        guessed.append(name)
        return guess

    if samples.rgb:
        matrix: int = Matrix.RGB
    else:
        matrix = said("matrix", (frame.colorspace, context.colorspace), BT709 if high_definition else SMPTE170M)
    ranges = (FULL if samples.name.startswith("yuvj") else 0, frame.color_range, context.color_range)
    full_range = samples.rgb or said("range", ranges, _usual_range(context.name, samples), RANGE_NOT_SAID) == FULL
    primaries = said("primaries", (frame.color_primaries, context.color_primaries), _usual_primaries(matrix, frame))
    transfer = said("transfer", (frame.color_trc, context.color_trc), _usual_transfer(matrix, primaries))
    siting = _siting(context.name, frame, samples, full_range, guessed)
    return Colour(matrix, full_range, primaries, transfer, siting, samples.grey, tuple(guessed))


def _usual_range(codec: str, samples: Samples) -> int:
    return FULL if samples.grey and codec not in LIMITED_UNLESS_SAID else LIMITED


def _usual_primaries(matrix: int, frame: VideoFrame) -> int:
    if matrix in (Matrix.BT2020, Matrix.BT2020_CONSTANT):
        return 9
    if matrix == BT470BG or (matrix == SMPTE170M and frame.height == 576):
        return BT470BG
    if matrix == SMPTE170M and frame.height in (480, 486):
        return SMPTE170M
    return BT709


def _usual_transfer(matrix: int, primaries: int) -> int:
    """BT.709, BT.601 and BT.2020 name one and the same curve; sRGB for what is stored as RGB."""
    if matrix == Matrix.RGB:
        return 13
    if matrix in (Matrix.BT2020, Matrix.BT2020_CONSTANT):
        return 14
    return SMPTE170M if primaries in (BT470BG, SMPTE170M) else BT709


def _siting(codec: str, frame: VideoFrame, samples: Samples, full_range: bool, guessed: list[str]) -> ChromaSiting:
    """Full-range video is usually made of JPEG-like pictures: centred."""
    usual = ChromaSiting.CENTRE if full_range else ChromaSiting.LEFT
    if samples.subsampling != (2, 2) or samples.grey:
        # Only 4:2:0 has a choice: 4:2:2 is on the left in video, in the middle in JPEG.
        return ChromaSiting.LEFT if codec in SAY_THEIR_SITING else usual
    shift = chroma_shift(frame)
    found = next((siting for siting, where in SHIFTS.items() if where == shift), ChromaSiting.CENTRE)
    if found is not ChromaSiting.CENTRE or codec in SAY_THEIR_SITING:
        return found
    guessed.append("siting")
    return usual


def _mastering_display(raw: bytes | None) -> MasteringDisplay | None:
    """FFmpeg's AVMasteringDisplayMetadata: 10 rationals (r, g, b, white as x, y; darkest, brightest) and 2 flags."""
    if raw is None or len(raw) < 88:
        return None
    numbers = struct.unpack("=22i", raw[:88])
    if not numbers[20] or not numbers[21] or 0 in numbers[1:20:2]:
        return None  # one half of it is of no use to a display, and no encoder takes it
    values = [Fraction(numbers[i], numbers[i + 1]) for i in range(0, 20, 2)]
    red, green, blue, white = ((values[i], values[i + 1]) for i in range(0, 8, 2))
    return MasteringDisplay(red, green, blue, white, darkest=values[8], brightest=values[9])


def _dolby_vision_profile(raw: bytes | None) -> int | None:
    """5 where the base picture is no picture without its grading, else 8; None without grading.

    FFmpeg's AVDOVIMetadata begins with the offset of its AVDOVIRpuDataHeader. Byte 4 of that is `vdr_rpu_profile`, byte
    10 `bl_video_full_range_flag`; FFmpeg itself takes 0 and 1 for profile 5 (libavcodec/dovi_rpu.c).
    """
    if raw is None or len(raw) < 8:
        return None
    (begin,) = struct.unpack_from("=Q", raw)
    header = raw[begin : begin + 11]
    return 5 if len(header) == 11 and header[4] == 0 and header[10] else 8


def _content_light(raw: bytes | None) -> ContentLight | None:
    if raw is None or len(raw) < 8:
        return None
    pixel, average = struct.unpack("=2I", raw[:8])
    return ContentLight(pixel, average) if pixel or average else None
