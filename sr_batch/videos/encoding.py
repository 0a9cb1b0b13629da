"""Options, the picture and the container become one frozen plan: which encoder, how set, and what must be said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from sr_batch.videos.codecs import CONTAINERS, Codec, Encoder, Hardware, codec_name, encoder_of, level_excess
from sr_batch.videos.lookahead import lookahead_parameters
from sr_batch.videos.picture import ChromaSiting, Colour, Matrix, Picture, Samples
from sr_batch.videos.pixel_formats import ALPHA, lost, nearest_format, wanted_format
from sr_batch.videos.trial import hush, refusal
from sr_train.errors import UsageError

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = [
    "Codec",
    "EncoderPlan",
    "EncodingOptions",
    "Hardware",
    "Output",
    "add_video_stream",
    "last_packets",
    "plan_encoding",
]

# FFmpeg's names of codecs whose successor is meant.
SOURCES = {
    **{codec.value: codec for codec in Codec if codec is not Codec.COPY},
    "vp8": Codec.VP9,
    "dnxhd": Codec.PRORES,
}
HARDWARE_ORDER = (Hardware.NVENC, Hardware.VIDEOTOOLBOX, Hardware.QSV, Hardware.AMF)
PRORES_PROFILES = ("proxy", "lt", "standard", "hq", "4444", "4444xq")


@dataclass(frozen=True)
class EncodingOptions:
    codec: Codec = Codec.COPY
    crf: float | None = None  # quality in the encoder's own measure, lower is better; None: our default of the codec
    preset: str | None = None  # the encoder's own name; ProRes: its profile; VP9: 0 to 5
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
    colour: Colour  # of the frames that are encoded
    pixel_aspect: Fraction | None
    display_matrix: tuple[int, ...] | None
    time_base: Fraction
    rate: Fraction
    notes: tuple[str, ...] = ()  # sentences for the user: what is not as in the input, and why


def plan_encoding(options: EncodingOptions, picture: Picture, output: Output) -> EncoderPlan:
    """The encoder for this video, tried out. UsageError, with the fix, where the options cannot be followed here."""
    notes: list[str] = []
    codec = _copied_codec(picture, output, notes) if options.codec is Codec.COPY else options.codec
    if codec not in CONTAINERS[output.container]:
        fitting = next(name for name in ("mov", "mkv", "webm", "mp4") if codec in CONTAINERS[name])
        raise UsageError(
            f"{codec_name(codec)} does not go into .{output.container}: name an output ending in .{fitting}"
        )
    encoder, samples = _encoder(options, codec, picture, output, notes)
    if excess := level_excess(codec, output.height, output.width, output.rate):
        notes.append(f"{codec_name(codec)}: {excess}")
    plan = EncoderPlan(
        codec=codec,
        encoder=encoder.name,
        pixel_format="cuda" if options.hardware is Hardware.NVDEC_NVENC else samples.name,
        options=_options(encoder, options, samples, picture, output),
        codec_tag="hvc1" if codec is Codec.HEVC and output.container in ("mp4", "mov") else None,
        height=output.height,
        width=output.width,
        colour=_colour(picture, samples),
        pixel_aspect=picture.pixel_aspect,
        display_matrix=picture.display_matrix,
        time_base=output.time_base,
        rate=output.rate,
        notes=(*notes, *_lost_metadata(encoder, picture)),
    )
    if (words := refusal(plan.encoder, samples.name, dict(plan.options))) is not None:
        raise UsageError(f"{plan.encoder} does not open with {_settings(options)}: {words}; choose another, or none")
    return plan


def add_video_stream(container: OutputContainer, plan: EncoderPlan) -> VideoStream:
    """A stream of this plan in an open output container, its encoder not opened yet."""
    hush(plan.encoder)
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


def last_packets(stream: VideoStream, frames: int) -> list[Packet[VideoStream]]:
    """What the encoder still holds, after so many frames.

    x265 holds two frames back, and gives senseless decoding times to a video that has no more.
    """
    packets = stream.encode(None)
    if frames <= 2:
        for packet in packets:
            packet.dts = packet.pts
    return packets


def _copied_codec(picture: Picture, output: Output, notes: list[str]) -> Codec:
    """The input's codec, or the first that can hold the picture; where none can, the input's."""
    wanted = _source_codec(output)
    if wanted is not None and (reason := _unfit(wanted, picture, output)) is None:
        return wanted
    reason = f"{output.source_codec} video is not written" if wanted is None else reason
    others = (Codec.H264, Codec.HEVC, Codec.AV1, Codec.VP9, Codec.PRORES)
    if picture.samples.alpha:
        others = (Codec.VP9, Codec.PRORES, Codec.H264, Codec.HEVC, Codec.AV1)
    found = next((codec for codec in others if _unfit(codec, picture, output) is None), None)
    if found is None and wanted is not None and wanted in CONTAINERS[output.container]:
        return wanted
    found = found or next(codec for codec in (Codec.HEVC, Codec.AV1) if codec in CONTAINERS[output.container])
    notes.append(f"{codec_name(found)} instead of {codec_name(wanted or output.source_codec)}: {reason}")
    return found


def _unfit(codec: Codec, picture: Picture, output: Output) -> str | None:
    """Why `copy-of-input` does not take this codec; None: it is fit."""
    if codec not in CONTAINERS[output.container]:
        return f"it does not go into .{output.container}"
    if excess := level_excess(codec, output.height, output.width, output.rate):
        return excess
    encoder = encoder_of(codec, Hardware.NONE)
    assert encoder is not None, codec
    target = nearest_format(encoder, picture.samples, (output.height, output.width))
    if ALPHA in lost(picture.samples, target):
        return f"{encoder.name} cannot keep the {ALPHA}"
    # 12 bits in 10 is what a codec of the same kind does; 10 in 8 is banding.
    if target.depth < min(10, picture.samples.depth):
        return f"{encoder.name} has {target.depth} bits only"
    return None


def _source_codec(output: Output) -> Codec | None:
    """What the input is encoded with, if it can be written; FFV1 for what is lossless and nothing else."""
    from av.codec.codec import Codec as AvCodec
    from av.codec.codec import UnknownCodecError

    if output.source_codec in SOURCES:
        return SOURCES[output.source_codec]
    try:
        codec = AvCodec(output.source_codec, "r")
    except UnknownCodecError:
        return None
    return Codec.FFV1 if codec.lossless and not codec.lossy else None


def _encoder(
    options: EncodingOptions, codec: Codec, picture: Picture, output: Output, notes: list[str]
) -> tuple[Encoder, Samples]:
    """The encoder on the hardware that is wanted, and its pixel format; software where `auto` finds none."""
    if options.hardware is Hardware.NONE:
        return _software(options, codec, picture, output, notes)
    if options.hardware is Hardware.NVDEC_NVENC:
        return _resident(options, codec, picture, notes)
    reasons = []
    for kind in HARDWARE_ORDER if options.hardware is Hardware.AUTO else (options.hardware,):
        encoder = encoder_of(codec, kind)
        if encoder is None:
            reasons.append(f"{kind} has no encoder for {codec_name(codec)}")
            continue
        samples = _samples(encoder, options, picture, output)
        missing = lost(picture.samples, samples)
        # Taking it silently would be lower quality behind the user's back; naming the pixel format is asking for it.
        if missing and options.pixel_format is None:
            reasons.append(f"{encoder.name} cannot keep the {missing[0]} (--pix-fmt {samples.name} accepts that)")
        elif (words := refusal(encoder.name, samples.name, dict(encoder.fixed))) is not None:
            reasons.append(f"{encoder.name}: {words}")
        else:
            notes.append(f"encoded by {encoder.name}")
            return encoder, samples
    if options.hardware is not Hardware.AUTO:
        raise UsageError(f"--hw {options.hardware} cannot be used here ({'; '.join(reasons)}): leave it out")
    notes.append(f"no hardware encoder ({'; '.join(reasons)})")
    return _software(options, codec, picture, output, notes)


def _resident(options: EncodingOptions, codec: Codec, picture: Picture, notes: list[str]) -> tuple[Encoder, Samples]:
    """NVENC, from frames as NVDEC gives them: the two formats whose planes a GPU's memory shares with torch."""
    encoder, samples = encoder_of(codec, Hardware.NVENC), picture.samples
    held = Samples.named("p010le" if samples.depth == 10 else "nv12")
    if options.pixel_format is not None:
        reason: str | None = "it has its own pixel formats, and --pix-fmt none"
    elif encoder is None:
        reason = f"NVENC has no encoder for {codec_name(codec)}"
    elif samples.subsampling != (2, 2) or samples.alpha or samples.grey or samples.depth not in (8, 10):
        reason = f"only 4:2:0 of 8 and 10 bits stays on the GPU, not {samples.name}"
    elif picture.height % 2 or picture.width % 2:
        reason = f"only even sizes stay on the GPU, not {picture.width}x{picture.height}"
    elif picture.interlaced:
        reason = "the deinterlacer works on the processor"
    elif held.depth == 10 and codec is Codec.H264:
        reason = "h264_nvenc has 8 bits only: --codec hevc has 10"
    else:
        reason = refusal(encoder.name, held.name, dict(encoder.fixed))
    if reason is not None or encoder is None:
        raise UsageError(f"--hw nvdec-nvenc cannot be used for this video ({reason}): leave it out")
    notes.append(f"decoded, upscaled and encoded on the GPU ({encoder.name})")
    return encoder, held


def _software(
    options: EncodingOptions, codec: Codec, picture: Picture, output: Output, notes: list[str]
) -> tuple[Encoder, Samples]:
    encoder = encoder_of(codec, Hardware.NONE)
    assert encoder is not None, codec
    samples = _samples(encoder, options, picture, output)
    notes.extend(f"{encoder.name} cannot keep the {name} ({samples.name})" for name in lost(picture.samples, samples))
    return encoder, samples


def _samples(encoder: Encoder, options: EncodingOptions, picture: Picture, output: Output) -> Samples:
    size = (output.height, output.width)
    if options.pixel_format is not None:
        return wanted_format(encoder, options.pixel_format, size)
    return nearest_format(encoder, picture.samples, size)


def _options(
    encoder: Encoder, options: EncodingOptions, samples: Samples, picture: Picture, output: Output
) -> tuple[tuple[str, str], ...]:
    """FFmpeg's options of the encoder, the general ones with its own."""
    found = dict(encoder.fixed)
    if options.crf is not None and encoder.crf_option is None:
        why = "is lossless" if encoder.codec is Codec.FFV1 else "has no such setting"
        raise UsageError(f"--crf is not for {encoder.name}, which {why}: leave it out")
    if options.crf is not None and not 0 <= options.crf <= encoder.crf_most:
        raise UsageError(f"--crf {options.crf:g} is not from 0 to {encoder.crf_most:g}, as {encoder.name} takes it")
    crf = encoder.crf if options.crf is None else options.crf
    if encoder.crf_option is not None and crf is not None:
        found[encoder.crf_option] = f"{crf:g}"
    if options.preset is not None and encoder.preset_option is None:
        raise UsageError(f"--preset is not for {encoder.name}: leave it out")
    preset = options.preset or encoder.preset
    if encoder.codec is Codec.PRORES:
        preset = _prores_profile(options.preset, samples)
    if encoder.preset_option is not None and preset is not None:
        found[encoder.preset_option] = preset
    if samples.subsampling != (1, 1):
        found["chroma_sample_location"] = picture.colour.siting.value
    own = [*encoder.fixed_parameters]
    own += lookahead_parameters(encoder.name, preset, samples, (output.height, output.width))
    if encoder.hdr is not None and samples.depth > 8:
        own += encoder.hdr(picture.mastering_display, picture.content_light)
    if encoder.parameters is not None and own:
        found[encoder.parameters] = ":".join(own)
    return tuple(sorted(found.items()))


def _prores_profile(wanted: str | None, samples: Samples) -> str:
    full_chroma = samples.subsampling == (1, 1)
    profile = wanted or ("4444" if full_chroma else "hq")
    if profile not in PRORES_PROFILES:
        raise UsageError(f"--preset {profile} is not a ProRes profile: use one of {', '.join(PRORES_PROFILES)}")
    if full_chroma is not profile.startswith("4444"):
        needed = "4444 or 4444xq" if full_chroma else "proxy, lt, standard or hq"
        raise UsageError(f"ProRes {profile} does not hold {samples.name}: use --preset {needed}")
    return profile


def _colour(picture: Picture, target: Samples) -> Colour:
    """The input's; RGB that becomes YUV gets the matrix of its primaries, limited, and the other way round."""
    if picture.samples.rgb and not target.rgb:
        matrix = Matrix.BT2020 if picture.colour.primaries == 9 else Matrix.BT709
        return replace(picture.colour, matrix=matrix, full_range=False, siting=ChromaSiting.LEFT)
    if target.rgb and not picture.samples.rgb:
        return replace(picture.colour, matrix=Matrix.RGB, full_range=True)
    return picture.colour


def _lost_metadata(encoder: Encoder, picture: Picture) -> list[str]:
    notes = []
    if (picture.mastering_display or picture.content_light) and encoder.hdr is None:
        notes.append(f"{encoder.name} does not write the HDR10 mastering display and light level: --codec hevc does")
    if picture.dynamic_hdr:
        notes.append(
            f"the frame-by-frame grading ({', '.join(picture.dynamic_hdr)}) is not carried, the base picture is"
        )
    if picture.captions:
        notes.append("closed captions inside the pictures are not carried: extract them first (ccextractor)")
    return notes


def _settings(options: EncodingOptions) -> str:
    said = [("--preset", options.preset), ("--pix-fmt", options.pixel_format)]
    if options.crf is not None:
        said.append(("--crf", f"{options.crf:g}"))
    return " ".join(f"{key} {value}" for key, value in said if value is not None) or "these settings"
