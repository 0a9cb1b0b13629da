"""One device's share of a video on a cluster: an engine, and the segments that it makes.

Runs in a Ray actor; knows no Ray. Paths and the video's facts come, what is told of a finished part goes.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sr_batch.cluster_worker import EngineSource
from sr_batch.errors import UnwritableVideo
from sr_batch.upscale import Counts
from sr_batch.videos.inference import Network
from sr_batch.videos.parts import Part
from sr_batch.videos.segments import Segments
from sr_batch.videos.upscaling import VideoTask, make_segment

__all__ = ["MadeSegment", "SegmentWorker", "ffmpeg_version"]


@dataclass(frozen=True)
class MadeSegment:
    part: Part | None  # None: there was no frame
    seen: Counts  # by the engine


def ffmpeg_version() -> str:
    """Of PyAV and its libraries: parts of different ones may not join."""
    import av

    return f"{av.__version__} {sorted(av.library_versions.items())}"


class SegmentWorker:
    """`make` is called for one segment at a time; the others at any time."""

    def __init__(self, source: EngineSource, threads: int | None) -> None:
        """Opens the engine. Raises SRError when it cannot be had here."""
        self._stream, self._guard = source.open(ExitStack(), threads)  # until the process ends
        self._frames = 0

    def make(self, task: VideoTask, frames: range, folder: Path, suffix: str, version: str) -> MadeSegment:
        """These frames of a result as a part in `folder`, unless it is there. `version`: the driver's ffmpeg_version.

        Raises what make_segment raises.
        """
        if version != ffmpeg_version():
            raise UnwritableVideo(
                f"{self.where()[0]} has PyAV {ffmpeg_version()}, the machine of the command {version}; "
                "install the same on all machines"
            )
        segments, counts = Segments(folder), Counts()
        if (part := segments.find(frames)) is not None:
            return MadeSegment(part, counts)
        self._frames = 0
        network = Network(self._stream, "", self._guard, counts)  # its key is for the journal, which is the driver's

        def progress(done: int, _total: int) -> None:
            self._frames = max(0, done - frames.start)

        part = make_segment(task, network, frames, segments.new_file(frames, suffix), progress)
        if part is not None:
            segments.add(frames, part)
        self._frames = 0
        return MadeSegment(part, counts)

    def frames(self) -> int:
        """How many are done of the segment in work."""
        return self._frames

    def where(self) -> tuple[str, int]:
        """The machine and the process, for people and for tests."""
        return os.uname().nodename if hasattr(os, "uname") else "", os.getpid()
