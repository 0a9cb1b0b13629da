"""What the shipped weights promise, on the samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sr_export.model import find_model, shipped_models
from sr_train.checkpoint import load_checkpoint
from sr_train.degrade import shrink, through_jpeg
from sr_train.evaluate import Upscale, upscaler
from sr_train.metrics import Pixels, psnr

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def _sample(name: str) -> Pixels:
    with Image.open(SAMPLES / name) as image:
        pixels = np.array(image.convert("RGB"))
    height, width = (side // 4 * 4 for side in pixels.shape[:2])
    return pixels[:height, :width]


def _model(name: str) -> Upscale:
    return upscaler(load_checkpoint(find_model(name).path)[0].eval(), torch.device("cpu"))


@pytest.mark.parametrize("name", ["astronaut.jpg", "cat.png", "coffee.jpg"])
def test_after_a_jpeg_photo_is_nearer_to_the_original_than_srgan(name: str) -> None:
    hr = _sample(name)
    lr = np.array(through_jpeg(Image.fromarray(shrink(hr, 4)), 75))
    photo, srgan = (psnr(_model(model)(lr).astype(float), hr.astype(float)) for model in ("photo", "srgan"))
    assert photo > srgan + 0.2


@pytest.mark.parametrize("model", shipped_models())
def test_no_channel_moves_by_a_level(model: str) -> None:
    upscale = _model(model)
    for name in ("astronaut.jpg", "cat.png", "coffee.jpg", "mountains.jpg", "rocket.webp"):
        lr = np.array(shrink(_sample(name), 4))
        moved = upscale(lr).mean(axis=(0, 1)) - lr.mean(axis=(0, 1))
        assert np.abs(moved).max() < 1, (name, moved)
