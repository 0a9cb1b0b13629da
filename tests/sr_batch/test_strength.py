"""`sr-batch --strength`: the pictures are those of the network between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sr_batch.cli import main
from sr_batch.options import parse_options
from sr_export.deploy import deploy
from sr_export.model import shipped_models
from sr_export.strength import BASE, TOP, blend
from sr_train.checkpoint import load_checkpoint, save_checkpoint
from sr_train.generator import random_generator
from tests.conftest import TINY, random_pixels


def _run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_strength_upscales_with_the_network_between(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = tmp_path / "textured.safetensors"
    save_checkpoint(top, random_generator(TINY, 7))
    pixels = random_pixels(24, 30)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    ends = ("-n", top, "--strength-base", tiny_checkpoint)
    assert _run(tmp_path / "photo.png", *ends, "--strength", "0.25", "--precision", "fp32") == 0
    assert "textured-0.25 4x with" in capsys.readouterr().err
    between = blend(load_checkpoint(tiny_checkpoint)[0], load_checkpoint(top)[0], 0.25)
    with torch.inference_mode():
        expected = deploy(between)(torch.from_numpy(pixels)[None])[0].numpy()
    with Image.open(tmp_path / "photo_x4.png") as image:
        assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1


def test_strength_alone_lies_between_srresnet_and_the_default_model() -> None:
    options = parse_options(["photo.png", "--strength", "0.5"])
    assert options.model == TOP and BASE == "srresnet"
    assert {BASE, TOP} <= set(shipped_models())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--strength", "2"], "between 0"),
        (["--strength", "0.5", "--strength-base", "nowhere.safetensors"], "no model 'nowhere.safetensors'"),
        (["--strength-base", "srresnet"], "give --strength too"),
    ],
)
def test_a_strength_that_cannot_be_meant_is_one_sentence(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    Image.fromarray(random_pixels(8, 8)).save(tmp_path / "photo.png")
    assert _run(tmp_path / "photo.png", "-n", tiny_checkpoint, *arguments) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
