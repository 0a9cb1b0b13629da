"""Without what TensorRT needs: one sentence with the fix, quickly, and the interpreter lives (in its own process)."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sr_export.gpu import ask_driver

REPOSITORY = Path(__file__).parents[2]
LIMIT_SECONDS = 2.0

no_gpu = pytest.mark.skipif(bool(ask_driver().gpus), reason="this machine has a GPU: nothing is refused")


def run(program: str, *folders: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run a program with these folders first on the path; its result and the seconds it took."""
    start = f"import sys; sys.path[:0] = {[str(folder) for folder in (*folders, REPOSITORY)]!r}\n"
    began = time.monotonic()
    result = subprocess.run([sys.executable, "-c", start + program], capture_output=True, text=True, timeout=60)
    return result, time.monotonic() - began


@no_gpu
@pytest.mark.parametrize("engine", ["trt", "rtx"])
def test_sr_batch_without_a_driver_says_one_sentence_and_exits_2_in_two_seconds(engine: str, tmp_path: Path) -> None:
    photo = REPOSITORY / "samples" / "cat.png"
    program = f"from sr_batch.cli import main; main([{str(photo)!r}, '--engine', '{engine}', '-o', {str(tmp_path)!r}])"
    result, seconds = run(program)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and f"engine {engine} cannot run here" in result.stderr
    assert "--engine auto" in result.stderr
    assert seconds < LIMIT_SECONDS, seconds


def test_no_package_is_refused_with_the_command_that_installs_it() -> None:
    program = """
from importlib import util
import sr_export.flavour as f
f.find_spec = lambda name: None
try:
    f.load_flavour(f.Flavour.TRT)
except f.EngineUnavailable as error:
    print(error)
"""
    result, _ = run(program)
    assert result.returncode == 0, result.stderr
    assert "pip install tensorrt" in result.stdout


@pytest.mark.parametrize(
    "content",
    [
        "raise ImportError('libnvinfer.so.11: cannot open shared object file')",
        "import ctypes; ctypes.CDLL('libnvinfer_that_is_not_there.so.11')",
        "",  # a folder without its binding imports as an empty package
    ],
)
def test_bindings_without_libraries_are_refused_and_the_interpreter_lives(content: str, tmp_path: Path) -> None:
    (tmp_path / "tensorrt.py").write_text(content)
    program = """
import sr_export.flavour as f
try:
    f.load_flavour(f.Flavour.TRT)
except f.EngineUnavailable as error:
    print(error)
"""
    result, _ = run(program, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "installed but does not load" in result.stdout and "--force-reinstall" in result.stdout
