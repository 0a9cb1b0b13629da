"""What would be done, without doing it."""

from __future__ import annotations

from typing import TextIO

from sr_batch.errors import PhotoError, VideoError
from sr_batch.folders import WorkList
from sr_batch.photos import Size, check_size, probe
from sr_batch.progress import printable
from sr_batch.sizes import SizePolicy
from sr_batch.videos.inspecting import inspect_video

__all__ = ["dry_run"]

MEGA = 1e6


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
    for path, reason in work.failures:
        print(f"cannot do: {printable(path)}: {reason}", file=out)
    for job in work.photos():
        names = f"{printable(job.source)} -> {printable(job.target)}"
        try:
            size = probe(job.source, max_pixels)
            if (too_large := sizes.why_left_alone(size)) is not None:
                print(f"would leave alone: {printable(job.source)}: {too_large}", file=out)
                continue
            result = sizes.result_of(size, scale)
            check_size(result, job.format)
        except PhotoError as error:
            failed += 1
            print(f"cannot do: {printable(job.source)}: {error}", file=out)
            continue
        if job.target.exists() and not overwrite:
            print(f"already there: {names}", file=out)
            continue
        pixels, result_pixels = pixels + size.pixels, result_pixels + result.pixels
        print(f"would do: {names} ({size} -> {result})", file=out)
    for video in work.videos():
        names = f"{printable(video.source)} -> {printable(video.target)}"
        try:
            facts = inspect_video(video.source, stream)
        except VideoError as error:
            failed += 1
            print(f"cannot do: {printable(video.source)}: {error}", file=out)
            continue
        if video.target.exists() and not overwrite:
            print(f"already there: {names}", file=out)
            continue
        size, frames = Size(*facts.picture.size), len(facts.timeline)
        pixels, result_pixels = pixels + frames * size.pixels, result_pixels + frames * size.times(scale).pixels
        print(f"would do: {names} ({frames} frames, {size} -> {size.times(scale)})", file=out)
    print(f"{pixels / MEGA:.1f} MP would become {result_pixels / MEGA:.1f} MP; nothing was written", file=out)
    return not failed
