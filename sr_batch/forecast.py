"""How much there is to do, from the files' headers: read while the first photos are done, after a first look.

Totals only are held, however many photos there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

from sr_batch.errors import PhotoError, VideoError
from sr_batch.folders import Job, PhotoJob, WorkList
from sr_batch.photos import check_sequence, inspect_photo
from sr_batch.sizes import SizePolicy
from sr_batch.space import Needed

__all__ = ["Forecast"]

FIRST_LOOK_SECONDS = 5.0
ANY_SIZE = 2**62  # pixels: what is too large is refused when its turn comes


class Forecast:
    """Counts what is to be done. A context manager: in its block a thread goes on reading headers."""

    def __init__(
        self,
        work: WorkList,
        sizes: SizePolicy,
        scale: int,
        is_over: Callable[[Job], bool] = lambda _: False,
        video_pixels: Callable[[Path], int] | None = None,
    ) -> None:
        """`is_over` says, quickly, whether a file is not to be done: its result is there. `video_pixels`: how many of a
        video are to be done; None: all. It may raise VideoError."""
        self._video_pixels = video_pixels or _all_pixels
        self._sizes, self._scale, self._is_over = sizes, scale, is_over
        self._jobs: Iterator[Job] = chain(work.photos(), work.videos()) if work.has_videos else work.photos()
        self._needed = Needed()
        self._read = self._pixels = 0
        self._is_complete = False
        self._stop = Event()
        self._thread = Thread(target=self._read_on, name="forecast", daemon=True)
        self.files = len(work)
        self.called = "files" if work.has_videos else "photos"

    def first_look(self, seconds: float = FIRST_LOOK_SECONDS) -> None:
        """Read headers for so long, then raise UsageError if the results cannot fit on their disks.

        What was not read by then is not counted: what is refused here is certain not to fit.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._is_complete:
            self._count_next()
        self._needed.check()

    def pixels(self) -> int:
        """Input pixels of all that is to be done; until all headers are read, taken from those that are."""
        unread = 0 if self._is_complete else self.files - self._read
        return max(0, self._pixels + (unread * self._pixels // self._read if self._read else 0))

    def shrink(self, job: Job, done: float) -> None:
        """This share of a video was done by an earlier run."""
        with suppress(VideoError):
            self._pixels -= round(self._video_pixels(job.source) * done)

    def _count_next(self) -> None:
        job = next(self._jobs, None)
        if job is None:
            self._is_complete = True
            return
        with suppress(PhotoError, VideoError, OSError):  # its own turn will say why
            if not self._is_over(job):
                self._pixels += self._photo_pixels(job) if isinstance(job, PhotoJob) else self._video_pixels(job.source)
        self._read += 1

    def _photo_pixels(self, photo: PhotoJob) -> int:
        """Of all its frames or pages."""
        facts = inspect_photo(photo.source, ANY_SIZE)
        if self._sizes.why_left_alone(facts.size) is not None:
            return 0
        if facts.sequence is not None:
            check_sequence(facts.sequence, photo.format)
        result = self._sizes.result_of(facts.size, self._scale)
        self._needed.add(photo.root or photo.target.parent, facts.result_pixels(result), photo.format)
        return facts.pixels

    def _read_on(self) -> None:
        while not self._is_complete and not self._stop.is_set():
            self._count_next()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def _all_pixels(video: Path) -> int:
    from sr_batch.videos.inspecting import likely_pixels

    return likely_pixels(video)
