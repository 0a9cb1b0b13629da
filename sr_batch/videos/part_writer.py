"""Frames into one finished part: an encoder of its own, so it begins at a keyframe and refers to nothing before."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sr_batch.errors import UnwritableVideo, VideoError
from sr_batch.videos.carrying import MUXERS
from sr_batch.videos.encoding import EncoderPlan, add_video_stream, last_packets
from sr_batch.videos.frames import BadFrame, Shown
from sr_batch.videos.parts import Part, sha256_of

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["PartWriter", "writing"]

WRITE_BUFFER_BYTES = 1 << 20


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turns the errors of writing into UnwritableVideo, in their own words."""
    from av.error import FFmpegError

    try:
        yield
    except VideoError:
        raise
    except (FFmpegError, OSError) as error:
        number = getattr(error, "errno", None)
        reason = getattr(error, "strerror", None) or str(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise UnwritableVideo(
                f"no space left in {target.parent} ({reason}); free some and run the same command again: "
                "it goes on from the last finished part"
            ) from error
        raise UnwritableVideo(f"{target} cannot be written ({reason})") from error


class PartWriter:
    """One part in work. Used by one thread; after an error nothing of it stays."""

    def __init__(self, path: Path, plan: EncoderPlan, first: int) -> None:
        import av

        self._path, self._plan, self._first = path, plan, first
        self._pts: list[int] = []
        self._durations: list[int] = []
        self._bad: list[BadFrame] = []
        with self._or_nothing():
            # A file of ours: PyAV leaves its own open when the header does not fit on the disk.
            self._file = path.open("wb", WRITE_BUFFER_BYTES)
            # Only order matters in a part: the join knows each frame's time.
            self._container = av.open(self._file, "w", format=MUXERS[path.suffix])
            self._stream = add_video_stream(self._container, plan)

    @property
    def frames(self) -> int:
        return len(self._pts)

    def add(self, shown: Shown, frame: VideoFrame) -> None:
        """Encode a frame of the plan's size and format. Raises UnwritableVideo."""
        if not self._pts:
            self._begin = shown.pts
        self._pts.append(shown.pts)
        self._durations.append(shown.duration)
        if shown.bad is not None:
            self._bad.append(shown.bad)
        # The encoder gets the true times (its rate control reads them), from 0 on.
        frame.pts, frame.time_base = shown.pts - self._begin, self._plan.time_base
        frame.duration = shown.duration
        with self._or_nothing():
            self._container.mux(self._stream.encode(frame))

    def finish(self) -> Part:
        """The part, flushed to disk and read back."""
        with self._or_nothing():
            self._container.mux(last_packets(self._stream, self.frames))
            self._container.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            del self._stream, self._container  # an encoder of large frames holds more than all else here
            check_part(self._path, self.frames, (self._plan.height, self._plan.width))
            return Part(
                file=self._path.name,
                first=self._first,
                pts=tuple(self._pts),
                durations=tuple(self._durations),
                repeated=self._bad.count(BadFrame.REPEATED),
                damaged=self._bad.count(BadFrame.DAMAGED),
                bytes=self._path.stat().st_size,
                sha256=sha256_of(self._path),
            )

    @contextmanager
    def _or_nothing(self) -> Iterator[None]:
        try:
            with writing(self._path.parent):
                yield
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Remove the file."""
        import av

        with suppress(av.FFmpegError, OSError, AttributeError):
            self._container.close()
        with suppress(OSError, AttributeError):  # what was not written yet does not fit either
            self._file.close()
        self._path.unlink(missing_ok=True)


def check_part(path: Path, frames: int, size: tuple[int, int]) -> None:
    """Raise UnwritableVideo unless the part has so many frames, begins at a keyframe and decodes to this size."""
    import av

    packets, begins_well, sizes = 0, False, []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            for packet in container.demux(stream):
                if packet.size and not packets:
                    begins_well = packet.is_keyframe
                    sizes = [(frame.height, frame.width) for frame in (*packet.decode(), *stream.decode(None))]
                packets += bool(packet.size)
    except (av.FFmpegError, IndexError) as error:
        raise UnwritableVideo(f"the part {path.name} cannot be read back ({error}); is the disk full?") from error
    if (packets, begins_well, sizes[:1]) != (frames, True, [size]):
        raise UnwritableVideo(
            f"the part {path.name} is not what was written ({packets} frames instead of {frames}, first {sizes[:1]}); "
            "is the disk full or failing?"
        )
