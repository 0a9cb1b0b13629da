"""The discriminator of SRGAN (Ledig et al., arXiv 1609.04802, figure 4): is a picture real or generated?"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

__all__ = ["Discriminator"]

SLOPE = 0.2  # of LeakyReLU
STRIDES = (1, 2, 1, 2, 1, 2, 1, 2)  # of the eight convolutions
WIDTHS = (1, 1, 2, 2, 4, 4, 8, 8)  # their channels, in units of the first one's
DENSE = 1024  # units of the layer before the last
GRID = 6  # side of the last feature map at the paper's crops: 96 pixels, halved four times


class Discriminator(nn.Module):
    """Eight 3x3 convolutions from 64 to 512 channels, every second one halving the sides, then two dense layers.

    All but the first convolution have BatchNorm. `forward` takes float NCHW RGB in [-1, 1] with sides of at least
    16 pixels and returns one logit per picture, float N x 1: positive means real. At the paper's 96 pixels the last
    feature map is 6x6 and is taken as it is; for other sizes it is averaged (or repeated) to 6x6.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        widths = [channels * width for width in WIDTHS]
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.LeakyReLU(SLOPE)]
        for (before, after), stride in zip(pairwise(widths), STRIDES[1:], strict=True):
            # No bias: the BatchNorm that follows has one.
            layers.append(nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False))
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE)]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        self.dense = nn.Sequential(nn.Linear(widths[-1] * GRID**2, DENSE), nn.LeakyReLU(SLOPE), nn.Linear(DENSE, 1))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.dense(self.pool(self.features(image)).flatten(1))
        return logits
