"""The batch: decode, infer and encode at the same time, in bounded threads.

    jobs ──decode threads──▶ Photo ──this thread: tiles, engine──▶ bands ──encode threads──▶ encoded file, renamed

One stream of tiles goes through the engine, over all photos. What waits is bounded in bytes: DECODED_BYTES of decoded
photos, ENCODING_BYTES of finished bands. A photo that fails is reported and the rest goes on. Whatever ends the run
leaves complete files only.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace

import numpy as np

from sr_batch.budget import ByteBudget
from sr_batch.depth import Pixels
from sr_batch.due import due
from sr_batch.encoders import Encoders, Encoding, Write
from sr_batch.errors import PhotoError, PhotoOutOfReach, UnreadablePhoto, UnwritablePhoto
from sr_batch.events import Done, Events, Failure, Summary
from sr_batch.folders import PhotoJob
from sr_batch.journal import Journals, Stamp, fingerprint
from sr_batch.photos import (
    AlphaChoice,
    Photo,
    PhotoFacts,
    Size,
    check_sequence,
    check_size,
    inspect_photo,
    open_photo,
    open_sequence_writer,
    read_further,
)
from sr_batch.photos.transparency import mean_channel, tame_alpha
from sr_batch.resize import BandResizer, resize
from sr_batch.settings import Settings
from sr_batch.sizes import enlarged_beyond
from sr_batch.space import check_room, disk_full
from sr_batch.targets import Tidied, ready_folder
from sr_batch.tiles import TilePlan, plan_tiles
from sr_batch.trace import NO_TRACE, Stage, Trace
from sr_batch.upscale import (
    Broken,
    Guard,
    Picture,
    Piece,
    Stream,
    TileOptions,
    upscale_all,
)
from sr_train.atomic_file import atomic_file
from sr_train.errors import SRError

__all__ = ["Settings", "run_batch"]

DECODED_BYTES = 256 << 20  # of photos decoded and not yet cut into tiles; a larger one is alone
BAND_BYTES = 192 << 20  # of finished rows of one photo: of more, the tiles become lower; three are held at a time
ENCODING_BYTES = 64 << 20  # of bands that wait or are being encoded; a larger one is alone


class _LeftAlone(Exception):
    """The photo is not to be done; the message says why."""


@dataclass(frozen=True)
class _Decoded:
    photo: Photo
    result: Size
    reserved: int  # bytes of the budget for decoded photos
    stamp: Stamp | None  # of the file that it was read from; None where no journal asks
    content: str = ""  # its sha256


class _Output:
    """A file on its way: one picture, or the frames or pages of a sequence, through the engine into its result."""

    def __init__(self, job: PhotoJob, work: _Decoded) -> None:
        self.job, self.work = job, work
        self.encoding: Encoding | None = None
        self.pages: deque[_Page] = deque()  # in the engine, in order: the first one's bands are being written
        self.begun: deque[_Page] = deque()  # for the writing thread: whose bands come, from each band at the top on
        self.done = Done(work.photo.size, work.result, pictures=0, all_pixels=0, all_result_pixels=0)
        self.redone = 0  # tiles that were done again in fp32
        self.given = False  # nothing more comes for its file: it can be waited for
        self.failed = False  # and told so

    def count(self, page: _Page) -> None:
        """A page is complete."""
        done = self.done
        pixels, result_pixels = done.pixels + page.photo.size.pixels, done.result_pixels + page.result.pixels
        self.done = replace(done, pictures=done.pictures + 1, all_pixels=pixels, all_result_pixels=result_pixels)

    def told(self) -> Done:
        """What became of the file, with what the engine had to do again."""
        if self.redone == 0:
            return self.done
        tiles = "1 tile that was wrong was" if self.redone == 1 else f"{self.redone} tiles that were wrong were"
        again = f"{tiles} done again in fp32"
        return replace(self.done, warnings=(*self.done.warnings, again))

    def wanted(self) -> bool:
        return not (self.failed or self.is_over())

    def is_over(self) -> bool:
        return self.encoding is not None and self.encoding.is_over


@dataclass(eq=False)
class _Page:
    """A picture of a file; mostly its only one."""

    output: _Output
    photo: Photo
    result: Size
    is_last: bool
    waits_for_alpha: bool  # the network draws its transparency first
    alpha: Pixels | None = None  # of the result, where the network drew it
    early: deque[Piece[_Page | _Alpha]] = field(default_factory=deque)  # that wait for it, or for earlier pages


@dataclass
class _Alpha:
    """A picture's transparency, which goes through the network before its colours."""

    page: _Page
    large: list[Pixels] = field(default_factory=list)  # rows of it, [rows, w], top down


def run_batch(
    jobs: Iterable[PhotoJob],
    stream: Stream,
    settings: Settings,
    events: Events,
    summary: Summary,
    journals: Journals | None = None,
    guard: Guard | None = None,
    trace: Trace = NO_TRACE,
) -> None:
    """Upscale every job's photo with the engine's `stream`, filling in `summary` as it goes.

    Returns when all are done, skipped or failed. KeyboardInterrupt and the like pass through after the unfinished
    files are removed. SRErrors of the engine fail the photo, not the run. `guard` looks at the engine's results,
    `trace` records where the time goes.
    """
    begun = time.monotonic()
    try:
        _Run(settings, events, summary, journals or Journals({}), trace).all(jobs, stream, guard)
    finally:
        summary.seconds += time.monotonic() - begun


class _Run:
    """The threads and photos of one run_batch."""

    def __init__(self, settings: Settings, events: Events, summary: Summary, journals: Journals, trace: Trace) -> None:
        self._settings, self._events, self._summary, self._journals = settings, events, summary, journals
        self._trace = trace
        self._loaders = ThreadPoolExecutor(settings.load, "decode")
        self._encoders = Encoders(settings.save, ENCODING_BYTES, trace)
        self._budget = ByteBudget(DECODED_BYTES)
        self._unfinished: deque[_Output] = deque()  # in the order of the jobs

    def all(self, jobs: Iterable[PhotoJob], stream: Stream, guard: Guard | None) -> None:
        settings, events, summary = self._settings, self._events, self._summary
        to_do = due(jobs, events, summary, self._journals, overwrite=settings.overwrite)
        options = TileOptions(settings.scale, settings.halo, settings.batch, settings.reuse_bytes)
        try:
            pictures = self._pictures(to_do)
            pieces = upscale_all(pictures, stream, options, summary.tiles, guard, events.advanced, self._trace)
            with closing(pieces):
                for piece in pieces:
                    self._take(piece)
                    self._settle_some()
            while self._unfinished:
                self._settle(self._unfinished.popleft())
        finally:
            self._budget.close()
            self._loaders.shutdown(cancel_futures=True)
            self._encoders.shutdown()

    def _pictures(self, jobs: Iterator[PhotoJob]) -> Iterator[Picture[_Page | _Alpha]]:
        """What the engine gets: the photos as they are decoded, page by page."""
        settings = self._settings
        for job, decoded in self._decode_ahead(jobs):
            try:
                with self._trace.span(Stage.WAIT_INPUT, job.source.name):
                    work = decoded.result()
                size = work.photo.size
                _plan(work.photo, settings)
            except _LeftAlone as reason:
                self._summary.left_alone += 1
                _skip(job, str(reason), self._events, self._summary)
                continue
            except Exception as error:  # whatever it is, the other photos are done; _reason tells what was not foreseen
                _fail(job, error, self._events, self._summary, self._journals)
                continue
            self._events.started(job, size)
            output = _Output(job, work)
            output.encoding = self._encoders.open(_write(output, settings, self._journals), job.source.name)
            self._unfinished.append(output)
            try:
                for page in _pages(output, settings):
                    if not output.wanted():
                        break
                    yield from self._pictures_of(page)
            except Exception as error:  # a later page; the file is given up
                self._give_up(output, error)
            self._budget.give_back(work.reserved)  # the last of its windows is cut

    def _pictures_of(self, page: _Page) -> Iterator[Picture[_Page | _Alpha]]:
        """A page, and before it its transparency where the network draws it."""
        settings, output, photo = self._settings, page.output, page.photo
        name = output.job.source.name
        plan = _plan(photo, settings)
        output.pages.append(page)
        if page.waits_for_alpha and photo.alpha is not None:
            grey = np.repeat(photo.alpha[:, :, None], 3, axis=2)
            yield Picture(_Alpha(page), grey, plan, output.wanted, name, advances=False)
        yield Picture(page, photo.pixels, plan, output.wanted, name)

    def _decode_ahead(self, jobs: Iterator[PhotoJob]) -> Iterator[tuple[PhotoJob, Future[_Decoded]]]:
        """Jobs in order, each with its photo, decoded while the ones before are inferred."""
        waiting: deque[tuple[PhotoJob, Future[_Decoded]]] = deque()
        tidied = Tidied()
        for ticket, job in enumerate(jobs):
            tidied.tidy(job)
            hashed = self._journals.of(job) is not None
            decoded = self._loaders.submit(self._decode, job, ticket, hashed=hashed)
            waiting.append((job, decoded))
            if len(waiting) > self._settings.load:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()

    def _decode(self, job: PhotoJob, ticket: int, *, hashed: bool) -> _Decoded:
        """In a decoding thread."""
        with self._trace.span(Stage.DECODE, job.source.name):
            return _check_and_decode(job, self._settings, self._budget, ticket, self._trace, hashed=hashed)

    def _take(self, piece: Piece[_Page | _Alpha] | Broken[_Page | _Alpha]) -> None:
        page = piece.of.page if isinstance(piece.of, _Alpha) else piece.of
        output = page.output
        if output.failed:
            return
        if not isinstance(piece, Broken) and piece.last:
            output.redone += piece.redone
        if isinstance(piece, Broken):
            self._give_up(output, piece.error)
        elif isinstance(piece.of, _Alpha):
            piece.of.large.append(mean_channel(piece.band.pixels))
            if piece.last and page.photo.alpha is not None:
                large = resize(np.concatenate(piece.of.large), page.result)
                page.alpha, page.waits_for_alpha = tame_alpha(page.photo.alpha, large), False
        else:
            page.early.append(piece)
        while output.pages and output.pages[0].early and not output.pages[0].waits_for_alpha:
            self._encode(output.pages[0], output.pages[0].early.popleft())

    def _encode(self, page: _Page, piece: Piece[_Page | _Alpha]) -> None:
        """The next band of the first page that is not complete."""
        output = page.output
        assert output.encoding is not None
        if piece.band.top == 0:
            output.begun.append(page)
        if page.photo is output.work.photo:  # of a sequence, the first picture stands for all
            self._events.drawn(output.job, page.photo, piece.band)
        output.encoding.put(piece.band)
        if piece.last:
            output.pages.popleft()
            output.count(page)
            if page.is_last:
                output.encoding.complete()
                output.given = True

    def _give_up(self, output: _Output, error: Exception) -> None:
        output.given = output.failed = True
        assert output.encoding is not None
        output.encoding.abandon()
        _fail(output.job, error, self._events, self._summary, self._journals)

    def _settle_some(self) -> None:
        """Report the files that are finished, in order, and wait where too many are not."""
        unfinished = self._unfinished
        while unfinished and (
            unfinished[0].is_over()
            or (unfinished[0].given and sum(output.given for output in unfinished) > self._settings.save)
        ):
            self._settle(unfinished.popleft())

    def _settle(self, output: _Output) -> None:
        """Wait for a file and report it. One whose inference failed was reported already."""
        assert output.encoding is not None
        try:
            output.encoding.wait()
        except Exception as error:
            if not output.failed:
                _fail(output.job, error, self._events, self._summary, self._journals)
            return
        if not output.failed:
            done = output.told()
            self._summary.add(done)
            self._events.finished(output.job, done)


def _skip(job: PhotoJob, reason: str, events: Events, summary: Summary) -> None:
    summary.skipped += 1
    events.skipped(job, reason)


def _plan(photo: Photo, settings: Settings) -> TilePlan:
    """The tiles of a photo, lower than wide where a row of them would be a very large band."""
    scale, (height, width, channels) = settings.scale, photo.pixels.shape
    row_bytes = width * channels * photo.depth.itemsize * scale**2  # of the results for one row of the photo
    most_rows = max(1, BAND_BYTES // row_bytes)
    return plan_tiles(height, width, settings.tile, settings.halo, settings.fixed_tile, most_rows)


def _check_and_decode(
    job: PhotoJob, settings: Settings, budget: ByteBudget, ticket: int, trace: Trace, *, hashed: bool
) -> _Decoded:
    """Everything that can fail before inference fails here. Waits for its turn to hold a decoded photo."""
    try:
        source = inspect_photo(job.source, settings.read.max_pixels)
        if (reason := settings.sizes.why_left_alone(source.size)) is not None:
            raise _LeftAlone(reason)
        size = settings.sizes.result_of(source.size, settings.scale)
        _check_target(job, source, size)
    except BaseException:
        budget.take(ticket, 0)  # whose turn it is now
        raise
    with trace.span(Stage.WAIT_ROOM):
        budget.take(ticket, source.held_bytes)
    try:
        stamp, content = fingerprint(job.source) if hashed else (None, "")
        photo = open_photo(job.source, settings.read).for_result(job.format, size)
    except BaseException:
        budget.give_back(source.held_bytes)
        raise
    return _Decoded(photo, size, source.held_bytes, stamp, content)


def _check_target(job: PhotoJob, source: PhotoFacts, size: Size) -> None:
    """Whether the result, of this size, can be."""
    if source.sequence is not None:
        check_sequence(source.sequence, job.format)
    check_size(size, job.format)
    ready_folder(job)
    check_room(job.target.parent, source.result_pixels(size), job.format)


def _pages(output: _Output, settings: Settings) -> Iterator[_Page]:
    """The pictures of a file, the first already decoded, each further one when its turn has come."""
    work, job = output.work, output.job
    sequence = work.photo.sequence
    yield _page(output, work.photo, work.result, settings, is_last=sequence is None)
    if sequence is None:
        return
    for index, photo in enumerate(read_further(job.source, settings.read), start=2):
        result = settings.sizes.result_of(photo.size, settings.scale)
        check_size(result, job.format)
        yield _page(output, photo.for_result(job.format, result), result, settings, is_last=index == sequence.count)


def _page(output: _Output, photo: Photo, result: Size, settings: Settings, *, is_last: bool) -> _Page:
    beyond = enlarged_beyond(result, photo.size.times(settings.scale))
    said = (*output.done.warnings, *photo.warnings, *((beyond,) if beyond else ()))
    is_deep = output.done.deep or photo.depth != np.uint8
    output.done = replace(output.done, deep=is_deep, warnings=tuple(dict.fromkeys(said)))  # each sentence once
    alpha, choice = photo.alpha, settings.alpha
    is_drawn = choice is AlphaChoice.MODEL and alpha is not None and bool(alpha.min() != alpha.max())
    return _Page(output, photo, result, is_last, is_drawn)


def _write(output: _Output, settings: Settings, journals: Journals) -> Write:
    """In encoding threads: the bands become the file, which gets its name when it is complete."""
    job, work = output.job, output.work
    try:
        journal, sequence = journals.of(job), work.photo.sequence
        with atomic_file(job.target, sweep=False) as partial:
            with partial.open("w+b") as file:
                enlarged = work.result.pixels / work.photo.size.pixels
                writer = open_sequence_writer(file, job.format, sequence, enlarged, settings.write)
                while (band := (yield)) is not None:
                    if band.top == 0:
                        page = output.begun.popleft()
                        resizer = BandResizer(page.photo.size.times(settings.scale), page.result)
                        writer.begin(page.photo, page.result, page.alpha)
                    for rows in resizer.add(band.pixels):
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
            raise UnwritablePhoto(disk_full(job.target.parent, reason)) from error
        raise UnwritablePhoto(f"{job.target} cannot be written ({reason})") from error


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
