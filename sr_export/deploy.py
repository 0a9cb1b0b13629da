"""The deployed graph: the trained generator rewritten, exactly, into what every engine runs.

    generator ──fold_batchnorm──▶ ──fold_range──▶ ──fold_tail──▶ FloatDoor ──▶ PixelDoor or DeepDoor

    float door   float NCHW RGB [0, 1] -> float NCHW RGB [0, 1] (not clamped)     for the community's tools
    pixel door   uint8 NHWC RGB -> uint8 NHWC RGB                                 what our engines run
    deep door    float32 NHWC RGB [0, 1] -> the same, clamped, not rounded        for pictures of more than 8 bits

All return `scale` times the height and width. The folds are algebra on the weights, computed in float64 and
rounded once: the result equals the trained network to float32 rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sr_train.generator import Generator, ResidualBlock, UpsampleStage

__all__ = ["DeepDoor", "FloatDoor", "PixelDoor", "deploy", "fold_batchnorm", "fold_range", "fold_tail"]

PIXEL_MAX = 255.0  # the largest value of a uint8 pixel


class FloatDoor(nn.Module):
    """The folded generator: float NCHW RGB in [0, 1] -> the same, `scale` times as large, not clamped.

    Works in the dtype of its weights; height and width from 1 up. `generator` must be in eval mode.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.scale = generator.config.scale
        self.head = _with_activation(generator.head.conv, generator.head.act)
        self.body = nn.Sequential(
            *(_FoldedBlock(block) for block in generator.body if isinstance(block, ResidualBlock))
        )
        self.fuse = fold_batchnorm(generator.fuse.conv, generator.fuse.bn)
        stages = [stage for stage in generator.upsample if isinstance(stage, UpsampleStage)]
        tail = fold_range(generator.tail)
        if stages:
            # PReLU has one slope for all channels, so it may run before the shuffle as well as after it;
            # behind the last stage's convolution the tail then runs at half the size.
            last = stages.pop()
            before_tail = [_copy(last.conv), _copy(last.act), fold_tail(tail), nn.PixelShuffle(2)]
        else:
            before_tail = [tail]
        upsample = [nn.Sequential(_copy(s.conv), nn.PixelShuffle(2), _copy(s.act)) for s in stages]
        self.upsample = nn.Sequential(*upsample, *before_tail)

    def forward(self, x: Tensor) -> Tensor:
        head = self.head(x)
        result: Tensor = self.upsample(head + self.fuse(self.body(head)))
        return result


class PixelDoor(nn.Module):
    """uint8 NHWC RGB -> uint8 NHWC RGB, `scale` times as large: conversion, rounding and clamping inside.

    Halves round to even. The cast comes before the transpose because TensorRT takes uint8 only in casts.
    """

    def __init__(self, core: FloatDoor) -> None:
        super().__init__()
        self.core = core
        self.scale = core.scale

    def float_dtype(self) -> torch.dtype:
        """What the core takes: the float type of its weights; half where only some of them are (sr_export.fp16)."""
        types = {parameter.dtype for parameter in self.core.parameters()}
        return torch.float16 if torch.float16 in types else types.pop()

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.to(self.float_dtype()).permute(0, 3, 1, 2) / PIXEL_MAX
        y: Tensor = (self.core(x) * PIXEL_MAX).clamp(0.0, PIXEL_MAX).round()
        return y.permute(0, 2, 3, 1).to(torch.uint8)


class DeepDoor(nn.Module):
    """float32 NHWC RGB in [0, 1] -> the same, `scale` times as large, clamped: for 16-bit and float pictures.

    Always float32: half precisions have 8 or 11 significant bits, which would turn a smooth gradient into steps.
    """

    def __init__(self, core: FloatDoor) -> None:
        super().__init__()
        self.core = core
        self.scale = core.scale

    def forward(self, pixels: Tensor) -> Tensor:
        y: Tensor = self.core(pixels.permute(0, 3, 1, 2)).clamp(0.0, 1.0)
        return y.permute(0, 2, 3, 1)


class _FoldedBlock(nn.Module):
    """x + conv2(act(conv1 x)): a residual block whose BatchNorms are in its convolutions."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.conv1 = fold_batchnorm(block.conv1, block.bn1)
        self.act = _copy(block.act)
        self.conv2 = fold_batchnorm(block.conv2, block.bn2)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.conv2(self.act(self.conv1(x)))
        return x + residual


def deploy(generator: Generator) -> PixelDoor:
    """The deployed graph of a trained generator; its `core` is the float door. The generator is not changed."""
    return PixelDoor(FloatDoor(generator)).eval().requires_grad_(False)


def fold_batchnorm(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that equals `norm(convolution(x))` in eval mode: w' = w·g/s, b' = (b − m)·g/s + β."""
    assert norm.running_mean is not None and norm.running_var is not None
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = torch.zeros_like(gain) if convolution.bias is None else convolution.bias.double()
    weight = convolution.weight.double() * gain[:, None, None, None]
    return _convolution(weight, (bias - norm.running_mean.double()) * gain + norm.bias.double(), convolution.weight)


def fold_range(tail: nn.Conv2d) -> nn.Conv2d:
    """The tail whose output is in [0, 1] instead of [-1, 1]: (y + 1) / 2."""
    assert tail.bias is not None
    return _convolution(tail.weight.double() / 2, (tail.bias.double() + 1) / 2, tail.weight)


def fold_tail(tail: nn.Conv2d, factor: int = 2) -> nn.Conv2d:
    """The convolution that, run *before* PixelShuffle(factor), equals `tail` run after it. Exact.

    `tail`: C -> O channels, odd kernel k, zero padding (k-1)/2. Result: C·factor² -> O·factor² channels.
    Output phase (a, b) and tap (i, j) of the tail read shuffled position (a + i − p, b + j − p), which is
    offset floor((a + i − p) / factor) before the shuffle, in channel phase (a + i − p) mod factor; likewise for
    columns. The 9x9 tail at 4x becomes a 5x5 at 2x with 12 output channels, which fills vector units that 3 starve.
    Zero padding agrees when the reach is a multiple of the factor, as 4 is of 2; else AssertionError.
    """
    outputs, channels, size, _ = tail.weight.shape
    reach = size // 2
    assert reach % factor == 0 and tail.bias is not None
    folded_reach = -(-reach // factor)
    folded = torch.zeros(
        outputs, factor, factor, channels, factor, factor, 2 * folded_reach + 1, 2 * folded_reach + 1,
        dtype=torch.float64,
    )  # fmt: skip
    for a in range(factor):
        for b in range(factor):
            for i in range(size):
                for j in range(size):
                    row, row_phase = divmod(a + i - reach, factor)
                    column, column_phase = divmod(b + j - reach, factor)
                    tap = tail.weight[:, :, i, j].double()
                    folded[:, a, b, :, row_phase, column_phase, row + folded_reach, column + folded_reach] = tap
    area = factor * factor
    weight = folded.reshape(outputs * area, channels * area, 2 * folded_reach + 1, 2 * folded_reach + 1)
    return _convolution(weight, tail.bias.double().repeat_interleave(area), tail.weight)


def _convolution(weight: Tensor, bias: Tensor, like: Tensor) -> nn.Conv2d:
    """A 'same' convolution with these weights, in the dtype of `like`."""
    outputs, channels, size, _ = weight.shape
    convolution = nn.Conv2d(channels, outputs, size, padding=size // 2)
    convolution.weight = nn.Parameter(weight.detach().to(like.dtype))
    convolution.bias = nn.Parameter(bias.detach().to(like.dtype))
    return convolution


def _copy(layer: nn.Conv2d | nn.PReLU) -> nn.Conv2d | nn.PReLU:
    if isinstance(layer, nn.PReLU):
        twin = nn.PReLU(layer.num_parameters)
        twin.weight = nn.Parameter(layer.weight.detach().clone())
        return twin
    assert layer.bias is not None
    return _convolution(layer.weight, layer.bias, layer.weight)


def _with_activation(convolution: nn.Conv2d, activation: nn.PReLU) -> nn.Sequential:
    return nn.Sequential(_copy(convolution), _copy(activation))
