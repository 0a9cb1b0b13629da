"""What --tune found for a model, an engine and a machine: kept beside the derived models, used by `auto`."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from sr_export.derived import derived_file, find_derived
from sr_export.engines.base import Traits
from sr_export.errors import CacheError
from sr_export.gpu import ask_driver
from sr_export.machine import cpu_name, cpu_threads
from sr_export.model import Model

__all__ = ["TuneKey", "Tuned", "find_tuned", "keep_tuned"]

SUFFIX = ".tuned.json"
RECIPE_VERSION = "tuned 1"  # raise it when --tune measures something else


@dataclass(frozen=True)
class Tuned:
    """What ran fastest."""

    tile: int  # LR pixels, window side
    batch: int = 1  # windows in one engine call
    engines: int = 1  # on a CPU: so many share its threads


@dataclass(frozen=True)
class TuneKey:
    """All that decides what runs fastest."""

    model: Model
    traits: Traits  # of the engine as it opens by default
    halo: int  # LR pixels

    def recipe(self) -> dict[str, str | int | float | None]:
        traits = self.traits
        recipe: dict[str, str | int | float | None] = {
            "recipe": RECIPE_VERSION,
            "source_sha256": self.model.sha256,
            "engine": f"{traits.name} {traits.version}",
            "precision": str(traits.precision),
            "device": traits.device,
            "halo": self.halo,
            "machine": f"{platform.system()} {platform.machine()}, {cpu_name()}, {cpu_threads()} threads",
            "sr-toolkit": version("sr-toolkit"),
        }
        if traits.device != "cpu":
            recipe["gpu"] = ", ".join(f"{gpu.name} {gpu.memory_bytes}" for gpu in ask_driver().gpus)
        return recipe


def find_tuned(key: TuneKey, say: Callable[[str], None]) -> Tuned | None:
    """What was found; None where nothing was, or where it is damaged, which is said."""
    try:
        path = find_derived(key.model.name, SUFFIX, key.recipe())
        return None if path is None else _read(path, key.halo)
    except (CacheError, OSError, ValueError, AttributeError):
        say("note: what --tune found for this engine cannot be read any more; the defaults are taken (--tune again)")
        return None


def keep_tuned(key: TuneKey, tuned: Tuned) -> None:
    """For the next runs, in the place of what was found before. Raises CacheError."""

    def build(path: Path) -> None:
        path.write_text(json.dumps(asdict(tuned)), encoding="utf-8")

    derived_file(key.model.name, SUFFIX, key.recipe(), build, anew=True)


def _read(path: Path, halo: int) -> Tuned:
    """Raises ValueError or AttributeError for what no --tune has written."""
    found: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    tile, batch, engines = (_whole(found.get(name)) for name in ("tile", "batch", "engines"))
    if tile <= 2 * halo:
        raise ValueError(f"a tile of {tile} is all halo")
    return Tuned(tile, batch, engines)


def _whole(value: object) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{value} is no number of something")
    return value
