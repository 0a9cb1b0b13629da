"""`sr-train`: train the generator on your own photos. The only place of this package where text is printed to stdout
and the process ended.

Exit codes: 0 done, 1 training failed (diverged, out of memory, disk full, no network), 2 usage, 130 interrupted,
143 terminated.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import torch

    from sr_train.config import TrainConfig
    from sr_train.parallel import Group
    from sr_train.pictures import Skipped
    from sr_train.progress import PlainWatcher

__all__ = ["main"]

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
SIGNAL_BASE = 128  # a process ended by signal n has exit code 128 + n
GIGA = 1e9


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and end the process with its exit code."""
    from sr_train.errors import Interrupted

    try:
        sys.exit(run(_parser().parse_args(arguments)))
    except Interrupted as stop:
        print("interrupted; the run is saved, the same command goes on from there", file=sys.stderr)
        sys.exit(SIGNAL_BASE + stop.signal_number)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last saved state", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output is gone
        sys.exit(FAILED)


def run(options: argparse.Namespace) -> int:
    """The command itself: returns the exit code; prints errors that a user can mend as one sentence."""
    from sr_train.errors import SRError, TrainingError

    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except SRError as error:
        from sr_train.progress import printable

        print(f"sr-train: {printable(error)}", file=sys.stderr)
        return FAILED if isinstance(error, TrainingError) else USAGE


def _train(options: argparse.Namespace) -> int:
    """Both stages, or one of them."""
    from sr_train.parallel import process_group
    from sr_train.progress import silent, watcher
    from sr_train.runs import pick_device

    config = _config(options)
    device = pick_device(_local_device(options.device))
    with process_group(device) as group:
        shown = watcher(quiet=options.quiet) if group.rank == 0 else silent()
        with shown as display:
            _run_stages(options, config, device, group, display)
    return DONE


def _run_stages(
    options: argparse.Namespace, config: TrainConfig, device: torch.device, group: Group, display: PlainWatcher
) -> None:
    from sr_train.checkpoint import load_checkpoint
    from sr_train.report import write_report
    from sr_train.runs import RunPaths, prepare, run_stage, stage_one_result
    from sr_train.training import SRGAN

    paths = RunPaths(
        options.data, options.out, options.lr_data, options.val, options.vgg_weights, options.lpips_weights
    )
    if options.init:
        load_checkpoint(options.init)  # before the photos are read, which takes longer
    prepared = prepare(config, paths, options.stages, device, group, display)
    try:
        for number, stage in enumerate(options.stages):
            init = options.init if number == 0 else None
            if stage == SRGAN and init is None:
                init = stage_one_result(options.out)
            run_stage(prepared, stage, init)
    finally:
        if group.rank == 0 and options.out.is_dir():
            for note in write_report(options.out):
                display.say(note)


def _config(options: argparse.Namespace) -> TrainConfig:
    from sr_train.config import load_config

    table = {"data.degradation": options.degradation, "watch.save_every": options.save_every, "seed": options.seed}
    given = [f"{key}={value}" for key, value in table.items() if value is not None]
    return load_config(options.config or options.preset, [*given, *options.set])


def _local_device(name: str) -> str:
    """torchrun's processes take one GPU each."""
    rank = os.environ.get("LOCAL_RANK")
    if name == "auto" and rank is not None:
        import torch

        return f"cuda:{rank}" if torch.cuda.is_available() else "cpu"
    return name


def _evaluate(options: argparse.Namespace) -> int:
    """Bicubic and each checkpoint on each test set."""
    from sr_train.checkpoint import load_checkpoint
    from sr_train.errors import UsageError
    from sr_train.evaluate import (
        Figures,
        bicubic,
        least_side,
        markdown,
        measure,
        read_test_images,
        set_name,
        to_json,
        upscaler,
    )
    from sr_train.lpips import load_lpips
    from sr_train.pictures import open_folder
    from sr_train.record import write_text
    from sr_train.runs import pick_device
    from sr_train.state import save_safely

    if wrong := [quality for quality in options.jpeg or () if not 1 <= quality <= 100]:
        raise UsageError(f"--jpeg {wrong[0]}: the quality of a JPEG is between 1 and 100; 60 to 90 are usual")
    device = pick_device(options.device)
    generators = [(path.stem, load_checkpoint(path)[0]) for path in options.checkpoints]
    scales = {generator.config.scale for _, generator in generators}
    if len(scales) > 1:
        raise UsageError("the checkpoints enlarge by different factors; measure them one at a time")
    scale = scales.pop()
    border = scale if options.border is None else options.border
    lpips = load_lpips(options.lpips_weights).to(device) if options.lpips_weights else None
    methods = [("bicubic", bicubic(scale)), *((name, upscaler(g.to(device), device)) for name, g in generators)]
    rows: list[tuple[str, str, list[Figures]]] = []
    names: list[list[str]] = []
    for folder, quality in itertools.product(options.data, options.jpeg or [None]):
        pictures = open_folder([folder], least_side(scale), 2, _warn)
        of_set: list[list[Figures]] = [[] for _ in methods]
        for image in read_test_images(pictures, scale, jpeg_quality=quality):
            for figures, (_, upscale) in zip(of_set, methods, strict=True):
                figures.append(measure(image, upscale, lpips, border)[0])
        title = set_name(folder) if quality is None else f"{set_name(folder)}, LR a JPEG of {quality}"
        rows += [(title, name, figures) for figures, (name, _) in zip(of_set, methods, strict=True)]
        names += [list(pictures.names)] * len(methods)
    print(markdown(rows, border))
    if options.json:
        save_safely(options.json, lambda path: write_text(path, to_json(rows, names, border)))
    return DONE


def _pack(options: argparse.Namespace) -> int:
    from sr_train.errors import UsageError
    from sr_train.pack import SUFFIX, write_pack

    if options.file.suffix != SUFFIX:
        raise UsageError(f"{options.file}: a pack's name ends in {SUFFIX}; call it {options.file.stem}{SUFFIX}")
    count, size = write_pack(options.data, options.file, 1, options.threads, _warn)
    print(f"{options.file}: {count} photos, {size / GIGA:.2f} GB; train with --data {options.file}")
    return DONE


def _fetch(options: argparse.Namespace) -> int:
    from sr_train.fetch import ADDRESS, DIV2K, fetch, read_checksums

    checksums = read_checksums(options.checksums) if options.checksums else {}
    fetch(DIV2K, options.folder, options.url or ADDRESS, checksums, _note, keep=options.keep)
    print(f"train with --data {options.folder / 'DIV2K_train_HR'} --val {options.folder / 'DIV2K_valid_HR'}")
    return DONE


def _convert(options: argparse.Namespace) -> int:
    from sr_train.checkpoint import CheckpointInfo, save_checkpoint
    from sr_train.convert import convert, convert_own, halved
    from sr_train.errors import UsageError
    from sr_train.state import save_safely

    target: Path = options.output or options.file.with_suffix(".safetensors")
    if target.suffix != ".safetensors" or target.resolve() == options.file.resolve():
        raise UsageError(f"{target}: name another file that ends in .safetensors with --output")
    own = convert_own(options.file)
    if own and not options.half:
        raise UsageError(f"{options.file}: is a checkpoint of sr-train already; --half stores it in half the size")
    converted = own or convert(options.file)
    if converted.note:
        _note(f"warning: {converted.note}")
    origin = {"origin": f"converted from {options.file.name} ({converted.layout})"}
    info = converted.info or CheckpointInfo(options.stage, 0, origin)
    generator = halved(converted.generator) if options.half else converted.generator
    save_safely(target, lambda path: save_checkpoint(path, generator, info))
    print(f"{target}: {converted.layout}, {converted.generator.config}")
    return DONE


def _note(line: str) -> None:
    from sr_train.progress import printable

    print(printable(line), file=sys.stderr, flush=True)


def _warn(skipped: Skipped) -> None:
    _note(f"warning: skipped {skipped}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sr-train",
        description="Train the super-resolution network on your own photos: sr-train run --preset fast --data PHOTOS "
        "--out RUN. The results, .safetensors files, are what sr-batch and sr-export take.",
        epilog="exit codes: 0 done, 1 training failed, 2 usage, 130 interrupted, 143 terminated",
    )
    parser.add_argument("--version", action="version", version=f"sr-toolkit {version('sr-toolkit')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, stages, text in (
        ("run", ("srresnet", "srgan"), "both stages, one after the other"),
        ("resnet", ("srresnet",), "stage 1: SRResNet, by pixel-wise error"),
        ("gan", ("srgan",), "stage 2: SRGAN, from a stage-1 checkpoint"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        _add_training(command)
        command.set_defaults(command=_train, stages=stages)
    _add_tools(commands)
    return parser


def _add_training(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of HR photos, or one .srpack file")
    add("--out", type=Path, required=True, metavar="RUN", help="folder of the run; one that is there is gone on with")
    add("--lr-data", type=Path, metavar="DIR", help="LR pictures paired with --data (DIV2K's layout); else made of it")
    add("--val", type=Path, metavar="DIR", help="HR pictures to validate on; else some of --data are held out")
    add("--init", type=Path, metavar="CKPT", help="start from this generator's weights")
    add("--vgg-weights", type=Path, metavar="FILE", help="VGG19 for stage 2; else torchvision downloads it")
    add("--lpips-weights", type=Path, metavar="FILE", help="AlexNet and LPIPS heads: also validate by LPIPS-alex")
    recipe = parser.add_mutually_exclusive_group()
    recipe.add_argument("--preset", default="fast", metavar="NAME", help="recipe: seed, paper or fast (fast)")
    recipe.add_argument("--config", type=Path, metavar="FILE.toml", help="a recipe of your own")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change one key of the recipe: gan.batch=8")
    add("--degradation", metavar="bicubic|photo", help="how LR is made; photo also suits pictures from phones")
    add("--save-every", type=int, metavar="N", help="keep a checkpoint every N epochs; 0: only last and best")
    add("--seed", type=int, metavar="N", help="of everything random (0)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    add("-q", "--quiet", action="store_true", help="say only warnings")


def _add_tools(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    measuring = commands.add_parser("eval", help="PSNR, SSIM and LPIPS on test sets, as a table")
    add = measuring.add_argument
    add("checkpoints", type=Path, nargs="+", metavar="CKPT", help=".safetensors checkpoints")
    add("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders of HR pictures, a set each")
    add("--jpeg", type=int, nargs="+", metavar="QUALITY", help="LR goes through JPEG (1 to 100), once for each")
    add("--lpips-weights", type=Path, metavar="FILE", help="AlexNet and LPIPS heads: also measure LPIPS-alex")
    add("--border", type=int, metavar="N", help="pixels left out on each side (the scale: 4)")
    add("--json", type=Path, metavar="FILE", help="also write each picture's figures here")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    measuring.set_defaults(command=_evaluate)

    packing = commands.add_parser("pack", help="decode all photos once, into one file that is read faster")
    packing.add_argument("data", type=Path, nargs="+", metavar="DIR", help="folders of photos")
    packing.add_argument("file", type=Path, metavar="FILE.srpack")
    packing.add_argument("--threads", type=int, default=2, metavar="N", help="that decode (2)")
    packing.set_defaults(command=_pack)

    fetching = commands.add_parser("fetch", help="download a data set: DIV2K, HR and LR, training and validation")
    fetching.add_argument("set", choices=("div2k",))
    fetching.add_argument("folder", type=Path, metavar="DIR")
    fetching.add_argument("--url", metavar="ADDRESS", help="folder of the archives (DIV2K's home page)")
    fetching.add_argument("--checksums", type=Path, metavar="FILE", help="SHA-256 of the archives, as of sha256sum")
    fetching.add_argument("--keep", action="store_true", help="keep the archives once they are unpacked")
    fetching.set_defaults(command=_fetch)

    converting = commands.add_parser(
        "convert", help="import a generator of leftthomas or Lornatang/SRGAN-PyTorch; halve a checkpoint"
    )
    add = converting.add_argument
    add("file", type=Path, metavar="FILE", help=".pth or .safetensors")
    add("-o", "--output", type=Path, metavar="FILE", help="the checkpoint (FILE.safetensors)")
    add("--stage", choices=("srresnet", "srgan"), default="srgan", help="that a foreign one comes from (srgan)")
    add("--half", action="store_true", help="store the weights in 16 bits: half the size, nearly the same pictures")
    converting.set_defaults(command=_convert)


if __name__ == "__main__":
    main()  # torchrun -m sr_train.cli
