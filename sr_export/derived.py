"""Derived files: ONNX graphs, measurements, plans. Built on first use, cached, never guessed.

A derived file is named by the sha256 of its recipe: everything that it depends on (the source's sha256, options,
versions). Beside it lies a JSON sidecar with that recipe and the file's own sha256. A file that does not agree with
its sidecar is built again; a file appears under its name only when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from platformdirs import user_cache_path

from sr_export.errors import CacheError
from sr_train.atomic_file import atomic_file
from sr_train.errors import SRError

__all__ = ["cache_folder", "derived_file", "find_derived", "sha256_of"]

CACHE_VARIABLE = "SR_TOOLKIT_CACHE"  # environment variable that moves the cache folder
Recipe = Mapping[str, str | int | float | None]


def cache_folder() -> Path:
    """Where derived files live: $SR_TOOLKIT_CACHE, or the user's cache folder. Not created here."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else user_cache_path("sr-toolkit", appauthor=False)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, as 64 hex digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_derived(stem: str, suffix: str, recipe: Recipe) -> Path | None:
    """The cached file for `recipe`, as derived_file names it; None where there is none. Raises CacheError when it is
    damaged."""
    target = _place_of(stem, suffix, recipe)
    if _is_valid(target, _sidecar_of(target), recipe):
        return target
    if target.exists():
        raise CacheError(f"{target} is damaged or not complete; delete it")
    return None


def derived_file(stem: str, suffix: str, recipe: Recipe, build: Callable[[Path], None], *, anew: bool = False) -> Path:
    """The cached file for `recipe`, built by `build(path)` if there is no valid one, or `anew` in any case.

    `stem` and `suffix` (with its dot) make the name readable; the recipe's hash makes it unique. `build` writes the
    path that it is given; what it raises leaves nothing. Raises CacheError when the folder cannot be written.
    """
    target = _place_of(stem, suffix, recipe)
    sidecar = _sidecar_of(target)
    if not anew and _is_valid(target, sidecar, recipe):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as partial:
            partial.touch()  # fails here, before the work, where nothing can be written
            build(partial)
            sha256 = sha256_of(partial)
            sidecar.unlink(missing_ok=True)  # a kill before the new one is there leaves a file without one: not valid
        with atomic_file(sidecar) as partial:
            partial.write_text(json.dumps({"recipe": dict(recipe), "sha256": sha256}, indent=1), encoding="utf-8")
    except SRError:
        raise
    except OSError as error:
        raise _cache_error(target.parent, error) from error
    return target


def _place_of(stem: str, suffix: str, recipe: Recipe) -> Path:
    key = hashlib.sha256(json.dumps(dict(recipe), sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"{stem}-{key[:20]}{suffix}"


def _sidecar_of(target: Path) -> Path:
    return target.with_name(target.name + ".json")


def _is_valid(target: Path, sidecar: Path, recipe: Recipe) -> bool:
    try:
        found = json.loads(sidecar.read_text(encoding="utf-8"))
        return bool(found["recipe"] == dict(recipe) and found["sha256"] == sha256_of(target))
    except (OSError, ValueError, KeyError, TypeError):
        return False  # missing or damaged: the caller builds it again


def _cache_error(folder: Path, error: OSError) -> CacheError:
    return CacheError(
        f"the cache folder {folder} cannot be written ({error.strerror}); free space there, "
        f"or set {CACHE_VARIABLE} to another folder"
    )
