"""Shared by the tests of sr-batch: the command, run in this process."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sr_batch.cli import main


def totals(err: str) -> dict[str, str]:
    """The table at the end of a run's messages: values by the names of their columns."""
    lines = err.splitlines()
    heads = [number for number, line in enumerate(lines) if re.match(r" *done  ", line)]
    assert len(heads) == 1, err
    names, values = (re.split(" {2,}", line.strip()) for line in lines[heads[0] :][:2])
    return dict(zip(names, values, strict=True))


Run = tuple[int, str, str]  # exit code, stdout, stderr
Command = Callable[..., Run]


@pytest.fixture
def sr_batch(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command with the tiny model: (exit code, stdout, stderr)."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*arguments: str | Path, model: str | Path = tiny_checkpoint) -> Run:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments), "-n", str(model)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        assert isinstance(ended.value.code, int)
        return ended.value.code, captured.out, captured.err

    return run
