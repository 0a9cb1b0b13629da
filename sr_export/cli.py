"""`sr-export`: what a checkpoint becomes. Only here is text printed and the process ended.

Exit codes: 0 done, 1 a parity gate was not passed, 2 usage or something not available, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

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
        print(f"sr-export: {error}", file=sys.stderr)
        sys.exit(USAGE)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _onnx(options: argparse.Namespace) -> int:
    from sr_export.export import OnnxOptions, export_model
    from sr_export.model import find_model
    from sr_export.shape import BatchShape

    fixed = BatchShape.parse(options.static) if options.static else None
    chosen = OnnxOptions(options.door, options.precision, fixed, options.fp32_io, tuple(options.keep_fp32))
    model = find_model(options.checkpoint)
    name = f"{model.name}.{options.door}{'.fp16' if options.precision == 'fp16' else ''}.onnx"
    target = options.output or Path(name)
    written = export_model(model, target, chosen, _say)
    facts = written.facts
    print(f"{target}: {facts.door} door, {facts.scale}x, halo {facts.halo} (measured: {facts.halo_measured}), "
          f"{facts.precision}")  # fmt: skip
    if written.difference is not None:
        print(f"compared with torch fp32: {written.difference}")
    if written.tightest is not None:
        print(f"fp16 headroom: {written.tightest.headroom:.0f} times, least in {written.tightest.name}")
    return DONE


def _trt(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from sr_export.export import fp16_onnx
    from sr_export.flavour import Flavour, load_flavour
    from sr_export.gpu import ask_driver
    from sr_export.model import find_model, prepare
    from sr_export.plan import PlanOptions, Profile, write_plan
    from sr_export.shape import BatchShape

    shape = replace(BatchShape.parse(options.tile), count=options.batch)
    profile = Profile.up_to(shape) if options.dynamic else Profile.fixed(shape)
    capabilities = tuple(options.compute_capability.split(",")) if options.compute_capability else ()
    chosen = PlanOptions(Flavour(options.flavour), profile, capabilities, options.level, portable=options.portable)
    load_flavour(chosen.flavour)  # refuses before the work where it is not installed
    prepared = prepare(find_model(options.checkpoint), _say)
    onnx_path = fp16_onnx(prepared, _say) if options.precision == "fp16" else prepared.onnx_path
    target = options.output or Path(f"{prepared.model.name}.{options.precision}.{shape}.{options.flavour}.plan")
    gpu = next(iter(ask_driver().gpus), None)
    _say(f"building a {options.flavour} plan for {profile}")
    with _build_progress() as progress:
        version = write_plan(prepared.model.name, onnx_path, chosen, target, gpu, progress)
    print(f"{target}: {options.flavour} {version}, {options.precision}, pixel door, {profile}")
    return DONE


def _parity(options: argparse.Namespace) -> int:
    from rich.console import Console

    from sr_export.engines import EngineName
    from sr_export.model import find_model, prepare
    from sr_export.parity_report import to_json, to_table, write_report
    from sr_export.parity_run import find_forms, load_images, measure_parity
    from sr_train.errors import UsageError

    try:
        engines = [EngineName(name) for name in options.engines.split(",")] if options.engines else None
    except ValueError as error:
        raise UsageError(f"{error}; engines are {', '.join(EngineName)}") from error
    prepared = prepare(find_model(options.checkpoint), _say)
    images = load_images(options.images)
    parity = measure_parity(prepared.model.name, find_forms(prepared, engines), images, _say)
    if options.json:
        print(to_json(parity))
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(to_table(parity))
    for target in options.report:
        write_report(parity, target)
        _say(f"report: {target}")
    return DONE if parity.passed() else NOT_PASSED


def _blend(options: argparse.Namespace) -> int:
    from sr_export.strength import find_ends, write_blend
    from sr_train.errors import UsageError

    base, top = find_ends(options.base, options.top)
    target: Path = options.output or Path(f"{base.name}-{top.name}-{options.strength:g}.safetensors")
    if target.suffix != ".safetensors":
        raise UsageError(f"{target}: a checkpoint's name ends in .safetensors; call it {target.stem}.safetensors")
    write_blend(base, top, options.strength, target)
    print(f"{target}: {options.strength:g} of the way from {base.name} to {top.name}")
    return DONE


def _doctor(_options: argparse.Namespace) -> int:
    from sr_export.doctor import examine, to_text

    print(to_text(examine()))
    return DONE


@contextmanager
def _build_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A live line of TensorRT's phases on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("TensorRT", total=None)
        yield lambda phase, done, steps: bar.update(task, description=phase, completed=done, total=steps or None)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sr-export",
        description="Turn a checkpoint into files that run elsewhere, and prove that each gives PyTorch's pictures.",
        epilog="exit codes: 0 done, 1 a parity gate was not passed, 2 usage or not available, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"sr-toolkit {version('sr-toolkit')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_onnx(commands.add_parser("onnx", help="one ONNX file, checked and compared with torch"))
    _add_trt(commands.add_parser("trt", help="a TensorRT or TensorRT-RTX plan"))
    _add_parity(commands.add_parser("parity", help="how near every form that runs here is to torch in float32"))
    _add_blend(commands.add_parser("blend", help="a checkpoint between two: how much texture"))
    doctor = commands.add_parser("doctor", help="what this machine has for the engines, and what to install")
    doctor.set_defaults(command=_doctor)
    return parser


def _add_onnx(onnx: argparse.ArgumentParser) -> None:
    onnx.set_defaults(command=_onnx)
    onnx.add_argument("checkpoint", help="a .safetensors checkpoint or a shipped model's name")
    onnx.add_argument("-o", "--output", type=Path, help="the file to write (NAME.DOOR[.fp16].onnx)")
    onnx.add_argument("--door", choices=("float", "pixel"), default="float",
                      help="float: NCHW RGB in [0, 1]; pixel: uint8 NHWC RGB (float)")  # fmt: skip
    onnx.add_argument("--precision", choices=("fp32", "fp16"), default="fp32",
                      help="fp16: weights and arithmetic in half, refused when overflow is near (fp32)")  # fmt: skip
    onnx.add_argument("--static", metavar="NxHxW", help="only this batch, height and width (any)")
    onnx.add_argument("--fp32-io", action="store_true", help="an fp16 float door that takes and gives float32")
    onnx.add_argument("--keep-fp32", action="append", default=[], metavar="PART",
                      help="a part of an fp16 network that computes in float32, e.g. body.3")  # fmt: skip


def _add_trt(trt: argparse.ArgumentParser) -> None:
    trt.set_defaults(command=_trt)
    trt.add_argument("checkpoint", help="a .safetensors checkpoint, .onnx file or a shipped model's name")
    trt.add_argument("--flavour", choices=("trt", "rtx"), default="trt",
                     help="trt: TensorRT, on the GPU that it is for; rtx: TensorRT-RTX, anywhere (trt)")  # fmt: skip
    trt.add_argument("--tile", default="256x256", metavar="HxW", help="input pixels (256x256)")
    trt.add_argument("--batch", type=int, default=1, metavar="N", help="tiles in one call (1)")
    trt.add_argument(
        "--dynamic", action="store_true", help="take every shape up to this one, not only this one; slower"
    )
    trt.add_argument("--precision", choices=("fp16", "fp32"), default="fp16", help="of the network (fp16)")
    trt.add_argument("--compute-capability", metavar="X.Y[,X.Y]",
                     help="rtx: GPUs to build for, e.g. 8.9,12.0 (any from 8.0 on)")  # fmt: skip
    trt.add_argument(
        "--level", type=int, choices=range(6), default=3, help="trt: how long to look for fast kernels (3)"
    )
    trt.add_argument("--portable", action="store_true",
                     help="trt: for every GPU of the same compute capability; slower")  # fmt: skip
    trt.add_argument("-o", "--output", type=Path, help="the file to write (NAME.PRECISION.SHAPE.FLAVOUR.plan)")


def _add_parity(parity: argparse.ArgumentParser) -> None:
    parity.set_defaults(command=_parity)
    parity.add_argument("checkpoint", nargs="?", default="srresnet", help="checkpoint, .onnx file or name (srresnet)")
    parity.add_argument("--images", type=Path, metavar="DIR", help="photos to compare on (three built-in crops)")
    parity.add_argument("--engines", metavar="NAME[,NAME]", help="only these, besides the reference (all)")
    parity.add_argument("--report", type=Path, action="append", default=[], metavar="FILE",
                        help="write FILE.html, with heat maps, or FILE.json; may be given twice")  # fmt: skip
    parity.add_argument("--json", action="store_true", help="print JSON in place of the table")


def _add_blend(blend: argparse.ArgumentParser) -> None:
    blend.set_defaults(command=_blend)
    blend.add_argument("base", help="checkpoint or name at strength 0")
    blend.add_argument("top", help="checkpoint or name at strength 1, of the same layout")
    blend.add_argument("--strength", type=float, required=True, metavar="0..1", help="how near to the second one")
    blend.add_argument("-o", "--output", type=Path, help="the file to write (BASE-TOP-STRENGTH.safetensors)")


if __name__ == "__main__":
    main()
