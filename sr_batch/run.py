"""The run: what the options name is found, an engine is opened, all jobs are done, reported and summed up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sr_batch.choices import (
    MEGA,
    chosen_halo,
    chosen_model,
    chosen_naming,
    chosen_settings,
    chosen_sizes,
    chosen_video_settings,
)
from sr_batch.cluster import connected, run_on_cluster
from sr_batch.cluster_worker import ModelSource
from sr_batch.doors import Doors
from sr_batch.dry_run import dry_run
from sr_batch.events import Events, Failure, Summary
from sr_batch.exact import Exact
from sr_batch.folders import Job, WorkList, check_inputs, find_jobs
from sr_batch.forecast import Forecast
from sr_batch.guard import Guard
from sr_batch.inputs import expand_patterns, read_list
from sr_batch.journal import Journals, State, open_journals
from sr_batch.opening import Opening, refuse_early
from sr_batch.options import Options, options_record
from sr_batch.page import Page, open_page
from sr_batch.photos import use_own_limits
from sr_batch.pipeline import Settings, run_batch
from sr_batch.progress import reporter
from sr_batch.report import Record, Recorder, now, open_report, opening_record, summary_record, write_line
from sr_batch.totals import show_totals
from sr_batch.trace import NO_TRACE, Trace, open_trace
from sr_export.model import prepare
from sr_train.errors import UsageError

if TYPE_CHECKING:
    from sr_batch.videos.upscaling import MakeParts
    from sr_export.engines.base import Traits
    from sr_export.model import Prepared

__all__ = ["run"]

Say = Callable[[str], None]  # a line for people


def run(options: Options, say: Say, out: TextIO) -> bool:
    """Do what the options ask for. `say` tells people what happens, `out` takes what programs read.

    Returns whether everything was done; the failures were told. Raises SRError for what stops the whole run: bad
    usage, a model or an engine that cannot be used. Interrupts pass through; finished files stay.
    """
    inputs, listed = expand_patterns([*options.inputs, *options.more_inputs]), _listed(options)
    if not inputs and not listed and not options.tune:
        raise UsageError("no input given; name a photo or a folder of photos, or see sr-batch --help")
    check_inputs(inputs)
    if options.hw == "nvdec-nvenc" and options.cluster is not None:
        raise UsageError("--hw nvdec-nvenc works on this machine only, and --cluster on others; use --hw nvenc with it")
    if options.profile is not None and options.cluster is not None:
        raise UsageError("--profile sees this machine only, and --cluster works on others; leave one of them out")
    use_own_limits()
    refuse_early(options)
    prepared = prepare(chosen_model(options, say), say)
    if options.tune:
        opening = Opening(options, prepared, chosen_halo(options.halo, prepared.facts), say)
        (say if options.json else out.write)(opening.tune())
        if not inputs and not listed:
            return True
    work = find_jobs(inputs, chosen_naming(options, prepared.facts.scale), listed)
    _tell_about(work, say, verbose=options.verbose)
    _check_for_videos(options, work, prepared.facts.scale)
    if options.dry_run:
        sizes, max_pixels = chosen_sizes(options), int(options.max_pixels * MEGA)
        return dry_run(
            work, sizes, prepared.facts.scale, max_pixels, out, overwrite=options.overwrite, stream=options.stream
        )
    halo = chosen_halo(options.halo, prepared.facts)
    ready = Opening(options, prepared, halo, say).open()
    with Doors(ready.engine, ready.open_deep) as doors:
        settings = chosen_settings(options, ready.engine.traits, halo, ready.tuned)
        summary = _upscale(_Batch(options, work, prepared, ready.engine.traits, doors, settings), say, out)
    if summary.not_ours:
        say(f"note: {summary.not_ours} of those already there are not this tool's, or were changed; --overwrite redoes")
    for folder in work.result_folders if summary.done else ():
        say(f"results are in {folder}")
    return not summary.failures


def _listed(options: Options) -> list[str]:
    """The files that --files-from names."""
    if options.files_from is None:
        return []
    if options.files_from == "-":
        return read_list(sys.stdin.buffer, "the standard input")
    try:
        with Path(options.files_from).open("rb") as file:
            return read_list(file, options.files_from)
    except OSError as error:
        raise UsageError(f"{options.files_from} cannot be read ({error.strerror}); check the path") from error


def _tell_about(work: WorkList, say: Say, *, verbose: bool) -> None:
    for note in work.notes:
        say(f"note: {note}")
    if work.ignored and verbose:
        say(f"note: {work.ignored} files that are neither photos nor videos by their names are left alone")


def _check_for_videos(options: Options, work: WorkList, scale: int) -> None:
    """Raise UsageError for options that the inputs cannot follow."""
    videos = work.has_videos
    if not videos and (options.preview or options.range != (None, None) or options.stream is not None):
        raise UsageError("--preview, --range and --stream are for videos, and there is none among the inputs")
    if videos and (options.scale not in (None, scale) or options.target_size is not None):
        raise UsageError(
            f"videos are enlarged by the model's own factor of {scale}; leave --scale and --target-size out"
        )
    if videos and options.hw == "nvdec-nvenc":
        from sr_batch.videos.resident import refuse_without_gpu

        refuse_without_gpu(options.device)


@dataclass(frozen=True)
class _Batch:
    """What a run works with, once its engine is open."""

    options: Options
    work: WorkList
    prepared: Prepared
    traits: Traits
    doors: Doors
    settings: Settings
    started: str = field(default_factory=now)

    @property
    def model_key(self) -> str:
        """Of the network as it computes: for the journal of videos."""
        return f"{self.prepared.model.sha256} {self.traits.precision}"

    def facts(self) -> Record:
        """For reports."""
        model, traits = self.prepared.model, self.traits
        facts: Record = {"tool_version": version("sr-toolkit"), "started": self.started}
        facts |= {"model": model.name, "model_sha256": model.sha256, "engine": f"{traits.name} {traits.version}"}
        facts |= {"precision": str(traits.precision), "scale": traits.scale}
        return facts | {
            "target": str(self.settings.sizes.target_for(traits.scale)),
            "options": options_record(self.options),
        }


def _upscale(batch: _Batch, say: Say, out: TextIO) -> Summary:
    """All jobs through the engine. Whatever ends it, people are told how far it came."""
    settings = batch.settings
    how = f"{batch.traits.describe()}, tile {settings.tile}, halo {settings.halo}"
    say(f"{batch.prepared.model.name} {settings.scale}x with {how}")
    summary = Summary()
    with _profile(batch.options.profile, say) as trace:
        try:
            with Exact(batch.prepared, say) as exact:
                _run_jobs(batch, Guard(exact.stream, say), trace, summary, out)
        finally:
            if not batch.options.quiet:
                show_totals(summary, sys.stderr)
    return summary


@contextmanager
def _profile(path: Path | None, say: Say) -> Iterator[Trace]:
    """A recording into the file of --profile, which says at its end what set the pace; or nobody who looks."""
    if path is None:
        yield NO_TRACE
        return
    with open_trace(path) as recording:
        try:
            yield recording
        finally:
            lost = f" (it could not be written to its end: {recording.problem})" if recording.problem else ""
            say(f"{recording.verdict()}; details: open {path} in ui.perfetto.dev{lost}")


def _run_jobs(batch: _Batch, guard: Guard, trace: Trace, summary: Summary, out: TextIO) -> None:
    """The batch itself, with its journals, its display, its report and its events on `out`."""
    options, work, settings = batch.options, batch.work, batch.settings
    key = settings.key(batch.prepared.model.sha256, batch.traits.precision)
    stream = partial(batch.doors.stream, watch=trace.watch)
    video_settings = chosen_video_settings(options, settings)
    with ExitStack() as stack:
        journals = stack.enter_context(
            open_journals(work.roots, key, video_settings.key(batch.model_key), retry_failed=options.retry_failed)
        )
        pages: list[Page] = []
        events = _listeners(batch, journals, summary, out, stack, pages)
        for path, reason in work.failures:
            summary.failures.append(Failure(path, reason))
            events.failed(summary.failures[-1])
        if options.cluster is not None:
            stack.enter_context(connected(options.cluster))
        if options.cluster is not None and not options.preview:
            run_on_cluster(work.photos(), _source(batch), settings, events, summary, journals, pages)
        elif not options.preview:
            run_batch(work.photos(), stream, settings, events, summary, journals, guard, trace)
        if work.has_videos:
            from sr_batch.videos.batch import run_videos
            from sr_batch.videos.inference import Network

            network = Network(stream, batch.model_key, guard, summary.tiles, trace)
            make_parts = _made_on_the_gpu(batch)
            if options.cluster is not None:
                from sr_batch.cluster_videos import making_parts

                make_parts = stack.enter_context(making_parts(_source(batch), summary.tiles))
            run_videos(
                work.videos(),
                network,
                video_settings,
                events,
                summary,
                journals,
                overwrite=options.overwrite,
                previews=options.preview,
                make_parts=make_parts,
            )


def _made_on_the_gpu(batch: _Batch) -> MakeParts | None:
    """What makes the parts of videos under --hw nvdec-nvenc."""
    if batch.options.hw != "nvdec-nvenc":
        return None
    from sr_batch.videos.resident import resident_parts

    return resident_parts(batch.doors.on_device)


def _source(batch: _Batch) -> ModelSource:
    """The model and how it runs here, for workers on other machines."""
    model = batch.prepared.model
    return ModelSource(model.path.name, model.path.read_bytes(), batch.options.engine, str(batch.traits.precision))


def _listeners(
    batch: _Batch, journals: Journals, summary: Summary, out: TextIO, stack: ExitStack, pages: list[Page]
) -> Events:
    """Everybody who is told what happens: people, reports, programs. Closed with the stack; `pages` gets the pages."""
    options, work, settings, facts = batch.options, batch.work, batch.settings, batch.facts()
    lines = [stack.enter_context(_json_lines(out, facts, len(work), summary))] if options.json else []
    takers: list[Callable[[Record], None]] = []
    viewers = []
    for path in options.report:
        if path.suffix.lower() == ".html":
            page = stack.enter_context(open_page(path, facts, summary, len(work) + len(work.failures)))
            pages.append(page)
            takers.append(page.take)
            viewers.append(page.drawn)
        else:
            takers.append(stack.enter_context(open_report(path, facts, summary)))
    takers += lines  # last: what programs have seen is in the reports
    is_over = partial(_is_over, journals, options.overwrite or bool(options.preview))
    forecast = Forecast(work, settings.sizes, settings.scale, is_over, partial(_video_pixels, options))
    forecast.first_look()
    stack.enter_context(forecast)
    events: Events = stack.enter_context(reporter(forecast, quiet=options.quiet, verbose=options.verbose))
    return Recorder(events, takers, facts, viewers) if takers else events


@contextmanager
def _json_lines(out: TextIO, facts: Record, files: int, summary: Summary) -> Iterator[Callable[[Record], None]]:
    """A taker that writes each record as a line, between an opening and a closing one, whatever ends the run."""
    write_line(out, opening_record(facts, files))
    try:
        yield partial(write_line, out)
    except BrokenPipeError:
        raise
    except BaseException:
        write_line(out, summary_record(summary, interrupted=True))
        raise
    write_line(out, summary_record(summary, interrupted=False))


def _video_pixels(options: Options, video: Path) -> int:
    """Of the frames that are to be done."""
    from sr_batch.videos.inspecting import likely_pixels

    return likely_pixels(video, options.stream, options.range, options.preview or None)


def _is_over(journals: Journals, overwrite: bool, job: Job) -> bool:
    """Whether a job is not to be done, as far as can be told without reading its photo."""
    if overwrite:
        return False
    journal = journals.of(job)
    return job.target.exists() if journal is None else journal.state(job, quick=True) is not State.TO_DO
