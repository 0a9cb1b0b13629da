"""One optimiser step of each stage, from pictures to changed weights, to be followed with one finger.

A step gets its batch in `parts` (more than one: gradient accumulation) and returns its losses as tensors that nobody
has read yet: reading one waits for the GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_train.config import PixelLoss, Precision
from sr_train.data import Batch
from sr_train.degrade import Degradation
from sr_train.generator import Generator
from sr_train.losses import PAPER, LossRecipe, Made, VggFeatures, discriminator_loss, generator_loss
from sr_train.parallel import Group, average_gradients
from sr_train.pixels import hr_to_tensor, lr_to_tensor
from sr_train.shift import Shift, photos_of

__all__ = ["Numerics", "Player", "gan_step", "resnet_step", "to_parts"]

Network = TypeVar("Network", bound=nn.Module)

AUTOCAST = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


@dataclass(frozen=True)
class Numerics:
    """Where and how precisely a step computes."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: Precision = Precision.FP32
    channels_last: bool = False
    group: Group = field(default_factory=Group)

    def autocast(self) -> AbstractContextManager[object]:
        """Networks run inside it; losses and optimisers outside."""
        kind = AUTOCAST.get(self.precision, torch.bfloat16)
        return torch.autocast(self.device.type, kind, enabled=self.precision in AUTOCAST)

    def scaler(self) -> torch.amp.GradScaler:
        """A loss scaler: at work in fp16, passing everything through elsewhere."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision is Precision.FP16)

    def place(self, values: Tensor) -> Tensor:
        """NCHW in the memory layout that the networks have."""
        return values.contiguous(memory_format=torch.channels_last) if self.channels_last else values


@dataclass
class Player(Generic[Network]):
    """A network and what changes it."""

    network: Network
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler

    def set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def hold(self, held: bool) -> None:
        """Whether its weights are constants for now, without gradients."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(not held)

    def update(self, group: Group) -> None:
        """One optimiser step with the gradients that backward left."""
        average_gradients(self.network.parameters(), group)
        self.scaler.step(self.optimizer)  # in fp16: skipped when a gradient overflowed
        self.scaler.update()


def to_parts(batch: Batch, count: int, numerics: Numerics) -> list[tuple[Tensor, Tensor]]:
    """A batch as `count` pairs of network values on the device: LR in [0, 1], HR in [-1, 1], float32 NCHW."""
    lr = batch.lr.to(numerics.device, non_blocking=True).chunk(count)
    hr = batch.hr.to(numerics.device, non_blocking=True).chunk(count)
    return [(numerics.place(lr_to_tensor(a)), numerics.place(hr_to_tensor(b))) for a, b in zip(lr, hr, strict=True)]


def resnet_step(
    generator: Player[Generator], parts: Sequence[tuple[Tensor, Tensor]], pixel_loss: PixelLoss, numerics: Numerics
) -> Mapping[str, Tensor]:
    """Stage 1: G(LR) towards HR by `mse_loss` or `l1_loss`, whose mean over the parts is returned."""
    distance = functional.mse_loss if pixel_loss is PixelLoss.MSE else functional.l1_loss
    losses: list[Tensor] = []
    generator.optimizer.zero_grad(set_to_none=True)
    for lr, hr in parts:
        with numerics.autocast():
            fake = generator.network(lr)
        loss = distance(fake.float(), hr)
        generator.scaler.scale(loss / len(parts)).backward()  # type: ignore[no-untyped-call] # of torch
        losses.append(loss.detach())
    generator.update(numerics.group)
    return {f"{pixel_loss}_loss": torch.stack(losses).mean()}


def gan_step(
    generator: Player[Generator],
    discriminator: Player[nn.Module],
    vgg: VggFeatures,
    parts: Sequence[tuple[Tensor, Tensor]],
    numerics: Numerics,
    recipe: LossRecipe = PAPER,
) -> Mapping[str, Tensor]:
    """Stage 2: the discriminator's turn, then the generator's. Returns the means over the parts of

    mse_loss, g_gan_loss, grid_loss  the terms of the generator's loss, unweighted
    vgg_loss, shift_loss             two more, where the recipe gives them a weight
    g_loss, d_loss                   what each of the two minimised
    d_real, d_fake                   the discriminator's mean belief that real and generated pictures are real
    """
    seen: list[Mapping[str, Tensor]] = []
    batch = [_make(generator.network, lr, hr, recipe, numerics) for lr, hr in parts]  # graphs wait for their turn

    discriminator.optimizer.zero_grad(set_to_none=True)
    for made in batch:
        fake, hr = made.seen
        with numerics.autocast():
            real_logits, fake_logits = discriminator.network(hr), discriminator.network(fake.detach())
        d_loss = discriminator_loss(real_logits, fake_logits)
        discriminator.scaler.scale(d_loss / len(parts)).backward()  # type: ignore[no-untyped-call] # of torch
        d_real, d_fake = (logits.detach().float().sigmoid().mean() for logits in (real_logits, fake_logits))
        seen.append({"d_loss": d_loss.detach(), "d_real": d_real, "d_fake": d_fake})
    discriminator.update(numerics.group)

    generator.optimizer.zero_grad(set_to_none=True)
    discriminator.hold(True)
    for made in batch:
        with numerics.autocast():
            loss = generator_loss(made, discriminator.network(made.seen[0]), vgg, recipe)
        generator.scaler.scale(loss.total / len(parts)).backward()  # type: ignore[no-untyped-call] # of torch
        named = zip(("g_loss", "mse_loss", "vgg_loss", "g_gan_loss", "grid_loss", "shift_loss"), loss, strict=True)
        seen.append({name: term.detach() for name, term in named if term is not None})
    discriminator.hold(False)
    generator.update(numerics.group)

    names = dict.fromkeys(name for part in seen for name in part)
    return {name: torch.stack([part[name] for part in seen if name in part]).mean() for name in names}


def _make(network: Generator, lr: Tensor, hr: Tensor, recipe: LossRecipe, numerics: Numerics) -> Made:
    """A part of a batch through the generator: once, or also from LR pixels that lie elsewhere.

    All pictures of a crop must be equally sharp, for the mean of them is judged: where photos are degraded at random,
    the first is made anew, alike with the others.
    """
    with numerics.autocast():
        if recipe.shift_pictures == 1:
            return Made.once(network(lr), hr)
        scale = hr.shape[-1] // lr.shape[-1]
        shifts, seed = Shift.random(scale, recipe.shift_pictures - 1), 0
        if recipe.shift_degradation is Degradation.PHOTO:
            seed = int(torch.randint(2**62, ()))
            lr = numerics.place(photos_of(hr, scale, seed))
        fake = network(lr)
        others = [shift.lr_of(hr, recipe.shift_degradation, seed) for shift in shifts]
        shifted = network(numerics.place(torch.cat(others)))
    return Made.often(fake, hr, list(zip(shifts, shifted.chunk(len(shifts)), strict=True)))
