"""The same crop made of LR pixels that lie elsewhere: what moves with them is the generator's, not the photo's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sr_train.degrade import Degradation, degrade
from sr_train.pixels import lr_to_tensor, tensor_to_bytes

__all__ = ["Shift", "high_pass", "inside", "photos_of", "variance"]


@dataclass(frozen=True)
class Shift:
    """Where the pixels of another LR picture of nearly the same crop begin: between those of the first."""

    down: int  # HR pixels, below the scale
    across: int
    scale: int

    @staticmethod
    def random(scale: int, count: int) -> list[Shift]:
        """`count` different ones, none of them 0, from torch's random numbers.

        Any: a choice that cancels patterns along rows and columns in the mean leaves some that run along diagonals, or
        that repeat twice in an LR pixel, and those are then learnt. Over all choices each keeps the same small share:
        a fifth of its power in the mean of four pictures.
        """
        places = (torch.randperm(scale**2 - 1)[:count] + 1).tolist()
        return [Shift(place // scale, place % scale, scale) for place in places]

    def lr_of(self, hr: Tensor, degradation: Degradation = Degradation.BICUBIC, seed: int = 0) -> Tensor:
        """LR in [0, 1], whole bytes, of HR in [-1, 1], shifted. NCHW on HR's device; an LR pixel smaller.

        Without what is around HR. `seed` is for `photos_of`: with one seed all shifts of a picture are alike.
        """
        part = self.part(hr)
        if degradation is Degradation.PHOTO:
            return photos_of(part, self.scale, seed)
        small = functional.interpolate((part + 1) / 2, scale_factor=1 / self.scale, mode="bicubic", antialias=True)
        return (small.clamp(0, 1) * 255).round() / 255

    def inside(self, of_shifted: Tensor) -> Tensor:
        """Of a picture made of the shifted LR picture, what all shifts show: `inside` of the unshifted one."""
        down, across = self.scale - self.down, self.scale - self.across
        height, width = (side - self.scale for side in of_shifted.shape[-2:])
        return of_shifted[..., down : down + height, across : across + width]

    def part(self, picture: Tensor) -> Tensor:
        """What the shifted LR picture shows, of an NCHW picture with sides in HR pixels: an LR pixel smaller."""
        height, width = (side - self.scale for side in picture.shape[-2:])
        return picture[..., self.down : self.down + height, self.across : self.across + width]


def photos_of(hr: Tensor, scale: int, seed: int) -> Tensor:
    """LR in [0, 1], whole bytes, of HR in [-1, 1] by `--degradation photo`, without what is around HR. NCHW, on HR's
    device; made on the CPU.

    Each picture of the batch follows from `seed` by random numbers of its own: with one seed, parts of it that begin
    elsewhere or are larger are clean together, or blurred alike and saved at the same quality. Those of one size have
    the same noise at the same LR pixels.
    """
    photos = [
        degrade(pixels, scale, Degradation.PHOTO, np.random.default_rng((seed, index)))
        for index, pixels in enumerate(tensor_to_bytes(hr).cpu().numpy())
    ]
    return lr_to_tensor(torch.from_numpy(np.stack(photos))).to(hr.device)


def inside(picture: Tensor, scale: int) -> Tensor:
    """NCHW without an LR pixel on each side: what the LR pictures of all shifts show."""
    return picture[..., scale:-scale, scale:-scale]


def variance(views: Sequence[Tensor]) -> Tensor:
    """The mean variance of the high pass of at least two views of the same: half of what two differ by, squared.

    Of the high pass, because coarser differences are of what the LR pictures show, and holding them down blurs.
    """
    return torch.stack([high_pass(view.float()) for view in views]).var(dim=0).mean()


def high_pass(picture: Tensor) -> Tensor:
    """NCHW less its binomial blur of 3x3 pixels, a pixel smaller on each side.

    What alternates from pixel to pixel stays whole, what repeats every 4 pixels by half, every 16 by a 26th.
    """
    rows = (picture[..., :-2, :] + 2 * picture[..., 1:-1, :] + picture[..., 2:, :]) / 4
    blur = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4  # sums: autocast would round a convolution's
    return picture[..., 1:-1, 1:-1] - blur
