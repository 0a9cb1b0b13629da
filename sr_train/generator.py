"""The network: SRResNet, the generator of SRGAN (Ledig et al., arXiv 1609.04802, figure 4).

Input: LR RGB in [0, 1], float NCHW. Output: HR RGB in [-1, 1], float NCHW, `scale` times as high and wide.
Parameter names are fixed: checkpoints carry them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sr_train.errors import UsageError

__all__ = ["Generator", "GeneratorConfig", "ResidualBlock", "UpsampleStage"]

SCALES = (1, 2, 4, 8)  # powers of two: each stage doubles both sides


@dataclass(frozen=True)
class GeneratorConfig:
    """What rebuilds the network. The defaults are the paper's.

    Raises UsageError for a size that no such network can have.
    """

    channels: int = 64  # feature maps between the layers
    blocks: int = 16  # residual blocks
    scale: int = 4  # output side / input side

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UsageError(f"scale {self.scale} cannot be built: choose one of {', '.join(map(str, SCALES))}")
        if self.channels < 1 or self.blocks < 0:
            raise UsageError(f"channels ({self.channels}) must be at least 1 and blocks ({self.blocks}) at least 0")


class Head(nn.Module):
    """Conv 9x9, 3 -> channels, then PReLU with one slope."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 9, padding=4)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.conv(x))
        return result


class ResidualBlock(nn.Module):
    """x + bn2(conv2(act(bn1(conv1 x)))), 3x3 convolutions without bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        return x + residual


class Fuse(nn.Module):
    """Conv 3x3 without bias, then BatchNorm; its result is added to the head's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.bn(self.conv(x))
        return result


class UpsampleStage(nn.Module):
    """Conv 3x3 to four times the channels, PixelShuffle(2), PReLU: both sides doubled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.shuffle(self.conv(x)))
        return result


class Generator(nn.Module):
    """The SRResNet generator.

    `forward` takes float NCHW RGB in [0, 1] with any height and width from 1 up, and returns float NCHW RGB,
    nominally in [-1, 1] (not clamped), of `scale` times the size. Convolutions pad with zeros.
    """

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config or GeneratorConfig()
        channels = self.config.channels
        stages = self.config.scale.bit_length() - 1
        self.head = Head(channels)
        self.body = nn.Sequential(*(ResidualBlock(channels) for _ in range(self.config.blocks)))
        self.fuse = Fuse(channels)
        self.upsample = nn.Sequential(*(UpsampleStage(channels) for _ in range(stages)))
        self.tail = nn.Conv2d(channels, 3, 9, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        head = self.head(x)
        result: Tensor = self.tail(self.upsample(head + self.fuse(self.body(head))))
        return result

    def halo(self) -> int:
        """How many LR pixels away an output pixel can see, exactly.

        Derived from the layers by walking back from the block of output pixels that LR pixel 0 becomes: a
        convolution widens the range [low, high] by its padding, a PixelShuffle(r) divides it by r, rounding down.
        For the paper's network this gives 40.
        """
        low, high = 0, self.config.scale - 1
        low, high = low - _reach(self.tail), high + _reach(self.tail)
        for stage in reversed(self.upsample):
            assert isinstance(stage, UpsampleStage)
            factor = stage.shuffle.upscale_factor
            low, high = low // factor - _reach(stage.conv), high // factor + _reach(stage.conv)
        at_input_size = [self.head, self.body, self.fuse]
        convolutions = [c for part in at_input_size for c in part.modules() if isinstance(c, nn.Conv2d)]
        return max(-low, high) + sum(map(_reach, convolutions))


def _reach(convolution: nn.Conv2d) -> int:
    """Pixels that one convolution reads to each side."""
    return int(convolution.dilation[0]) * (int(convolution.kernel_size[0]) - 1) // 2


def random_generator(config: GeneratorConfig, seed: int) -> Generator:
    """A generator with random weights *and* random BatchNorm statistics, in eval mode: for tests and trials.

    Fresh BatchNorm layers are the identity, which would hide a wrong fold; these are not.
    """
    random = torch.Generator().manual_seed(seed)
    generator = Generator(config).eval()
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.in_channels * module.kernel_size[0] * module.kernel_size[1]
            module.weight.data = torch.randn(module.weight.shape, generator=random) / fan_in**0.5
            if module.bias is not None:
                module.bias.data = 0.1 * torch.randn(module.bias.shape, generator=random)
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.weight.data = 0.5 + torch.rand(module.weight.shape, generator=random)
            module.bias.data = 0.2 * torch.randn(module.bias.shape, generator=random)
            module.running_mean.copy_(0.2 * torch.randn(module.running_mean.shape, generator=random))
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=random))
        elif isinstance(module, nn.PReLU):
            module.weight.data = 0.1 + 0.3 * torch.rand(module.weight.shape, generator=random)
    return generator
