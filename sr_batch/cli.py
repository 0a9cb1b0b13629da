"""`sr-batch`: upscale folders of photos. The only place of this package where text is printed and the process ended.

Exit codes: 0 all done, 1 some photos failed, 2 usage or engine not available, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal, NoReturn

if TYPE_CHECKING:
    from sr_batch.folders import Naming, WorkList
    from sr_batch.pipeline import Settings, Summary
    from sr_export.engines.base import Engine, Traits
    from sr_export.model import Model
    from sr_export.onnx_file import OnnxFacts
    from sr_export.shape import BatchShape

__all__ = ["main"]

DONE, SOME_FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
ENGINES = ("auto", "torch", "onnx", "openvino", "trt", "rtx")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
FORMATS = ("same", "png", "jpg", "webp", "tiff", "avif")
FIXED_TILE = 256  # LR pixels: window side of engines that are built for one; not measured on a GPU
MEGA = 1e6


class Terminated(BaseException):
    """SIGTERM came. Like KeyboardInterrupt: cleans up on its way and is caught only in main."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and end the process with its exit code."""
    try:
        signal.signal(signal.SIGTERM, _terminate)
        sys.exit(run(_parser().parse_args(arguments)))
    except KeyboardInterrupt:
        print("interrupted; the finished photos stay, the same command goes on from there", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Terminated:
        print("terminated; the finished photos stay, the same command goes on from there", file=sys.stderr)
        sys.exit(TERMINATED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output is gone
        sys.exit(SOME_FAILED)


def run(options: argparse.Namespace) -> int:
    """The command itself: returns the exit code; prints errors that a user can mend as one sentence."""
    from sr_train.errors import SRError

    try:
        return _upscale(options)
    except SRError as error:
        from sr_batch.progress import printable

        print(f"sr-batch: {printable(str(error))}", file=sys.stderr)
        return USAGE


def _upscale(options: argparse.Namespace) -> int:
    from sr_batch.folders import check_inputs, find_jobs
    from sr_batch.photos import use_own_limits
    from sr_batch.pipeline import Summary
    from sr_batch.progress import printable
    from sr_export.engines import EngineName, Precision, open_engine, refuse_what_is_not_built
    from sr_export.model import find_model, prepare
    from sr_train.errors import UsageError

    def say(line: str) -> None:
        if not options.quiet:
            print(printable(line), file=sys.stderr, flush=True)

    inputs = _inputs(options)
    if not inputs:
        raise UsageError("no input given; name a photo or a folder of photos, or see sr-batch --help")
    check_inputs(inputs)
    use_own_limits()
    engine_name: EngineName | Literal["auto"] = EngineName(options.engine) if options.engine != "auto" else "auto"
    precision: Precision | Literal["auto"] = Precision(options.precision) if options.precision != "auto" else "auto"
    refuse_what_is_not_built(engine_name, precision)
    prepared = prepare(find_model(options.model), say)
    if options.scale not in (None, prepared.facts.scale):
        raise UsageError(
            f"model {prepared.model.name} upscales {prepared.facts.scale}x, not {options.scale}x; leave -s out"
        )
    work = find_jobs(inputs, _naming(options, prepared.facts.scale))
    for note in work.notes:
        say(f"note: {note}")
    if work.ignored and options.verbose:
        say(f"note: {work.ignored} files that are not photos by their names are left alone")
    if options.dry_run:
        return _dry_run(work, prepared.facts.scale, int(options.max_pixels * MEGA), options.overwrite)
    explain = (lambda reason: say(f"not taken: {reason}")) if options.verbose else (lambda _: None)
    halo = _halo_of(options.halo, prepared.facts)
    shape = _engine_shape(options, halo)
    opened = open_engine(
        prepared,
        engine_name,
        precision,
        options.device,
        explain=explain,
        shape=shape,
        say=say,
        compiled=options.compile,
    )
    with opened as engine:
        settings = _settings(options, engine.traits, halo)
        how = f"{engine.traits.describe()}, tile {settings.tile}, halo {settings.halo}"
        say(f"{prepared.model.name} {settings.scale}x with {how}")
        summary = Summary()
        try:
            _run_jobs(options, work, engine, settings, prepared.model, summary)
        finally:
            say(_summary_line(summary))
    if summary.not_ours:
        say(f"note: {summary.not_ours} of those already there are not this tool's, or were changed; --overwrite redoes")
    for folder in _result_folders(work) if summary.done else ():
        say(f"results are in {folder}")
    return SOME_FAILED if summary.failures else DONE


def _run_jobs(
    options: argparse.Namespace, work: WorkList, engine: Engine, settings: Settings, model: Model, summary: Summary
) -> None:
    """The batch itself, with its journals, its display, its report and its events on stdout."""
    from sr_batch.journal import open_journals
    from sr_batch.pipeline import Events, Failure, run_batch
    from sr_batch.progress import reporter
    from sr_batch.report import Record, Recorder, open_report, summary_record, write_line

    traits = engine.traits
    run: Record = {"model": model.name, "model_sha256": model.sha256, "engine": f"{traits.name} {traits.version}"}
    run |= {"precision": str(traits.precision), "scale": traits.scale}
    roots = {job.root for job in work.jobs if job.root is not None}
    key = settings.key(model.sha256, traits.precision)
    takers: list[Callable[[Record], None]] = [partial(write_line, sys.stdout)] if options.json else []
    with ExitStack() as stack:
        journals = stack.enter_context(open_journals(roots, key, retry_failed=options.retry_failed))
        if options.report is not None:
            takers.append(stack.enter_context(open_report(options.report, run, summary)))
        events: Events = stack.enter_context(reporter(work.jobs, quiet=options.quiet, verbose=options.verbose))
        events = Recorder(events, takers, settings.scale) if takers else events
        for path, reason in work.failures:
            summary.failures.append(Failure(path, reason))
            events.failed(summary.failures[-1])
        run_batch(work.jobs, engine.stream, settings, events, summary, journals)
    if options.json:
        write_line(sys.stdout, summary_record(summary))


def _inputs(options: argparse.Namespace) -> list[Path]:
    """All that the command line names, patterns and lists resolved."""
    from sr_batch.inputs import expand_patterns, read_list
    from sr_train.errors import UsageError

    inputs = expand_patterns([*options.inputs, *options.more_inputs])
    if options.files_from == "-":
        return inputs + read_list(sys.stdin.buffer, "the standard input")
    if options.files_from is not None:
        try:
            with Path(options.files_from).open("rb") as file:
                return inputs + read_list(file, options.files_from)
        except OSError as error:
            raise UsageError(f"{options.files_from} cannot be read ({error.strerror}); check the path") from error
    return inputs


def _naming(options: argparse.Namespace, scale: int) -> Naming:
    from sr_batch.folders import Naming
    from sr_batch.photos import PhotoFormat

    kinds = {kind.name.lower(): kind for kind in PhotoFormat} | {"jpg": PhotoFormat.JPEG}
    return Naming(scale, options.output, options.suffix, kinds.get(options.format))


def _halo_of(wanted: str | int, facts: OnnxFacts) -> int:
    """The halo in LR pixels that --halo means for this model."""
    from sr_train.errors import UsageError

    match wanted:
        case "auto":
            halo = facts.halo_measured if facts.halo_measured is not None else facts.halo
        case "exact":
            halo = facts.halo
        case chosen:
            halo = int(chosen)
    if halo is None:
        raise UsageError(
            "this model sees further than could be measured, so tiles may show seams; choose with --halo N"
        )
    return halo


def _engine_shape(options: argparse.Namespace, halo: int) -> BatchShape:
    """The largest batch and window that will come, for engines that are built for one."""
    from sr_export.shape import BatchShape

    side = options.tile or max(FIXED_TILE, 4 * halo)
    return BatchShape(options.batch, side, side)


def _settings(options: argparse.Namespace, traits: Traits, halo: int) -> Settings:
    from sr_batch.photos import AlphaChoice, IccChoice, PngLevel, ReadOptions, WriteOptions
    from sr_batch.pipeline import Settings

    load, save = options.jobs
    return Settings(
        scale=traits.scale,
        # An engine of one tile size was opened for what was asked, or for less where memory was short.
        tile=traits.tile if traits.fixed_tile else options.tile or max(traits.tile, 4 * halo),
        halo=halo,
        batch=options.batch,
        read=ReadOptions(IccChoice(options.icc), options.strip, int(options.max_pixels * MEGA)),
        write=WriteOptions(options.quality, PngLevel(options.png_level)),
        alpha=AlphaChoice(options.alpha),
        keep_mtime=options.mtime,
        overwrite=options.overwrite,
        fixed_tile=traits.fixed_tile,
        load=load,
        save=save,
    )


def _dry_run(work: WorkList, scale: int, max_pixels: int, overwrite: bool) -> int:
    """Say what would be done, on stdout, one line a photo."""
    from sr_batch.errors import PhotoError
    from sr_batch.photos import check_size, probe
    from sr_batch.progress import printable

    failed, pixels = len(work.failures), 0
    for path, reason in work.failures:
        print(f"cannot do: {printable(path)}: {reason}")
    for job in work.jobs:
        names = f"{printable(job.source)} -> {printable(job.target)}"
        try:
            size = probe(job.source, max_pixels)
            check_size(size.times(scale), job.format)
        except PhotoError as error:
            failed += 1
            print(f"cannot do: {printable(job.source)}: {error}")
            continue
        if job.target.exists() and not overwrite:
            print(f"already there: {names}")
            continue
        pixels += size.pixels
        print(f"would do: {names} ({size} -> {size.times(scale)})")
    print(f"{pixels / MEGA:.1f} MP would become {pixels * scale**2 / MEGA:.1f} MP; nothing was written")
    return SOME_FAILED if failed else DONE


def _summary_line(summary: Summary) -> str:
    parts = [f"{summary.done} done"]
    parts += [f"{summary.skipped} already there"] if summary.skipped else []
    parts += [f"{len(summary.failures)} failed"] if summary.failures else []
    speed = summary.pixels / summary.seconds / MEGA if summary.seconds else 0.0
    return f"{', '.join(parts)}: {summary.pixels / MEGA:.2f} MP in {summary.seconds:.1f} s ({speed:.3f} MP/s)"


def _result_folders(work: WorkList) -> list[str]:
    """The topmost folders that hold results."""
    folders = {job.target.parent for job in work.jobs}
    return sorted(str(folder) for folder in folders if folders.isdisjoint(folder.parents))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sr-batch",
        description="Upscale photos with a super-resolution network: single files, or folders with all that is in "
        "them. Results of a folder 'photos' go to 'photos_x4' beside it. What is there already is not done again.",
        epilog="exit codes: 0 all done, 1 some photos failed, 2 usage or engine not available, 130 interrupted, "
        "143 terminated",
    )
    add = parser.add_argument
    add("inputs", nargs="*", type=Path, metavar="INPUT", help="photos, folders, patterns like 'p/**/*.jpg'")
    add("-i", "--input", dest="more_inputs", action="append", default=[], type=Path, metavar="INPUT", help="one more")
    add("--files-from", metavar="LIST", help="a file of paths, one a line or NUL-separated; - for standard input")
    add("-o", "--output", type=Path, help="folder for the results; for a single photo also a file")
    add("-n", "--model", default="srresnet", help="shipped model, .safetensors checkpoint or .onnx file (srresnet)")
    add("-s", "--scale", type=_whole, help="refuse to run unless the model upscales by this much")
    add("--engine", choices=ENGINES, default="auto", help="what computes (auto: the best that is here)")
    add("--precision", choices=PRECISIONS, default="auto", help="auto: the fastest that gives fp32's pictures")
    add("-g", "--device", "--devices", default="auto", metavar="DEVICE",
        help="auto, cpu (-1), mps, cuda, cuda:N, N; several GPUs as 0,1 or all")  # fmt: skip
    add(
        "-t", "--tile", type=_tile, default=0, metavar="auto|N", help="longest side of a tile, halo included, in pixels"
    )
    add("--halo", type=_halo, default="auto", metavar="auto|exact|N", help="auto: errors stay below half a grey level")
    add("--compile", action="store_true", help="engine torch: torch.compile it (slow start; needs a C++ compiler)")
    add("--batch", type=_positive, default=1, metavar="N", help="tiles in one engine call (1)")
    add("-f", "--format", choices=FORMATS, default="same", help="of the results (same as each photo)")
    add("--quality", type=_quality, default=95, metavar="N", help="of JPEG, WebP and AVIF, 1 to 100 (95)")
    add("--png-level", choices=("fast", "small"), default="fast", help="small: smaller PNGs, ten times slower (fast)")
    add("--max-pixels", type=_megapixels, default=500.0, metavar="MP", help="refuse larger photos undecoded (500)")
    add("--alpha", choices=("lanczos", "model"), default="lanczos", help="what enlarges transparency (lanczos)")
    add("--icc", choices=("keep", "srgb"), default="keep", help="keep each colour profile, or convert to sRGB (keep)")
    add("--strip", action="store_true", help="leave out all metadata (date, place, camera, text)")
    add("--no-mtime", dest="mtime", action="store_false", help="results are dated now, not like their photos")
    add("--suffix", help="added to each result's name (_x4 beside a single photo, else nothing)")
    add("--overwrite", action="store_true", help="do again what is there already")
    add("--retry-failed", action="store_true", help="try photos again that an earlier run could not read")
    add("-j", "--jobs", type=_jobs, default=(1, 2), metavar="N|LOAD:PROC:SAVE", help="threads that decode and encode")
    add("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add("--report", type=Path, metavar="FILE.json", help="write what became of each photo, when the run has ended")
    add("--json", action="store_true", help="print events as JSON lines on stdout")
    talk = parser.add_mutually_exclusive_group()
    talk.add_argument("-q", "--quiet", action="store_true", help="say only what failed")
    talk.add_argument(
        "-v", "--verbose", action="store_true", help="name each photo, and why no better engine was taken"
    )
    add("--version", action="version", version=f"sr-toolkit {version('sr-toolkit')}")
    return parser


def _whole(text: str) -> int:
    value = text.removesuffix("x")
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(value)


def _positive(text: str) -> int:
    if (value := _whole(text)) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be at least 1")
    return value


def _tile(text: str) -> int:
    """0 means auto, as other upscalers have it."""
    return 0 if text == "auto" else _whole(text)


def _halo(text: str) -> str | int:
    return text if text in ("auto", "exact") else _whole(text)


def _quality(text: str) -> int:
    if not 1 <= (value := _whole(text)) <= 100:
        raise argparse.ArgumentTypeError(f"'{text}' is not between 1 and 100")
    return value


def _megapixels(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of megapixels above 0")
    return value


def _jobs(text: str) -> tuple[int, int]:
    """(decoding, encoding) threads of N or LOAD:PROC:SAVE; PROC is there for other upscalers' scripts, and not used."""
    parts = text.split(":")
    if len(parts) not in (1, 3):
        raise argparse.ArgumentTypeError(f"'{text}' is neither N nor LOAD:PROC:SAVE")
    return _positive(parts[0]), _positive(parts[-1])


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    main()
