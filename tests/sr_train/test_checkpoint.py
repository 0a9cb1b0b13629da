from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sr_train.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from sr_train.errors import CheckpointError
from sr_train.generator import Generator, GeneratorConfig, random_generator


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.safetensors"
    save_checkpoint(path, random_generator(GeneratorConfig(4, 1, 4), seed=0))
    return path


@pytest.mark.parametrize(
    "config", [GeneratorConfig(c, b, s) for c, b, s in ((4, 0, 1), (8, 1, 2), (4, 2, 4), (2, 1, 8))]
)
def test_a_saved_network_comes_back_with_the_same_output_and_history(config: GeneratorConfig, tmp_path: Path) -> None:
    made = random_generator(config, seed=3)
    info = CheckpointInfo("srgan", 1234, {"data": "our photos", "psnr_y": "Set5 30.00"})
    save_checkpoint(tmp_path / "a.safetensors", made, info)
    loaded, found = load_checkpoint(tmp_path / "a.safetensors")
    x = torch.rand(1, 3, 7, 9)
    assert loaded.config == config
    assert found == info
    assert not loaded.training
    assert torch.equal(loaded(x), made(x))


def test_half_precision_weights_are_read_as_float32(good: Path, tmp_path: Path) -> None:
    generator, info = load_checkpoint(good)
    save_checkpoint(tmp_path / "half.safetensors", generator.half(), info)
    loaded, _ = load_checkpoint(tmp_path / "half.safetensors")
    assert all(p.dtype == torch.float32 for p in loaded.parameters())


def test_a_failed_save_leaves_the_old_checkpoint(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = good.read_bytes()

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(good, Generator(GeneratorConfig(4, 1, 4)))
    assert good.read_bytes() == before
    assert [p.name for p in good.parent.iterdir()] == [good.name]


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_a_truncated_file_is_one_clear_error(good: Path) -> None:
    whole = good.read_bytes()
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        good.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="truncated"):
            load_checkpoint(good)


def test_a_text_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.safetensors"
    path.write_text("these are not weights, whatever the name says")
    with pytest.raises(CheckpointError, match=r"not a \.safetensors file"):
        load_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.zeros(2)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="pickled"):
        load_checkpoint(path)
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (ran,)

    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not ran.exists()


def test_weights_of_another_network_are_refused_with_their_names(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"conv_first.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="does not name an SRResNet generator"):
        load_checkpoint(path)


def _edit(path: Path, header: dict[str, str], weights: dict[str, torch.Tensor | None]) -> None:
    """Change entries of a checkpoint; None removes one."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() | header
    tensors = {n: t for n, t in (load_file(path) | weights).items() if t is not None}
    save_file(tensors, path, metadata)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tail.bias": None}, "tail.bias is missing"),
        ({"extra": torch.zeros(1)}, "extra is not part of the network"),
        ({"tail.bias": torch.zeros(5)}, r"tail.bias is \[5\] instead of \[3\]"),
        ({"tail.bias": torch.full((3,), torch.nan)}, "not finite"),
    ],
)
def test_another_layout_is_refused_with_what_differs(
    good: Path, change: dict[str, torch.Tensor | None], words: str
) -> None:
    _edit(good, {}, change)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(good)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"format_version": "2"}, "update sr-toolkit"),
        ({"output_range": "[0, 1]"}, r"only \[0, 1\] to \[-1, 1\]"),
        ({"channels": "many"}, "header cannot be used"),
        ({"scale": "3"}, "header cannot be used"),
        ({"stage": "magic"}, "header cannot be used"),
    ],
)
def test_a_header_that_cannot_be_meant_is_refused(good: Path, header: dict[str, str], words: str) -> None:
    _edit(good, header, {})
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(good)
