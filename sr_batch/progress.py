"""Progress on stderr: a live bar on a terminal, a plain line every few seconds elsewhere. Implements Events.

Amounts are input megapixels (MP): photos differ too much in size for their number to tell the time left.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sr_batch.events import Done, Failure
from sr_batch.folders import Job, PhotoJob
from sr_batch.forecast import Forecast
from sr_batch.photos import Photo, Size
from sr_batch.upscale import Band

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["Reporter", "printable", "reporter"]

PLAIN_INTERVAL_SECONDS = 5.0
SPEED_SECONDS = 600.0  # the bar's speed is that of the last so many: a frame takes a minute on a slow CPU
MEGA = 1e6


def printable(name: str | Path) -> str:
    """A file's name on one line: control characters and undecodable bytes as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(name))


@contextmanager
def reporter(forecast: Forecast, *, quiet: bool, verbose: bool) -> Iterator[Reporter]:
    """The reporter that fits this output; its display ends with the block. `quiet`: failures only."""
    stream = sys.stderr
    if quiet or not stream.isatty():
        yield _PlainReporter(forecast, stream, quiet=quiet, verbose=verbose)
        return
    from rich.console import Console

    console = Console(file=stream, highlight=False)
    with _bar(console) as bar:
        yield _BarReporter(forecast, console, bar, verbose=verbose)


class Reporter:
    """Says what happens to each photo. The classes below add how far the whole is."""

    def __init__(self, forecast: Forecast, *, quiet: bool, verbose: bool) -> None:
        self._forecast = forecast
        self._quiet, self._verbose = quiet, verbose
        self._photos_over = 0
        self._pixels_done = 0
        self._video: _VideoInWork | None = None

    def say(self, line: str) -> None:
        """Print one line, above the bar where there is one."""
        raise NotImplementedError

    def tick(self) -> None:
        """Show how far the whole is."""

    def started(self, job: Job, size: Size) -> None:
        if self._verbose:
            self.say(f"upscaling {printable(job.source)} ({size})")
        self.tick()

    def advanced(self, pixels: int) -> None:
        self._pixels_done += pixels
        self.tick()

    def frame(self, job: Job, done: int, total: int) -> None:
        if self._video is None or self._video.job != job:
            self._video = _VideoInWork(job, done, time.monotonic())
            if done > 1:  # the first call counts what an earlier run has finished; or it is frame 1
                self._forecast.shrink(job, done / total)
        self._video.done, self._video.total = done, total
        self.tick()

    def drawn(self, job: PhotoJob, photo: Photo, band: Band) -> None:
        """Nothing to say."""

    def finished(self, job: Job, done: Done) -> None:
        self._video = None
        self._photos_over += 1
        if done.warnings and not self._quiet:
            self.say(f"note: {printable(job.source)}: {'; '.join(done.warnings)}")
        if self._verbose:
            self.say(f"done {printable(job.target)}")
        self.tick()

    def skipped(self, job: Job, reason: str) -> None:
        self._photos_over += 1
        if self._verbose:
            self.say(f"skipped {printable(job.source)}: {reason}")

    def failed(self, failure: Failure) -> None:
        self._video = None
        self._photos_over += 1
        self.say(f"failed: {printable(failure.source)}: {printable(failure.reason)}")
        self.tick()


class _PlainReporter(Reporter):
    def __init__(self, forecast: Forecast, stream: TextIO, *, quiet: bool, verbose: bool) -> None:
        super().__init__(forecast, quiet=quiet, verbose=verbose)
        self._stream = stream
        self._begun = self._last_line = time.monotonic()

    def say(self, line: str) -> None:
        # One write: print makes two, and Ctrl-C between them would leave a line without its end.
        self._stream.write(line + "\n")
        self._stream.flush()

    def tick(self) -> None:
        now = time.monotonic()
        if self._quiet or now - self._last_line < PLAIN_INTERVAL_SECONDS:
            return
        self._last_line = now
        done, total = self._pixels_done / MEGA, self._forecast.pixels() / MEGA
        speed = done / (now - self._begun)
        left = f", about {_duration((total - done) / speed)} left" if speed and total > done else ""
        files = f"{self._photos_over} of {self._forecast.files} {self._forecast.called}"
        if self._video is not None:
            self.say(self._video.describe(now))
        self.say(f"{files}, {done:.1f} of {total:.1f} MP, {speed:.3f} MP/s{left}")


class _BarReporter(Reporter):
    def __init__(self, forecast: Forecast, console: Console, bar: Progress, *, verbose: bool) -> None:
        super().__init__(forecast, quiet=False, verbose=verbose)
        self._console, self._bar = console, bar
        self._video_task = bar.add_task("", total=None, files="", visible=False)
        self._task = bar.add_task("", total=None, files="")

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def tick(self) -> None:
        self._bar.update(
            self._task,
            completed=self._pixels_done / MEGA,
            total=max(self._forecast.pixels(), self._pixels_done, 1) / MEGA,
            files=f"{self._photos_over}/{self._forecast.files} {self._forecast.called}",
        )
        video = self._video
        if video is None:
            self._bar.update(self._video_task, visible=False)
        elif not self._bar.tasks[0].visible:
            self._bar.reset(self._video_task, completed=video.done, total=video.total, visible=True, files=video.name)
        else:
            self._bar.update(self._video_task, completed=video.done, total=video.total)


def _bar(console: Console, clock: Callable[[], float] = time.monotonic) -> Progress:
    """A line for the video in work (task 0) and one for all of the run; each stays one line in 80 columns."""
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class HowFar(ProgressColumn):
        def render(self, task: Task) -> Text:
            if task.id == 0:
                return Text(f"frame {task.completed:.0f}/{task.total or 0:.0f}{_pace(task.speed)}")
            speed = f"  {task.speed:.3f} MP/s" if task.speed else ""
            return Text(f"{task.completed:.1f}/{task.total or 0:.1f} MP{speed}")

    class Left(ProgressColumn):
        def render(self, task: Task) -> Text:
            seconds = task.time_remaining
            return Text("" if seconds is None or task.finished else f"{timedelta(seconds=int(seconds))} left")

    def column() -> Column:
        return Column(no_wrap=True)

    columns = (
        TextColumn("{task.fields[files]}", markup=False, table_column=Column(max_width=20, no_wrap=True)),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        HowFar(table_column=column()),
        Left(table_column=column()),
    )
    return Progress(*columns, console=console, speed_estimate_period=SPEED_SECONDS, expand=True, get_time=clock)


def _pace(speed: float | None) -> str:
    """Of frames, in front of which it stands; nothing where it is not known."""
    if not speed:
        return ""
    return f"  {speed:.2f} frames/s" if speed >= 0.1 else f"  {1 / speed:.0f} s each"


@dataclass
class _VideoInWork:
    """How far a video is."""

    job: Job
    first: int  # frames done when it was first heard of
    begun: float  # then
    done: int = 0
    total: int = 0

    @property
    def name(self) -> str:
        return printable(self.job.source.name)

    def describe(self, now: float) -> str:
        made, seconds = self.done - self.first, now - self.begun
        speed = made / seconds if made and seconds else 0.0
        left = f", about {_duration((self.total - self.done) / speed)} left" if speed else ""
        return f"{self.name}: frame {self.done} of {self.total}, {speed:.2f} frames/s{left}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
