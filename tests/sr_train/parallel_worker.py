"""Run by torchrun's environment in test_parallel: trains a few steps as one of several processes."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from sr_train.config import load_config
from sr_train.parallel import process_group
from sr_train.progress import silent
from sr_train.runs import RunPaths, prepare, run_stage, stage_one_result
from sr_train.training import SRGAN, SRRESNET


def main(recipe: Path, photos: Path, run: Path, vgg: Path) -> None:
    """Both stages, on the CPU."""
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    with process_group(cpu) as group, silent() as watcher:
        prepared = prepare(
            load_config(recipe), RunPaths([photos], run, vgg=vgg), [SRRESNET, SRGAN], cpu, group, watcher
        )
        run_stage(prepared, SRRESNET)
        run_stage(prepared, SRGAN, stage_one_result(run))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
