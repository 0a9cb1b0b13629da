"""What the command line names: files, folders, patterns such as 'photos/**/*.jpg', and lists of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from sr_train.errors import UsageError

__all__ = ["expand_patterns", "read_list"]


def expand_patterns(inputs: Sequence[Path]) -> list[Path]:
    """The inputs, with each pattern replaced by the paths that it matches, sorted; `**` means any number of folders.

    A name that exists is no pattern, whatever characters it has. Raises UsageError for a pattern without a match.
    """
    return [path for item in inputs for path in _expand(item)]


def read_list(file: BinaryIO, name: str) -> list[str]:
    """The paths in a list: one a line, or separated by NUL as `find -print0` does. Empty lines are passed over.

    Raises UsageError when there are none.
    """
    content = file.read()
    separator = b"\0" if b"\0" in content else b"\n"
    lines = (line if separator == b"\0" else line.rstrip(b"\r") for line in content.split(separator))
    paths = [os.fsdecode(line) for line in lines if line]
    if not paths:
        raise UsageError(f"{name} names no files; write one path a line")
    return paths


def _expand(item: Path) -> Iterator[Path]:
    if not glob.has_magic(str(item)) or os.path.lexists(item):
        yield item
        return
    matches = sorted(glob.glob(str(item), recursive=True))  # noqa: PTH207 - Path.glob knows no absolute patterns
    if not matches:
        raise UsageError(f"{item} matches no files; check the pattern")
    yield from map(Path, matches)
