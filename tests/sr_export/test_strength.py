"""A strength is exactly between two networks, whatever scales training left before their BatchNorms."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from sr_export.cli import main
from sr_export.deploy import deploy
from sr_export.derived import cache_folder
from sr_export.errors import ModelError
from sr_export.model import Model, find_model
from sr_export.strength import blend, blended_model, find_ends, write_blend
from sr_train.checkpoint import load_checkpoint, save_checkpoint
from sr_train.errors import UsageError
from sr_train.generator import Generator, GeneratorConfig, ResidualBlock, random_generator
from tests.conftest import TINY

LR = torch.rand(1, 3, 9, 11, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def ends(tmp_path: Path) -> tuple[Model, Model]:
    """Two checkpoints of one layout, with BatchNorm statistics of their own."""
    models = []
    for name, seed in (("faithful", 3), ("textured", 4)):
        path = tmp_path / f"{name}.safetensors"
        save_checkpoint(path, random_generator(TINY, seed))
        models.append(find_model(str(path)))
    return models[0], models[1]


def _rescaled(generator: Generator) -> Generator:
    """The same network, written down differently: convolutions before a BatchNorm, and its statistics, 3x as large."""
    other = copy.deepcopy(generator)
    with torch.no_grad():
        for block in other.body:
            assert isinstance(block, ResidualBlock)
            for convolution, norm in ((block.conv1, block.bn1), (block.conv2, block.bn2)):
                assert norm.running_mean is not None and norm.running_var is not None
                convolution.weight *= 3
                norm.running_mean *= 3
                norm.running_var.copy_((norm.running_var + norm.eps) * 9 - norm.eps)
    return other


@pytest.mark.parametrize("strength", [0.25, 0.5, 0.9])
def test_the_deployed_weights_are_the_weighted_means_of_the_ends(strength: float) -> None:
    base, top = random_generator(TINY, 3), random_generator(TINY, 4)
    low, high = deploy(base).state_dict(), deploy(top).state_dict()
    for name, value in deploy(blend(base, top, strength)).state_dict().items():
        torch.testing.assert_close(value, (1 - strength) * low[name] + strength * high[name], atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_at_the_ends_it_is_the_end_to_float_rounding(strength: float) -> None:
    base, top = random_generator(TINY, 3), random_generator(TINY, 4)
    torch.testing.assert_close(blend(base, top, strength)(LR), (top if strength else base)(LR), atol=1e-5, rtol=1e-5)


def test_half_way_between_two_writings_of_one_network_is_that_network() -> None:
    """Raw interpolation of weights and statistics fails this by far."""
    network = random_generator(TINY, 5)
    twin = _rescaled(network)
    torch.testing.assert_close(twin(LR), network(LR), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(blend(network, twin, 0.5)(LR), network(LR), atol=1e-5, rtol=1e-5)


def test_the_ends_themselves_are_used_at_zero_and_one(ends: tuple[Model, Model]) -> None:
    assert (blended_model(*ends, 0.0), blended_model(*ends, 1.0)) == ends


def test_a_blend_is_derived_once_and_again_when_it_is_damaged(ends: tuple[Model, Model]) -> None:
    said: list[str] = []
    first = blended_model(*ends, 0.3, said.append)
    assert blended_model(*ends, 0.3, said.append) == first and len(said) == 1
    assert first.path.parent == cache_folder()
    first.path.write_bytes(b"damaged")
    assert blended_model(*ends, 0.3, said.append) == first and len(said) == 2
    assert blended_model(*ends, 0.31).sha256 != first.sha256
    assert load_checkpoint(first.path)[1].origin["blend"] == "strength 0.3"


def test_a_blend_is_written_where_it_is_wanted(ends: tuple[Model, Model], tmp_path: Path) -> None:
    write_blend(*ends, 0.5, tmp_path / "mine.safetensors")
    mine, _ = load_checkpoint(tmp_path / "mine.safetensors")
    cached, _ = load_checkpoint(blended_model(*ends, 0.5).path)
    assert torch.equal(mine(LR), cached(LR))
    with pytest.raises(UsageError, match="cannot be written"):
        write_blend(*ends, 0.5, tmp_path / "nowhere" / "mine.safetensors")


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_a_strength_outside_0_to_1_is_refused(ends: tuple[Model, Model], strength: float) -> None:
    with pytest.raises(UsageError, match="between 0"):
        blended_model(*ends, strength)


def test_ends_of_another_layout_are_refused_with_both(ends: tuple[Model, Model], tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "wide.safetensors", random_generator(GeneratorConfig(6, 1, 4), 1))
    with pytest.raises(ModelError, match=r"4 channels, 1 blocks.*6 channels, 1 blocks"):
        blended_model(ends[0], find_model(str(tmp_path / "wide.safetensors")), 0.5)


def test_a_missing_end_says_what_to_name(
    ends: tuple[Model, Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sr_export.strength.shipped_models", lambda: ["srresnet"])
    with pytest.raises(ModelError, match=r"'photo' is not shipped.*-n FILE"):
        find_ends("srresnet", "photo")
    with pytest.raises(ModelError, match="no model"):
        find_ends(str(ends[0].path), "nowhere.safetensors")
    (tmp_path / "some.onnx").touch()
    with pytest.raises(ModelError, match="ONNX"):
        find_ends(str(ends[0].path), str(tmp_path / "some.onnx"))
    with pytest.raises(ModelError, match="same model"):
        find_ends(str(ends[0].path), str(ends[0].path))


def test_the_command_writes_a_blend_or_refuses_in_one_sentence(
    ends: tuple[Model, Model], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["blend", *(str(end.path) for end in ends), "--strength", "0.5", "-o"]
    for name, code in (("half.safetensors", 0), ("half.onnx", 2)):
        with pytest.raises(SystemExit) as ended:
            main([*command, str(tmp_path / name)])
        assert ended.value.code == code
    assert load_checkpoint(tmp_path / "half.safetensors")[1].origin["blend"] == "strength 0.5"
    assert capsys.readouterr().err.count("\n") == 1
