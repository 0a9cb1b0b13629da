"""How a fresh generator starts."""

from __future__ import annotations

import torch
from torch import nn

from sr_train.config import Initialisation
from sr_train.generator import Generator, ResidualBlock, UpsampleStage

__all__ = ["initialise"]

QUIET = 0.1  # of a block's last BatchNorm factor: the body starts near the identity
SMALL = 0.1  # of the tail's weights: the first pictures are nearly grey, not loud noise


def initialise(generator: Generator, how: Initialisation) -> None:
    """Set the weights of a generator fresh from PyTorch, in place, from torch's random numbers.

    ICNR (Aitken et al., arXiv 1707.02937): the four channels that PixelShuffle puts side by side start equal, so that
    the first pictures have no checkerboard.
    """
    if how is Initialisation.TORCH:
        return
    with torch.no_grad():
        for module in generator.modules():
            if isinstance(module, UpsampleStage):
                _repeat(module.conv, module.shuffle.upscale_factor**2)
            elif isinstance(module, ResidualBlock):
                module.bn2.weight.fill_(QUIET)
        generator.tail.weight.mul_(SMALL)


def _repeat(convolution: nn.Conv2d, times: int) -> None:
    """Each `times` consecutive output channels become one another's copies."""
    convolution.weight.copy_(convolution.weight[::times].repeat_interleave(times, dim=0))
    if convolution.bias is not None:
        convolution.bias.copy_(convolution.bias[::times].repeat_interleave(times))
