"""The encoders of this toolkit's choice: what each is called, how it is set, what it can hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction

from sr_batch.videos.picture import ContentLight, MasteringDisplay

__all__ = [
    "CONTAINERS",
    "ENCODERS",
    "Codec",
    "Encoder",
    "Hardware",
    "codec_name",
    "encoder_of",
    "level_excess",
    "result_ending",
]


class Codec(StrEnum):
    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"
    VP9 = "vp9"
    PRORES = "prores"
    FFV1 = "ffv1"
    COPY = "copy-of-input"  # the input's, where it can be written and holds the picture


class Hardware(StrEnum):
    NONE = "none"  # software encoders: the smallest files for a quality
    AUTO = "auto"  # the first hardware encoder that opens here, else software; said
    NVENC = "nvenc"
    QSV = "qsv"
    VIDEOTOOLBOX = "videotoolbox"
    AMF = "amf"
    NVDEC_NVENC = "nvdec-nvenc"  # decoded, upscaled and encoded in the memory of one NVIDIA GPU


HdrParameters = Callable[[MasteringDisplay | None, ContentLight | None], list[str]]


@dataclass(frozen=True)
class Encoder:
    """One encoder of FFmpeg, and how it is set here."""

    name: str  # FFmpeg's
    codec: Codec
    formats: tuple[str, ...]  # pixel formats worth using; of formats with the same samples, the one to use
    hardware: Hardware = Hardware.NONE
    crf_option: str | None = None  # its constant-quality option; None: it has none
    crf: float | None = None  # our default: differences cannot be seen at the usual distance
    crf_most: float = 51  # the option's largest value; 0 is the smallest
    preset_option: str | None = None
    preset: str | None = None
    fixed: tuple[tuple[str, str], ...] = ()  # options that are always set
    parameters: str | None = None  # the option that takes the encoder's own settings, key=value joined by colons
    fixed_parameters: tuple[str, ...] = ()
    hdr: HdrParameters | None = field(default=None, compare=False)  # HDR10 metadata as own settings
    odd_sizes: bool = False  # 4:2:0 with an odd height or width


def _x265_display(display: MasteringDisplay | None, light: ContentLight | None) -> list[str]:
    return [
        *_integers("master-display", display),
        *_light("max-cll", light),
        *(["hdr10=1"] if display or light else []),
    ]


def _x264_display(display: MasteringDisplay | None, light: ContentLight | None) -> list[str]:
    return [*_integers("mastering-display", display), *_light("cll", light)]


def _integers(key: str, display: MasteringDisplay | None) -> list[str]:
    """As the SEI message has it: chromaticities in 1/50000, luminances in 1/10000 cd/m²."""
    if display is None:
        return []
    green, blue, red, white = (
        f"({round(x * 50000)},{round(y * 50000)})" for x, y in (display.green, display.blue, display.red, display.white)
    )
    luminance = f"({round(display.brightest * 10000)},{round(display.darkest * 10000)})"
    return [f"{key}=G{green}B{blue}R{red}WP{white}L{luminance}"]


def _svt_display(display: MasteringDisplay | None, light: ContentLight | None) -> list[str]:
    """SVT-AV1 takes decimal numbers and turns them into AV1's fixed point itself."""
    found = _light("content-light", light)
    if display is not None:
        green, blue, red, white, luminance = (
            f"({_decimal(x)},{_decimal(y)})"
            for x, y in (display.green, display.blue, display.red, display.white, (display.brightest, display.darkest))
        )
        found.append(f"mastering-display=G{green}B{blue}R{red}WP{white}L{luminance}")
    return found


def _decimal(value: Fraction) -> str:
    return f"{float(value):.6f}"


def _light(key: str, light: ContentLight | None) -> list[str]:
    return [] if light is None else [f"{key}={light.brightest_pixel},{light.brightest_frame_average}"]


COMMON = ("yuv420p", "yuv422p", "yuv444p")
DEEP = ("yuv420p10le", "yuv422p10le", "yuv444p10le")
TWELVE = ("yuv420p12le", "yuv422p12le", "yuv444p12le")
# Hardware, written from FFmpeg's documentation; none of it has run where this was written.
NVENC = Encoder(
    "h264_nvenc", Codec.H264, ("yuv420p", "yuv444p"), hardware=Hardware.NVENC,
    crf_option="cq", crf=19, preset_option="preset", preset="p5",
    fixed=(("rc", "vbr"), ("b", "0"), ("tune", "hq"), ("spatial-aq", "1")),
)  # fmt: skip
QSV = Encoder(
    "h264_qsv", Codec.H264, ("nv12",), hardware=Hardware.QSV,
    crf_option="global_quality", crf=19, preset_option="preset", preset="slow",
)  # fmt: skip
VIDEOTOOLBOX = Encoder(
    "h264_videotoolbox", Codec.H264, ("yuv420p",), hardware=Hardware.VIDEOTOOLBOX,
    fixed=(("flags", "+qscale"), ("global_quality", str(65 * 118))),  # quality 65 of 100, in FFmpeg's lambda units
)  # fmt: skip
AMF = Encoder(
    "h264_amf", Codec.H264, ("yuv420p",), hardware=Hardware.AMF,
    crf_option="qvbr_quality_level", crf=19, preset_option="quality", preset="quality", fixed=(("rc", "qvbr"),),
)  # fmt: skip

# In order of preference: a codec's first entry of a kind of hardware is the one that is used.
ENCODERS: tuple[Encoder, ...] = (
    Encoder(
        "libx264", Codec.H264, COMMON + DEEP,
        crf_option="crf", crf=17, preset_option="preset", preset="medium",
        parameters="x264-params", fixed_parameters=("open-gop=0",), hdr=_x264_display,
    ),
    Encoder(
        "libx265", Codec.HEVC, COMMON + DEEP + TWELVE,
        crf_option="crf", crf=19, preset_option="preset", preset="medium",
        # It writes to stderr itself, past FFmpeg's log.
        parameters="x265-params", fixed_parameters=("log-level=error", "open-gop=0"), hdr=_x265_display,
    ),
    Encoder(
        "libsvtav1", Codec.AV1, ("yuv420p", "yuv420p10le"),
        crf_option="crf", crf=24, crf_most=63, preset_option="preset", preset="6",
        parameters="svtav1-params", hdr=_svt_display, odd_sizes=True,
    ),
    Encoder(
        "libvpx-vp9", Codec.VP9, (*COMMON, "yuva420p"),
        crf_option="crf", crf=22, crf_most=63, preset_option="cpu-used", preset="3",
        # Alternate reference frames are refused where there is alpha.
        fixed=(("b", "0"), ("deadline", "good"), ("row-mt", "1"), ("tile-columns", "4"), ("auto-alt-ref", "0")),
        odd_sizes=True,
    ),
    Encoder(
        "prores_ks", Codec.PRORES, ("yuv422p10le", "yuv444p10le", "yuva444p10le"),
        preset_option="profile", fixed=(("vendor", "apl0"),),
    ),
    Encoder(
        "ffv1", Codec.FFV1,
        (*COMMON, *DEEP, *TWELVE, "yuv420p16le", "yuv422p16le", "yuv444p16le", "gray", "gray10le", "gray12le",
         "gray16le", "yuva420p", "yuva422p", "yuva444p", "yuva420p10le", "yuva422p10le", "yuva444p10le",
         "yuva444p12le", "yuva444p16le", "bgr0", "bgra", "gbrp10le", "gbrp12le", "gbrp16le", "gbrap10le",
         "gbrap12le", "gbrap16le"),
        fixed=(("level", "3"), ("g", "1"), ("slicecrc", "1"), ("slices", "16")), odd_sizes=True,
    ),
    NVENC,
    replace(NVENC, name="hevc_nvenc", codec=Codec.HEVC, formats=("yuv420p", "p010le", "yuv444p"), crf=21),
    replace(NVENC, name="av1_nvenc", codec=Codec.AV1, formats=("yuv420p", "p010le"), crf=26),
    QSV,
    replace(QSV, name="hevc_qsv", codec=Codec.HEVC, formats=("nv12", "p010le"), crf=20),
    replace(QSV, name="av1_qsv", codec=Codec.AV1, formats=("nv12", "p010le"), crf=24),
    VIDEOTOOLBOX,
    replace(VIDEOTOOLBOX, name="hevc_videotoolbox", codec=Codec.HEVC, formats=("yuv420p", "p010le")),
    AMF,
    replace(AMF, name="hevc_amf", codec=Codec.HEVC, formats=("yuv420p", "p010le"), crf=20),
    replace(AMF, name="av1_amf", codec=Codec.AV1, formats=("yuv420p", "p010le"), crf=24),
)  # fmt: skip


# What may be in which container, of what this toolkit writes.
CONTAINERS = {
    "mp4": (Codec.H264, Codec.HEVC, Codec.AV1, Codec.VP9),
    "mov": (Codec.H264, Codec.HEVC, Codec.PRORES, Codec.AV1),
    "mkv": (Codec.H264, Codec.HEVC, Codec.AV1, Codec.VP9, Codec.PRORES, Codec.FFV1),
    "webm": (Codec.VP9, Codec.AV1),
}


def codec_name(codec: str) -> str:
    """As people write it."""
    return {"h264": "H.264", "prores": "ProRes"}.get(codec, codec.upper())


def result_ending(codec: Codec, ending: str) -> str:
    """What the result's name ends in: the input's ending (".mp4") if the codec goes into it, else the nearest kin's."""
    container = {".m4v": "mp4"}.get(ending.lower(), ending.lower().removeprefix("."))
    if codec is Codec.COPY or container not in CONTAINERS or codec in CONTAINERS[container]:
        return ending
    kin = ("mp4", "mov", "mkv") if container in ("mp4", "mov") else ("mkv", "webm", "mov")
    return "." + next(name for name in kin if codec in CONTAINERS[name])


def encoder_of(codec: Codec, hardware: Hardware) -> Encoder | None:
    """The encoder of a codec on this hardware, whether or not this FFmpeg has it; None: there is none."""
    return next((e for e in ENCODERS if e.codec is codec and e.hardware is hardware), None)


@dataclass(frozen=True)
class _Level:
    name: str
    block: int  # pixels along a side of what is counted
    most: int  # blocks in a picture; a side has at most the root of 8 times that
    most_a_second: int


# H.264, table A-1; HEVC, tables A.8 and A.9; AV1, section A.3. H.264's levels 6 and above are hardly decoded anywhere.
LEVELS = {
    Codec.H264: _Level("5.2", 16, 36_864, 2_073_600),
    Codec.HEVC: _Level("6.2", 1, 35_651_584, 4_278_190_080),
    Codec.AV1: _Level("6.3", 1, 35_651_584, 4_706_009_088),
}


def level_excess(codec: Codec, height: int, width: int, rate: Fraction) -> str | None:
    """What of a video is above the codec's largest usual level, as half a sentence; None: nothing is."""
    level = LEVELS.get(codec)
    if level is None:
        return None
    rows, columns = -(-height // level.block), -(-width // level.block)
    size, speed = f"{width}x{height}", f"{width}x{height} at {float(rate):g} frames a second"
    if rows * columns > level.most or max(rows, columns) ** 2 > 8 * level.most:
        return f"{size} is above level {level.name}, the largest that players decode"
    if rows * columns * rate > level.most_a_second:
        return f"{speed} is above level {level.name}, the largest that players decode"
    return None
