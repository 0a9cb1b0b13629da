from __future__ import annotations

import json
from pathlib import Path

import pytest

from sr_export.derived import cache_folder, derived_file
from sr_export.errors import CacheError

RECIPE = {"source": "abc", "precision": "fp32"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SR_TOOLKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Counts how often it builds."""

    def __init__(self, content: bytes = b"content") -> None:
        self.content, self.calls = content, 0

    def __call__(self, path: Path) -> None:
        self.calls += 1
        path.write_bytes(self.content)


def test_the_second_use_does_not_build() -> None:
    build = Builder()
    first = derived_file("net", ".onnx", RECIPE, build)
    assert derived_file("net", ".onnx", RECIPE, build) == first
    assert build.calls == 1
    assert first.read_bytes() == b"content"
    assert json.loads(first.with_name(first.name + ".json").read_text())["recipe"] == RECIPE


def test_a_changed_source_never_gets_the_old_file() -> None:
    old = derived_file("net", ".onnx", RECIPE, Builder())
    new = derived_file("net", ".onnx", RECIPE | {"source": "abd"}, Builder(b"other"))
    assert old != new
    assert new.read_bytes() == b"other"


@pytest.mark.parametrize("damage", ["truncate", "flip", "sidecar text", "sidecar gone", "file gone"])
def test_a_damaged_file_is_built_again(damage: str) -> None:
    build = Builder()
    path = derived_file("net", ".onnx", RECIPE, build)
    sidecar = path.with_name(path.name + ".json")
    match damage:
        case "truncate":
            path.write_bytes(b"conte")
        case "flip":
            path.write_bytes(b"contenT")
        case "sidecar text":
            sidecar.write_text("{")
        case "sidecar gone":
            sidecar.unlink()
        case "file gone":
            path.unlink()
    assert derived_file("net", ".onnx", RECIPE, build).read_bytes() == b"content"
    assert build.calls == 2


def test_a_failed_build_leaves_nothing(folder: Path) -> None:
    def build(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        derived_file("net", ".onnx", RECIPE, build)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_clear_error(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    build = Builder()
    with pytest.raises(CacheError, match="set SR_TOOLKIT_CACHE to another folder"):
        derived_file("net", ".onnx", RECIPE, build)
    assert build.calls == 0


def test_without_the_variable_the_users_cache_folder_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SR_TOOLKIT_CACHE")
    assert "sr-toolkit" in cache_folder().parts
