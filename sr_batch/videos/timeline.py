"""When each frame of a video is shown, read from its packets without decoding anything.

Times are ticks of the stream's own time base, a rational; nothing is ever a float. The timeline is what the result is
measured against: as many frames, each at the same time.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from enum import Enum, auto
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sr_batch.errors import UnreadableVideo
from sr_batch.videos.source import no_longer_readable, rational

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

__all__ = ["Placing", "Timeline", "read_timeline"]

Ticks = NDArray[np.int64]

WHOLE_FRAMES = ("mov", "mp4", "matroska", "webm")  # containers that store a frame as one packet, with its time
IN_ORDER = ("avi",)  # has no times at all: its frames follow each other at the packets' pace
SHORT_BY = Fraction(1, 2)  # seconds that may be missing at the end before a file counts as cut off


class Placing(Enum):
    """How decoded frames find their place on the timeline."""

    BY_TIME = auto()  # each packet's time is that of one frame: a time without a frame is a frame that was lost
    IN_ORDER = auto()  # the n-th frame takes the n-th time
    FREE = auto()  # a packet may be a part of a frame: frames bring their own times, and their number is not known


@dataclass(frozen=True)
class Timeline:
    """The frames' times in the order in which they are shown; strictly increasing."""

    time_base: Fraction  # seconds a tick
    pts: Ticks
    durations: Ticks  # ticks; 0: not said
    decodable: Ticks  # times of the frames that decoding can begin at
    placing: Placing
    warnings: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.pts)

    def seconds(self) -> Fraction:
        """From the first frame's begin to the last one's end."""
        return (int(self.pts[-1] - self.pts[0]) + self.duration(len(self) - 1)) * self.time_base

    def duration(self, index: int) -> int:
        """Of a frame, in ticks: until the next one; for the last as it says, else as long as the one before."""
        if index + 1 < len(self):
            return int(self.pts[index + 1] - self.pts[index])
        if said := int(self.durations[index]):
            return said
        return int(self.pts[index] - self.pts[index - 1]) if index else 1

    def frames_between(self, start: Fraction | None, end: Fraction | None) -> range:
        """Indices of the frames shown at `start` <= time < `end`, in seconds from the first frame."""
        times = (self.pts - self.pts[0]).tolist()
        first = 0 if start is None else bisect_left(times, start / self.time_base)
        stop = len(self) if end is None else bisect_left(times, end / self.time_base)
        return range(first, max(first, stop))


@dataclass
class _Scan:
    """What one pass over the packets has found."""

    pts: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    dts: list[int] = field(default_factory=list)
    decodable: list[int] = field(default_factory=list)
    packets: int = 0
    ends: dict[int, Fraction] = field(default_factory=dict)  # of each stream, in seconds
    problem: str = ""


def read_timeline(container: InputContainer, stream: VideoStream) -> Timeline:
    """The timeline of a stream; reads the whole file once. Moves the reading position.

    Packets that an edit list hides, and reference frames that are never shown (VP8), are no frames of the video.
    Raises UnreadableVideo when there is no frame.
    """
    from av.error import FFmpegError

    scan = _Scan()
    names = set(container.format.name.split(","))
    try:
        for packet in container.demux():
            _take(scan, packet, stream)
    except FFmpegError as error:
        scan.problem = str(no_longer_readable(error))
    time_base = rational(stream.time_base)
    if time_base is None or not scan.packets:
        raise UnreadableVideo("holds no video frame: it is damaged or incomplete; copy it again from where it came")
    if names & set(IN_ORDER) or len(scan.pts) < scan.packets // 2:
        placing, pts, durations = Placing.IN_ORDER, *_in_order(scan, stream, time_base)
    else:
        placing = Placing.BY_TIME if names & set(WHOLE_FRAMES) else Placing.FREE
        pts, durations = _sorted(scan.pts, scan.durations)
    if not len(pts):
        raise UnreadableVideo("holds no video frame that is shown: it is damaged or incomplete")
    warnings = _cut_off(scan, container, stream)
    return Timeline(time_base, pts, durations, np.unique(np.array(scan.decodable, np.int64)), placing, warnings)


def _take(scan: _Scan, packet: Packet[Stream], stream: VideoStream) -> None:
    base = rational(packet.time_base)
    if packet.pts is not None and base is not None:
        end = (packet.pts + (packet.duration or 0)) * base
        scan.ends[packet.stream_index] = max(end, scan.ends.get(packet.stream_index, end))
    if packet.stream_index != stream.index or not packet.size:
        return
    scan.packets += 1
    if packet.is_keyframe and packet.pts is not None:
        scan.decodable.append(packet.pts)
    if packet.is_discard or _is_hidden(packet, stream):
        return
    if packet.dts is not None:
        scan.dts.append(packet.dts)
    if packet.pts is not None:
        scan.pts.append(packet.pts)
        scan.durations.append(packet.duration or 0)


def _is_hidden(packet: Packet[Stream], stream: VideoStream) -> bool:
    """VP8 stores frames that are only referred to as packets: bit 4 of the first byte is `show_frame` (RFC 6386)."""
    return stream.codec_context.name in ("vp8", "libvpx") and not bytes(packet)[0] >> 4 & 1


def _sorted(pts: list[int], durations: list[int]) -> tuple[Ticks, Ticks]:
    """Two packets of one time are one frame (its two fields)."""
    times, first = np.unique(np.array(pts, np.int64), return_index=True)
    return times, np.array(durations, np.int64)[first]


def _in_order(scan: _Scan, stream: VideoStream, time_base: Fraction) -> tuple[Ticks, Ticks]:
    """Decoding times, which are the frames' pace where nothing else is stored; else the frame rate's."""
    if len(scan.dts) == scan.packets and all(a < b for a, b in pairwise(scan.dts)):
        times = np.array(scan.dts, np.int64)
    else:
        rate = rational(stream.average_rate) or rational(stream.guessed_rate) or Fraction(25)
        step = 1 / (rate * time_base)
        times = np.array([round(index * step) for index in range(scan.packets)], np.int64)
    return times, np.zeros(len(times), np.int64)


def _cut_off(scan: _Scan, container: InputContainer, stream: VideoStream) -> tuple[str, ...]:
    """A file that ends before its header says so is played without an error: this is where it is noticed."""
    if scan.problem:
        return (f"reading stops early: it {scan.problem}",)
    if stream.frames > scan.packets and container.format.name.startswith("mov"):
        return (f"the file is cut off: {scan.packets} of {stream.frames} frames are there",)
    end, said = max(scan.ends.values(), default=Fraction(0)), _said_end(container)
    if said is not None and end + SHORT_BY < said:
        return (f"the file is cut off: it ends after {float(end):.1f} of {float(said):.1f} s",)
    return ()


def _said_end(container: InputContainer) -> Fraction | None:
    """Where the header says that the file ends, in seconds."""
    if container.duration is None:
        return None
    start = container.start_time or 0
    return Fraction(container.duration + start, 1_000_000)
