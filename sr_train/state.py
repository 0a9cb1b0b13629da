"""What a resume needs, in one dict: written in one place, atomically; read without unpickling anything but tensors.

    format, stage, step, recipe (TOML), data (fingerprint of the training pictures)
    generator, discriminator, average           weights, BatchNorm statistics included
    generator_optimizer, discriminator_optimizer, generator_scaler, discriminator_scaler
    random                                      torch's random state, and each GPU's
    best, saturated_steps                       the run's own memory

The learning rate, the order of the data and each crop are functions of the step and the seed: the step restores them.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from sr_train.atomic_file import atomic_file
from sr_train.config import differences, parse_config, to_toml
from sr_train.data import CropSource
from sr_train.errors import ConfigError, ResumeError, SaveFailed
from sr_train.steps import Network, Player
from sr_train.training import Training

__all__ = ["FILE", "capture", "fingerprint", "load_state", "restore", "save_safely", "save_state"]

FILE = "state.pt"
FORMAT = 1
FREE = ("watch.", "machine.loader_threads", "machine.cpu_threads")  # keys that change nothing about the weights


def fingerprint(source: CropSource) -> str:
    """A short name of the training pictures: their names, sizes and order."""
    parts = [*zip(source.hr.names, source.hr.sizes, strict=True), source.lr is not None]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def capture(training: Training, data: str) -> dict[str, Any]:
    """Everything that a resume needs; `data` is the pictures' fingerprint."""
    state: dict[str, Any] = {
        "format": FORMAT,
        "stage": training.stage,
        "step": training.step,
        "recipe": to_toml(training.config),
        "data": data,
        "average": training.average.state_dict() if training.average else None,
        "random": [torch.get_rng_state(), *torch.cuda.get_rng_state_all()],
        "best": dict(training.best),
        "saturated_steps": training.saturated_steps,
    }
    for name, player in _players(training).items():
        state[name] = player.network.state_dict()
        state[f"{name}_optimizer"] = player.optimizer.state_dict()
        state[f"{name}_scaler"] = player.scaler.state_dict()
    return state


def restore(training: Training, state: Mapping[str, Any], data: str, path: Path) -> None:
    """Put a captured state into a fresh `training` of the same recipe, in place.

    Raises ResumeError, naming what differs, for the state of another recipe, network, stage or set of pictures.
    """
    _check_same_run(training, state, data, path)
    try:
        for name, player in _players(training).items():
            _restore_player(player, name, state)
        if training.average is not None:
            training.average.load_state_dict(state["average"])
        torch.set_rng_state(state["random"][0])
        if len(state["random"]) - 1 == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random"][1:])
        training.step, training.best = int(state["step"]), dict(state["best"])
        training.saturated_steps = int(state["saturated_steps"])
    except (KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise ResumeError(f"{path}: does not fit this recipe's networks ({reason}); use a new --out folder") from error


def _check_same_run(training: Training, state: Mapping[str, Any], data: str, path: Path) -> None:
    if state.get("stage") != training.stage:
        raise ResumeError(f"{path}: is of stage {state.get('stage')}, not {training.stage}; use a new --out folder")
    try:
        saved = parse_config(str(state.get("recipe", "")))
    except ConfigError as error:
        raise ResumeError(f"{path}: was written by another release ({error}); use a new --out folder") from error
    changed = [d for d in differences(saved, training.config) if not d[0].startswith(FREE) and _matters(d[0], training)]
    if changed:
        listed = "; ".join(f"{key} was {old}, now {new}" for key, old, new in changed[:4])
        more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
        raise ResumeError(
            f"{path}: the saved run has another recipe: {listed}{more}; "
            "go on with the same recipe, or use a new --out folder"
        )
    if state.get("data") != data:
        raise ResumeError(
            f"{path}: the saved run was trained on other pictures than these; "
            "go on with the same --data, or use a new --out folder and --init"
        )


def _matters(key: str, training: Training) -> bool:
    """The other stage's table is of no consequence."""
    return not key.startswith("resnet." if training.stage == "srgan" else "gan.")


def _players(training: Training) -> dict[str, Player[Any]]:
    players: dict[str, Player[Any]] = {"generator": training.generator}
    if training.discriminator:
        players["discriminator"] = training.discriminator
    return players


def _restore_player(player: Player[Network], name: str, state: Mapping[str, Any]) -> None:
    player.network.load_state_dict(state[name])
    player.optimizer.load_state_dict(state[f"{name}_optimizer"])
    player.scaler.load_state_dict(state[f"{name}_scaler"])


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state, atomically: the older file stays until this one is complete. Raises SaveFailed."""
    content = io.BytesIO()  # first in memory: torch's writer does not report a full disk as such
    torch.save(dict(state), content)

    def write(target: Path) -> None:
        with atomic_file(target) as partial:
            partial.write_bytes(content.getbuffer())

    save_safely(path, write)


def save_safely(path: Path, write: Callable[[Path], object]) -> None:
    """`write(path)` with a full or unwritable disk told as SaveFailed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    except OSError as error:
        raise SaveFailed(
            f"{path}: could not be written ({error.strerror or error}); free some space or mend the folder and run "
            "the same command again: it goes on from the last complete state"
        ) from error


def load_state(path: Path) -> dict[str, Any]:
    """Read a state, to the CPU. Raises ResumeError for anything else than a complete one of this format."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, EOFError, RuntimeError, KeyError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ResumeError(f"{path}: is damaged or not a state of sr-train ({reason}); remove it") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ResumeError(f"{path}: is not a state that this release can read; use a new --out folder")
    return state
