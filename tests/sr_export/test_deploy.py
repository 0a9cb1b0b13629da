from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from sr_export.deploy import DeepDoor, deploy, fold_tail
from sr_train.checkpoint import load_checkpoint
from sr_train.generator import GeneratorConfig, random_generator
from tests.conftest import SAMPLES, random_pixels

configs = st.builds(GeneratorConfig, st.integers(1, 8), st.integers(0, 3), st.sampled_from((1, 2, 4, 8)))


@given(configs, st.integers(0, 1000), st.integers(1, 20), st.integers(1, 20))
@settings(max_examples=40)
def test_the_folded_graph_equals_the_trained_network(
    config: GeneratorConfig, seed: int, height: int, width: int
) -> None:
    generator = random_generator(config, seed)
    x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        expected = (generator(x) + 1) / 2
        assert (deploy(generator).core(x) - expected).abs().max() <= 1e-5


def test_the_shipped_model_folds_within_1e_5_on_a_photo() -> None:
    from sr_export.model import find_model

    generator, _ = load_checkpoint(find_model("srresnet").path)
    pixels = np.asarray(Image.open(SAMPLES / "cat.png"))[60:160, 100:200]
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        difference = (deploy(generator).core(x) - (generator(x) + 1) / 2).abs().max()
    assert difference <= 1e-5


@pytest.mark.parametrize(("size", "factor"), [(1, 2), (5, 2), (9, 2), (7, 3)])
def test_a_tail_folded_over_a_pixel_shuffle_is_exact(size: int, factor: int) -> None:
    tail = nn.Conv2d(3, 2, size, padding=size // 2, dtype=torch.float64)
    x = torch.rand(2, 3 * factor**2, 6, 5, dtype=torch.float64)
    shuffle = nn.PixelShuffle(factor)
    folded = fold_tail(tail, factor)
    assert folded.out_channels == 2 * factor**2
    torch.testing.assert_close(shuffle(folded(x)), tail(shuffle(x)), rtol=0, atol=1e-13)


def test_the_pixel_door_is_the_float_door_rounded() -> None:
    deployed = deploy(random_generator(GeneratorConfig(4, 1, 4), seed=2))
    pixels = torch.from_numpy(np.stack([random_pixels(9, 11, seed) for seed in (0, 1)]))
    with torch.inference_mode():
        result = deployed(pixels)
        floats = deployed.core(pixels.permute(0, 3, 1, 2) / 255).permute(0, 2, 3, 1)
    assert result.dtype == torch.uint8
    assert result.shape == (2, 36, 44, 3)
    assert torch.equal(result, (floats * 255).clamp(0, 255).round().to(torch.uint8))


def test_values_beyond_white_and_black_are_clamped() -> None:
    generator = random_generator(GeneratorConfig(4, 1, 4), seed=2)
    assert generator.tail.bias is not None
    generator.tail.bias.data = torch.tensor([50.0, -50.0, 0.0])
    result = deploy(generator)(torch.zeros(1, 4, 4, 3, dtype=torch.uint8))
    assert (result[..., 0] == 255).all()
    assert (result[..., 1] == 0).all()


def test_deploying_leaves_the_generator_as_it_was() -> None:
    generator = random_generator(GeneratorConfig(4, 1, 4), seed=2)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    deploy(generator).half()
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())


def test_the_deep_door_is_the_float_door_clamped_with_the_channels_last() -> None:
    core = deploy(random_generator(GeneratorConfig(4, 1, 4), seed=2)).core
    x = torch.rand(2, 9, 11, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        result = DeepDoor(core)(x)
        floats = core(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert torch.equal(result, floats.clamp(0, 1))
    assert not torch.equal(result, floats)  # this network leaves [0, 1]
