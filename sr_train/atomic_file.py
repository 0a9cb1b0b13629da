"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["atomic_file", "is_partial", "remove_leftovers"]

PARTIAL = ".sr-partial"  # part of the name of every unfinished file
OURS = re.compile(r"\.[0-9a-f]{12}\.(\d+)\.sr-partial.*", re.DOTALL)  # .hash.process.sr-partial.suffix


@contextmanager
def atomic_file(target: Path, *, sweep: bool = True) -> Iterator[Path]:
    """A path in the target's folder to write to; when the block ends well it is flushed and renamed to `target`.

    When it does not, the unfinished file is removed and an older `target` stays. Unfinished files that a killed run
    left for the same target are removed too, unless `sweep` is off: looking for them takes time in a folder of many
    files, and `remove_leftovers` does it for all at once. The path keeps the target's suffix. Raises OSError.
    """
    start = "." + hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12] + "."
    if sweep:
        _remove_leftovers(target.parent, start)
    partial = target.with_name(f"{start}{os.getpid()}{PARTIAL}{target.suffix}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def is_partial(name: str) -> bool:
    """Whether a file of this name is an unfinished one of ours."""
    return name.startswith(".") and PARTIAL in name


def remove_leftovers(folder: Path) -> None:
    """Remove all unfinished files of ours in this folder whose process has ended. Raises nothing."""
    with suppress(OSError):
        _remove_leftovers(folder, ".")


def _remove_leftovers(folder: Path, start: str) -> None:
    for leftover in folder.glob(f"{start}*{PARTIAL}*"):
        name = OURS.fullmatch(leftover.name)
        if name is not None and not _is_running(name[1]):
            with suppress(OSError):  # Windows refuses while another run has it open: then it is not left over
                leftover.unlink()


def _is_running(process: str) -> bool:
    if sys.platform == "win32" or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's process
    return True
