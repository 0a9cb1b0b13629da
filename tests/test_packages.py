"""The line of packages: imports point left, and importing stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINE = ("sr_train", "sr_export", "calib", "sr_batch")
SR_EXPORT_MAY_IMPORT = {"generator", "checkpoint", "errors", "atomic_file"}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("package", LINE)
def test_imports_point_left(package: str) -> None:
    right = LINE[LINE.index(package) + 1 :]
    for path in (ROOT / package).rglob("*.py"):
        assert not [name for name in _imports(path) if name.split(".")[0] in right], path


def test_sr_export_takes_from_training_only_what_deployment_needs() -> None:
    for path in (ROOT / "sr_export").rglob("*.py"):
        for name in _imports(path):
            parts = name.split(".")
            assert parts[0] != "sr_train" or parts[1] in SR_EXPORT_MAY_IMPORT, f"{path}: {name}"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("sr_batch", {"torch", "torchvision", "onnx", "onnxruntime", "openvino", "tensorrt", "av", "ray", "rich"}),
        (
            "sr_train.generator",
            {"torchvision", "onnx", "onnxruntime", "openvino", "tensorrt", "av", "ray", "matplotlib"},
        ),
        ("sr_export", {"torch", "torchvision", "onnx", "onnxruntime", "openvino", "tensorrt"}),
        ("sr_batch.cli", {"torch", "onnx", "onnxruntime", "openvino", "rich"}),
    ],
)
def test_importing_is_light(module: str, heavy: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert heavy.isdisjoint(result.stdout.split())


def test_every_public_name_of_sr_batch_is_there() -> None:
    import sr_batch

    assert all(getattr(sr_batch, name).__name__ == name for name in sr_batch.__all__)
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = sr_batch.missing


def test_the_command_listens_to_signals_before_it_imports_anything_large() -> None:
    program = "import sys, sr_batch.cli; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"numpy", "PIL", "cv2"}.isdisjoint(result.stdout.split())


def test_a_wheel_stays_below_25_mb() -> None:
    """Of its files as they are, which it packs."""
    files = [path for package in LINE for path in (ROOT / package).rglob("*") if path.is_file()]
    assert 3e6 < sum(path.stat().st_size for path in files if path.suffix != ".pyc") < 25e6


@pytest.mark.parametrize("package", LINE)
def test_only_the_command_lines_print_or_end_the_process(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        if path.name == "cli.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                assert any(k.arg == "file" for k in node.keywords), path  # to a stream that the caller gave
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
                assert node.attr != "exit", path
