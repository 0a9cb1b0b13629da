"""A batch that cannot fit is refused with advice before the first step, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sr_train import memory
from sr_train.config import TrainConfig
from sr_train.errors import OutOfMemory
from sr_train.memory import available_bytes, bytes_of_a_crop, check_memory
from sr_train.steps import Numerics
from sr_train.training import SRGAN, SRRESNET, new_training

CPU = Numerics()


def test_a_crops_share_is_what_the_layers_keep(tiny: TrainConfig) -> None:
    """By hand, per LR pixel of the 8-channel, one-block, 4x network: the inputs of convolutions and activations."""
    kept = 8 * 6 + 8 * 2  # head's and the block's maps: before and after each of their layers; fuse's
    kept += 32 + 4 * 8 + 4 * 32 + 16 * 8  # up-convolutions and what they are shuffled to
    found = bytes_of_a_crop(new_training(tiny, SRRESNET, CPU)) / 4 / 8**2
    assert 0.7 * kept < found < 1.6 * kept


def test_a_batch_that_fits_only_in_parts_is_refused_with_that_advice(
    tiny: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = bytes_of_a_crop(new_training(tiny, SRRESNET, CPU))
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 * crop + 1)
    with pytest.raises(OutOfMemory, match=r"batch of 4 crops of 32x32.*resnet\.accumulate=2.*resnet\.batch"):
        check_memory(new_training(tiny, SRRESNET, CPU), 4)
    in_parts = replace(tiny, resnet=replace(tiny.resnet, accumulate=2))
    check_memory(new_training(in_parts, SRRESNET, CPU), 4)
    with pytest.raises(OutOfMemory, match=r"gan\.batch"):  # the generator's parts all wait for the discriminator
        check_memory(new_training(replace(tiny, gan=replace(tiny.gan, accumulate=2)), SRGAN, CPU), 4)


def test_looking_changes_nothing(tiny: TrainConfig) -> None:
    training = new_training(tiny, SRRESNET, CPU)
    before = {name: value.clone() for name, value in training.generator.network.state_dict().items()}
    random = torch.get_rng_state()
    check_memory(training, 4)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in training.generator.network.state_dict().items())


def test_memory_is_what_the_system_and_the_container_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable: 100 kB\nSwapFree: 20 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP_LIMITS", (tmp_path / "max",))
    assert available_bytes() == 120 * 1024
    (tmp_path / "max").write_text("4096\n")
    assert available_bytes() == 4096
    (tmp_path / "max").write_text("max\n")
    assert available_bytes() == 120 * 1024
    (tmp_path / "meminfo").unlink()
    assert available_bytes() is None
