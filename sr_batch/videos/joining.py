"""The finished parts joined into the result, without re-encoding, with all other streams of the input copied beside.

Parts give the encoded frames in decoding order; their times come from the journal. A frame's decoding time is the time
of the frame that is shown as many places earlier as the encoder reorders by.
"""

from __future__ import annotations

import heapq
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sr_batch.errors import UnwritableVideo
from sr_batch.videos.carrying import COVER_TYPES, MUXERS, Carrying, How, carried_metadata, is_gap
from sr_batch.videos.encoding import Codec, EncoderPlan
from sr_batch.videos.matroska import write_pixel_aspect
from sr_batch.videos.parts import Parts
from sr_batch.videos.sound import SoundConverter
from sr_batch.videos.source import is_cover, open_video, rational
from sr_batch.videos.subtitles import SubtitleConverter

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

__all__ = ["Excerpt", "join"]

LARGEST_TIMESCALE = 2**31 - 1


@dataclass(frozen=True)
class Excerpt:
    """The piece of the input that the result is of, in seconds of the input's own clock. Its begin becomes time 0."""

    start: Fraction
    end: Fraction | None  # None: to the end

    def covers(self, time: Fraction) -> bool:
        return self.start <= time and (self.end is None or time < self.end)


def join(
    source: Path,
    parts: Parts,
    plan: EncoderPlan,
    carrying: Carrying,
    result: Path,
    excerpt: Excerpt | None = None,
) -> None:
    """Write `result` (its suffix says the container): the parts' frames, and beside them what of `source` is
    carried. Raises UnwritableVideo, FFmpegError and OSError."""
    import av

    _refuse_without_room(parts, result.parent)
    pictures = _Pictures(parts, plan.time_base, excerpt)
    with ExitStack() as stack:
        container = stack.enter_context(open_video(source))
        first = stack.enter_context(av.open(str(parts.path(parts.finished[0]))))
        muxer = MUXERS[result.suffix.lower()]
        options = _muxer_options(container, carrying, muxer, plan, pictures, excerpt)
        output = stack.enter_context(av.open(str(result), "w", format=muxer, options=options))
        output.metadata.update(carried_metadata(container.metadata, changed=False))
        streams = _add_streams(output, container, first.streams.video[0], carrying, plan)
        if chapters := _chapters(container, excerpt):
            output.set_chapters(cast("Any", chapters))
        encoded = ((time, packet) for time, packet in pictures.packets(streams.video))
        others = _other_packets(container, streams, _unsaid_times(source, streams.copies), excerpt)
        for _, packet in heapq.merge(encoded, others, key=lambda item: item[0]):
            output.mux(packet)
        tracks = [stream.index for stream in output.streams if stream.type != "attachment"]
        track = tracks.index(streams.video.index)
    if muxer in ("matroska", "webm") and plan.pixel_aspect is not None and plan.pixel_aspect != 1:
        write_pixel_aspect(result, track, (plan.height, plan.width), plan.pixel_aspect)


def _refuse_without_room(parts: Parts, folder: Path) -> None:
    """Before all is copied: frames are as large in the result as in their parts, which stay until it is checked."""
    needed, free = sum(part.bytes for part in parts.finished), shutil.disk_usage(folder).free
    if free < needed:
        raise UnwritableVideo(
            f"no space left in {folder} to join the finished parts (at least {needed / 1e6:.1f} MB are needed, "
            f"{free / 1e6:.1f} are free); free some and run the same command again: nothing is computed again"
        )


@dataclass(frozen=True)
class _Streams:
    video: VideoStream
    copies: dict[int, Stream]  # by the input's index
    converted: dict[int, SubtitleConverter | SoundConverter]


Timed = tuple[Fraction, "Packet[Any]"]  # with its decoding time in seconds


class _Pictures:
    """The encoded frames of all parts, with their times put right."""

    def __init__(self, parts: Parts, time_base: Fraction, excerpt: Excerpt | None) -> None:
        self._parts, self._time_base = parts, time_base
        offset = 0 if excerpt is None else round(excerpt.start / time_base)
        self.pts = [pts - offset for part in parts.finished for pts in part.pts]
        self._durations = [duration for part in parts.finished for duration in part.durations]
        self._places = [part.first + rank for part in parts.finished for rank in _ranks(parts.path(part))]
        if len(self._places) != len(self.pts):
            raise UnwritableVideo(
                f"the finished parts have {len(self._places)} frames instead of {len(self.pts)}; "
                f"remove {parts.folder} and run again"
            )
        self._dts = _decoding_times(self.pts, self._places, self._durations[0] or 1)

    def packets(self, stream: VideoStream) -> Iterator[Timed]:
        import av

        index, extradata = 0, None
        for part in self._parts.finished:
            with av.open(str(self._parts.path(part))) as container:
                own = container.streams.video[0]
                extradata = extradata or own.codec_context.extradata
                if own.codec_context.extradata != extradata:
                    raise UnwritableVideo(
                        f"the finished parts are of encoders that differ; remove {self._parts.folder} and run again"
                    )
                for packet in container.demux(own):
                    if not packet.size:
                        continue
                    place = self._places[index]
                    packet.time_base = self._time_base
                    packet.pts, packet.dts = self.pts[place], self._dts[index]
                    packet.duration = self._durations[place]
                    packet.stream = stream
                    yield self._dts[index] * self._time_base, packet
                    index += 1


def _decoding_times(shown: Sequence[int], places: Sequence[int], step: int) -> list[int]:
    """For each packet, in decoding order. `shown`: the times in the order shown; `places`: of the packets in it.

    `step`: ticks between two packets before the first time.
    """
    delay = max(index - place for index, place in enumerate(places))
    return [shown[0] - (delay - index) * step for index in range(delay)] + list(shown)


def _ranks(part: Path) -> list[int]:
    """For each packet of a part, in decoding order: the place of its frame in the order shown."""
    import av

    with av.open(str(part)) as container:
        return _places([packet.pts or 0 for packet in container.demux(video=0) if packet.size])


def _places(pts: Sequence[int]) -> list[int]:
    """Of times in decoding order in the order shown."""
    order = np.argsort(np.array(pts, np.int64), kind="stable")
    ranks = np.empty(len(pts), np.int64)
    ranks[order] = np.arange(len(pts))
    return [int(rank) for rank in ranks]


def _muxer_options(
    container: InputContainer,
    carrying: Carrying,
    muxer: str,
    plan: EncoderPlan,
    pictures: _Pictures,
    excerpt: Excerpt | None,
) -> dict[str, str]:
    """So that every time is stored as it is."""
    if muxer not in ("mp4", "mov"):
        return {"avoid_negative_ts": "disabled"}  # no stream is moved for the sake of another
    options = {"movflags": carrying.movflags}
    bases = [rational(container.streams[c.index].time_base) for c in carrying.streams if c.how is not How.CONVERT]
    options["video_track_timescale"] = str(plan.time_base.denominator)
    # A stream that begins late waits in an "empty edit", counted in the movie's time scale: 1 ms unless said.
    # An excerpt's streams begin wherever their first packet in it is.
    if excerpt is not None or pictures.pts[0] or any((stream.start_time or 0) > 0 for stream in container.streams):
        options["movie_timescale"] = str(_common([1000, *(base.denominator for base in bases if base is not None)]))
    return options


def _common(scales: list[int]) -> int:
    """The least common multiple, as far as the field holds it."""
    common = scales[0]
    for scale in scales[1:]:
        together = math.lcm(common, scale)
        common = together if together <= LARGEST_TIMESCALE else common
    return common


def _add_streams(
    output: OutputContainer, container: InputContainer, encoded: VideoStream, carrying: Carrying, plan: EncoderPlan
) -> _Streams:
    """All streams of the result, in the input's order."""
    video: VideoStream | None = None
    copies: dict[int, Stream] = {}
    converted: dict[int, SubtitleConverter | SoundConverter] = {}
    for carried in carrying.streams:
        source = container.streams[carried.index]
        match carried.how:
            case How.VIDEO:
                new: Stream = output.add_stream_from_template(encoded, opaque=True)
                video = cast("VideoStream", new)
                _dress(video, plan)
                if plan.codec is Codec.VP9 and plan.pixel_format.startswith("yuva"):
                    video.metadata["alpha_mode"] = "1"  # else no decoder looks for the alpha channel
            case How.COPY:
                new = output.add_stream_from_template(source, opaque=True)
                copies[carried.index] = new
            case How.CONVERT:
                kind = SoundConverter if source.type == "audio" else SubtitleConverter
                converter = kind(output, source, carried.codec)
                converted[carried.index], new = converter, converter.stream
            case How.ATTACH_COVER:
                _attach_cover(output, container, source)
                continue
        new.metadata.update(carried_metadata(source.metadata, changed=carried.how is How.VIDEO))
        new.disposition = source.disposition
    assert video is not None
    return _Streams(video, copies, converted)


def _dress(stream: VideoStream, plan: EncoderPlan) -> None:
    """What the container says about the pictures; their colour comes with the parts."""
    context = stream.codec_context
    stream.time_base = plan.time_base
    context.framerate = plan.rate
    if plan.codec_tag is not None:
        context.codec_tag = plan.codec_tag
    if plan.pixel_aspect is not None:
        context.sample_aspect_ratio = plan.pixel_aspect
    if plan.display_matrix is not None:
        stream.set_display_matrix(plan.display_matrix)


def _attach_cover(output: OutputContainer, container: InputContainer, source: Stream) -> None:
    for packet in container.demux(source):
        if packet.size:
            kind = COVER_TYPES.get(source.codec_context.name, "image/jpeg")
            name = source.metadata.get("filename", f"cover.{kind.removeprefix('image/').replace('jpeg', 'jpg')}")
            output.add_attachment(name, source.metadata.get("mimetype", kind), bytes(packet))
            break
    container.seek(0)


def _chapters(container: InputContainer, excerpt: Excerpt | None) -> list[dict[str, Any]]:
    chapters: list[dict[str, Any]] = [dict(chapter) for chapter in container.chapters()]
    if excerpt is None:
        return chapters
    kept = []
    for chapter in chapters:
        base = rational(chapter["time_base"]) or Fraction(1)
        start, end = int(chapter["start"]) * base, int(chapter["end"]) * base
        last = end if excerpt.end is None else min(end, excerpt.end)
        if last > excerpt.start and start < last:
            chapter["start"] = round((max(start, excerpt.start) - excerpt.start) / base)
            chapter["end"] = round((last - excerpt.start) / base)
            kept.append(chapter)
    return kept


def _unsaid_times(source: Path, copies: Mapping[int, Stream]) -> dict[int, Iterator[int]]:
    """The decoding times of copied videos whose container does not store them all (Matroska), by the input's index."""
    pts: dict[int, list[int]] = {}
    unsaid: set[int] = set()
    with open_video(source) as container:
        streams = [container.streams[index] for index in sorted(copies)]
        videos = [stream for stream in streams if stream.type == "video" and not is_cover(stream)]
        for packet in container.demux(videos) if videos else ():
            if packet.size and packet.pts is not None:
                pts.setdefault(packet.stream_index, []).append(packet.pts)
                if packet.dts is None:
                    unsaid.add(packet.stream_index)
    times = {}
    for index in unsaid:
        shown = sorted(pts[index])
        step = shown[1] - shown[0] if len(shown) > 1 else 1
        times[index] = iter(_decoding_times(shown, _places(pts[index]), step))
    return times


def _other_packets(
    container: InputContainer, streams: _Streams, unsaid: Mapping[int, Iterator[int]], excerpt: Excerpt | None
) -> Iterator[Timed]:
    """The packets of all other streams, untouched but for where they go, in the file's order."""
    wanted = [container.streams[index] for index in (*streams.copies, *streams.converted)]
    if not wanted:
        return
    latest: dict[int, Fraction] = {}
    for packet in container.demux(wanted):
        base = rational(packet.time_base)
        if not packet.size or base is None or is_gap(packet):
            continue
        index = packet.stream_index
        if index in unsaid and packet.pts is not None:
            packet.dts = next(unsaid[index])
        elif packet.dts is None:  # a cover has no time; some containers do not store decoding times
            packet.dts = packet.pts = packet.pts or 0
        if excerpt is not None and not _move(packet, base, excerpt):
            continue
        time = max(packet.dts * base, latest.get(index, Fraction(-(2**62))))
        latest[index] = time
        if index in streams.copies:
            packet.stream = streams.copies[index]
            yield time, packet
        else:
            yield from ((time, new) for new in streams.converted[index].convert(packet))
    for index, converter in streams.converted.items():
        yield from ((latest.get(index, Fraction(0)), new) for new in converter.finish())


def _move(packet: Packet[Any], base: Fraction, excerpt: Excerpt) -> bool:
    """Move a packet to the excerpt's clock; False when it lies outside. A cover belongs to every excerpt."""
    if is_cover(packet.stream):
        return True
    pts = packet.pts if packet.pts is not None else packet.dts
    if pts is None or not excerpt.covers(pts * base):
        return False
    offset = round(excerpt.start / base)
    packet.pts = pts - offset
    packet.dts = (packet.dts if packet.dts is not None else pts) - offset
    return True
