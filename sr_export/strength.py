"""How much texture: networks between two trained ones of the same layout, by interpolating their weights.

    strength 0 = the base (srresnet, faithful)     strength 1 = the top (photo, textured)

The weights that are interpolated are those of the networks as they compute: BatchNorm is folded into its convolution
first. A convolution before a BatchNorm may be scaled by any factor without changing the network, for the running
statistics follow it, and training moves that scale at will; interpolating raw weights and raw statistics would
weigh the two ends by those meaningless scales, and give a variance that belongs to neither network nor to their mean
(two files of one and the same network would give another one half-way). Folded, equal networks have equal weights:

    w(s) = (1 - s) · fold(base) + s · fold(top)        float64, rounded once to float32

The result is an ordinary checkpoint whose BatchNorms only add a bias; everything that takes a checkpoint takes it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from sr_export.deploy import fold_batchnorm
from sr_export.derived import derived_file
from sr_export.errors import ModelError
from sr_export.model import Model, ModelKind, find_model, shipped_models
from sr_train.atomic_file import atomic_file
from sr_train.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from sr_train.errors import UsageError
from sr_train.generator import Fuse, Generator, GeneratorConfig, ResidualBlock

__all__ = ["BASE", "TOP", "blend", "blended_model", "find_ends", "write_blend"]

BASE, TOP = "srresnet", "photo"  # the shipped models at strength 0 and 1
RECIPE_VERSION = 1  # raise it when the same two files must give another blend


def find_ends(base: str, top: str) -> tuple[Model, Model]:
    """The checkpoints at strength 0 and 1. Raises ModelError, saying what to name, when they are no pair."""
    for name in (base, top):
        if name in (BASE, TOP) and name not in shipped_models():
            raise ModelError(
                f"a strength lies between two models, and '{name}' is not shipped with this release; "
                "name the file of such a network: -n FILE.safetensors for strength 1, --strength-base for 0"
            )
    ends = find_model(base), find_model(top)
    for model in ends:
        if model.kind is not ModelKind.CHECKPOINT:
            raise ModelError(f"{model.path}: is an ONNX file; a strength needs .safetensors checkpoints at both ends")
    if ends[0].sha256 == ends[1].sha256:
        raise ModelError(f"{top} is the same model as {base}; a strength lies between two different ones")
    return ends


def blended_model(base: Model, top: Model, strength: float, say: Callable[[str], None] = lambda _: None) -> Model:
    """The model at this strength: an end itself at 0 and 1, else a checkpoint derived on first use and cached.

    Raises UsageError for a strength outside [0, 1], ModelError when the ends are not of one layout, CheckpointError,
    CacheError.
    """
    _check(strength)
    if strength in (0.0, 1.0):
        return top if strength else base
    recipe: dict[str, str | int | float | None] = {
        "recipe": RECIPE_VERSION,
        "blend": strength,
        "base_sha256": base.sha256,
        "top_sha256": top.sha256,
    }

    def build(path: Path) -> None:
        say(f"blending {base.name} and {top.name} at strength {strength:g}")
        _write(base, top, strength, path)

    name = f"{base.name}-{top.name}-{strength:g}"
    path = derived_file(name, ".safetensors", recipe, build)
    # Of the recipe, not of the file: what is made of it stays valid when the cache was emptied and filled again.
    identity = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    return Model(name, path, ModelKind.CHECKPOINT, identity)


def write_blend(base: Model, top: Model, strength: float, target: Path) -> None:
    """The same as a checkpoint where the user wants it, atomically. Raises what `blended_model` raises."""
    _check(strength)
    try:
        with atomic_file(target) as partial:
            _write(base, top, strength, partial)
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror}); choose another place with -o") from error


def blend(base: Generator, top: Generator, strength: float) -> Generator:
    """A new generator at this strength, in eval mode, float32; both ends have one config and stay as they are."""
    assert base.config == top.config
    ends = _plain(base).state_dict(), _plain(top).state_dict()
    mixed = {name: torch.lerp(low, ends[1][name], strength) for name, low in ends[0].items() if low.is_floating_point()}
    result = Generator(base.config).double()
    result.load_state_dict(mixed, strict=False)  # what is left out are BatchNorm's counters of batches
    return result.float().eval()


def _check(strength: float) -> None:
    if not (math.isfinite(strength) and 0 <= strength <= 1):
        raise UsageError(f"strength {strength:g} is not between 0 (faithful) and 1 (textured)")


def _write(base: Model, top: Model, strength: float, path: Path) -> None:
    (low, _), (high, info) = load_checkpoint(base.path), load_checkpoint(top.path)
    if low.config != high.config:
        raise ModelError(
            f"{base.name} ({_layout(low.config)}) and {top.name} ({_layout(high.config)}) are not of one layout; "
            "a strength lies between two networks of the same channels, blocks and scale"
        )
    origin = {
        "blend": f"strength {strength:g}",
        "base": f"{base.name} {base.sha256}",
        "top": f"{top.name} {top.sha256}",
    }
    save_checkpoint(path, blend(low, high, strength), CheckpointInfo(info.stage, info.step, origin))


def _layout(config: GeneratorConfig) -> str:
    return f"{config.channels} channels, {config.blocks} blocks, {config.scale}x"


def _plain(generator: Generator) -> Generator:
    """An equal network in float64 whose BatchNorms only add a bias: the rest of them is in the convolutions."""
    plain = copy.deepcopy(generator).double().eval().requires_grad_(False)
    for module in plain.modules():
        if isinstance(module, ResidualBlock):
            _absorb(module.conv1, module.bn1)
            _absorb(module.conv2, module.bn2)
        elif isinstance(module, Fuse):
            _absorb(module.conv, module.bn)
    return plain


def _absorb(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    folded = fold_batchnorm(convolution, norm)
    assert folded.bias is not None and norm.running_mean is not None and norm.running_var is not None
    convolution.weight.copy_(folded.weight)
    norm.bias.copy_(folded.bias)
    norm.weight.fill_(1)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
