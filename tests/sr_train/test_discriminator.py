"""The discriminator is the paper's, and takes any crop size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sr_train.discriminator import Discriminator


def test_layers_are_the_papers() -> None:
    convolutions = [m for m in Discriminator().modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [c.stride[0] for c in convolutions] == [1, 2, 1, 2, 1, 2, 1, 2]
    assert all(c.kernel_size == (3, 3) for c in convolutions)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in Discriminator().modules()) == 7
    assert [(m.in_features, m.out_features) for m in Discriminator().dense if isinstance(m, nn.Linear)] == [
        (512 * 6 * 6, 1024),
        (1024, 1),
    ]
    assert {m.negative_slope for m in Discriminator().modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize("side", [16, 40, 96, 128])
def test_any_crop_size_gives_one_logit(side: int) -> None:
    assert Discriminator(4)(torch.zeros(2, 3, side, side)).shape == (2, 1)


def test_at_the_papers_crops_the_last_map_is_taken_as_it_is() -> None:
    features = Discriminator(2).features(torch.rand(2, 3, 96, 96))
    torch.testing.assert_close(nn.AdaptiveAvgPool2d(6)(features), features)
