"""What happened to each photo, for programs: JSON lines while it happens, and a report file. See docs/report.md.

Implements pipeline.Events: passes each event on, and gives it as a record to whoever wants it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from sr_batch.folders import Job, PhotoJob
from sr_batch.photos import Photo, Size
from sr_batch.pipeline import Events, Failure, Summary
from sr_batch.upscale import Band
from sr_train.atomic_file import atomic_file
from sr_train.errors import UsageError

__all__ = ["Record", "Recorder", "open_report", "summary_record", "write_line"]

VERSION = 1
IN_REPORT = ("finished", "skipped", "failed")
Record = dict[str, Any]  # {"event": ..., ...}, as docs/report.md says


class Recorder:
    """Passes events on to `inner`, each as a record to every one of `takers`, and finished rows to `viewers`."""

    def __init__(
        self,
        inner: Events,
        takers: Sequence[Callable[[Record], None]],
        scale: int,
        viewers: Sequence[Callable[[PhotoJob, Photo, Band], None]] = (),
    ) -> None:
        self._inner, self._takers, self._scale, self._viewers = inner, takers, scale, viewers
        self._begun: dict[Path, tuple[float, Size]] = {}  # of the photos in work

    def started(self, job: Job, size: Size) -> None:
        self._begun[job.source] = (time.monotonic(), size)
        self._tell("started", source=str(job.source), width=size.width, height=size.height)
        self._inner.started(job, size)

    def advanced(self, pixels: int) -> None:
        self._tell("advanced", pixels=pixels)
        self._inner.advanced(pixels)

    def drawn(self, job: PhotoJob, photo: Photo, band: Band) -> None:
        for view in self._viewers:
            view(job, photo, band)
        self._inner.drawn(job, photo, band)

    def finished(self, job: Job, warnings: Sequence[str]) -> None:
        begun, size = self._begun.pop(job.source)
        result = size.times(self._scale)
        self._tell(
            "finished",
            source=str(job.source),
            result=str(job.target),
            width=size.width,
            height=size.height,
            result_width=result.width,
            result_height=result.height,
            seconds=round(time.monotonic() - begun, 3),
            warnings=list(warnings),
        )
        self._inner.finished(job, warnings)

    def skipped(self, job: Job) -> None:
        self._tell("skipped", source=str(job.source), result=str(job.target))
        self._inner.skipped(job)

    def failed(self, failure: Failure) -> None:
        self._begun.pop(failure.source, None)
        self._tell("failed", source=str(failure.source), reason=failure.reason)
        self._inner.failed(failure)

    def _tell(self, event: str, **values: object) -> None:
        for take in self._takers:
            take({"event": event, **values})


def summary_record(summary: Summary) -> Record:
    return {
        "event": "summary",
        "done": summary.done,
        "skipped": summary.skipped,
        "failed": len(summary.failures),
        "pixels": summary.pixels,
        "seconds": round(summary.seconds, 3),
    }


def write_line(file: TextIO, record: Record) -> None:
    """One record as one line, at once. ASCII: names that are not UTF-8 survive as escapes."""
    file.write(json.dumps(record) + "\n")
    file.flush()


@contextmanager
def open_report(path: Path, run: Record, summary: Summary) -> Iterator[Callable[[Record], None]]:
    """A taker of records that writes the report file; it appears when the block has ended well, with the summary.

    `run` says what upscaled. Nothing is gathered: a hundred thousand photos take no memory. Raises UsageError when the
    file cannot be written, or is no .json by its name.
    """
    if path.suffix.lower() != ".json":
        raise UsageError(f"the report {path} must end in .json or .html, so that no photo is written over by mistake")
    try:
        with atomic_file(path) as partial, partial.open("w", encoding="ascii") as file:
            file.write(json.dumps({"version": VERSION, **run})[:-1] + ', "photos": [')
            separator = "\n"

            def take(record: Record) -> None:
                nonlocal separator
                if record["event"] in IN_REPORT:
                    file.write(separator + json.dumps(record))
                    separator = ",\n"

            yield take
            file.write(f'\n], "summary": {json.dumps(summary_record(summary))}}}\n')
    except BrokenPipeError:
        raise  # of the block: nobody reads our output any more
    except OSError as error:
        raise UsageError(f"the report {path} cannot be written ({error.strerror or error})") from error
