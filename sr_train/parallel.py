"""Several processes as one: torchrun's processes share each batch and stay equal to the last bit of a sum.

Gradients are averaged over the processes after backward, and BatchNorm takes its statistics over all of them, so two
processes with half a batch each do what one does with the whole. (nn.parallel.DistributedDataParallel is not wrapped
around the networks: the discriminator runs twice before each backward, and frozen in the generator's turn.)
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from sr_train.errors import UsageError

__all__ = ["Group", "SharedBatchNorm2d", "average_gradients", "process_group", "share_batch_norm"]


@dataclass(frozen=True)
class Group:
    """This process among its equals."""

    rank: int = 0  # 0 to size - 1; 0 validates and writes
    size: int = 1

    def share(self, batch: int) -> tuple[int, int]:
        """(first, last + 1) crop of a batch that this process computes. Raises UsageError."""
        if batch % self.size:
            raise UsageError(f"a batch of {batch} cannot be shared by {self.size} processes; use a multiple of it")
        part = batch // self.size
        return self.rank * part, (self.rank + 1) * part

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        if self.size > 1:
            distributed.all_reduce(values)
            values /= self.size
        return values

    def barrier(self) -> None:
        """Wait for the others."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def process_group(device: torch.device) -> Iterator[Group]:
    """The group that torchrun started, or this process alone. NCCL between GPUs, gloo between CPUs."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Group()
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def average_gradients(parameters: Iterable[nn.Parameter], group: Group) -> None:
    """Replace each gradient by its mean over the processes: one message for all of them."""
    if group.size == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = group.mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes, whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class SharedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose statistics are those of all processes' batches (of one size); the same names and values.

    PyTorch's own SyncBatchNorm computes on GPUs only.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        values = x.float()
        count = values.numel() / values.shape[1] * distributed.get_world_size()
        sums = torch.stack([values.sum(dim=(0, 2, 3)), values.pow(2).sum(dim=(0, 2, 3))])
        mean, square = (_Sum.apply(sums) / count).unbind()
        variance = (square - mean**2).clamp(min=0)
        with torch.no_grad():
            assert self.momentum is not None
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(variance.detach() * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        factor = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * factor
        result: Tensor = values * factor.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        return result.to(x.dtype)


def share_batch_norm(network: nn.Module, group: Group) -> None:
    """Make every BatchNorm2d of a network take its statistics over the group, in place."""
    if group.size > 1:
        for module in network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = SharedBatchNorm2d
