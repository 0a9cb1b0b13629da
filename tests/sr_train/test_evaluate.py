"""Test pictures, figures and tables."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sr_train.degrade import shrink
from sr_train.evaluate import (
    Figures,
    TestImage,
    bicubic,
    least_side,
    markdown,
    mean_figures,
    measure,
    read_test_images,
    to_json,
    upscaler,
)
from sr_train.generator import Generator, GeneratorConfig
from sr_train.lpips import Lpips
from sr_train.pictures import open_folder
from tests.sr_train.conftest import not_skipped, picture


def test_pictures_are_cropped_to_the_scale_and_their_centre_is_on_the_lr_grid(photos: Path) -> None:
    pictures = open_folder([photos], 32, 1, not_skipped)
    whole = list(read_test_images(pictures, 4))
    assert [image.hr.shape[:2] for image in whole] == [(64, 80), (68, 64), (88, 64), (80, 80)]
    centre = next(iter(read_test_images(pictures, 4, most=1, size=40)))
    assert (centre.hr == picture(64, 80, 0)[12:52, 20:60]).all()
    assert (centre.lr == shrink(centre.hr, 4)).all()


def test_lr_through_jpeg_is_what_a_jpeg_file_of_it_holds(photos: Path, tmp_path: Path) -> None:
    pictures = open_folder([photos], 32, 1, not_skipped)
    image = next(iter(read_test_images(pictures, 4, most=1, jpeg_quality=60)))
    Image.fromarray(shrink(image.hr, 4)).save(tmp_path / "lr.jpg", quality=60)
    assert (image.lr == np.asarray(Image.open(tmp_path / "lr.jpg"))).all()


def test_bicubic_is_pillows() -> None:
    lr = picture(10, 12, 0)
    expected = np.asarray(Image.fromarray(lr).resize((48, 40), Image.Resampling.BICUBIC))
    assert (bicubic(4)(lr) == expected).all()


def test_perfect_upscaling_has_no_distance() -> None:
    hr = picture(64, 64, 0)
    figures, _ = measure(TestImage("a", shrink(hr, 4), hr), lambda _: hr, Lpips().eval(), 4)
    assert (figures.psnr_y, figures.psnr_rgb, figures.lpips) == (float("inf"), float("inf"), 0.0)
    assert figures.ssim_y == pytest.approx(1)


def test_picture_too_small_for_lpips_is_measured_without() -> None:
    hr = picture(32, 32, 0)
    figures, _ = measure(TestImage("a", shrink(hr, 4), hr), bicubic(4), Lpips().eval(), 4)
    assert figures.lpips is None and figures.psnr_y > 15


def test_least_side_can_just_be_measured() -> None:
    side = least_side(4)
    image = TestImage("a", shrink(picture(side, side, 0)[: side - side % 4, : side - side % 4], 4), picture(20, 20, 0))
    assert side == 22 and measure(image, bicubic(4), None, 4)[0].ssim_y <= 1


def test_generator_upscales_pictures() -> None:
    generator = Generator(GeneratorConfig(4, 1)).eval()
    result = upscaler(generator, torch.device("cpu"))(picture(9, 7, 0))
    assert result.shape == (36, 28, 3) and result.dtype == np.uint8


def test_table_and_json_label_every_figure() -> None:
    figures = [Figures(30.0, 0.8, 28.0, 0.2), Figures(32.0, 0.9, 30.0, 0.4)]
    assert astuple(mean_figures(figures)) == pytest.approx((31.0, 0.85, 29.0, 0.3))
    table = markdown([("set", "mine", figures), ("set", "other", [Figures(1.0, 0.1, 1.0, None)])], 4)
    assert "| set | 2 | mine | 31.00 | 0.8500 | 29.00 | 0.300 |" in table and "border of 4" in table
    assert "PSNR-Y, dB" in table and "PSNR-RGB, dB" in table and "not measured" in table
    parsed = json.loads(to_json([("set", "mine", figures)], [["a", "b"]], 4))
    assert parsed["results"][0]["images"]["b"]["psnr_y"] == 32.0 and parsed["border"] == 4
