"""What is to be done: the photos and videos that the inputs name, and where each result goes. Reads names only.

photos/            -> photos_x4/          the tree is kept
photo.jpg          -> photo_x4.jpg        beside it
with -o FOLDER     -> FOLDER/...          several input folders each under their own name
one file, -o FILE  -> FILE
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sr_batch.photos import PhotoFormat
from sr_train.atomic_file import is_partial
from sr_train.errors import UsageError

__all__ = ["JOURNAL", "Job", "Naming", "PhotoJob", "VideoJob", "WorkList", "check_inputs", "find_jobs"]

JOURNAL = ".sr-batch.jsonl"  # in each output folder
WRITTEN_VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".m4v")  # a result keeps the container of its video
OTHER_VIDEO_SUFFIXES = (".avi",)  # read only; the result is an .mkv


@dataclass(frozen=True)
class Naming:
    """How results are named."""

    mark: str  # "_x4": of the default folder and of results beside their inputs
    output: Path | None = None  # -o
    suffix: str | None = None  # added to the stem; None: the mark for single files beside their input, else nothing
    format: PhotoFormat | None = None  # None: the input's own


@dataclass(frozen=True, slots=True)
class Job:
    """One file to do: a PhotoJob or a VideoJob."""

    source: Path
    target: Path
    # The output folder that keeps the journal; None for a result beside its input.
    root: Path | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class PhotoJob(Job):
    format: PhotoFormat  # of the target


@dataclass(frozen=True, slots=True)
class VideoJob(Job):
    """The target's suffix says its container."""


@dataclass
class WorkList:
    """The jobs in order, and what is to be told of them."""

    jobs: list[Job] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # plain sentences
    failures: list[tuple[Path, str]] = field(default_factory=list)  # files and folders that cannot become jobs
    ignored: int = 0  # files in folders that are neither photos nor videos

    def photos(self) -> Iterator[PhotoJob]:
        return (job for job in self.jobs if isinstance(job, PhotoJob))

    def videos(self) -> Iterator[VideoJob]:
        return (job for job in self.jobs if isinstance(job, VideoJob))


def check_inputs(inputs: Sequence[Path]) -> None:
    """Raise UsageError for an input that is not there: quick, to be asked before anything is prepared."""
    for path in inputs:
        if not path.exists():
            raise UsageError(f"{path} does not exist; check the path")


def find_jobs(inputs: Sequence[Path], naming: Naming) -> WorkList:
    """The jobs for these files and folders, sorted by path within each folder.

    Raises UsageError for an input that does not exist or is neither photo nor video, for nothing to do at all, and for
    an output that is the input folder itself.
    """
    check_inputs(inputs)
    work = WorkList()
    outputs = [_output_of(path, inputs, naming) for path in inputs]
    for path, output in zip(inputs, outputs, strict=True):
        if path.is_dir():
            _add_folder(work, path, output, naming, skip={o.resolve() for o in outputs})
        else:
            work.jobs.append(_file_job(path, output, naming))
    if len(inputs) > 1:  # what is named twice is done once
        work.jobs = list({(job.source.resolve(), job.target): job for job in work.jobs}.values())
    _note_formats_not_written(work, naming)
    _resolve_collisions(work)
    if not work.jobs and not work.failures:
        kinds = ", ".join(kind.suffixes[0] for kind in PhotoFormat)
        raise UsageError(f"no photos found in {', '.join(map(str, inputs))} (looked for {kinds})")
    return work


def _output_of(path: Path, inputs: Sequence[Path], naming: Naming) -> Path:
    """The output folder of an input folder; the target, or its folder, of an input file."""
    if not path.is_dir():
        return naming.output if naming.output is not None else path.parent
    absolute = path.resolve()
    if naming.output is None:
        return absolute.parent / f"{absolute.name}{naming.mark}"
    output = naming.output / absolute.name if len(inputs) > 1 else naming.output
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; name a folder for the results of {path}")
    if output.resolve() == absolute and not naming.suffix:
        raise UsageError(f"the output folder {output} is the input folder; name another, or add --suffix {naming.mark}")
    return output


def _add_folder(work: WorkList, folder: Path, output: Path, naming: Naming, skip: set[Path]) -> None:
    for source in _walk(folder, work, skip - {folder.resolve()}):
        if naming.suffix and output.resolve() == folder.resolve() and source.stem.endswith(naming.suffix):
            continue  # a result of an earlier run
        job = _job(source, output / source.relative_to(folder).parent, naming, naming.suffix or "")
        if job is None:
            work.ignored += 1
        else:
            work.jobs.append(replace(job, root=output))


def _walk(folder: Path, work: WorkList, skip: set[Path]) -> Iterator[Path]:
    """All files below a folder, in order; hidden ones and output folders are passed over, links to folders too."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        work.failures.append((folder, f"cannot be listed ({error.strerror})"))
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if path.resolve() in skip:
                work.notes.append(f"{path}: the output folder lies inside the input folder; not upscaled again")
            else:
                yield from _walk(path, work, skip)
        elif entry.is_file() and not is_partial(entry.name):
            yield path


def _file_job(path: Path, output: Path, naming: Naming) -> Job:
    suffix = naming.suffix if naming.suffix is not None else "" if naming.output else naming.mark
    job = _job(path, output, naming, suffix)
    if job is None:
        raise UsageError(f"{path}: is neither a photo nor a video by its name; see sr-batch --help for the formats")
    named = naming.output is not None and not output.is_dir()
    if named and isinstance(job, PhotoJob) and (kind := PhotoFormat.of(output)) is not None:
        job = PhotoJob(path, output, _named_format(output, kind, naming))
    elif named and isinstance(job, VideoJob) and output.suffix.lower() in WRITTEN_VIDEO_SUFFIXES:
        job = VideoJob(path, output)
    else:
        job = replace(job, root=naming.output)
    if job.target.resolve() == path.resolve():
        raise UsageError(f"{path} would be overwritten by its own result; use -o or --suffix")
    return job


def _named_format(output: Path, kind: PhotoFormat, naming: Naming) -> PhotoFormat:
    """The format of a photo whose file -o names. Raises UsageError when it cannot be written, or is not --format's."""
    if not kind.is_written:
        raise UsageError(f"{output}: {kind.name} is not written; use .png, .jpg, .webp, .tif or .avif")
    if naming.format not in (None, kind):
        raise UsageError(f"--format says {naming.format.name.lower()} but -o says {output.name}; leave one of them out")
    return kind


def _job(source: Path, folder: Path, naming: Naming, suffix: str) -> Job | None:
    """The job of a file by its name; None for one that is neither photo nor video.

    The ending of the name stays as it is (.JPG, .jpeg) unless the format changes.
    """
    name, ending = f"{source.stem}{suffix}", source.suffix
    if (kind := PhotoFormat.of(source)) is not None:
        written = naming.format or (kind if kind.is_written else PhotoFormat.PNG)
        return PhotoJob(source, folder / f"{name}{ending if written is kind else written.suffixes[0]}", written)
    if ending.lower() in WRITTEN_VIDEO_SUFFIXES:
        return VideoJob(source, folder / f"{name}{ending}")
    if ending.lower() in OTHER_VIDEO_SUFFIXES:
        return VideoJob(source, folder / f"{name}.mkv")
    return None


def _note_formats_not_written(work: WorkList, naming: Naming) -> None:
    kinds = {kind for job in work.photos() if (kind := PhotoFormat.of(job.source)) and not kind.is_written}
    if kinds and naming.format is None:
        names = ", ".join(sorted(kind.name for kind in kinds))
        work.notes.append(f"{names}: read but not written; the results are PNG (--format chooses another)")


def _resolve_collisions(work: WorkList) -> None:
    """Inputs that would share a target (a.jpg, a.png as PNG) keep their own ending in its name: a.jpg.png, a.png.png.

    Compared without case, as some file systems do. What still collides is refused, file by file.
    """
    for index, shared in enumerate(_share_target(work.jobs)):
        if shared:
            job = work.jobs[index]
            renamed = job.target.with_name(f"{job.target.stem}{job.source.suffix}{job.target.suffix}")
            work.jobs[index] = replace(job, target=renamed)
            work.notes.append(f"{job.source}: another photo would have the same result; this one's is {renamed.name}")
    still = _share_target(work.jobs)
    for job in (job for job, shared in zip(work.jobs, still, strict=True) if shared):
        work.failures.append((job.source, f"another photo has the same result {job.target}; rename one of them"))
    work.jobs = [job for job, shared in zip(work.jobs, still, strict=True) if not shared]


def _share_target(jobs: Sequence[Job]) -> list[bool]:
    keys = [os.path.normcase(job.target).casefold() for job in jobs]
    counts: dict[str, int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    return [counts[key] > 1 for key in keys]
