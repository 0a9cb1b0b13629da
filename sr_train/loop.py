"""The training loop of both stages: fetch, step, log, validate, save, in one place."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import torch
from torch import Tensor

from sr_train.checkpoint import CheckpointInfo, save_checkpoint
from sr_train.config import GanConfig, ResnetConfig, StageConfig, learning_rate
from sr_train.data import Batch, Batches, CropSource
from sr_train.errors import Diverged, Interrupted, TrainingError, is_out_of_memory
from sr_train.evaluate import Figures, TestImage, bicubic, mean_figures, measure, upscaler
from sr_train.lpips import Lpips
from sr_train.memory import check_memory, out_of_memory
from sr_train.record import Recorder
from sr_train.state import FILE, capture, fingerprint, save_safely, save_state
from sr_train.steps import gan_step, resnet_step, to_parts
from sr_train.training import SRGAN, Training, stage_config, update_average

__all__ = ["Job", "Watcher", "steps_of", "train"]

SURE = 0.999  # a discriminator's mean belief beyond which, or below 1 - which, it is saturated
COLLAPSE_ADVICE = (
    "the discriminator has been sure of every picture for {steps} steps (real {real:.4f}, generated {fake:.4f}), so "
    "the generator learns nothing from it; lower --set gan.learning_rate, use larger batches, or train stage 1 longer"
)


class Watcher(Protocol):
    """Whoever shows the progress."""

    def say(self, line: str) -> None: ...
    def started(self, stage: str, step: int, steps: int) -> None: ...
    def stepped(self, step: int) -> None: ...
    def logged(self, row: Mapping[str, float]) -> None: ...
    def validated(self, step: int, figures: Figures) -> None: ...


@dataclass(frozen=True)
class Job:
    """A stage to train, and all it needs."""

    training: Training
    source: CropSource
    validation: Sequence[TestImage]
    lpips: Lpips | None
    run: Path  # folder of the run
    origin: Mapping[str, str]  # for the checkpoints' headers
    watcher: Watcher


def steps_of(stage: StageConfig, crops: int) -> tuple[int, int]:
    """(steps of the whole stage, steps of one epoch) where an epoch has `crops` crops."""
    epoch = -(-crops // stage.batch)
    return stage.steps or stage.epochs * epoch, epoch


def train(job: Job) -> None:
    """Train a stage from where it stands to its end.

    Raises Interrupted after Ctrl-C or SIGTERM, once the state is saved; Diverged, OutOfMemory, SaveFailed, DataError.
    """
    training, numerics = job.training, job.training.numerics
    stage, watch = stage_config(training.config, training.stage), training.config.watch
    steps, epoch = steps_of(stage, len(job.source))
    keeper = _Keeper(job, epoch) if numerics.group.rank == 0 else None
    share = numerics.group.share(stage.batch)
    check_memory(training, share[1] - share[0])
    threads = training.config.machine.loader_threads
    meter = _Meter()
    job.watcher.started(training.stage, training.step, steps)
    with _StopRequest() as stop, Batches(job.source, stage.batch, share, training.step, steps, threads) as batches:
        if keeper and training.step == 0:
            keeper.begin()
        for batch in batches:
            rate = learning_rate(stage, training.step, steps)
            losses = _step(training, batch, rate)
            training.step += 1
            update_average(training)
            meter.add(losses)
            job.watcher.stepped(training.step)

            last = training.step == steps
            validate = last or training.step % (watch.validate_every or epoch) == 0
            keep = watch.save_every > 0 and training.step % (epoch * watch.save_every) == 0
            asked = stop.asked if numerics.group.size == 1 else 0
            if validate or keep or asked or training.step % watch.log_every == 0:
                values, asked = meter.read(training, stop.asked)  # waits for the GPU
                _guard(training, values, meter.steps, job.watcher)
                if keeper:
                    row = {"step": training.step, "epoch": training.step / epoch, "learning_rate": rate, **values}
                    keeper.log({**row, **meter.speed(batches.wait_seconds)}, validate=validate, keep=keep, asked=asked)
                    meter.pause()
                numerics.group.barrier()
            if asked:
                raise Interrupted(asked)
    if keeper:
        keeper.recorder.close()


def _step(training: Training, batch: Batch, rate: float) -> Mapping[str, Tensor]:
    """One optimiser step of the stage at one learning rate."""
    stage = stage_config(training.config, training.stage)
    try:
        parts = to_parts(batch, stage.accumulate, training.numerics)
        if isinstance(stage, GanConfig):
            assert training.discriminator and training.vgg
            training.generator.set_rate(rate if training.step >= stage.head_start else 0.0)
            training.discriminator.set_rate(rate * stage.discriminator_rate)
            opponents = training.generator, training.discriminator
            return gan_step(*opponents, training.vgg, parts, training.numerics, training.config.gan_loss)
        assert isinstance(stage, ResnetConfig)
        training.generator.set_rate(rate)
        return resnet_step(training.generator, parts, stage.pixel_loss, training.numerics)
    except (MemoryError, RuntimeError) as error:
        if type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
            reason = str(error).partition("\n")[0]
            raise TrainingError(
                f"torch.compile does not work here ({reason}); install a C++ compiler, or use --set "
                "machine.compile=false"
            ) from error
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(training) from error


def _guard(training: Training, values: Mapping[str, float], steps: int, watcher: Watcher) -> None:
    """Stop on what is not a number; report a discriminator that has stopped teaching."""
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise Diverged(
            f"{', '.join(broken)} became not a number before step {training.step}; the state saved before is still "
            "good: go on from it in a new --out folder with --init, a lower learning_rate, or --set "
            "machine.precision=fp32"
        )
    if "d_real" not in values:
        return
    watch = training.config.watch
    sure = all(not 1 - SURE <= values[name] <= SURE for name in ("d_real", "d_fake"))
    before = training.saturated_steps
    training.saturated_steps = before + steps if sure else 0
    if before < watch.saturated_steps <= training.saturated_steps:
        watcher.say(
            "warning: "
            + COLLAPSE_ADVICE.format(steps=training.saturated_steps, real=values["d_real"], fake=values["d_fake"])
        )


class _Meter:
    """Means of the losses and the speed since they were last read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._started = self._since = time.perf_counter()
        self._waited = 0.0
        self._seconds = 0.0
        self.steps = 0  # that the last reading was the mean of

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the losses of one step, unread."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
        self._count += 1

    def read(self, training: Training, asked: int) -> tuple[dict[str, float], int]:
        """The means over the steps and processes, and the signal that any process has got."""
        signal_seen = torch.tensor(float(asked), device=training.numerics.device)
        mean = training.numerics.group.mean(torch.stack([*self._sums.values(), signal_seen]) / self._count)
        *values, seen = mean.tolist()
        names, self.steps = list(self._sums), self._count
        self._sums, self._count = {}, 0
        return dict(zip(names, values, strict=True)), (asked or signal.SIGTERM) if seen else 0

    def speed(self, waited: float) -> dict[str, float]:
        """Steps a second, and the share of the time that the loop waited for crops, since this was last asked."""
        now = time.perf_counter()
        took, stood = max(now - self._since, 1e-9), waited - self._waited
        self._since, self._waited = now, waited
        return {"seconds": now - self._started, "steps_per_second": self.steps / took, "wait_share": stood / took}

    def pause(self) -> None:
        """What came since `speed` was asked (validation, saving) is not training."""
        self._since = time.perf_counter()


class _Keeper:
    """Validates, writes and saves for all processes."""

    def __init__(self, job: Job, epoch: int) -> None:
        self._job, self._epoch = job, epoch
        self._data = fingerprint(job.source)
        self.recorder = Recorder(job.run, job.training.stage, job.training.step)
        if not self.recorder.has_events:
            job.watcher.say("note: no TensorBoard events; for them: pip install 'sr-toolkit[train]'")

    def begin(self) -> None:
        """Before the first step: bicubic's figures, and stage 2's starting generator."""
        training = self._job.training
        scale = training.config.model.scale
        measured = [measure(image, bicubic(scale), self._job.lpips, scale) for image in self._job.validation]
        self.recorder.show_originals(self._job.validation, [figures for figures, _ in measured])
        if training.stage == SRGAN:
            self._validate()

    def log(self, row: Mapping[str, float], *, validate: bool, keep: bool, asked: int) -> None:
        """Write the row; validate and save where it is time to."""
        training = self._job.training
        means = self._validate() if validate else None
        found = {name: value for name, value in vars(means).items() if value is not None} if means else {}
        self.recorder.log({**row, **found})
        self._job.watcher.logged(row)
        info = self._info(means)
        folder = self.recorder.folder
        if means:
            self._save_best(means, info)
        if keep:
            self._save(folder / f"epoch_{training.step // self._epoch:04d}.safetensors", info)
        if validate or keep or asked:
            self._save(folder / "last.safetensors", info)
            save_state(folder / FILE, capture(training, self._data))

    def _validate(self) -> Figures | None:
        job, training = self._job, self._job.training
        if not job.validation:
            return None
        network = training.shipped.eval()
        upscale, scale = upscaler(network, training.numerics.device), training.config.model.scale
        measured = [measure(image, upscale, job.lpips, scale) for image in job.validation]
        training.to_train_mode()
        figures = [one for one, _ in measured]
        self.recorder.show(training.step, job.validation, figures, [result for _, result in measured])
        means = mean_figures(figures)
        job.watcher.validated(training.step, means)
        return means

    def _save_best(self, means: Figures, info: CheckpointInfo) -> None:
        best, folder = self._job.training.best, self.recorder.folder
        if means.psnr_y > best.get("psnr_y", -math.inf):
            best["psnr_y"] = means.psnr_y
            self._save(folder / "best_psnr.safetensors", info)
        if means.lpips is not None and means.lpips < best.get("lpips", math.inf):
            best["lpips"] = means.lpips
            self._save(folder / "best_lpips.safetensors", info)

    def _save(self, path: Path, info: CheckpointInfo) -> None:
        save_safely(path, lambda target: save_checkpoint(target, self._job.training.shipped, info))

    def _info(self, means: Figures | None) -> CheckpointInfo:
        training = self._job.training
        figures = {k: f"{v:.4f}" for k, v in vars(means).items() if v is not None} if means else {}
        return CheckpointInfo(training.stage, training.step, {**self._job.origin, **figures})


class _StopRequest:
    """Ctrl-C and SIGTERM are noted while the block runs, not obeyed; a second one ends the process as usual."""

    def __init__(self) -> None:
        self.asked = 0  # the signal's number

    def __enter__(self) -> _StopRequest:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = number
