"""Where a result may be written: below its output folder, and nowhere that a link leads to."""

from __future__ import annotations

from pathlib import Path

from sr_batch.errors import UnwritablePhoto
from sr_batch.folders import Job
from sr_train.atomic_file import remove_leftovers

__all__ = ["Tidied", "ready_folder"]


def ready_folder(job: Job) -> None:
    """Make the folder of a job's target. Raises UnwritablePhoto when it cannot be made, or lies outside the output
    folder: a link in it would lead the result to somebody else's files."""
    folder = job.target.parent
    if not _is_inside(job):
        raise UnwritablePhoto(f"its folder {folder} is a link that leads out of {job.root}; remove the link")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritablePhoto(f"its folder {folder} cannot be made ({error.strerror})") from error


class Tidied:
    """Removes what killed runs left in the folders of targets, once for each that comes after another."""

    def __init__(self) -> None:
        self._last: Path | None = None

    def tidy(self, job: Job) -> None:
        if job.target.parent != self._last and _is_inside(job):
            self._last = job.target.parent
            remove_leftovers(self._last)


def _is_inside(job: Job) -> bool:
    return job.root is None or job.target.parent.resolve().is_relative_to(job.root.resolve())
