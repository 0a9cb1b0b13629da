"""What is to be done with one file: a photo or a video, and where its result goes. Names only.

photos/            -> photos_x4/          the tree is kept
photo.jpg          -> photo_x4.jpg        beside it
with -o FOLDER     -> FOLDER/...          several input folders each under their own name
one file, -o FILE  -> FILE
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from sr_batch.photos import PhotoFormat
from sr_batch.videos.codecs import Codec, result_ending
from sr_train.errors import UsageError

__all__ = [
    "JOURNAL",
    "Job",
    "Naming",
    "OnCollision",
    "PhotoJob",
    "VideoJob",
    "file_job",
    "is_text_by_a_videos_name",
    "job_in",
    "media_of",
]

JOURNAL = ".sr-batch.jsonl"  # in each output folder
WRITTEN_VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".m4v")  # a result keeps the container of its video
OTHER_VIDEO_SUFFIXES = (  # read only: the result is an .mkv
    *(".ts", ".mts", ".m2ts", ".m2t", ".tp", ".trp"),  # MPEG transport streams: television, AVCHD cameras, Blu-ray
    *(".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".m2p", ".ps", ".vob", ".evo", ".mod", ".tod"),  # MPEG program streams
    *(".avi", ".divx", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".qt", ".ogv", ".ogm", ".rm", ".rmvb"),
    *(".mxf", ".dv", ".nut", ".y4m", ".ivf", ".wtv", ".dvr-ms", ".amv"),
)
ALSO_TEXT = (".ts", ".mts", ".ps", ".mod")  # TypeScript, PostScript, Go
LOOKED_AT_BYTES = 512


class OnCollision(StrEnum):
    """What happens to files whose results would have one name (a.jpg and a.png, as PNG)."""

    RENAME = "rename"  # a.jpg.png and a.png.png; and said
    SKIP = "skip"  # the first one is done, the others are left alone; and said
    FAIL = "fail"  # none is done


@dataclass(frozen=True)
class Naming:
    """How results are named."""

    mark: str  # "_x4": of the default folder and of results beside their inputs
    output: Path | None = None  # -o
    suffix: str | None = None  # added to the stem; None: the mark for single files beside their input, else nothing
    format: PhotoFormat | None = None  # None: the input's own
    on_collision: OnCollision = OnCollision.RENAME
    codec: Codec = Codec.COPY  # of videos: some go into few containers


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


def media_of(path: Path) -> str | None:
    """ "photo" or "video", by the file's name; None for what is neither."""
    if PhotoFormat.of(path) is not None:
        return "photo"
    return "video" if path.suffix.lower() in WRITTEN_VIDEO_SUFFIXES + OTHER_VIDEO_SUFFIXES else None


def is_text_by_a_videos_name(path: Path) -> bool:
    """Whether a file with the ending of a video is a program's text: TypeScript (.ts, .mts), PostScript, go.mod.

    A stream of any of these endings has zero bytes in its first packet. Only files with such an ending are opened.
    """
    if path.suffix.lower() not in ALSO_TEXT:
        return False
    try:
        with path.open("rb") as file:
            start = file.read(LOOKED_AT_BYTES)
    except OSError:  # its own turn will say why
        return False
    return bool(start) and b"\0" not in start


def job_in(folder: Path, source: Path, naming: Naming, suffix: str, root: Path | None = None) -> Job | None:
    """The job of a file whose result goes to this folder; None for one that is neither photo nor video.

    The ending of the name stays as it is (.JPG, .jpeg) unless the format changes.
    """
    name, ending = f"{source.stem}{suffix}", source.suffix
    if (kind := PhotoFormat.of(source)) is not None:
        written = naming.format or (kind if kind.is_written else PhotoFormat.PNG)
        return PhotoJob(
            source, folder / f"{name}{ending if written is kind else written.suffixes[0]}", written, root=root
        )
    if ending.lower() in WRITTEN_VIDEO_SUFFIXES:
        return VideoJob(source, folder / f"{name}{result_ending(naming.codec, ending)}", root=root)
    if ending.lower() in OTHER_VIDEO_SUFFIXES:
        return VideoJob(source, folder / f"{name}{result_ending(naming.codec, '.mkv')}", root=root)
    return None


def file_job(path: Path, naming: Naming) -> Job:
    """The job of a file that was named by itself.

    Raises UsageError for one that is neither photo nor video, or would be overwritten by its own result, and for a
    named output that cannot be written.
    """
    suffix = naming.suffix if naming.suffix is not None else "" if naming.output else naming.mark
    job = job_in(naming.output or path.parent, path, naming, suffix)
    if job is None:
        raise UsageError(f"{path}: is neither a photo nor a video by its name; see sr-batch --help for the formats")
    output = naming.output
    named = output if output is not None and not output.is_dir() else None
    if named and isinstance(job, PhotoJob) and (kind := PhotoFormat.of(named)) is not None:
        job = PhotoJob(path, named, _named_format(named, kind, naming))
    elif named and isinstance(job, VideoJob) and named.suffix.lower() in WRITTEN_VIDEO_SUFFIXES:
        job = VideoJob(path, named)
    else:
        job = replace(job, root=output)
    if _is_same(job.target, path):
        raise UsageError(f"{path} would be overwritten by its own result; use -o or --suffix")
    return job


def _named_format(output: Path, kind: PhotoFormat, naming: Naming) -> PhotoFormat:
    """The format of a photo whose file -o names. Raises UsageError when it cannot be written, or is not --format's."""
    if not kind.is_written:
        raise UsageError(f"{output}: {kind.name} is not written; use .png, .jpg, .webp, .tif or .avif")
    if naming.format not in (None, kind):
        raise UsageError(f"--format says {naming.format.name.lower()} but -o says {output.name}; leave one of them out")
    return kind


def _is_same(target: Path, source: Path) -> bool:
    """Whether both are one file, under whatever names: links, another case where the file system has none."""
    try:
        return target.samefile(source)
    except OSError:  # one of them is not there
        return target.resolve() == source.resolve()
