"""What goes with a video into its result: which streams are copied, which must be converted, which cannot be held.

Whether a container can hold a stream is asked of the container itself: a header with it is written to memory.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from sr_batch.videos.sound import sound_codec
from sr_batch.videos.source import is_cover

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

__all__ = ["MUXERS", "Carried", "Carrying", "How", "carried_metadata", "is_gap", "is_remade", "plan_carrying"]

MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
SAMPLES = ("matroska", "mov")  # hold sound as its plain samples, for players too
TEXT_SUBTITLES = {"mp4": "mov_text", "mov": "mov_text", "matroska": "srt", "webm": "webvtt"}
TIMECODE = "timecode"
COVER_TYPES = {"mjpeg": "image/jpeg", "png": "image/png", "bmp": "image/bmp", "webp": "image/webp"}

# Of the file that was, not of its content: the muxer writes its own.
CONTAINER_FACTS = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration"}
# Counted by mkvmerge from the packets that the video had.
STATISTICS = {"bps", "number_of_frames", "number_of_bytes", "alpha_mode"}  # of the pictures as they were
# What mp4 has boxes for (FFmpeg's movenc.c); others need the key-value form, which leaves no room for a cover.
MP4_TAGS = {
    "title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping",
    "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "season_number", "episode_sort",
    "media_type", "hd_video", "gapless_playback", "compilation", "track", "disc", "tmpo", "creation_time", "location",
    "rating", "performer",
}  # fmt: skip


class How(Enum):
    VIDEO = auto()  # the stream that is upscaled
    COPY = auto()
    ATTACH_COVER = auto()  # a cover picture becomes an attachment: Matroska's way of keeping covers
    CONVERT = auto()  # a text subtitle in the container's own format, sound that it cannot hold as its samples


@dataclass(frozen=True)
class Carried:
    index: int  # of the input's stream
    how: How
    codec: str = ""  # CONVERT: FFmpeg's name of the new one


@dataclass(frozen=True)
class Carrying:
    streams: tuple[Carried, ...]  # in the input's order, the video among them
    movflags: str  # of mp4 and mov
    notes: tuple[str, ...]  # sentences: what is converted or cannot be kept

    def copied(self) -> frozenset[int]:
        return frozenset(carried.index for carried in self.streams if carried.how is How.COPY)


def plan_carrying(container: InputContainer, video: Stream, muxer: str) -> Carrying:
    """What of `container` goes into a result made by `muxer` (a value of MUXERS)."""
    streams, notes = [], []
    for stream in container.streams:
        carried = Carried(stream.index, How.VIDEO) if stream.index == video.index else _carried(stream, muxer)
        if carried is None:
            if not is_remade(stream, muxer):
                notes.append(f"{_named(stream)} is left out: {muxer} cannot hold it")
            continue
        if carried.how is How.CONVERT:
            notes.append(f"{_named(stream)} becomes {carried.codec}, which {muxer} can hold")
        streams.append(carried)
    movflags, lost = _movflags(container, [container.streams[c.index] for c in streams], muxer)
    if lost:
        notes.append(f"these tags are left out, {muxer} cannot hold them beside a cover: {', '.join(lost)}")
    return Carrying(tuple(streams), movflags, tuple(notes))


def is_gap(packet: Packet[Any]) -> bool:
    """An empty mp4 subtitle, which only says that nothing is shown: each muxer writes its own between the others."""
    return packet.size == 2 and getattr(packet.stream.codec_context, "name", "") == "mov_text"


def carried_metadata(metadata: Mapping[str, str], *, changed: bool) -> dict[str, str]:
    """What is still true of the result. `changed`: of a stream that was upscaled, whose statistics are not."""
    left_out = CONTAINER_FACTS | STATISTICS if changed else CONTAINER_FACTS
    return {
        key: value
        for key, value in metadata.items()
        if key.lower().split("-")[0] not in left_out and not (changed and key.lower().startswith("_statistics"))
    }


def is_remade(stream: Stream, muxer: str) -> bool:
    """QuickTime's tracks for the names of chapters and for the timecode: carried as chapters, and as a tag.

    The muxer makes them anew.
    """
    return (
        muxer in ("mp4", "mov") and stream.type == "data" and (stream.name == "bin_data" or TIMECODE in stream.metadata)
    )


def _carried(stream: Stream, muxer: str) -> Carried | None:
    if is_remade(stream, muxer):
        return None
    if is_cover(stream) and muxer == "matroska":
        return Carried(stream.index, How.ATTACH_COVER)
    if _holds(muxer, stream):
        return Carried(stream.index, How.COPY)
    context: object = stream.codec_context
    if stream.type == "audio" and muxer in SAMPLES and context is not None:
        return Carried(stream.index, How.CONVERT, sound_codec(stream))
    new = TEXT_SUBTITLES[muxer]
    if stream.type == "subtitle" and _is_text(stream) and _has_encoder(new):
        return Carried(stream.index, How.CONVERT, new)
    return None


def _holds(muxer: str, stream: Stream) -> bool:
    import av

    try:
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            trial.add_stream_from_template(stream, opaque=True)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _is_text(stream: Stream) -> bool:
    names = ("srt", "subrip", "ass", "ssa", "mov_text", "webvtt", "text")
    context: object = stream.codec_context
    return context is not None and stream.codec_context.name in names


def _has_encoder(name: str) -> bool:
    import av
    from av.codec.codec import UnknownCodecError

    try:
        av.Codec(name, "w")
    except UnknownCodecError:
        return False
    return True


def _named(stream: Stream) -> str:
    context: object = stream.codec_context
    codec = f" ({stream.codec_context.name})" if context is not None else ""
    return f"{stream.type} stream {stream.index}{codec}"


def _movflags(container: InputContainer, streams: list[Stream], muxer: str) -> tuple[str, list[str]]:
    """The flags, and the tags that are lost."""
    own = sorted(k for k in carried_metadata(container.metadata, changed=True) if k.lower() not in MP4_TAGS)
    if muxer not in ("mp4", "mov") or not own:
        return "+faststart", []
    if any(is_cover(stream) for stream in streams):
        return "+faststart", own
    return "+faststart+use_metadata_tags", []
