"""Small recipes and generated pictures that the training tests share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sr_train.config import DataConfig, GanConfig, MachineConfig, ModelConfig, ResnetConfig, TrainConfig, WatchConfig
from sr_train.losses import VggFeatures, VggLayer
from sr_train.metrics import Pixels


def picture(height: int, width: int, seed: int) -> Pixels:
    """A smooth generated picture with some edges: uint8 HWC RGB."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / 16
    waves = [np.sin(random.uniform(0.5, 2) * rows + random.uniform(0.5, 2) * columns + c) for c in range(3)]
    pixels = np.stack(waves, axis=2) * 80 + 127
    pixels[height // 4 : height // 2, width // 3 : width // 2] += 60 * random.uniform(-1, 1, 3)
    result: Pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return result


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Results of one thread are the same every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of four photos of different sizes, one of them in a folder below."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for index, (height, width) in enumerate([(64, 80), (71, 66), (90, 64)]):
        Image.fromarray(picture(height, width, index)).save(folder / f"{index}.png")
    Image.fromarray(picture(80, 80, 9)).save(folder / "below" / "deep.png")
    return folder


@pytest.fixture
def tiny() -> TrainConfig:
    """A recipe of a few steps of a very small network."""
    return TrainConfig(
        ema=0.9,
        model=ModelConfig(channels=8, blocks=1, discriminator_channels=4),
        data=DataConfig(crop=32, hold_out=1),
        machine=MachineConfig(loader_threads=1),
        watch=WatchConfig(log_every=1, validate_every=2, save_every=0, validation_size=64),
        resnet=ResnetConfig(batch=4, steps=4, learning_rate=1e-3),
        gan=GanConfig(batch=4, steps=4, learning_rate=1e-3, vgg_layer=VggLayer.VGG22),
    )


@pytest.fixture
def vgg_file(tmp_path: Path) -> Path:
    """A file in the layout of VGG19's features, up to vgg22, with weights of no meaning."""
    from safetensors.torch import save_file

    torch.manual_seed(5)
    path = tmp_path / "vgg.safetensors"
    save_file(VggFeatures(VggLayer.VGG22).state_dict(), path)
    return path


def not_skipped(skipped: object) -> None:
    """For folders whose files are all good."""
    pytest.fail(f"skipped {skipped}")


def with_steps(config: TrainConfig, steps: int) -> TrainConfig:
    """The recipe with another number of steps in both stages."""
    return replace(config, resnet=replace(config.resnet, steps=steps), gan=replace(config.gan, steps=steps))
