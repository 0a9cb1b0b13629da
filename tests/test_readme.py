"""The README's commands, run as a newcomer would: in a folder with photos, one after the other."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from sr_batch.folders import JOURNAL
from sr_export.model import Prepared
from tests.conftest import random_pixels

ROOT = Path(__file__).parent.parent
PROGRAMS = {"sr-batch": "sr_batch", "sr-export": "sr_export", "sr-train": "sr_train"}


def _commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def test_every_make_target_named_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {command.split()[1] for command in _commands() if command.startswith("make ")}
    assert named
    assert named <= targets


@pytest.mark.slow
def test_the_readmes_commands_work(shipped: Prepared, tmp_path: Path) -> None:
    assert shipped.facts.scale == 4
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for index, name in enumerate(("photos/a.png", "photos/more/b.jpg", "photo.jpg")):
        Image.fromarray(random_pixels(16, 20, index)).save(tmp_path / name)
    (tmp_path / "list.txt").write_text("photo.jpg\n")
    commands = [command for command in _commands() if not command.startswith("make ")]
    assert len(commands) >= 8
    for command in commands:
        program, *arguments = shlex.split(command)
        line = [sys.executable, "-m", f"{PROGRAMS[program]}.cli", *arguments]
        result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, f"{command}\n{result.stderr}"
    made = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file() and p.name != JOURNAL)
    expected = ["large.png", "photo.jpg", "photo_x4.jpg", "photos/a.png", "photos/more/b.jpg", "photos_x4/a.png"]
    expected += [
        "web/a.avif",
        "web/more/b.avif",
        "photos_x4/more/b.jpg",
        "results/a.png",
        "results/more/b.png",
        "srresnet.onnx",
    ]
    expected += ["list.txt", "some/b.jpg", "some/photo.jpg", "crisper/a.png", "crisper/more/b.jpg"]
    assert made == sorted(expected)
