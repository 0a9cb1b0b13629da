from __future__ import annotations

import os
from pathlib import Path

import pytest

from sr_train.atomic_file import atomic_file, is_partial


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_the_file_appears_only_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    with atomic_file(target) as partial:
        partial.write_bytes(b"new")
        assert not target.exists()
        assert partial.parent == tmp_path
        assert is_partial(partial.name)
    assert target.read_bytes() == b"new"
    assert _names(tmp_path) == ["a.png"]


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_file(target) as partial:
        partial.write_bytes(b"half")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"old"
    assert _names(tmp_path) == ["a.png"]


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    with atomic_file(target) as partial:
        partial.write_bytes(b"x")
        name = partial.name
    dead = name.replace(str(os.getpid()), "999999999")
    alive = name.replace(str(os.getpid()), str(os.getppid()))
    for leftover in (dead, alive):
        (tmp_path / leftover).write_bytes(b"half")
    with atomic_file(target) as partial:
        partial.write_bytes(b"y")
    assert _names(tmp_path) == sorted([alive, "a.png"])


def test_a_name_of_the_longest_length_works(tmp_path: Path) -> None:
    target = tmp_path / ("ä" * 125 + ".png")
    with atomic_file(target) as partial:
        partial.write_bytes(b"x")
    assert target.exists()
