"""The one place where bytes become network values and back: the only rounding and clamping of training.

Outside: uint8 NHWC RGB. Inside: float32 NCHW RGB, LR in [0, 1], HR and the generator's output in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["hr_to_tensor", "lr_to_tensor", "tensor_to_bytes"]

HALF = 127.5  # half of 255


def lr_to_tensor(pixels: Tensor) -> Tensor:
    """uint8 NHWC RGB -> float32 NCHW in [0, 1], on the same device."""
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 255


def hr_to_tensor(pixels: Tensor) -> Tensor:
    """uint8 NHWC RGB -> float32 NCHW in [-1, 1], on the same device."""
    return pixels.permute(0, 3, 1, 2).contiguous().float() / HALF - 1


def tensor_to_bytes(values: Tensor) -> Tensor:
    """Float NCHW, nominally in [-1, 1] -> uint8 NHWC RGB, rounded to nearest and clamped, on the same device."""
    scaled = ((values.float() + 1) * HALF).round().clamp(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
