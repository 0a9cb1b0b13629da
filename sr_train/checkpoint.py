"""Checkpoints: one `.safetensors` file that holds the weights and, in its header, what rebuilds the network.

Nothing is ever unpickled. The header is a flat table of strings:

    format_version   "1"
    arch             "srresnet"
    channels, blocks, scale                    integers: GeneratorConfig
    input_range, output_range                  "[0, 1]", "[-1, 1]": the only ranges of this format
    stage            "srresnet" | "srgan"      which training stage the weights come from
    step             optimiser steps done
    anything else    where it came from (data, recipe, figures): kept and handed on untouched
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sr_train.atomic_file import atomic_file
from sr_train.errors import CheckpointError, UsageError
from sr_train.generator import Generator, GeneratorConfig

__all__ = ["CheckpointInfo", "is_checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT_VERSION = "1"
ARCHITECTURE = "srresnet"
INPUT_RANGE, OUTPUT_RANGE = "[0, 1]", "[-1, 1]"
STAGES = ("srresnet", "srgan")
MAX_NAMED_KEYS = 4  # keys listed in an error message; the rest are counted


@dataclass(frozen=True)
class CheckpointInfo:
    """The header of a checkpoint, besides the network's own sizes."""

    stage: str = "srresnet"  # "srresnet" (pixel loss) or "srgan" (pixel + VGG + adversarial loss)
    step: int = 0  # optimiser steps done
    origin: Mapping[str, str] = field(default_factory=dict)  # data, recipe, figures: free text by name

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise UsageError(f"stage '{self.stage}' is not known: use one of {', '.join(STAGES)}")


def save_checkpoint(path: Path, generator: Generator, info: CheckpointInfo | None = None) -> None:
    """Write the generator's weights (as they are, any dtype) and header to `path`, atomically.

    The file appears under its name only when it is complete; an older one stays until then. Raises OSError.
    """
    info = info or CheckpointInfo()
    config = generator.config
    header = {
        **info.origin,
        "format": "pt",
        "format_version": FORMAT_VERSION,
        "arch": ARCHITECTURE,
        "channels": str(config.channels),
        "blocks": str(config.blocks),
        "scale": str(config.scale),
        "input_range": INPUT_RANGE,
        "output_range": OUTPUT_RANGE,
        "stage": info.stage,
        "step": str(info.step),
    }
    content = save({name: tensor.contiguous() for name, tensor in generator.state_dict().items()}, header)
    with atomic_file(path) as partial:
        partial.write_bytes(content)


def load_checkpoint(path: Path) -> tuple[Generator, CheckpointInfo]:
    """Read a checkpoint: the generator in eval mode, float32, on the CPU, and what its header says.

    Raises CheckpointError, with the reason, for anything else than a complete checkpoint of this format.
    """
    header, weights = _read(path)
    config, info = _parse_header(path, header)
    generator = Generator(config)
    _check_layout(path, expected=generator.state_dict(), found=weights)
    generator.load_state_dict(weights)
    return generator.eval(), info


def is_checkpoint(path: Path) -> bool:
    """Whether the file says that it is a checkpoint of this project; False too where it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("arch") == ARCHITECTURE
    except (SafetensorError, OSError):
        return False


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") and start[8:9] != b"{":
        raise CheckpointError(
            f"{path}: is a pickled PyTorch file, which can run any code when opened; "
            "save its weights as .safetensors instead"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: is truncated, damaged or not a .safetensors file ({error}); copy or download it again"
        ) from error
    return header, {n: t.float() if t.is_floating_point() else t for n, t in weights.items()}


def _parse_header(path: Path, header: Mapping[str, str]) -> tuple[GeneratorConfig, CheckpointInfo]:
    known = dict(header)
    known.pop("format", None)
    version = known.pop("format_version", None)
    if known.pop("arch", None) != ARCHITECTURE or version is None:
        raise CheckpointError(f"{path}: its header does not name an SRResNet generator; use a file made by sr-train")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: has format version {version}, this release reads {FORMAT_VERSION}; update sr-toolkit"
        )
    ranges = (known.pop("input_range", INPUT_RANGE), known.pop("output_range", OUTPUT_RANGE))
    if ranges != (INPUT_RANGE, OUTPUT_RANGE):
        raise CheckpointError(
            f"{path}: maps {ranges[0]} to {ranges[1]}, only {INPUT_RANGE} to {OUTPUT_RANGE} is supported"
        )
    try:
        config = GeneratorConfig(int(known.pop("channels")), int(known.pop("blocks")), int(known.pop("scale")))
        info = CheckpointInfo(known.pop("stage", "srresnet"), int(known.pop("step", "0")), known)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: its header cannot be used ({error}); use a file made by sr-train") from error
    return config, info


def _check_layout(path: Path, *, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    wrong = [f"{name} is missing" for name in expected if name not in found]
    wrong += [f"{name} is not part of the network" for name in found if name not in expected]
    wrong += [
        f"{name} is {list(found[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    wrong += [
        f"{name} holds values that are not finite"
        for name, tensor in found.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]
    if wrong:
        more = f" and {len(wrong) - MAX_NAMED_KEYS} more" if len(wrong) > MAX_NAMED_KEYS else ""
        raise CheckpointError(
            f"{path}: its weights do not fit the network in its header: {'; '.join(wrong[:MAX_NAMED_KEYS])}{more}"
        )
