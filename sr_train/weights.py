"""Weights of networks that are not ours (VGG19, AlexNet, foreign generators): files in, tensors out, nothing run.

`.safetensors` and PyTorch files are read; the latter with `weights_only=True`, which refuses everything but tensors.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sr_train.errors import WeightsError

__all__ = ["fill", "read_weights"]

WRAPPERS = ("params_ema", "params", "ema_state_dict", "state_dict", "model")  # keys that others put weights under
PREFIXES = ("module.", "_orig_mod.")  # that DataParallel and torch.compile leave in front of names
MAX_NAMED_KEYS = 4


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, float32 where they are floating point, without wrappers and prefixes.

    Raises WeightsError, saying what to do, when the file is missing, damaged or holds anything else than tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file; check the path")
    try:
        content = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: holds Python objects besides tensors, which could run any code; save its state_dict alone"
        ) from error
    except (SafetensorError, OSError, EOFError, RuntimeError, KeyError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path}: is truncated, damaged or not a file of weights ({reason})") from error
    return _tensors(path, content)


def _tensors(path: Path, content: object) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not weights by name; save its state_dict")
    for wrapper in WRAPPERS:
        if isinstance(inner := content.get(wrapper), Mapping):
            content = inner
            break
    weights = {}
    for name, tensor in content.items():
        for prefix in PREFIXES:
            name = str(name).removeprefix(prefix)
        if isinstance(tensor, Tensor):
            weights[name] = tensor.float() if tensor.is_floating_point() else tensor
    if not weights:
        raise WeightsError(f"{path}: holds no weights; save the network's state_dict")
    return weights


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Load the weights that `network` has a place for; `what` names the file that would be right in an error.

    Raises WeightsError when one is missing, of another shape or not finite. Others in the file are left alone.
    """
    wanted = network.state_dict()
    wrong = [f"{name} is missing" for name in wanted if name not in weights]
    for name in wanted.keys() & weights.keys():
        if weights[name].shape != wanted[name].shape:
            wrong.append(f"{name} is {list(weights[name].shape)} instead of {list(wanted[name].shape)}")
        elif not torch.isfinite(weights[name]).all():
            wrong.append(f"{name} holds values that are not finite")
    if wrong:
        more = f" and {len(wrong) - MAX_NAMED_KEYS} more" if len(wrong) > MAX_NAMED_KEYS else ""
        raise WeightsError(f"{path}: is not {what}: {'; '.join(sorted(wrong)[:MAX_NAMED_KEYS])}{more}")
    network.load_state_dict({name: weights[name] for name in wanted})
