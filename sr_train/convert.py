"""Generators that other projects publish, and our own in half the size, as checkpoints of ours.

Names are changed, values kept or folded exactly:

Lornatang/SRGAN-PyTorch   the same network with an output in [0, 1]: 2 y - 1 goes into the tail; exact
leftthomas/SRGAN          the same network with biases before BatchNorm, which go into its mean; exact up to its
                          closing tanh, which this network does not have: pictures get more contrast
BasicSR's MSRResNet       another network (no BatchNorm, no sum over the body, 3x3 ends): always refused
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sr_train.checkpoint import CheckpointInfo, is_checkpoint, load_checkpoint
from sr_train.errors import ConvertError, UsageError
from sr_train.generator import Generator, GeneratorConfig
from sr_train.weights import read_weights

__all__ = ["Converted", "convert", "convert_own", "halved"]

MAX_NAMED_KEYS = 12
LORNATANG_SEQUENCE = {"0": "conv1", "1": "bn1", "2": "act", "3": "conv2", "4": "bn2"}  # of its residual blocks
TANH_NOTE = (
    "this layout ends in tanh, which this network does not have: pictures get more contrast than the original's; "
    "train on with sr-train resnet --init before use"
)


@dataclass(frozen=True)
class Converted:
    """A generator of ours made of a foreign one."""

    generator: Generator
    layout: str  # whose
    note: str = ""  # what is not the same, for the user; empty: the pictures are
    info: CheckpointInfo | None = None  # what a checkpoint of ours said of itself


def convert(path: Path) -> Converted:
    """Read a foreign generator's weights (.pth with tensors alone, or .safetensors).

    Raises ConvertError, with the list of its keys, when the layout is not known or does not fit; WeightsError when
    the file cannot be read.
    """
    weights = read_weights(path)
    for recognise, rename, layout in LAYOUTS:
        if any(recognise in name for name in weights):
            return _build(path, rename(path, weights), layout)
    if "conv_first.weight" in weights:
        raise ConvertError(
            f"{path}: is BasicSR's MSRResNet or a relative, another network: what it adds up has no place in this one; "
            f"export it to ONNX and use that with sr-batch -n. Its keys: {_listed(weights)}"
        )
    raise ConvertError(
        f"{path}: has no known layout; known are leftthomas/SRGAN and Lornatang/SRGAN-PyTorch. "
        f"Its keys: {_listed(weights)}"
    )


def convert_own(path: Path) -> Converted | None:
    """A checkpoint of ours with what its header says, None where `path` is none. Raises CheckpointError."""
    if not is_checkpoint(path):
        return None
    generator, info = load_checkpoint(path)
    return Converted(generator, "sr-train", info=info)


def halved(generator: Generator) -> Generator:
    """The generator with float16 weights, for storing: `load_checkpoint` computes in float32 with them.

    Raises ConvertError for weights beyond float16's range, 65504.
    """
    half = copy.deepcopy(generator).half()
    beyond = [name for name, tensor in half.state_dict().items() if not torch.isfinite(tensor).all()]
    if beyond:
        raise ConvertError(f"these weights are too large for 16 bits: {_listed(beyond)}; convert without --half")
    return half


def _build(path: Path, renamed: Mapping[str, Tensor], layout: str) -> Converted:
    blocks = len({name.split(".")[1] for name in renamed if name.startswith("body.")})
    stages = len({name.split(".")[1] for name in renamed if name.startswith("upsample.")})
    channels = len(renamed["tail.weight"][0]) if "tail.weight" in renamed else 0
    try:
        generator = Generator(GeneratorConfig(channels, blocks, 2**stages))
    except UsageError as error:
        raise ConvertError(f"{path}: does not fit ({error}). Its keys: {_listed(renamed)}") from error
    wanted = generator.state_dict()
    wrong = [name for name in wanted if name not in renamed or renamed[name].shape != wanted[name].shape]
    wrong += [name for name in renamed if name not in wanted]
    if wrong:
        raise ConvertError(
            f"{path}: looks like {layout}, but these do not fit this network: {_listed(wrong)}; "
            "only its SRResNet generators can be used"
        )
    generator.load_state_dict(dict(renamed))
    return Converted(generator.eval(), layout, TANH_NOTE if layout == "leftthomas/SRGAN" else "")


def _listed(names: Mapping[str, object] | list[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - MAX_NAMED_KEYS} more" if len(listed) > MAX_NAMED_KEYS else ""
    return ", ".join(listed[:MAX_NAMED_KEYS]) + more


def _from_leftthomas(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """block1 head, block2 .. blockN body, then fuse, then the up-convolutions and the tail."""
    numbers = sorted({int(m[1]) for name in weights if (m := re.match(r"block(\d+)\.", name))})
    fuse, last = numbers[-2], numbers[-1]
    steps = {int(name.split(".")[1]) for name in weights if name.startswith(f"block{last}.")}
    tail = max(steps, default=0)
    names = {
        "block1.0": "head.conv",
        "block1.1": "head.act",
        f"block{fuse}.0": "fuse.conv",
        f"block{fuse}.1": "fuse.bn",
    }
    for index, number in enumerate(numbers[1:-2]):
        for theirs, ours in (("conv1", "conv1"), ("bn1", "bn1"), ("prelu", "act"), ("conv2", "conv2"), ("bn2", "bn2")):
            names[f"block{number}.{theirs}"] = f"body.{index}.{ours}"
    for step in steps - {tail}:
        names |= {
            f"block{last}.{step}.conv": f"upsample.{step}.conv",
            f"block{last}.{step}.prelu": f"upsample.{step}.act",
        }
    names[f"block{last}.{tail}"] = "tail"
    renamed = _renamed(path, weights, names)
    pairs = [("fuse.conv", "fuse.bn")]
    pairs += [(f"body.{i}.conv{n}", f"body.{i}.bn{n}") for i in range(len(numbers) - 3) for n in (1, 2)]
    for convolution, norm in pairs:
        if (bias := renamed.pop(f"{convolution}.bias", None)) is not None:
            # BatchNorm subtracts its mean from what the bias was added to: bn(x + b, mean) = bn(x, mean - b)
            renamed[f"{norm}.running_mean"] = renamed[f"{norm}.running_mean"] - bias
    return renamed


def _from_lornatang(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """conv1, trunk, conv2, upsampling, conv3; in older releases conv_block1, conv_block2, conv_block3."""
    conv = "conv_block" if any(name.startswith("conv_block1.") for name in weights) else "conv"
    names = {f"{conv}1.0": "head.conv", f"{conv}1.1": "head.act", f"{conv}2.0": "fuse.conv", f"{conv}2.1": "fuse.bn"}
    for index in {name.split(".")[1] for name in weights if name.startswith("trunk.")}:
        names |= {f"trunk.{index}.rcb.{n}": f"body.{index}.{ours}" for n, ours in LORNATANG_SEQUENCE.items()}
    for index in {name.split(".")[1] for name in weights if name.startswith("upsampling.")}:
        names[f"upsampling.{index}.upsample_block.0"] = f"upsample.{index}.conv"
        names[f"upsampling.{index}.upsample_block.2"] = f"upsample.{index}.act"
    names[f"{conv}3"] = "tail"
    renamed = _renamed(path, weights, names)
    renamed["tail.weight"] = 2 * renamed["tail.weight"]
    renamed["tail.bias"] = 2 * renamed["tail.bias"] - 1
    return renamed


def _renamed(path: Path, weights: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights under our names. Raises ConvertError for any that has no place, or when one that is needed lacks."""
    renamed: dict[str, Tensor] = {}
    strangers = []
    for name, tensor in weights.items():
        module, _, part = name.rpartition(".")
        if module in names:
            renamed[f"{names[module]}.{part}"] = tensor
        else:
            strangers.append(name)
    lacking = [f"{theirs}.weight" for theirs, ours in names.items() if f"{ours}.weight" not in renamed]
    if strangers or lacking:
        raise ConvertError(
            f"{path}: does not fit this network; without a place: {_listed(strangers) or 'none'}; missing: "
            f"{_listed(lacking) or 'none'}"
        )
    for name in [n for n in renamed if n.endswith("running_var")]:
        # PyTorch before 0.4.1 did not count batches
        renamed.setdefault(name.replace("running_var", "num_batches_tracked"), torch.tensor(0))
    return renamed


Rename = Callable[[Path, Mapping[str, Tensor]], dict[str, Tensor]]
LAYOUTS: tuple[tuple[str, Rename, str], ...] = (
    ("block8.", _from_leftthomas, "leftthomas/SRGAN"),
    (".rcb.", _from_lornatang, "Lornatang/SRGAN-PyTorch"),
)
