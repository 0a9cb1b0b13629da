"""What would be done, without doing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TextIO

from sr_batch.errors import PhotoError, VideoError
from sr_batch.folders import Job, PhotoJob, VideoJob, WorkList
from sr_batch.photos import Size, check_sequence, check_size, inspect_photo
from sr_batch.progress import printable
from sr_batch.sizes import SizePolicy
from sr_batch.videos.inspecting import inspect_video

__all__ = ["dry_run"]

MEGA = 1e6


@dataclass(frozen=True)
class _Plan:
    """What would become of a file."""

    how: str  # for people: "12x8 -> 48x32"
    pixels: int  # of all its pictures
    result_pixels: int


class _LeftAlone(Exception):
    """The file is large enough; the message says so."""


def dry_run(
    work: WorkList,
    sizes: SizePolicy,
    scale: int,
    max_pixels: int,
    out: TextIO,
    *,
    overwrite: bool,
    stream: int | None = None,  # of videos: which of their video streams
) -> bool:
    """Say on `out` what would be done, one line a file. Photos: only headers are read. Returns whether all can be."""
    failed, pixels, result_pixels = len(work.failures), 0, 0

    def say(job: Job, plan: Callable[[], _Plan]) -> None:
        nonlocal failed, pixels, result_pixels
        names = f"{printable(job.source)} -> {printable(job.target)}"
        try:
            planned = plan()
        except _LeftAlone as reason:
            print(f"would leave alone: {printable(job.source)}: {reason}", file=out)
        except (PhotoError, VideoError) as error:
            failed += 1
            print(f"cannot do: {printable(job.source)}: {error}", file=out)
        else:
            if job.target.exists() and not overwrite:
                print(f"already there: {names}", file=out)
                return
            pixels, result_pixels = pixels + planned.pixels, result_pixels + planned.result_pixels
            print(f"would do: {names} ({planned.how})", file=out)

    for path, reason in work.failures:
        print(f"cannot do: {printable(path)}: {reason}", file=out)
    for photo in work.photos():
        say(photo, partial(_plan_photo, photo, sizes, scale, max_pixels))
    for video in work.videos():
        say(video, partial(_plan_video, video, scale, stream))
    print(f"{pixels / MEGA:.1f} MP would become {result_pixels / MEGA:.1f} MP; nothing was written", file=out)
    return not failed


def _plan_photo(job: PhotoJob, sizes: SizePolicy, scale: int, max_pixels: int) -> _Plan:
    """Raises PhotoError where it cannot be done."""
    facts = inspect_photo(job.source, max_pixels)
    size, sequence = facts.size, facts.sequence
    if (too_large := sizes.why_left_alone(size)) is not None:
        raise _LeftAlone(too_large)
    result = sizes.result_of(size, scale)
    check_size(result, job.format)
    if sequence is None:
        return _Plan(f"{size} -> {result}", size.pixels, result.pixels)
    check_sequence(sequence, job.format)
    count = f"{sequence.count} {'frames' if sequence.is_animation else 'pages'}"
    return _Plan(f"{count}, {size} -> {result}", facts.pixels, facts.result_pixels(result))


def _plan_video(job: VideoJob, scale: int, stream: int | None) -> _Plan:
    """Raises VideoError where it cannot be done."""
    facts = inspect_video(job.source, stream)
    size, frames = Size(*facts.picture.size), len(facts.timeline)
    result = size.times(scale)
    return _Plan(f"{frames} frames, {size} -> {result}", frames * size.pixels, frames * result.pixels)
