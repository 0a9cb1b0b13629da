"""Interlaced frames made whole: one frame for each of the input, by FFmpeg's bwdif filter."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING

from sr_batch.videos.frames import Shown

if TYPE_CHECKING:
    from av.filter import Graph
    from av.video.frame import VideoFrame

__all__ = ["LEAD", "Deinterlace", "deinterlaced"]

LEAD = 1  # frames before the first one wanted that its result depends on


class Deinterlace(StrEnum):
    AUTO = "auto"  # frames that say they are interlaced; the others stay as they are
    REFUSE = "refuse"  # such a video is not upscaled


def deinterlaced(frames: Iterable[Shown]) -> Iterator[Shown]:
    """The same number of frames at the same times. The filter looks at a frame's neighbours: it is one frame late."""
    waiting: deque[Shown] = deque()
    graph: Graph | None = None

    def ready() -> Iterator[Shown]:
        assert graph is not None
        while waiting:
            try:
                frame = graph.vpull()
            except (BlockingIOError, EOFError):  # PyAV's own are these too
                return
            yield replace(waiting.popleft(), frame=frame)

    for count, shown in enumerate(frames):
        graph = graph or _graph(shown.frame)
        waiting.append(shown)
        # Frames are matched by their order: a repeated one has the time of another, whoever reads on needs it again.
        own = shown.frame.pts, shown.frame.time_base
        shown.frame.pts, shown.frame.time_base = count, Fraction(1, 1000)
        graph.vpush(shown.frame)
        shown.frame.pts, shown.frame.time_base = own
        yield from ready()
    if graph is not None:
        graph.vpush(None)
        yield from ready()
    assert not waiting, "bwdif gives a frame for each"


def _graph(first: VideoFrame) -> Graph:
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=Fraction(1, 1000))
    bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph
