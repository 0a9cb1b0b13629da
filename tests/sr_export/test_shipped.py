"""What the shipped weights promise, on the samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sr_export.model import find_model, shipped_models
from sr_train.checkpoint import load_checkpoint
from sr_train.evaluate import TestImage, Upscale, read_test_images, upscaler
from sr_train.metrics import psnr
from sr_train.pictures import Skipped, open_folder
from tests.conftest import SAMPLES


def _refuse(skipped: Skipped) -> None:
    raise AssertionError(f"{skipped.path}: {skipped.reason}")


def _samples(jpeg_quality: int | None = None) -> list[TestImage]:
    found = list(read_test_images(open_folder([SAMPLES], 64, 1, _refuse), 4, jpeg_quality=jpeg_quality))
    assert len(found) == 5
    return found


def _model(name: str) -> Upscale:
    return upscaler(load_checkpoint(find_model(name).path)[0].eval(), torch.device("cpu"))


def test_after_a_jpeg_photo_is_nearer_to_the_original_than_srgan() -> None:
    photo, srgan = _model("photo"), _model("srgan")
    for image in _samples(jpeg_quality=75):
        figures = [psnr(upscale(image.lr).astype(float), image.hr.astype(float)) for upscale in (photo, srgan)]
        assert figures[0] > figures[1] + 0.2, (image.name, figures)


@pytest.mark.parametrize("model", shipped_models())
def test_no_channel_moves_by_a_level(model: str) -> None:
    upscale = _model(model)
    for image in _samples():
        moved = upscale(image.lr).mean(axis=(0, 1)) - image.lr.mean(axis=(0, 1))
        assert np.abs(moved).max() < 1, (image.name, moved)
