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


def test_photo_keeps_the_colours_of_clean_pictures_nearly_as_well_as_srgan() -> None:
    """A network that has seen only JPEGs with halved colour sharpens it in all pictures, and edges become tinted."""
    weights = np.array([[-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]).T  # RGB to Cb and Cr, full range

    def colour_error(upscale: Upscale, image: TestImage) -> float:
        return float(np.sqrt(np.square((upscale(image.lr).astype(float) - image.hr) @ weights).mean()))

    photo, srgan = _model("photo"), _model("srgan")
    ratios = [colour_error(photo, image) / colour_error(srgan, image) for image in _samples()]
    assert np.mean(ratios) < 1.3, ratios


@pytest.mark.parametrize("model", shipped_models())
def test_no_channel_moves_by_a_level(model: str) -> None:
    upscale = _model(model)
    for image in _samples():
        moved = upscale(image.lr).mean(axis=(0, 1)) - image.lr.mean(axis=(0, 1))
        assert np.abs(moved).max() < 1, (image.name, moved)
