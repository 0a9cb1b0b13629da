"""What is to be done: the photos and videos that the inputs name, and where each result goes. Reads names only, and the
first bytes of files whose ending is that of videos and of programs (.ts).

jobs.py         one file: what becomes of it, and where
walk.py         all files of a folder
collisions.py   files that would have the same result
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sr_batch.collisions import Collisions
from sr_batch.jobs import (
    JOURNAL,
    OTHER_VIDEO_SUFFIXES,
    Job,
    Naming,
    OnCollision,
    PhotoJob,
    VideoJob,
    file_job,
    is_text_by_a_videos_name,
    job_in,
    media_of,
)
from sr_batch.photos import PhotoFormat
from sr_batch.walk import Notes, walk
from sr_train.errors import UsageError

__all__ = [
    "JOURNAL",
    "Job",
    "Naming",
    "OnCollision",
    "PhotoJob",
    "VideoJob",
    "WorkList",
    "check_inputs",
    "find_jobs",
]


@dataclass
class Findings:
    """What is to be told of a walk, besides the jobs."""

    notes: Notes = field(default_factory=Notes)  # sentences for people
    failures: list[tuple[Path, str]] = field(default_factory=list)  # files and folders that cannot become jobs
    ignored: int = 0  # files in folders that are neither photos nor videos
    not_written: set[PhotoFormat] = field(default_factory=set)  # formats of photos whose results get another
    other_containers: set[str] = field(default_factory=set)  # of videos whose results are .mkv for their sake
    has_videos: bool = False
    roots: set[Path] = field(default_factory=set)  # output folders that keep a journal
    folders: set[Path] = field(default_factory=set)  # that results go to; of an output folder, only itself


class WorkList:
    """The jobs, in order, and what is to be told of them.

    Jobs are not held: each time they are asked for, the folders are walked again. What was not there the first time
    stays out, so that no result's name can come up twice.
    """

    def __init__(self, inputs: Sequence[Path], listed: Sequence[str], naming: Naming) -> None:
        self._inputs, self._listed, self._naming = inputs, listed, naming
        self._outputs = {path: _output_of(path, inputs, naming) for path in inputs if path.is_dir()}
        self._findings = Findings()
        self._collisions = Collisions(self._walk(self._findings), self._walk, naming.on_collision)
        self._without_name = self._tell_collisions() if self._collisions.any else 0
        if self._findings.not_written and naming.format is None:
            names = ", ".join(sorted(kind.name for kind in self._findings.not_written))
            sentence = f"{names}: read but not written; the results are PNG (--format chooses another)"
            self._findings.notes.add("formats", sentence)
        if self._findings.other_containers:
            names = ", ".join(sorted(self._findings.other_containers))
            sentence = f"{names}: read but not written; the results are .mkv, whose clock has steps of 1 ms"
            self._findings.notes.add("containers", sentence)

    @property
    def notes(self) -> list[str]:
        return list(self._findings.notes)

    @property
    def failures(self) -> list[tuple[Path, str]]:
        return self._findings.failures

    @property
    def ignored(self) -> int:
        return self._findings.ignored

    @property
    def roots(self) -> set[Path]:
        """The output folders that keep a journal."""
        return self._findings.roots

    @property
    def result_folders(self) -> list[Path]:
        """The topmost folders that results go to."""
        folders = self._findings.folders
        return sorted(folder for folder in folders if folders.isdisjoint(folder.parents))

    @property
    def has_videos(self) -> bool:
        return self._findings.has_videos

    def __len__(self) -> int:
        """How many jobs there are, if the folders do not change."""
        return self._collisions.count - self._without_name

    def __iter__(self) -> Iterator[Job]:
        return (job for _, job in self._collisions.resolved(self._walk()) if job is not None)

    def photos(self) -> Iterator[PhotoJob]:
        return (job for job in self if isinstance(job, PhotoJob))

    def videos(self) -> Iterator[VideoJob]:
        return (job for job in self if isinstance(job, VideoJob))

    def _walk(self, findings: Findings | None = None) -> Iterator[Job]:
        findings = findings if findings is not None else Findings()  # told of the first time
        for job in self._all(findings):
            if isinstance(job, PhotoJob) and (kind := PhotoFormat.of(job.source)) and not kind.is_written:
                findings.not_written.add(kind)
            if isinstance(job, VideoJob):
                findings.has_videos = True
                ending = job.source.suffix.lower()
                if ending in OTHER_VIDEO_SUFFIXES and job.target.suffix == ".mkv":
                    findings.other_containers.add(ending)
            findings.folders.add(job.root or job.target.parent)
            if job.root is not None:
                findings.roots.add(job.root)
            yield job

    def _all(self, findings: Findings) -> Iterator[Job]:
        for path in self._inputs:
            if path in self._outputs:
                yield from self._in_folder(path, findings)
            elif len(self._inputs) == 1 and not self._listed:
                yield file_job(path, self._naming)
            else:
                yield from self._of_several(path, findings)
        for name in self._listed:
            path = Path(name)
            if path.is_dir():
                findings.failures.append((path, "is a folder; a list names files, and folders are inputs"))
            elif not path.exists():
                findings.failures.append((path, "does not exist; check the list"))
            else:
                yield from self._of_several(path, findings)

    def _of_several(self, path: Path, findings: Findings) -> Iterator[Job]:
        """The job of one file among others, which are done even if this one cannot be."""
        try:
            yield file_job(path, self._naming)
        except UsageError as error:
            findings.failures.append((path, str(error).removeprefix(f"{path}: ")))

    def _in_folder(self, folder: Path, findings: Findings) -> Iterator[Job]:
        output, suffix = self._outputs[folder], self._naming.suffix or ""
        here, others = folder.resolve(), {path.resolve() for path in self._outputs.values()}
        beside = output.resolve() == here  # results lie among their photos, and are known by their suffix
        parent, results = folder, output  # of the file before: most have the same
        for entry in walk(folder, others - {here}, findings.notes):
            source = entry.path
            if entry.problem is not None:
                if entry.certain or (media_of(source) and source != folder):
                    findings.failures.append((source, entry.problem))
            elif beside and suffix and source.stem.endswith(suffix):
                continue
            else:
                if source.parent != parent:
                    parent, results = source.parent, output / source.parent.relative_to(folder)
                job = job_in(results, source, self._naming, suffix, output)
                if job is None or is_text_by_a_videos_name(source):
                    findings.ignored += 1
                else:
                    yield job

    def _tell_collisions(self) -> int:
        """Names the files that share a result, and returns how many of them get none."""
        findings, without = self._findings, 0
        for wanted, job in self._collisions.resolved(self._walk()):
            if job is None and self._naming.on_collision is OnCollision.SKIP:
                sentence = f"another file has the same result {wanted.target.name}; left alone (--on-collision skip)"
                findings.notes.add("left alone", f"{wanted.source}: {sentence}")
            elif job is None:
                reason = f"another file has the same result {wanted.target}; rename one of them"
                findings.failures.append((wanted.source, reason))
            elif job is not wanted:
                sentence = f"another file would have the same result; this one's is {job.target.name}"
                findings.notes.add("renamed", f"{wanted.source}: {sentence}")
            without += job is None
        return without


def check_inputs(inputs: Sequence[Path]) -> None:
    """Raise UsageError for an input that is not there: quick, to be asked before anything is prepared."""
    for path in inputs:
        if not path.exists():
            raise UsageError(f"{path} does not exist; check the path")
        if not (path.is_dir() or path.is_file()):
            raise UsageError(f"{path} is neither a file nor a folder")


def find_jobs(inputs: Sequence[Path], naming: Naming, listed: Sequence[str] = ()) -> WorkList:
    """The jobs for these files and folders, sorted by path within each folder, then those for `listed` files.

    What is wrong with one file of several is its failure. Raises UsageError for an input that does not exist, for a
    single one that is neither photo nor video, for nothing to do at all, and for an output that is the input folder.
    """
    check_inputs(inputs)
    work = WorkList(list(dict.fromkeys(inputs)), listed, naming)
    if len(work) == 0 and not work.failures:
        kinds = ", ".join(kind.suffixes[0] for kind in PhotoFormat)
        found_in = ", ".join(map(str, inputs))
        raise UsageError(f"no photos or videos found in {found_in} (looked for {kinds}, and for videos)")
    return work


def _output_of(path: Path, inputs: Sequence[Path], naming: Naming) -> Path:
    """The output folder of an input folder."""
    absolute = path.resolve()
    if naming.output is None:
        return absolute.parent / f"{absolute.name}{naming.mark}"
    output = naming.output / absolute.name if len(inputs) > 1 else naming.output
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file; name a folder for the results of {path}")
    if output.resolve() == absolute and not naming.suffix:
        raise UsageError(f"the output folder {output} is the input folder; name another, or add --suffix {naming.mark}")
    return output
