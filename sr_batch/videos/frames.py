"""The frames of a video, decoded in order, each in its place on the timeline; none is lost.

A frame that cannot be decoded is shown as the one before it (the first ones: as the one after), or ends the job.
A frame that the decoder had to conceal damage in is used as it is, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from sr_batch.errors import UnreadableVideo
from sr_batch.videos.codecs import Hardware
from sr_batch.videos.decoding import decoder_of
from sr_batch.videos.timeline import Placing, Timeline

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["BadFrame", "OnBadFrame", "Shown", "first_frame", "read_frames"]

# Frames decoded before the first one wanted.
LEAD = 4


class OnBadFrame(StrEnum):
    REPEAT = "repeat"
    FAIL = "fail"


class BadFrame(StrEnum):
    """What is wrong with a frame that is shown."""

    REPEATED = "repeated"  # could not be decoded: this is another one in its place
    DAMAGED = "damaged"  # decoded in part; the decoder guessed the rest


@dataclass(frozen=True)
class Shown:
    """A frame in its place. The decoder's picture belongs to whoever gets it."""

    index: int  # from 0 at the video's first frame
    pts: int  # ticks of the timeline
    duration: int  # ticks
    frame: VideoFrame
    bad: BadFrame | None = None


def first_frame(container: InputContainer, stream: VideoStream) -> VideoFrame:
    """The first frame that can be decoded: it knows more than the header. Moves the reading position.

    Raises UnreadableVideo when there is none.
    """
    for item in _decoded(container, stream):
        if not isinstance(item, _Lost):
            return item
    raise UnreadableVideo("holds no frame that can be decoded: it is damaged, or encrypted")


def read_frames(
    container: InputContainer,
    stream: VideoStream,
    timeline: Timeline,
    start: int = 0,
    on_bad_frame: OnBadFrame = OnBadFrame.REPEAT,
    hardware: Hardware = Hardware.NONE,
) -> Iterator[Shown]:
    """The frames from index `start` on, in order. The container must be freshly opened, and is read by nobody else.

    Raises UnreadableVideo for a bad frame under FAIL, and when no frame at all can be decoded.
    """
    placed = _place(_decoded(container, stream, _decoding_start(timeline, start), hardware), timeline, start)
    for shown in placed:
        if shown.bad is not None and on_bad_frame is OnBadFrame.FAIL:
            what = "cannot be decoded" if shown.bad is BadFrame.REPEATED else "is damaged"
            raise UnreadableVideo(
                f"frame {shown.index} (at {float(shown.pts * timeline.time_base):.3f} s) {what}; "
                "--on-bad-frame repeat goes on with the frame before it"
            )
        yield shown


@dataclass(frozen=True)
class _Lost:
    """The decoder gave an error instead of a frame."""


def _decoding_start(timeline: Timeline, start: int) -> int | None:
    """The time to seek to, so that every frame from `start` on can be decoded; None: the beginning.

    One keyframe further back than it seems needed: frames just behind an open one refer to what is before it.
    """
    if timeline.placing is not Placing.BY_TIME or start <= LEAD:
        return None
    wanted = timeline.pts[start - LEAD]
    before = int(np.searchsorted(timeline.decodable, wanted, side="right")) - 2
    return int(timeline.decodable[before]) if before > 0 else None


def _decoded(
    container: InputContainer, stream: VideoStream, seek_to: int | None = None, hardware: Hardware = Hardware.NONE
) -> Iterator[VideoFrame | _Lost]:
    """What the decoder gives, in its order. A file that ends badly just ends: the timeline knows what is missing."""
    from av.stream import Discard

    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    stream.thread_type = "AUTO"
    if seek_to is None:
        yield from _decode_on(container, stream, hardware)
        return
    container.seek(seek_to, stream=stream, backward=True)
    decoded = _decode_on(container, stream, hardware)
    first = next((item for item in decoded if not isinstance(item, _Lost)), None)
    if first is None or first.pts is None or first.pts > seek_to:  # a bad index: everything is decoded then
        container.seek(0, backward=True)
        yield from _decode_on(container, stream, hardware)
        return
    yield first
    yield from decoded


def _decode_on(container: InputContainer, stream: VideoStream, hardware: Hardware) -> Iterator[VideoFrame | _Lost]:
    from av.error import FFmpegError

    packets = container.demux(stream)
    decoder = decoder_of(stream, hardware)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            packet = None  # reading stops here; what the decoder still holds comes out
            yield from _flushed(decoder)
        if packet is None:
            return
        try:
            yield from decoder.decode(packet)
        except FFmpegError:
            yield _Lost()


def _flushed(decoder: VideoCodecContext) -> Iterator[VideoFrame | _Lost]:
    from av.error import FFmpegError

    try:
        yield from decoder.decode(None)
    except FFmpegError:
        yield _Lost()


def _place(decoded: Iterator[VideoFrame | _Lost], timeline: Timeline, start: int) -> Iterator[Shown]:
    match timeline.placing:
        case Placing.BY_TIME:
            return _by_time(decoded, timeline, start)
        case Placing.IN_ORDER:
            return _in_order(decoded, timeline, start)
        case Placing.FREE:
            return _free(decoded, timeline, start)


def _by_time(decoded: Iterator[VideoFrame | _Lost], timeline: Timeline, start: int) -> Iterator[Shown]:
    """Each time of the timeline gets a frame: its own, or for want of it the one before (the first: the one after)."""
    place, latest = start, None
    for frame in decoded:
        if isinstance(frame, _Lost) or frame.pts is None:
            continue
        if place == len(timeline):
            return
        if frame.pts < timeline.pts[place]:
            latest = frame
            continue
        while place < len(timeline) and timeline.pts[place] < frame.pts:
            yield _shown(place, timeline, latest or frame, BadFrame.REPEATED)
            place += 1
        if place < len(timeline):
            yield _shown(place, timeline, frame, _damage(frame))
            place += 1
        latest = frame
    while place < len(timeline):
        yield _shown(place, timeline, _at_least_one(latest), BadFrame.REPEATED)
        place += 1


def _in_order(decoded: Iterator[VideoFrame | _Lost], timeline: Timeline, start: int) -> Iterator[Shown]:
    place, lost, latest = 0, 0, None
    for frame in decoded:
        if isinstance(frame, _Lost):
            lost += 1
            continue
        for _ in range(lost):
            if start <= place < len(timeline):
                yield _shown(place, timeline, latest or frame, BadFrame.REPEATED)
            place += 1
        if start <= place < len(timeline):
            yield _shown(place, timeline, frame, _damage(frame))
        place, lost, latest = place + 1, 0, frame
    for missing in range(max(place, start), len(timeline)):
        yield _shown(missing, timeline, _at_least_one(latest), BadFrame.REPEATED)


def _free(decoded: Iterator[VideoFrame | _Lost], timeline: Timeline, start: int) -> Iterator[Shown]:
    """Frames at their own times; after an error, the times in between that had a packet get the frame before."""
    place, errors, latest, at = 0, 0, None, None
    for frame in decoded:
        if isinstance(frame, _Lost):
            errors += 1
            continue
        if latest is not None and at is not None:
            pts = frame.pts if frame.pts is not None and frame.pts > at else at + max(1, latest.duration)
            between = timeline.pts[(timeline.pts > at) & (timeline.pts < pts)] if errors else ()
            times = [at, *(int(time) for time in between), pts]
            for index, time in enumerate(times[:-1]):
                if place >= start:
                    bad = BadFrame.REPEATED if index else _damage(latest)
                    yield Shown(place, time, times[index + 1] - time, latest, bad)
                place += 1
            errors, at = 0, pts
        else:
            at = frame.pts if frame.pts is not None else int(timeline.pts[0])
        latest = frame
    last = _at_least_one(latest)
    assert at is not None
    if place >= start:
        yield Shown(place, at, last.duration or int(timeline.durations[-1]) or 1, last, _damage(last))


def _shown(place: int, timeline: Timeline, frame: VideoFrame, bad: BadFrame | None) -> Shown:
    return Shown(place, int(timeline.pts[place]), timeline.duration(place), frame, bad)


def _damage(frame: VideoFrame) -> BadFrame | None:
    return BadFrame.DAMAGED if frame.is_corrupt else None


def _at_least_one(latest: VideoFrame | None) -> VideoFrame:
    if latest is None:
        raise UnreadableVideo("holds no frame that can be decoded: it is damaged, or encrypted")
    return latest
