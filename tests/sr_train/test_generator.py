from __future__ import annotations

import pytest
import torch

from sr_train.errors import UsageError
from sr_train.generator import Generator, GeneratorConfig, random_generator

CONFIGS = [GeneratorConfig(c, b, s) for c, b, s in ((64, 16, 4), (8, 0, 1), (4, 1, 2), (4, 3, 4), (4, 2, 8))]


def test_parameter_names_are_those_that_checkpoints_carry() -> None:
    names = set(Generator(GeneratorConfig(4, 2, 4)).state_dict())
    batchnorm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"head.conv.weight", "head.conv.bias", "head.act.weight", "fuse.conv.weight", "tail.weight", "tail.bias"}
    expected |= {f"fuse.bn.{part}" for part in batchnorm}
    for block in (0, 1):
        expected |= {f"body.{block}.{part}.weight" for part in ("conv1", "act", "conv2")}
        expected |= {f"body.{block}.{bn}.{part}" for bn in ("bn1", "bn2") for part in batchnorm}
    for stage in (0, 1):
        expected |= {f"upsample.{stage}.{name}" for name in ("conv.weight", "conv.bias", "act.weight")}
    assert names == expected


def test_the_papers_network_has_its_published_size_and_a_halo_of_40() -> None:
    generator = Generator()
    assert sum(p.numel() for p in generator.parameters()) == 1_547_350
    assert generator.halo() == 40


@pytest.mark.parametrize("config", CONFIGS)
def test_any_size_comes_out_scale_times_as_large(config: GeneratorConfig) -> None:
    generator = random_generator(config, seed=0)
    for height, width in ((1, 1), (5, 3), (1, 17)):
        assert generator(torch.rand(2, 3, height, width)).shape == (2, 3, height * config.scale, width * config.scale)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_derived_halo_is_the_farthest_pixel_with_a_gradient(config: GeneratorConfig) -> None:
    """Along one row: which input columns do the output pixels of the middle column depend on?"""
    generator = random_generator(config, seed=0).double()
    middle = generator.halo() + 3
    x = torch.rand(1, 3, 1, 2 * middle + 1, dtype=torch.float64, requires_grad=True)
    generator(x)[..., middle * config.scale : (middle + 1) * config.scale].abs().sum().backward()
    assert x.grad is not None
    reached = x.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    farthest = max(middle - int(reached.min()), int(reached.max()) - middle)
    assert farthest == generator.halo()


@pytest.mark.parametrize(("channels", "blocks", "scale"), [(64, 16, 3), (0, 16, 4), (64, -1, 4)])
def test_sizes_that_cannot_be_built_are_refused(channels: int, blocks: int, scale: int) -> None:
    with pytest.raises(UsageError):
        GeneratorConfig(channels, blocks, scale)
