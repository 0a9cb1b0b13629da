"""FP16 safety: what half precision does to a network, found out in torch on the CPU, before any file is made.

Half precision holds at most 65504; a larger activation becomes infinite and the picture black. ONNX Runtime's CPU
provider computes fp16 graphs in fp32 between casts, so it hides this. Here it is measured, on real photos:

    measure_ranges ──▶ peak of every layer ──check_ranges──▶ fine, or Fp16Unsafe with the layer's name
    emulate_fp16   ──▶ a module that stores weights and every layer's output in half and computes in float32

A module named in `keep_fp32` (a layer, or a block such as "body.3") computes in float32 between two casts.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sr_export.deploy import PIXEL_MAX, FloatDoor, PixelDoor
from sr_export.errors import Fp16Unsafe
from sr_train.errors import UsageError

__all__ = ["FP16_MAX", "LayerRange", "check_ranges", "emulate_fp16", "half_of", "measure_ranges"]

FP16_MAX = 65504.0  # the largest finite half-precision number
# A layer must peak this many times below FP16_MAX on the probe photos. They are few, and an unusual photo may reach
# further: 8 is three more bits of exponent.
MARGIN = 8.0
NAMED_LAYERS = 3  # layers listed in a refusal; the rest are counted


@dataclass(frozen=True)
class LayerRange:
    """How large one layer's numbers get."""

    name: str  # as in FloatDoor.named_modules(): "head.0", "body.3.conv1", "body.3" (a block's sum), ...
    peak: float  # largest absolute activation on the images, or weight if that is larger

    @property
    def headroom(self) -> float:
        """How many times larger it could get in half precision; below 1 it overflows."""
        return FP16_MAX / self.peak if self.peak else float("inf")


class InFp32(nn.Module):
    """A part of a half-precision network that computes in float32; half comes in (or float32) and half goes out."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.part(x.float())
        return result.half()


def half_of(deployed: PixelDoor, keep_fp32: Collection[str] = ()) -> PixelDoor:
    """A copy in half precision, with the parts named in `keep_fp32` in float32. Raises UsageError for a wrong name."""
    twin = copy.deepcopy(deployed).half()
    for name in keep_fp32:
        parent, attribute = _locate(twin.core, name)
        # The original, not `.half().float()`: that has lost what half cannot hold.
        setattr(parent, attribute, InFp32(copy.deepcopy(deployed.core.get_submodule(name))))
    return twin


def measure_ranges(core: FloatDoor, images: NDArray[np.uint8]) -> list[LayerRange]:
    """The range of every layer and block of the float32 network on uint8 [n, h, w, 3] RGB images, in forward order."""
    peaks: dict[str, float] = {}

    def note(name: str, value: Tensor) -> None:
        peaks[name] = max(peaks.get(name, 0.0), float(value.abs().max()))

    handles = []
    for name, module in core.named_modules():
        if name:
            handles.append(module.register_forward_hook(lambda _m, _i, out, name=name: note(name, out)))
            for parameter in module.parameters(recurse=False):
                note(name, parameter.detach())
    # head + fuse is no module's output: it is what `upsample` gets.
    handles.append(core.upsample.register_forward_pre_hook(lambda _m, inputs: note("sum", inputs[0])))
    try:
        with torch.inference_mode():
            for image in images:
                core(_to_float(image[None]))
    finally:
        for handle in handles:
            handle.remove()
    order = [*(name for name, _ in core.named_modules() if name), "sum"]
    return sorted((LayerRange(name, peak) for name, peak in peaks.items()), key=lambda r: order.index(r.name))


def check_ranges(ranges: Collection[LayerRange], keep_fp32: Collection[str] = ()) -> LayerRange:
    """The range with the least headroom outside the parts in `keep_fp32`, when all have MARGIN or more.

    Raises Fp16Unsafe that names the layers that have not, and the smallest part to keep in float32 instead.
    """
    inside = tuple(f"{name}." for name in keep_fp32)
    stored = [layer for layer in ranges if not layer.name.startswith(inside)] if inside else list(ranges)
    bad = [layer for layer in stored if layer.headroom < MARGIN]
    if not bad:
        return min(stored, key=lambda layer: layer.headroom)
    named = ", ".join(f"{layer.name} (peak {layer.peak:.3g})" for layer in bad[:NAMED_LAYERS])
    more = f" and {len(bad) - NAMED_LAYERS} more" if len(bad) > NAMED_LAYERS else ""
    part = _part_to_keep(ranges, bad)
    keep = f", or keep that part in fp32 with --keep-fp32 {part}" if part else ""
    raise Fp16Unsafe(
        f"fp16 holds at most 65504 and too little room is left ({MARGIN:g} times is asked for) in {named}{more}; "
        f"use --precision fp32{keep}"
    )


def emulate_fp16(deployed: PixelDoor, keep_fp32: Collection[str] = ()) -> PixelDoor:
    """A float32 module that gives half precision's pictures: weights and every stored activation rounded to half.

    Sums inside a convolution stay float32, as GPUs have them. What is above FP16_MAX becomes infinite, as there.
    """
    twin = _EmulatedDoor(copy.deepcopy(deployed.core)).eval().requires_grad_(False)
    for name in keep_fp32:
        _locate(twin.core, name)
    inside = tuple(f"{name}." for name in keep_fp32)
    for name, module in twin.core.named_modules():
        kept = name in keep_fp32 or name.startswith(inside) if inside else False
        if not kept:
            for parameter in module.parameters(recurse=False):
                parameter.data = _round_half(parameter.data)
        if not kept or name in keep_fp32:
            module.register_forward_hook(lambda _m, _i, out: _round_half(out))
    twin.core.upsample.register_forward_pre_hook(lambda _m, inputs: (_round_half(inputs[0]),))
    return twin


class _EmulatedDoor(PixelDoor):
    """The pixel door whose own arithmetic (/ 255, x 255) is stored in half too."""

    def forward(self, pixels: Tensor) -> Tensor:
        x = _round_half(pixels.float().permute(0, 3, 1, 2) / PIXEL_MAX)
        y = _round_half(self.core(x) * PIXEL_MAX).clamp(0.0, PIXEL_MAX).round()
        return y.permute(0, 2, 3, 1).to(torch.uint8)


def _round_half(x: Tensor) -> Tensor:
    return x.half().float()


def _to_float(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).float().permute(0, 3, 1, 2) / PIXEL_MAX


def _locate(core: FloatDoor, name: str) -> tuple[nn.Module, str]:
    """The module that holds the part of this name, and its attribute there."""
    known = [n for n, _ in core.named_modules() if n]
    if name not in known:
        blocks = [n for n in known if n.count(".") <= 1]
        raise UsageError(f"the network has no part '{name}' to keep in fp32; its parts are {', '.join(blocks)}")
    parent, _, attribute = name.rpartition(".")
    return core.get_submodule(parent), attribute


def _part_to_keep(ranges: Collection[LayerRange], bad: Collection[LayerRange]) -> str | None:
    """The smallest part around all bad layers whose own output fits in half; None if only the whole network does."""
    peaks = {layer.name: layer for layer in ranges}
    common = min((layer.name for layer in bad), key=len)
    while "." in common:
        common = common.rpartition(".")[0]
        fits = peaks[common].headroom >= MARGIN
        if fits and all(layer.name.startswith(f"{common}.") for layer in bad):
            return common
    return None
