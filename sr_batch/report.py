"""What happened to each file, for programs: JSON lines while it happens, and a report file. See docs/report.md.

Implements Events: passes each event on, and gives it as a record to whoever wants it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sr_batch.events import Done, Events, Failure, Summary
from sr_batch.folders import Job, PhotoJob
from sr_batch.photos import Photo, Size
from sr_batch.upscale import Band
from sr_train.atomic_file import atomic_file
from sr_train.errors import SRError, UsageError

if TYPE_CHECKING:
    from sr_batch.videos.upscaling import VideoDone

__all__ = ["Record", "Recorder", "now", "open_report", "opening_record", "summary_record", "write_line"]

VERSION = 2
DEEP_PRECISION = "fp32"  # of the deep door, whatever the pixel door computes in
IN_REPORT = ("finished", "skipped", "failed")
Record = dict[str, Any]  # {"event": ..., ...}, as docs/report.md says


class Recorder:
    """Passes events on to `inner`, each as a record to every one of `takers`, and finished rows to `viewers`."""

    def __init__(
        self,
        inner: Events,
        takers: Sequence[Callable[[Record], None]],
        facts: Record,
        viewers: Sequence[Callable[[PhotoJob, Photo, Band], None]] = (),
    ) -> None:
        """`facts`: model, engine and precision of the run, which each finished file repeats."""
        self._inner, self._takers, self._facts, self._viewers = inner, takers, facts, viewers
        self._begun: dict[Path, float] = {}  # of the files in work

    def started(self, job: Job, size: Size) -> None:
        self._begun[job.source] = time.monotonic()
        self._tell("started", source=str(job.source), width=size.width, height=size.height)
        self._inner.started(job, size)

    def advanced(self, pixels: int) -> None:
        self._tell("advanced", pixels=pixels)
        self._inner.advanced(pixels)

    def frame(self, job: Job, done: int, total: int) -> None:
        self._tell("frame", source=str(job.source), frame=done, frames=total)
        self._inner.frame(job, done, total)

    def drawn(self, job: PhotoJob, photo: Photo, band: Band) -> None:
        for view in self._viewers:
            view(job, photo, band)
        self._inner.drawn(job, photo, band)

    def finished(self, job: Job, done: Done) -> None:
        watched = time.monotonic() - self._begun.pop(job.source)
        seconds = watched if done.seconds is None else done.seconds
        facts = {name: self._facts[name] for name in ("model", "engine", "precision") if name in self._facts}
        self._tell(
            "finished",
            source=str(job.source),
            result=str(job.target),
            width=done.size.width,
            height=done.size.height,
            result_width=done.result.width,
            result_height=done.result.height,
            **facts | ({"precision": DEEP_PRECISION} if done.deep else {}),
            pictures=done.pictures,
            seconds=round(seconds, 3),
            warnings=list(done.warnings),
            **({} if done.video is None else _video_facts(done.video, seconds)),
        )
        self._inner.finished(job, done)

    def skipped(self, job: Job, reason: str) -> None:
        self._begun.pop(job.source, None)
        self._tell("skipped", source=str(job.source), result=str(job.target), reason=reason)
        self._inner.skipped(job, reason)

    def failed(self, failure: Failure) -> None:
        self._begun.pop(failure.source, None)
        self._tell("failed", source=str(failure.source), reason=failure.reason)
        self._inner.failed(failure)

    def _tell(self, event: str, **values: object) -> None:
        for take in self._takers:
            take({"event": event, **values})


def _video_facts(video: VideoDone, seconds: float) -> Record:
    verified = video.verified
    return {
        "frames": video.frames,
        "frames_per_second": round((video.frames - video.resumed) / seconds, 3) if seconds else 0.0,
        "frames_repeated": video.repeated,
        "frames_damaged": video.damaged,
        "frames_resumed": video.resumed,
        "verified": {
            "frames": verified.frames,
            "streams_copied": verified.copied_streams,
            "packets_copied": verified.copied_packets,
        },
    }


def opening_record(run: Record, files: int) -> Record:
    """The first one of a run that `run` describes: so many files were found, by their names."""
    return {"event": "opened", "version": VERSION, **run, "files": files}


def now() -> str:
    """Of ISO 8601, with the offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def summary_record(summary: Summary, *, interrupted: bool) -> Record:
    """The last one. `interrupted`: the run ended before all was done."""
    return {
        "event": "summary",
        "done": summary.done,
        "skipped": summary.skipped,
        "left_alone": summary.left_alone,
        "not_ours": summary.not_ours,
        "failed": len(summary.failures),
        "pictures": summary.pictures,
        "pixels": summary.pixels,
        "result_pixels": summary.result_pixels,
        "warnings": summary.warnings,
        "tiles": asdict(summary.tiles),
        "seconds": round(summary.seconds, 3),
        "frames": summary.frames,
        "video_seconds": round(summary.video_seconds, 3),
        "ended": now(),
        "interrupted": interrupted,
    }


def write_line(file: TextIO, record: Record) -> None:
    """One record as one line, at once. ASCII: names that are not UTF-8 survive as escapes."""
    file.write(json.dumps(record) + "\n")
    file.flush()


@contextmanager
def open_report(path: Path, run: Record, summary: Summary) -> Iterator[Callable[[Record], None]]:
    """A taker of records that writes the report file; it appears when the block has ended, with the summary.

    `run` says what upscaled. A block that is interrupted leaves a report too, which says so; one that an SRError ends,
    because the run cannot be, leaves none. Nothing is gathered: a hundred thousand photos take no memory. Raises
    UsageError when the file cannot be written, or is no .json by its name.
    """
    if path.suffix.lower() != ".json":
        raise UsageError(f"the report {path} must end in .json or .html, so that no photo is written over by mistake")
    interrupt: BaseException | None = None
    try:
        with atomic_file(path) as partial, partial.open("w", encoding="ascii") as file:
            file.write(json.dumps({"version": VERSION, **run})[:-1] + ', "files": [')
            separator = "\n"

            def take(record: Record) -> None:
                nonlocal separator
                if record["event"] in IN_REPORT:
                    file.write(separator + json.dumps(record))
                    separator = ",\n"

            try:
                yield take
            except (SRError, OSError) as error:
                if not isinstance(error, BrokenPipeError):
                    raise
                interrupt = error  # nobody reads our output any more
            except BaseException as error:
                interrupt = error
            last = summary_record(summary, interrupted=interrupt is not None)
            tail = {"summary": last, "ended": last["ended"], "interrupted": last["interrupted"]}
            file.write(f"\n], {json.dumps(tail)[1:]}\n")
    except OSError as error:
        raise UsageError(f"the report {path} cannot be written ({error.strerror or error})") from error
    if interrupt is not None:
        raise interrupt
