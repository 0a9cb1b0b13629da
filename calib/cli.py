"""`sr-calib`: INT8 forms of a model, made and judged. Only here is text printed and the process ended.

Exit codes: 0 done (check: use), 1 the gate was not passed, 2 usage or something not available, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from onnx import ModelProto

    from calib.gate import PerceptualDistance, Pixels
    from calib.quantize import Target
    from calib.ranges import Progress
    from calib.samples import Samples
    from calib.search import Candidate
    from sr_export.model import Prepared

__all__ = ["main"]

DONE, NOT_PASSED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and end the process with its exit code."""
    options = _parser().parse_args(arguments)
    from sr_train.errors import SRError

    command: Callable[[argparse.Namespace], int] = options.command
    try:
        sys.exit(command(options))
    except SRError as error:
        print(f"sr-calib: {error}", file=sys.stderr)
        sys.exit(USAGE)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _quantize(options: argparse.Namespace) -> int:
    from calib.int8 import Wish, calibrate, write_form
    from calib.quantize import Target
    from calib.ranges import Method, read_ranges
    from calib.sidecar import sidecar_of, to_json
    from sr_export.model import find_model, prepare
    from sr_train.atomic_file import atomic_file
    from sr_train.errors import UsageError

    target = Target(options.target)
    rest = options.rest or ("fp16" if target is Target.TENSORRT else "fp32")
    prepared = prepare(find_model(options.model), _say)
    output = options.output or Path(f"{prepared.model.name}.int8.onnx")
    wish = Wish(target, rest, Method(options.method), tuple(options.keep), options.equalise)
    ranges = read_ranges(options.ranges, prepared.model.sha256) if options.ranges else None
    samples = _samples(options)
    with _progress() as progress, _price(prepared, target) as price:

        def found(candidate: Candidate, form: ModelProto) -> None:
            print(f"in float: {', '.join(candidate.keep) or 'none'}: {candidate.figures}{price(form)}", flush=True)

        recipe, candidate = calibrate(prepared, samples, wish, ranges, progress=progress, found=found)
    try:
        with atomic_file(output) as partial:
            write_form(prepared, recipe, partial)
        with atomic_file(sidecar_of(output)) as partial:
            partial.write_text(json.dumps(to_json(prepared.model.name, recipe, candidate), indent=1), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written ({error.strerror}); choose another place with -o") from error
    print(
        f"{output}: {target}, rest {rest}, {len(candidate.keep)} layers in float; {sidecar_of(output).name} beside it"
    )
    if not candidate.passed:
        from calib.gate import decide

        print(f"the gate: {decide(candidate.figures)}", file=sys.stderr)
        return NOT_PASSED
    print(f"the gate: use, if it is faster where it runs (sr-calib check {output})")
    return DONE


def _check(options: argparse.Namespace) -> int:
    from calib.check import check, source_of, to_json
    from calib.picture import worst_tile_picture
    from sr_export.model import find_model, prepare
    from sr_train.errors import UsageError

    int8 = prepare(find_model(options.model), _say)
    source = source_of(int8, options.against)
    samples = _samples(options)
    checked = check(int8, source, samples, _lpips(options.lpips_weights))
    for name, result in checked.results.items():
        print(f"{name}: {result.figures}; {result.speed:.2f} times the fastest float form\n  {result.verdict}")
    for name, seconds in checked.seconds.items():
        print(f"{name}: {seconds * 1000:.0f} ms a tile of 128x128")
    worst = min(checked.results.values(), key=lambda result: result.figures.worst_psnr_db)
    try:
        if options.picture:
            worst_tile_picture(worst.fp32, worst.int8).save(options.picture)
            _say(f"worst tile, fp32 | int8 | 16 times their difference: {options.picture}")
        if options.json:
            options.json.write_text(json.dumps(to_json(checked, samples), indent=1), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{options.picture or options.json} cannot be written ({error})") from error
    return DONE if checked.use() else NOT_PASSED


def _samples(options: argparse.Namespace) -> Samples:
    from calib.samples import built_in_samples, draw_samples

    if options.data is None:
        return built_in_samples()
    return draw_samples(options.data, options.tiles, max(4, options.tiles // 2), options.seed, _say)


def _lpips(weights: Path | None) -> PerceptualDistance | None:
    if weights is None:
        return None
    import torch

    from sr_train.lpips import load_lpips
    from sr_train.pixels import hr_to_tensor

    network = load_lpips(weights)

    def distance(a: Pixels, b: Pixels) -> float:
        with torch.inference_mode():
            first, second = (hr_to_tensor(torch.from_numpy(pixels)[None]) for pixels in (a, b))
            return float(network(first, second))

    return distance


@contextmanager
def _price(prepared: Prepared, target: Target) -> Iterator[Callable[[ModelProto], str]]:
    """What an INT8 graph costs in time beside the fastest float form of this CPU, in words."""
    import tempfile

    import onnx

    from calib.int8 import as_prepared
    from calib.quantize import Target
    from calib.speed import seconds_a_tile
    from sr_export.engines import Precision, open_engine

    with open_engine(prepared, device="cpu") as fastest, tempfile.TemporaryDirectory() as folder:

        def price(form: ModelProto) -> str:
            if target is Target.TENSORRT:
                return ""
            path = Path(folder) / "form.onnx"
            onnx.save(form, str(path))
            with open_engine(as_prepared("form", path), precision=Precision.INT8, device="cpu") as int8:
                seconds = seconds_a_tile({"float": fastest, "int8": int8})
            return f"; {seconds['float'] / seconds['int8']:.2f} times the speed of {fastest.traits.precision}"

        yield price


@contextmanager
def _progress() -> Iterator[Progress]:
    """A live line on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, disable=not console.is_terminal, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("calibrating", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sr-calib",
        description="INT8 forms of a model: twice as fast on CPUs with INT8 dot products and on GPUs, "
        "and used only where they are measured to be as good.",
    )
    parser.add_argument("--version", action="version", version=f"sr-toolkit {version('sr-toolkit')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    quantize = commands.add_parser("quantize", help="make an INT8 file and its sidecar")
    quantize.add_argument("model", help="shipped name, checkpoint or ONNX file")
    quantize.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: MODEL.int8.onnx here")
    quantize.add_argument("--target", choices=("cpu", "tensorrt"), default="cpu", help="whose rules it follows")
    quantize.add_argument("--rest", choices=("fp32", "fp16"), help="what is not INT8; default fp32, tensorrt: fp16")
    quantize.add_argument("--method", choices=("percentile", "minmax", "entropy"), default="percentile")
    quantize.add_argument("--keep", action="append", default=[], metavar="LAYER", help="keep a layer in float (repeat)")
    quantize.add_argument("--equalise", action="store_true", help="balance channels between paired layers first")
    quantize.add_argument("--ranges", type=Path, metavar="FILE", help="take the ranges of this sidecar")
    quantize.set_defaults(command=_quantize)

    check = commands.add_parser("check", help="judge an INT8 file on this machine; exit code 1: do not use")
    check.add_argument("model", help="the INT8 file")
    check.add_argument("--against", metavar="MODEL", help="what it was made from; default: as its sidecar says")
    check.add_argument("--lpips-weights", type=Path, metavar="FILE", help="measure LPIPS-alex too")
    check.add_argument("--picture", type=Path, metavar="FILE", help="write the worst tile: fp32, int8, difference")
    check.add_argument("--json", type=Path, metavar="FILE", help="write the figures for programs")
    check.set_defaults(command=_check)

    for command in (quantize, check):
        command.add_argument(
            "--data", type=Path, metavar="DIR", help="photos to take tiles of; default: built-in tiles"
        )
        command.add_argument("--tiles", type=int, default=24, metavar="N", help="tiles to calibrate with (24)")
        command.add_argument("--seed", type=int, default=0, help="of drawing tiles (0)")
    return parser


if __name__ == "__main__":
    main()
