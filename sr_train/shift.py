"""The same crop made of LR pixels that lie elsewhere: what moves with them is the generator's, not the photo's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Shift", "high_pass"]


@dataclass(frozen=True)
class Shift:
    """Where the pixels of another LR picture of nearly the same crop begin: between those of the first."""

    down: int  # HR pixels, below the scale
    across: int
    scale: int

    @staticmethod
    def random(scale: int) -> Shift:
        """Any that moves both ways, from torch's random numbers."""
        down, across = torch.randint(1, scale, (2,)).tolist()
        return Shift(down, across, scale)

    def lr_of(self, hr: Tensor) -> Tensor:
        """LR in [0, 1], whole bytes, by antialiased bicubic, of HR in [-1, 1], shifted. NCHW; an LR pixel smaller."""
        part = (self.part(hr) + 1) / 2
        small = functional.interpolate(part, scale_factor=1 / self.scale, mode="bicubic", antialias=True)
        return (small.clamp(0, 1) * 255).round() / 255

    def loss(self, fake: Tensor, of_shifted: Tensor) -> Tensor:
        """The mean squared difference of the two pictures that were made of one crop.

        Of their high pass: coarser differences are of what the two LR pictures show, and holding them down blurs. Up to
        the borders, of which one picture knows more than the other: left out, they would fill with patterns.
        """
        return functional.mse_loss(high_pass(self.part(fake).float()), high_pass(of_shifted.float()))

    def part(self, picture: Tensor) -> Tensor:
        """What the shifted LR picture shows, of an NCHW picture with sides in HR pixels: an LR pixel smaller."""
        height, width = (side - self.scale for side in picture.shape[-2:])
        return picture[..., self.down : self.down + height, self.across : self.across + width]


def high_pass(picture: Tensor) -> Tensor:
    """NCHW less its binomial blur of 3x3 pixels, a pixel smaller on each side.

    What alternates from pixel to pixel stays whole, what repeats every 4 pixels by half, every 16 by a 26th.
    """
    rows = (picture[..., :-2, :] + 2 * picture[..., 1:-1, :] + picture[..., 2:, :]) / 4
    blur = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4  # sums: autocast would round a convolution's
    return picture[..., 1:-1, 1:-1] - blur
