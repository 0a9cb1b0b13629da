"""What tells real from generated pictures in stage 2.

`Discriminator` is the paper's (Ledig et al., arXiv 1609.04802, figure 4) and learns from nothing.
`FeatureDiscriminator` judges what VGG19 sees, as in Projected GANs (Sauer et al., arXiv 2111.01007), place by place.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from sr_train.losses import VggFeatures, shifted

__all__ = ["Discriminator", "FeatureDiscriminator"]

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


TAPS = (4, 9)  # layers of VGG19 up to its second and fourth activation: full and half size, 64 and 128 channels
TAP_CHANNELS = (64, 128)
SIZES = 2  # at which the picture is judged: whole, and half
TAP_SCALE = 0.05  # brings these activations, which Oxford's weights make some hundred in size, to several units


class FeatureDiscriminator(nn.Module):
    """Small convolutions that judge two early activations of VGG19, place by place; VGG19 itself stays as it is.

    They judge the picture at its size and, two more of them, at half of it: at full size alone what is cheapest to
    learn is a pattern of some three pixels, tied to the LR grid; at half of it, only detail twice as large counts.
    Spectral normalisation keeps the judges from growing sure too fast. `forward` takes float NCHW RGB in [-1, 1] with
    sides of at least 16 pixels and returns float N x M: a logit for every second pixel of every second row by each of
    the four judges. Those of the half-size picture judge four such places at once, and count for each.
    """

    def __init__(self, vgg: VggFeatures, channels: int = 64) -> None:
        super().__init__()
        self.normalise = vgg.normalise
        self.eyes = vgg.features[: TAPS[-1]]
        self.judges = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(seen, channels, 3, padding=1)),
                nn.LeakyReLU(SLOPE),
                spectral_norm(nn.Conv2d(channels, channels, 3, padding=1, stride=stride)),
                nn.LeakyReLU(SLOPE),
                spectral_norm(nn.Conv2d(channels, 1, 3, padding=1)),
            )
            for _ in range(SIZES)
            for seen, stride in zip(TAP_CHANNELS, (2, 1), strict=True)
        )

    def forward(self, image: Tensor) -> Tensor:
        logits = [judge(TAP_SCALE * seen) for judge, seen in zip(self.judges, self.see(image), strict=True)]
        places = logits[0].shape[-2:]
        return torch.cat([functional.interpolate(each, places).flatten(1) for each in logits], dim=1)

    def see(self, image: Tensor) -> list[Tensor]:
        """What each judge is shown: VGG19's two activations, unscaled, of the picture, then of its half."""
        picture, seen = shifted(image), []
        for size in range(SIZES):
            picture = functional.avg_pool2d(picture, 2) if size else picture
            features = self.normalise(picture)
            for first, last in pairwise((0, *TAPS)):
                features = self.eyes[first:last](features)
                seen.append(features)
        return seen
