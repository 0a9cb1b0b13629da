"""Whether a batch fits in memory, said before the first step: on a CPU, Linux ends a process that takes too much
without a word."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from sr_train.config import GanConfig, StageConfig
from sr_train.errors import OutOfMemory
from sr_train.generator import Generator
from sr_train.training import Training, stage_config

__all__ = ["available_bytes", "bytes_of_a_crop", "check_memory", "out_of_memory"]

MEMINFO = Path("/proc/meminfo")
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))  # v2, v1
COMFORT = 1.5  # a step's whole memory, gradients and all, is about this much of what is counted
MOST_PARTS = 1024  # beyond that it is the batch that should be smaller
CROPS = 2, 4  # that are tried: BatchNorm needs more than one value
KIBI, GIGA = 1024, 1e9


def check_memory(training: Training, crops: int) -> None:
    """Raise OutOfMemory, with advice, when a step of `crops` crops in this process cannot fit in the CPU's memory.

    Counts what the generator alone keeps for its backward pass, so it never refuses what would have fitted. GPUs say
    themselves when they are full; compiled networks and several processes are not looked at. Changes nothing.
    """
    numerics, available = training.numerics, available_bytes()
    if numerics.device.type != "cpu" or numerics.group.size > 1 or training.config.machine.compile or not available:
        return
    stage = stage_config(training.config, training.stage)
    # The generator's turn comes after the discriminator's in stage 2: all its parts wait in memory.
    held = crops if isinstance(stage, GanConfig) else -(-crops // stage.accumulate)
    crop = bytes_of_a_crop(training)
    if held * crop > available:
        parts = -(-crops // max(1, int(available / (COMFORT * crop))))
        raise OutOfMemory(
            f"{_batch(training, stage)} takes {held * crop / GIGA:.1f} GB or more, and {available / GIGA:.1f} GB are "
            f"free; {_advice(training, stage, parts)}"
        )


def out_of_memory(training: Training) -> OutOfMemory:
    """The error of a step that did not fit."""
    stage = stage_config(training.config, training.stage)
    return OutOfMemory(
        f"{_batch(training, stage)} does not fit in memory; {_advice(training, stage, 2 * stage.accumulate)}"
    )


def _batch(training: Training, stage: StageConfig) -> str:
    crop = training.config.data.crop
    return f"a batch of {stage.batch} crops of {crop}x{crop} pixels in {stage.accumulate} part(s)"


def _advice(training: Training, stage: StageConfig, parts: int) -> str:
    name = "gan" if isinstance(stage, GanConfig) else "resnet"
    # A recipe's `accumulate` must divide its batch.
    divisor = next((count for count in range(parts, min(stage.batch, MOST_PARTS) + 1) if stage.batch % count == 0), 0)
    in_parts = f"--set {name}.accumulate={divisor} (the same batch in smaller parts), " if divisor else ""
    return f"use {in_parts}a smaller {name}.batch or a smaller data.crop (now {training.config.data.crop})"


def bytes_of_a_crop(training: Training) -> int:
    """What one crop makes the generator keep for its backward pass. Runs a copy of it on a few crops."""
    network = copy.deepcopy(training.generator.network).train()
    few, more = (_kept_bytes(training, network, crops) for crops in CROPS)
    return (more - few) // (CROPS[1] - CROPS[0])  # weights, and their copies of less precision, are in both


def _kept_bytes(training: Training, network: Generator, crops: int) -> int:
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    side = training.config.data.crop // training.config.model.scale
    lr = training.numerics.place(torch.zeros(crops, 3, side, side))
    with training.numerics.autocast(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = network(lr)  # what is kept lives as long as this
    del result
    return sum(kept.values())


def available_bytes() -> int | None:
    """Memory and swap that are free for this process, at most its container's limit; None where that is not known."""
    try:
        lines = (line.split() for line in MEMINFO.read_text().splitlines())
        sizes = {words[0].rstrip(":"): int(words[1]) * KIBI for words in lines if len(words) > 1}
        free = sizes["MemAvailable"] + sizes.get("SwapFree", 0)
    except (OSError, ValueError, KeyError):
        return None
    return min([free, *(limit for path in CGROUP_LIMITS if (limit := _limit(path)) is not None)])


def _limit(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None
