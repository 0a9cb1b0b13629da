"""LPIPS-alex: how different two pictures look (Zhang et al., arXiv 1801.03924, version 0.1 of its weights).

AlexNet's five activations of both pictures are normalised over their channels; the squared differences, weighted by
learned non-negative factors per channel, are averaged over the picture and added up. 0 for equal pictures; lower is
better. The weights are one `.safetensors` file: torchvision's AlexNet `features.*` and the heads `lin0` to `lin4`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from sr_train.errors import WeightsError
from sr_train.weights import fill, read_weights

__all__ = ["Lpips", "load_lpips"]

SHIFT = (-0.030, -0.088, -0.188)  # of the published network: nearly ImageNet's means and deviations, for [-1, 1]
SCALE = (0.458, 0.448, 0.450)
CHANNELS = (64, 192, 384, 256, 256)  # of the five activations
ACTIVATIONS = (1, 4, 7, 9, 11)  # their places in torchvision's `alexnet().features`
LEAST_SIDE = 31  # pixels: what AlexNet's strides and pools leave at least one value of
EPSILON = 1e-10


class Lpips(nn.Module):
    """AlexNet's convolutions and the five heads, frozen. Fresh weights mean nothing: see `load_lpips`."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
        )
        for index, channels in enumerate(CHANNELS):
            self.register_parameter(f"lin{index}", nn.Parameter(torch.zeros(channels)))
        self.requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Two float NCHW RGB batches in [-1, 1], sides of at least 31 -> float N distances."""
        total = first.new_zeros(len(first))
        for index, (a, b) in enumerate(zip(self._activations(first), self._activations(second), strict=True)):
            head = self.get_parameter(f"lin{index}").view(1, -1, 1, 1)
            total = total + (head * (_unit(a) - _unit(b)) ** 2).sum(dim=1).mean(dim=(1, 2))
        return total

    def _activations(self, image: Tensor) -> list[Tensor]:
        values, kept = (image - self.shift) / self.scale, []
        for place, layer in enumerate(self.features):
            values = layer(values)
            if place in ACTIVATIONS:
                kept.append(values)
        return kept


def _unit(values: Tensor) -> Tensor:
    """NCHW with each pixel's vector of channels scaled to length one."""
    return values / (values.pow(2).sum(dim=1, keepdim=True).sqrt() + EPSILON)


def load_lpips(path: Path) -> Lpips:
    """LPIPS-alex with the weights of a `.safetensors` file, float32, on the CPU. Raises WeightsError."""
    network = Lpips()
    weights = read_weights(path)
    heads = {f"lin{i}": weights[f"lin{i}"].flatten() for i in range(len(CHANNELS)) if f"lin{i}" in weights}
    if any((head < 0).any() for head in heads.values()):
        raise WeightsError(f"{path}: has negative factors in its LPIPS heads; use LPIPS v0.1 weights for AlexNet")
    fill(network, {**weights, **heads}, path, "LPIPS-alex (torchvision's AlexNet features.* and lin0 to lin4)")
    return network.eval()


def too_small(image: Tensor) -> bool:
    """Whether a float NCHW image is too small to be measured."""
    return min(image.shape[-2:]) < LEAST_SIDE
