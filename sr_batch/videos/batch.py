"""All videos of a run, one after the other. One that fails is reported and the rest goes on."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sr_batch.due import due
from sr_batch.errors import UnreadableVideo
from sr_batch.events import Done, Events, Failure, Summary
from sr_batch.folders import VideoJob
from sr_batch.journal import Journals, fingerprint
from sr_batch.photos import Size
from sr_batch.targets import ready_folder
from sr_batch.videos.heap import give_large_blocks_back
from sr_batch.videos.inference import Network
from sr_batch.videos.inspecting import VideoFacts, inspect_video
from sr_batch.videos.preview import preview_video
from sr_batch.videos.upscaling import MakeParts, VideoDone, VideoSettings, upscale_video
from sr_train.errors import SRError

__all__ = ["run_videos"]


def run_videos(
    jobs: Iterable[VideoJob],
    network: Network,
    settings: VideoSettings,
    events: Events,
    summary: Summary,
    journals: Journals | None = None,
    *,
    overwrite: bool = False,
    previews: int = 0,
    make_parts: MakeParts | None = None,
) -> None:
    """Upscale every job's video, filling in `summary` as it goes.

    `previews`: that many frames of each video as pictures, instead of the
    video. Interrupts pass through; the finished parts of the video in work stay, for the next run.
    """
    give_large_blocks_back()
    begun, journals = time.monotonic(), journals or Journals({})
    try:
        for job in jobs if previews else due(jobs, events, summary, journals, overwrite=overwrite):
            try:
                if previews:
                    _preview(job, network, settings, events, summary, previews)
                else:
                    _upscale(job, network, settings, events, summary, journals, make_parts)
            except Exception as error:  # whatever it is, the other videos are done
                _fail(job, error, events, summary, journals)
    finally:
        summary.seconds += time.monotonic() - begun


def _upscale(
    job: VideoJob,
    network: Network,
    settings: VideoSettings,
    events: Events,
    summary: Summary,
    journals: Journals,
    make_parts: MakeParts | None,
) -> None:
    facts = inspect_video(job.source, settings.stream)
    size = _size(facts)
    events.started(job, size)
    journal = journals.of(job)
    stamp, content = fingerprint(job.source)
    ready_folder(job)
    known: int | None = None

    def progress(done: int, total: int) -> None:
        nonlocal known
        if known == 0 and done > 1:  # many come at once: without this they would pass for an earlier run's
            events.frame(job, 1, total)
        if done:
            events.frame(job, done, total)
        if known is not None and done > known:  # not those of an earlier run
            events.advanced((done - known) * size.pixels)
        known = max(done, known or 0)

    def keep(complete: Path) -> None:
        if journal is not None:
            journal.add_done(job, stamp, content, complete)

    begun = time.monotonic()
    done = upscale_video(job.source, job.target, network, settings, content, progress, keep, facts, make_parts)
    summary.video_seconds += time.monotonic() - begun
    computed = done.frames - done.resumed
    _finish(job, _done(size, settings.scale, facts, computed, done), events, summary)


def _preview(
    job: VideoJob, network: Network, settings: VideoSettings, events: Events, summary: Summary, count: int
) -> None:
    facts = inspect_video(job.source, settings.stream)
    size = _size(facts)
    folder = job.target.with_name(f"{job.target.stem}_preview")
    events.started(job, size)
    made = preview_video(job.source, folder, network, settings, facts, count, lambda: events.advanced(size.pixels))
    _finish(replace(job, target=folder), _done(size, settings.scale, facts, made), events, summary)


def _done(size: Size, scale: int, facts: VideoFacts, computed: int, video: VideoDone | None = None) -> Done:
    """What became of a video of which so many frames were computed now."""
    large = size.times(scale)
    return Done(
        size,
        large,
        facts.picture.deep,
        () if video is None else video.warnings,
        video,
        computed,
        computed * size.pixels,
        computed * large.pixels,
    )


def _finish(job: VideoJob, done: Done, events: Events, summary: Summary) -> None:
    summary.add(done)
    events.finished(job, done)


def _size(facts: VideoFacts) -> Size:
    """As displayed."""
    size = Size(facts.picture.height, facts.picture.width)
    return Size(size.width, size.height) if facts.picture.rotation % 180 else size


def _fail(job: VideoJob, error: Exception, events: Events, summary: Summary, journals: Journals) -> None:
    reason, journal = _reason(error), journals.of(job)
    if journal is not None and isinstance(error, UnreadableVideo):
        with suppress(OSError):  # it is tried again then
            journal.add_failed(job, reason)
    summary.failures.append(Failure(job.source, reason))
    events.failed(summary.failures[-1])


def _reason(error: Exception) -> str:
    if isinstance(error, SRError):
        return str(error)
    if isinstance(error, MemoryError):
        return "too large for this machine's memory; try a smaller --tile"
    return f"unexpected {type(error).__name__}: {error}; please report this with the video"
