"""Two processes do what one does with the whole batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sr_train.config import TrainConfig, to_toml
from sr_train.errors import UsageError
from sr_train.parallel import Group
from sr_train.state import load_state
from tests.sr_train import parallel_worker


def _start(rank: int, size: int, port: int, arguments: list[Path]) -> subprocess.Popen[bytes]:
    group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        **{k: str(v) for k, v in group.items()},
        "PYTHONPATH": root,
        "GLOO_SOCKET_IFNAME": "lo",
    }
    return subprocess.Popen(
        [sys.executable, str(parallel_worker.__file__), *map(str, arguments)], env=environment, stderr=subprocess.PIPE
    )


def _gradients(optimizer: dict[str, Any]) -> torch.Tensor:
    """Adam's mean of all gradients so far, of all parameters."""
    return torch.cat([state["exp_avg"].flatten() for state in optimizer["state"].values()])


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo's loopback interface has another name there")
def test_two_processes_equal_one_with_the_whole_batch(
    tiny: TrainConfig, photos: Path, tmp_path: Path, vgg_file: Path
) -> None:
    """To tolerance: sums are added up in another order. BatchNorm's statistics are shared too."""
    # Adam divides by the gradient's size, so that a rate of 1e-3 would blow rounding up where it is nearly nought.
    slow = replace(tiny, resnet=replace(tiny.resnet, learning_rate=1e-5), gan=replace(tiny.gan, learning_rate=1e-5))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(to_toml(slow))
    for size in (1, 2):
        port = _free_port()
        arguments = [recipe, photos, tmp_path / f"run{size}", vgg_file]
        processes = [_start(rank, size, port, arguments) for rank in range(size)]
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors.decode()[-2000:]
    for stage in ("srresnet", "srgan"):
        one, two = (load_state(tmp_path / f"run{size}" / stage / "state.pt") for size in (1, 2))
        assert one["step"] == two["step"] == 4
        for network in ("generator", "average", *(["discriminator"] if stage == "srgan" else [])):
            torch.testing.assert_close(dict(one[network]), dict(two[network]), atol=3e-5, rtol=1e-3)
        for player in ("generator", *(["discriminator"] if stage == "srgan" else [])):
            first, second = (_gradients(state[f"{player}_optimizer"]) for state in (one, two))
            assert (first - second).norm() < 1e-3 * first.norm(), player


def test_batch_is_shared_evenly_or_refused() -> None:
    assert [Group(rank, 3).share(6) for rank in range(3)] == [(0, 2), (2, 4), (4, 6)]
    with pytest.raises(UsageError, match="multiple"):
        Group(0, 2).share(3)
