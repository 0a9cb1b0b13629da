"""The losses of SRGAN (Ledig et al., arXiv 1609.04802, section 2.2).

    generator       mse_loss + 0.006 * vgg_loss + 0.001 * g_gan_loss     (LossRecipe changes the weights)
    mse_loss        mean over all values of (G - HR)², both in [-1, 1]
    vgg_loss        mean over all values of (φ(G) - φ(HR))², φ one activation of VGG19
    g_gan_loss      -log D(G), the mean over the batch
    shift_loss      no part of the paper's, weight 0 unless asked for: how far pictures of one crop differ whose LR
                    pixels lie elsewhere, in what is finer than an LR pixel. Whatever is tied to the LR grid (weaves,
                    checkerboards, combs along edges) is elsewhere in each of them; what is in the photo is not
    grid_loss       no part of the paper's, weight 0 unless asked for: see there
    d_loss          -log D(HR) - log(1 - D(G)), the mean over the batch

D is a logit everywhere: -log sigmoid(x) = softplus(-x), which neither overflows nor loses its gradient.
The paper's features are divided by 12.75; squared, that is its 0.006.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_train.degrade import Degradation
from sr_train.errors import WeightsError
from sr_train.shift import Shift, inside, variance
from sr_train.weights import fill, read_weights

__all__ = [
    "PAPER",
    "GeneratorLoss",
    "LossRecipe",
    "Made",
    "VggFeatures",
    "VggLayer",
    "discriminator_loss",
    "gan_loss",
    "generator_loss",
    "grid_loss",
    "load_vgg",
    "shifted",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in [0, 1]
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # VGG19: channels, convolutions before each max-pool


class VggLayer(StrEnum):
    """Which activation of VGG19 is compared: vggIJ is the one of convolution J before max-pool I (after ReLU)."""

    VGG22 = "vgg22"
    VGG44 = "vgg44"
    VGG54 = "vgg54"  # the paper's


LAYER_COUNT = {VggLayer.VGG22: 9, VggLayer.VGG44: 27, VggLayer.VGG54: 36}  # of torchvision's `vgg19().features`


@dataclass(frozen=True)
class LossRecipe:
    """How the terms of the generator's loss are made and weighed; `mse_loss` always counts once. The paper's."""

    vgg_weight: float = 0.006
    gan_weight: float = 0.001
    vgg_shifts: bool = False  # VGG19 sees each crop at another offset: `shifted`
    grid_weight: float = 0.0  # of grid_loss
    shift_pictures: int = 1  # how often each crop is made, of LR pixels that lie elsewhere: `Made.often`
    shift_weight: float = 0.0  # of shift_loss, where there are several pictures
    shift_degradation: Degradation = Degradation.BICUBIC  # how the LR of a crop is made again (photo: also the first)


PAPER = LossRecipe()
GRID_CELLS = 6  # of PHASES pixels a side: a window in which a grid is looked for
PHASES = 4  # pixels after which the pattern of a generator of scale 4 repeats


class GeneratorLoss(NamedTuple):
    """The terms of the generator's loss and their weighted sum, each a scalar tensor with its gradient."""

    total: Tensor
    mse_loss: Tensor
    vgg_loss: Tensor | None  # None where its weight is 0: it is not computed
    g_gan_loss: Tensor
    grid_loss: Tensor
    shift_loss: Tensor | None  # None where each crop is made only once


@dataclass(frozen=True)
class Made:
    """What the generator made of a batch of crops, beside the crops: float NCHW RGB in [-1, 1]."""

    pictures: Sequence[tuple[Tensor, Tensor]]  # generated and HR, for the losses by pixels
    seen: tuple[Tensor, Tensor]  # generated and HR, for VGG19 and the discriminator
    views: Sequence[Tensor] = ()  # the same part of each picture, where a crop was made more than once

    @staticmethod
    def once(fake: Tensor, hr: Tensor) -> Made:
        """The paper's: one picture of each crop."""
        return Made([(fake, hr)], (fake, hr))

    @staticmethod
    def often(fake: Tensor, hr: Tensor, others: Sequence[tuple[Shift, Tensor]]) -> Made:
        """Also `others`, made of the same crops by LR pixels that lie elsewhere; seen is the mean of all.

        In the mean most of what is tied to the LR grid cancels (`Shift.random`), so that it hardly earns anything;
        texture counts where all pictures have it.
        """
        scale = others[0][0].scale
        views = [inside(fake, scale), *(shift.inside(other) for shift, other in others)]
        pictures = [(fake, hr), *((other, shift.part(hr)) for shift, other in others)]
        return Made(pictures, (torch.stack(views).mean(dim=0), inside(hr, scale)), views)


class VggFeatures(nn.Module):
    """VGG19 up to one activation, frozen, in eval mode. Fresh weights mean nothing: see `load_vgg`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, layer: VggLayer = VggLayer.VGG54) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.features = nn.Sequential(*_vgg19_layers()[: LAYER_COUNT[layer]])
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Float NCHW RGB in [-1, 1], sides of at least 16 -> float NCHW activations, not negative."""
        features: Tensor = self.features(self.normalise(image))
        return features

    def normalise(self, image: Tensor) -> Tensor:
        """NCHW RGB in [-1, 1] -> what torchvision's networks take: [0, 1] less ImageNet's mean, by its deviation."""
        return ((image + 1) / 2 - self.mean) / self.deviation


def _vgg19_layers() -> list[nn.Module]:
    """Convolutions, ReLUs and max-pools in torchvision's order, so that its names `features.N.*` fit."""
    layers: list[nn.Module] = []
    channels = 3
    for width, convolutions in STAGES:
        for before, after in pairwise([channels] + [width] * convolutions):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        layers.append(nn.MaxPool2d(2, 2))
        channels = width
    return layers


def load_vgg(layer: VggLayer, path: Path | None) -> VggFeatures:
    """VGG19's features with ImageNet weights, float32, on the CPU: of `path`, or of torchvision's own download.

    A file holds torchvision's names (`features.0.weight` ...), as `.safetensors` or as torchvision's `.pth`.
    Raises WeightsError when there are none: features of random weights would train towards nothing.
    """
    network = VggFeatures(layer)
    if path is not None:
        weights, source = read_weights(path), path
    else:
        weights, source = _download_vgg(), Path("torchvision's vgg19")
    fill(network, weights, source, "VGG19 (torchvision's names features.N.weight and features.N.bias)")
    return network


def _download_vgg() -> dict[str, Tensor]:
    try:
        from torchvision.models import VGG19_Weights

        return dict(VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True))
    except (ImportError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"VGG19's weights could not be downloaded by torchvision ({error}); the second stage needs them: "
            "name a file with --vgg-weights FILE (torchvision's vgg19 as .pth or .safetensors)"
        ) from error


def gan_loss(fake_logits: Tensor) -> Tensor:
    """-log D(G), the mean over a float N x 1 batch of logits of generated pictures."""
    return functional.softplus(-fake_logits.float()).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-log D(HR) - log(1 - D(G)), each the mean over a float N x 1 batch of logits."""
    return functional.softplus(-real_logits.float()).mean() + functional.softplus(fake_logits.float()).mean()


def grid_loss(fake: Tensor, hr: Tensor) -> Tensor:
    """How much of the error is a grid or a shift of colour: the part of it that repeats every `PHASES` pixels.

    Both NCHW, sides multiples of PHASES. The mean of e² over images, channels, windows of GRID_CELLS x GRID_CELLS cells
    that overlap by half, and the 4 x 4 positions in a cell; e is the mean error of a window's pixels at that position.
    A generator that enlarges by pixel shuffle can add such a pattern, everywhere or along edges; it is small beside the
    error of the texture, so mse_loss hardly sees it, but eyes do.
    """
    phases = functional.pixel_unshuffle(
        fake.float() - hr.float(), PHASES
    )  # [n, channels · 16, cells down, cells across]
    window = [min(GRID_CELLS, side) for side in phases.shape[-2:]]
    step = [-(-side // 2) for side in window]
    return functional.avg_pool2d(phases, window, step, ceil_mode=True).square().mean()


def shifted(images: Tensor) -> Tensor:
    """Windows of NCHW images, `PHASES` pixels smaller, each image's at another offset of 0 to 3 pixels down and right.

    VGG19's max-pools begin at the crop's corner, and so does the pattern of a generator that enlarges by pixel shuffle:
    it learns a grid that flatters the pools at this one offset. Over all offsets (4 successive images begin at 4
    different rows and columns, 16 at all pairs of them) no grid does.
    """
    height, width = (side - PHASES for side in images.shape[-2:])
    starts = [((i + i // PHASES) % PHASES, i % PHASES) for i in range(len(images))]
    windows = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(images, starts, strict=True)]
    return torch.stack(windows)


def generator_loss(made: Made, fake_logits: Tensor, vgg: VggFeatures, recipe: LossRecipe = PAPER) -> GeneratorLoss:
    """The generator's loss of a batch; `fake_logits` are the discriminator's of the picture that it saw, N x M.

    mse_loss and grid_loss are the means over all pictures of a crop where there are several. Sums are in float32
    whatever the precision of the networks.
    """
    mse_loss = torch.stack([functional.mse_loss(fake.float(), hr.float()) for fake, hr in made.pictures]).mean()
    grid = torch.stack([grid_loss(fake, hr) for fake, hr in made.pictures]).mean()
    g_gan_loss = gan_loss(fake_logits)
    total = mse_loss + recipe.gan_weight * g_gan_loss + recipe.grid_weight * grid
    vgg_loss = _vgg_loss(*made.seen, vgg, shifts=recipe.vgg_shifts) if recipe.vgg_weight else None
    if vgg_loss is not None:
        total = total + recipe.vgg_weight * vgg_loss
    shift_loss = variance(made.views) if made.views else None
    if shift_loss is not None:
        total = total + recipe.shift_weight * shift_loss
    return GeneratorLoss(total, mse_loss, vgg_loss, g_gan_loss, grid, shift_loss)


def _vgg_loss(fake: Tensor, hr: Tensor, vgg: VggFeatures, *, shifts: bool) -> Tensor:
    seen, real = (shifted(fake), shifted(hr)) if shifts else (fake, hr)
    with torch.no_grad():
        wanted = vgg(real)
    return functional.mse_loss(vgg(seen).float(), wanted.float())
