"""Shared by the tests of sr-batch: the command, run in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sr_batch.cli import main

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
