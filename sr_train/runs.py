"""From what a user names (folders, files, a recipe) to a stage that is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sr_train.checkpoint import load_checkpoint
from sr_train.config import TrainConfig, to_toml
from sr_train.data import CropSource, open_pairs, open_pictures, split
from sr_train.degrade import Degradation
from sr_train.errors import UsageError
from sr_train.evaluate import TestImage, least_side, read_test_images
from sr_train.generator import Generator
from sr_train.loop import Job, Watcher, train
from sr_train.losses import VggFeatures, load_vgg
from sr_train.lpips import Lpips, load_lpips
from sr_train.parallel import Group
from sr_train.pictures import Pictures, Skipped
from sr_train.progress import printable
from sr_train.record import SKIPPED, write_text
from sr_train.state import FILE, fingerprint, load_state, restore, save_safely
from sr_train.steps import Numerics
from sr_train.training import SRGAN, SRRESNET, new_training

__all__ = ["Prepared", "RunPaths", "pick_device", "prepare", "run_stage", "stage_one_result"]

NAMED = 10  # files that are skipped and named; the rest is counted


@dataclass(frozen=True)
class RunPaths:
    """What a run is made of and where it goes."""

    data: Sequence[Path]  # HR folders, or one pack
    run: Path
    lr_data: Path | None = None  # LR folder or pack, paired with `data`; None: LR is made
    validation: Path | None = None  # HR folder; None: some of `data` is held out
    vgg: Path | None = None  # VGG19's weights; None: torchvision's download
    lpips: Path | None = None  # LPIPS-alex's weights; None: not measured


@dataclass(frozen=True)
class Prepared:
    """All that both stages share, opened and checked before any training starts."""

    config: TrainConfig
    paths: RunPaths
    numerics: Numerics
    source: CropSource
    validation: Sequence[TestImage]
    lpips: Lpips | None
    vgg: VggFeatures | None
    watcher: Watcher
    skipped: Sequence[Skipped] = ()  # files that are not trained or validated on


def pick_device(name: str) -> torch.device:
    """`auto`, or a device as torch names it. Raises UsageError for one that is not here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"device '{name}' is not to be had here ({reason}); use --device cpu or auto") from error
    return device


def prepare(
    config: TrainConfig, paths: RunPaths, stages: Sequence[str], device: torch.device, group: Group, watcher: Watcher
) -> Prepared:
    """Open everything that the stages need. Raises DataError, WeightsError."""
    vgg = load_vgg(config.gan.vgg_layer, paths.vgg) if SRGAN in stages else None
    lpips = load_lpips(paths.lpips).to(device) if paths.lpips else None
    source, validation, skipped = _open_data(config, paths, watcher)
    if config.machine.cpu_threads:
        torch.set_num_threads(config.machine.cpu_threads)
    numerics = Numerics(device, config.machine.precision, config.machine.channels_last, group)
    return Prepared(config, paths, numerics, source, validation, lpips, vgg, watcher, skipped)


def _open_data(
    config: TrainConfig, paths: RunPaths, watcher: Watcher
) -> tuple[CropSource, Sequence[TestImage], Sequence[Skipped]]:
    skipped: list[Skipped] = []
    scale, threads, watch = config.model.scale, config.machine.loader_threads, config.watch
    least = max(config.data.crop, least_side(scale))
    hr = open_pictures(paths.data, least, threads, skipped.append)
    lr: Pictures | None = None
    if paths.lr_data:
        if config.data.degradation is not Degradation.BICUBIC:
            raise UsageError("paired LR pictures are used as they are; leave out either --lr-data or --degradation")
        if config.gan.shift_pictures > 1:
            raise UsageError("gan.shift_pictures makes further LR pictures itself; leave it or --lr-data out")
        lr = open_pictures([paths.lr_data], least // scale, threads, skipped.append)
        hr, lr = open_pairs(hr, lr, scale, skipped.append)
    source = CropSource(hr, lr, config.data, scale, config.seed)
    held_lr: Pictures | None = None
    if paths.validation:
        shown = open_pictures([paths.validation], least_side(scale), threads, skipped.append)
    else:
        source, held = split(source, config.data.hold_out)
        shown, held_lr = held.hr, held.lr
        watcher.say(f"note: {len(shown.names)} of the photos are held out for validation; name others with --val DIR")
    for one in skipped[:NAMED]:
        watcher.say(f"warning: skipped {one}")
    if skipped:
        watcher.say(f"warning: {len(skipped)} file(s) skipped in all; {paths.run / SKIPPED} names them")
    watcher.say(f"training on {len(source.hr.names)} photos")
    limits = {"most": watch.validation_images, "size": watch.validation_size}
    return source, list(read_test_images(shown, scale, held_lr, **limits)), skipped


def run_stage(prepared: Prepared, stage: str, init: Path | None = None) -> None:
    """Train one stage in the run's folder, from its saved state where there is one, else from `init` or from scratch.

    Raises ResumeError, CheckpointError, and what loop.train raises.
    """
    config, run = prepared.config, prepared.paths.run
    saved = run / stage / FILE
    start: Generator | None = None
    if init and not saved.exists():
        start, _ = load_checkpoint(init)
    training = new_training(config, stage, prepared.numerics, start, prepared.vgg if stage == SRGAN else None)
    if saved.exists():
        restore(training, load_state(saved), fingerprint(prepared.source), saved)
        prepared.watcher.say(f"going on from {saved}, step {training.step}")
    if prepared.numerics.group.rank == 0:
        save_safely(run / "recipe.toml", lambda path: write_text(path, to_toml(config)))
        lines = "".join(f"{printable(one)}\n" for one in prepared.skipped)
        save_safely(run / SKIPPED, lambda path: write_text(path, lines))
    origin = {"data": ", ".join(path.name for path in prepared.paths.data), **_describe(config, stage)}
    train(Job(training, prepared.source, prepared.validation, prepared.lpips, run, origin, prepared.watcher))


def _describe(config: TrainConfig, stage: str) -> Mapping[str, str]:
    """For the checkpoint's header."""
    table = config.gan if stage == SRGAN else config.resnet
    loss = _generator_loss(config) if stage == SRGAN else str(config.resnet.pixel_loss)
    recipe = f"batch {table.batch}, HR crops {config.data.crop}, {config.machine.precision}, EMA {config.ema}"
    return {"loss": loss, "recipe": recipe}


def _generator_loss(config: TrainConfig) -> str:
    gan = config.gan
    shifts = " at shifting offsets" if gan.vgg_shifts else ""
    grid = f" + {gan.grid_weight:g} * grid_loss" if gan.grid_weight else ""
    grid += f" + {gan.shift_weight:g} * shift_loss" if gan.shift_weight else ""
    vgg = f" + {gan.vgg_weight:g} * {gan.vgg_layer}{shifts}" if gan.vgg_weight else ""
    mean = f", of the mean of {gan.shift_pictures}" if gan.shift_pictures > 1 else ""
    judges = f"discriminator: {config.model.discriminator}{mean}"
    return f"mse_loss{vgg} + {gan.gan_weight:g} * g_gan_loss{grid} ({judges})"


def stage_one_result(run: Path) -> Path:
    """The checkpoint of stage 1 that stage 2 starts from: the best by PSNR-Y. Raises UsageError when there is none."""
    for name in ("best_psnr.safetensors", "last.safetensors"):
        if (path := run / SRRESNET / name).is_file():
            return path
    raise UsageError(f"{run}: holds no checkpoint of stage 1; name one with --init FILE.safetensors")
