"""The batch: decode, infer and encode at the same time, in bounded threads.

    jobs ──decode threads──▶ Photo ──this thread: engine──▶ bands ──a thread per photo──▶ encoded file, renamed

At most `load + 1` decoded photos and `save + 1` unfinished files exist at a time, and two bands wait for each file.
A photo that fails is reported and the rest goes on. Whatever ends the run leaves complete files only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event

import numpy as np

from sr_batch.depth import Pixels
from sr_batch.errors import PhotoError, PhotoOutOfReach, UnreadablePhoto, UnwritablePhoto
from sr_batch.events import ALREADY_THERE, Done, Events, Failure, Summary
from sr_batch.folders import PhotoJob
from sr_batch.journal import Journals, Stamp, State, fingerprint
from sr_batch.photos import (
    AlphaChoice,
    Photo,
    PhotoFormat,
    ReadOptions,
    Size,
    WriteOptions,
    check_size,
    open_writer,
    probe,
    read_photo,
)
from sr_batch.photos.transparency import mean_channel, tame_alpha
from sr_batch.resize import resize, resize_bands
from sr_batch.sizes import SizePolicy, enlarged_beyond
from sr_batch.tiles import plan_tiles
from sr_batch.upscale import Band, Stream, upscale
from sr_train.atomic_file import atomic_file, remove_leftovers
from sr_train.errors import SRError

__all__ = ["Settings", "run_batch"]

BANDS_WAITING = 2  # for each file: one being encoded, one behind it
# Least bytes per output pixel that a photo of each format takes on disk (smooth ones take less): used only to say
# "disk full" before the work instead of after it.
LEAST_BYTES_PER_PIXEL = {
    PhotoFormat.PNG: 0.1,
    PhotoFormat.JPEG: 0.02,
    PhotoFormat.WEBP: 0.01,
    PhotoFormat.TIFF: 0.1,
    PhotoFormat.AVIF: 0.001,
}


@dataclass(frozen=True)
class Settings:
    """How photos are upscaled and written."""

    scale: int  # the network's
    tile: int  # LR pixels, window side
    halo: int  # LR pixels
    sizes: SizePolicy = field(default=SizePolicy())  # of the results
    batch: int = 1  # tiles in one engine call
    read: ReadOptions = field(default=ReadOptions())
    write: WriteOptions = field(default=WriteOptions())
    alpha: AlphaChoice = AlphaChoice.LANCZOS
    keep_mtime: bool = True  # results have the modification time of their inputs
    overwrite: bool = False  # do again what is there
    load: int = 1  # decoding threads
    save: int = 2  # encoding threads
    fixed_tile: bool = False  # the engine is fastest at windows of exactly `tile`

    def key(self, model_sha256: str, precision: str) -> str:
        """Of all that shapes a result: for the journal. Tiles and batches change nothing that can be seen."""
        size = repr(self.sizes.target_for(self.scale))
        shaping = [model_sha256, precision, self.scale, size, self.halo, self.read.icc, self.read.strip, self.read.clip]
        shaping += [self.write.quality, self.write.png_level, self.alpha, self.keep_mtime]
        return hashlib.sha256(json.dumps(shaping).encode()).hexdigest()[:16]


class _End(Enum):
    """What follows a file's last band."""

    COMPLETE = auto()
    ABANDONED = auto()


class _Abandoned(Exception):
    """The photo will not be finished: its partial file goes."""


class _LeftAlone(Exception):
    """The photo is not to be done; the message says why."""


POLL_SECONDS = 0.2  # how often a waiting thread looks whether the other side is still there


@dataclass(frozen=True)
class _Decoded:
    photo: Photo
    result: Size
    stamp: Stamp | None  # of the file that it was read from; None where no journal asks
    content: str = ""  # its sha256


@dataclass
class _Output:
    """A file being written by an encoding thread."""

    job: PhotoJob
    decoded: _Decoded
    bands: Queue[Band | _End]
    written: Future[None]

    def put(self, item: Band | _End) -> None:
        """Hand over a band, waiting for room. Returns at once when the encoder has failed: `written` knows why."""
        while not self.written.done():
            try:
                return self.bands.put(item, timeout=POLL_SECONDS)
            except Full:
                continue


def run_batch(
    jobs: Iterable[PhotoJob],
    stream: Stream,
    settings: Settings,
    events: Events,
    summary: Summary,
    journals: Journals | None = None,
) -> None:
    """Upscale every job's photo with the engine's `stream`, filling in `summary` as it goes.

    Returns when all are done, skipped or failed. KeyboardInterrupt and the like pass through after the unfinished
    files are removed. SRErrors of the engine fail the photo, not the run.
    """
    begun = time.monotonic()
    journals = journals or Journals({})
    loaders = ThreadPoolExecutor(settings.load, "decode")
    savers = ThreadPoolExecutor(settings.save, "encode")
    unfinished: deque[_Output] = deque()
    stop = Event()
    try:
        for job, decoded in _decode_ahead(
            _to_do(jobs, settings, events, summary, journals), loaders, settings, journals
        ):
            try:
                work = decoded.result()
                events.started(job, work.photo.size)
                alpha = _upscale_alpha(work, stream, settings)
                bands: Queue[Band | _End] = Queue(BANDS_WAITING)
                written = savers.submit(_write, job, work, alpha, bands, settings, journals, stop)
                output = _Output(job, work, bands, written)
                unfinished.append(output)
                _infer(output, stream, settings, events, summary)
            except _LeftAlone as reason:
                summary.left_alone += 1
                _skip(job, str(reason), events, summary)
            except Exception as error:  # whatever it is, the other photos are done; _reason tells what was not foreseen
                _fail(job, error, events, summary, journals)
            while len(unfinished) > settings.save or (unfinished and unfinished[0].written.done()):
                _settle(unfinished.popleft(), settings, events, summary, journals)
        while unfinished:
            _settle(unfinished.popleft(), settings, events, summary, journals)
    finally:
        stop.set()
        loaders.shutdown(cancel_futures=True)
        savers.shutdown(cancel_futures=True)
        summary.seconds += time.monotonic() - begun


def _to_do(
    jobs: Iterable[PhotoJob], settings: Settings, events: Events, summary: Summary, journals: Journals
) -> Iterator[PhotoJob]:
    for job in jobs:
        journal = journals.of(job)
        if settings.overwrite:
            yield job
        elif journal is None:
            if job.target.exists():
                _skip(job, ALREADY_THERE, events, summary)
            else:
                yield job
        else:
            match journal.state(job):
                case State.TO_DO:
                    yield job
                case State.DONE:
                    _skip(job, ALREADY_THERE, events, summary)
                case State.NOT_OURS:
                    summary.not_ours += 1
                    _skip(job, "already there, and not this tool's or changed since", events, summary)
                case State.FAILED_BEFORE:
                    reason = f"{journal.reason(job)} (so an earlier run found; --retry-failed tries again)"
                    _report_failure(job, reason, events, summary)


def _skip(job: PhotoJob, reason: str, events: Events, summary: Summary) -> None:
    summary.skipped += 1
    events.skipped(job, reason)


def _decode_ahead(
    jobs: Iterator[PhotoJob], pool: ThreadPoolExecutor, settings: Settings, journals: Journals
) -> Iterator[tuple[PhotoJob, Future[_Decoded]]]:
    """Jobs in order, each with its photo, decoded while the ones before are inferred."""
    waiting: deque[tuple[PhotoJob, Future[_Decoded]]] = deque()
    tidied: set[Path] = set()
    for job in jobs:
        if job.target.parent not in tidied:
            tidied.add(job.target.parent)
            remove_leftovers(job.target.parent)
        waiting.append((job, pool.submit(_check_and_decode, job, settings, hashed=journals.of(job) is not None)))
        if len(waiting) > settings.load:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


def _check_and_decode(job: PhotoJob, settings: Settings, *, hashed: bool) -> _Decoded:
    """Everything that can fail before inference fails here."""
    source = probe(job.source, settings.read.max_pixels)
    if (reason := settings.sizes.why_left_alone(source)) is not None:
        raise _LeftAlone(reason)
    size = settings.sizes.result_of(source, settings.scale)
    check_size(size, job.format)
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(job.target.parent).free
    except OSError as error:
        raise UnwritablePhoto(f"its folder {job.target.parent} cannot be made ({error.strerror})") from error
    needed = size.pixels * LEAST_BYTES_PER_PIXEL[job.format]
    if free < needed:
        raise UnwritablePhoto(
            _disk_full(job, f"{free / 1e6:.1f} MB are free, at least {needed / 1e6:.1f} MB are needed")
        )
    stamp, content = fingerprint(job.source) if hashed else (None, "")
    return _Decoded(read_photo(job.source, settings.read).for_result(job.format, size), size, stamp, content)


def _upscale_alpha(work: _Decoded, stream: Stream, settings: Settings) -> Pixels | None:
    """The alpha channel through the network, as a grey picture; None where Lanczos does it, or where it is even."""
    photo, alpha = work.photo, work.photo.alpha
    if alpha is None or settings.alpha is AlphaChoice.LANCZOS or alpha.min() == alpha.max():
        return None
    grey = np.repeat(alpha[:, :, None], 3, axis=2)
    plan = plan_tiles(photo.size.height, photo.size.width, settings.tile, settings.halo, settings.fixed_tile)
    with closing(upscale(grey, stream, plan, settings.scale, settings.batch)) as bands:
        large = np.concatenate([mean_channel(band.pixels) for band in bands])
    return tame_alpha(alpha, resize(large, work.result))


def _infer(output: _Output, stream: Stream, settings: Settings, events: Events, summary: Summary) -> None:
    """Run the photo's tiles and hand the bands to its encoder. An encoder that has failed ends it early."""
    image = output.decoded.photo.rgb
    end = _End.ABANDONED
    try:
        plan = plan_tiles(image.shape[0], image.shape[1], settings.tile, settings.halo, settings.fixed_tile)
        with closing(upscale(image, stream, plan, settings.scale, settings.batch, events.advanced)) as bands:
            for band in bands:
                events.drawn(output.job, output.decoded.photo, band)
                output.put(band)
                if output.written.done():
                    return
        summary.computed_pixels += plan.computed_pixels()
        end = _End.COMPLETE
    finally:
        output.put(end)


def _write(
    job: PhotoJob,
    work: _Decoded,
    alpha: Pixels | None,
    bands: Queue[Band | _End],
    settings: Settings,
    journals: Journals,
    stop: Event,
) -> None:
    """In an encoding thread: the bands become the file, which gets its name when it is complete."""
    try:
        drawn, journal = work.photo.size.times(settings.scale), journals.of(job)
        with atomic_file(job.target, sweep=False) as partial:
            with partial.open("w+b") as file:
                writer = open_writer(file, job.format, work.photo, work.result, settings.write, alpha)
                for rows in resize_bands(_until_end(bands, stop), drawn, work.result):
                    writer.write(rows)
                writer.finish()
            if settings.keep_mtime:
                times = job.source.stat()
                os.utime(partial, ns=(times.st_atime_ns, times.st_mtime_ns))
            if journal is not None and work.stamp is not None:
                journal.add_done(job, work.stamp, work.content, partial)
    except OSError as error:
        if isinstance(error, PhotoError):
            raise
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UnwritablePhoto(_disk_full(job, reason)) from error
        raise UnwritablePhoto(f"{job.target} cannot be written ({reason})") from error


def _until_end(bands: Queue[Band | _End], stop: Event) -> Iterator[Pixels]:
    """The bands of a file that is to be finished. Raises _Abandoned when it, or the whole run, was given up."""
    while True:
        try:
            item = bands.get(timeout=POLL_SECONDS)
        except Empty:
            if stop.is_set():
                raise _Abandoned from None
            continue
        if item is _End.COMPLETE:
            return
        if item is _End.ABANDONED:
            raise _Abandoned
        assert isinstance(item, Band)
        yield item.pixels


def _disk_full(job: PhotoJob, detail: str) -> str:
    return f"no space left in {job.target.parent} ({detail}); free some and run the same command again"


def _done(work: _Decoded, settings: Settings) -> Done:
    beyond = enlarged_beyond(work.result, work.photo.size.times(settings.scale))
    warnings = (*work.photo.warnings, *((beyond,) if beyond else ()))
    return Done(work.photo.size, work.result, work.photo.rgb.dtype != np.uint8, warnings)


def _settle(output: _Output, settings: Settings, events: Events, summary: Summary, journals: Journals) -> None:
    """Wait for a file and report it. One whose inference failed was reported already."""
    try:
        output.written.result()
    except _Abandoned:
        return None
    except Exception as error:
        return _fail(output.job, error, events, summary, journals)
    summary.done += 1
    summary.pixels += output.decoded.photo.size.pixels
    summary.result_pixels += output.decoded.result.pixels
    events.finished(output.job, _done(output.decoded, settings))


def _fail(job: PhotoJob, error: Exception, events: Events, summary: Summary, journals: Journals) -> None:
    reason, journal = _reason(error), journals.of(job)
    if journal is not None and isinstance(error, UnreadablePhoto) and not isinstance(error, PhotoOutOfReach):
        with suppress(OSError):  # it is tried again then
            journal.add_failed(job, reason)
    _report_failure(job, reason, events, summary)


def _report_failure(job: PhotoJob, reason: str, events: Events, summary: Summary) -> None:
    failure = Failure(job.source, reason)
    summary.failures.append(failure)
    events.failed(failure)


def _reason(error: Exception) -> str:
    if isinstance(error, SRError):
        return str(error)
    if isinstance(error, MemoryError):
        return "too large for this machine's memory; try a smaller --tile, or --format png, which streams"
    return f"unexpected {type(error).__name__}: {error}; please report this with the photo"
