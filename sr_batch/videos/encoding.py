"""Options, the picture and the container become one frozen plan: which encoder, how set, and what must be said."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from sr_batch.videos.picture import Colour, Picture

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

__all__ = ["Codec", "EncoderPlan", "EncodingOptions", "Hardware", "Output", "add_video_stream", "plan_encoding"]


class Codec(StrEnum):
    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"
    VP9 = "vp9"
    PRORES = "prores"
    FFV1 = "ffv1"
    COPY = "copy-of-input"  # the input's, where it can be written and the size is within its levels


class Hardware(StrEnum):
    NONE = "none"  # software encoders: the smallest files for a quality
    AUTO = "auto"  # the first hardware encoder that opens here, else software; said
    NVENC = "nvenc"
    QSV = "qsv"
    VIDEOTOOLBOX = "videotoolbox"
    AMF = "amf"


@dataclass(frozen=True)
class EncodingOptions:
    codec: Codec = Codec.COPY
    crf: float | None = None  # quality in the encoder's own measure, lower is better; None: our default of the codec
    preset: str | None = None  # the encoder's own name
    pixel_format: str | None = None  # FFmpeg's name; None: as the input's, as far as the codec can
    hardware: Hardware = Hardware.NONE


@dataclass(frozen=True)
class Output:
    """What is to be written."""

    container: str  # "mp4", "mov", "mkv" or "webm"
    height: int
    width: int
    time_base: Fraction  # the input stream's
    rate: Fraction  # frames a second, as the input says it on average
    source_codec: str  # FFmpeg's name of the input's codec: "h264"


@dataclass(frozen=True)
class EncoderPlan:
    """All that an encoder is opened with. Equal plans write segments that can be joined; `repr` names every part."""

    codec: Codec  # never COPY
    encoder: str  # FFmpeg's name: "libx265"
    pixel_format: str
    options: tuple[tuple[str, str], ...]
    codec_tag: str | None  # "hvc1", which Apple's players insist on
    height: int
    width: int
    colour: Colour
    pixel_aspect: Fraction | None
    display_matrix: tuple[int, ...] | None
    time_base: Fraction
    rate: Fraction
    notes: tuple[str, ...] = ()  # sentences for the user: what is not as in the input, and why


def plan_encoding(options: EncodingOptions, picture: Picture, output: Output) -> EncoderPlan:
    """The encoder for this video. UsageError, with the fix, where the options cannot be followed here."""
    return EncoderPlan(
        codec=Codec.H264,
        encoder="libx264",
        pixel_format="yuv420p10le" if picture.deep else "yuv420p",
        options=(("crf", f"{options.crf or 18:g}"), ("preset", options.preset or "medium")),
        codec_tag=None,
        height=output.height,
        width=output.width,
        colour=picture.colour,
        pixel_aspect=picture.pixel_aspect,
        display_matrix=picture.display_matrix,
        time_base=output.time_base,
        rate=output.rate,
    )


def add_video_stream(container: OutputContainer, plan: EncoderPlan) -> VideoStream:
    """A stream of this plan in an open output container, its encoder not opened yet."""
    stream = cast("VideoStream", container.add_stream(plan.encoder, rate=plan.rate, options=dict(plan.options)))
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = plan.width, plan.height, plan.pixel_format
    context.time_base = plan.time_base
    context.thread_type = "AUTO"
    if plan.codec_tag is not None:
        context.codec_tag = plan.codec_tag
    if plan.pixel_aspect is not None:
        context.sample_aspect_ratio = plan.pixel_aspect
    context.colorspace = plan.colour.matrix
    context.color_range = 2 if plan.colour.full_range else 1
    context.color_primaries = plan.colour.primaries
    context.color_trc = plan.colour.transfer
    if plan.display_matrix is not None:
        stream.set_display_matrix(plan.display_matrix)
    return stream
