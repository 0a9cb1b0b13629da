"""LPIPS-alex: its formula, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sr_train.errors import WeightsError
from sr_train.lpips import SCALE, SHIFT, Lpips, load_lpips


def _fresh(factor: float = 0.5) -> Lpips:
    torch.manual_seed(0)
    network = Lpips()
    for index in range(5):
        network.get_parameter(f"lin{index}").data.fill_(factor)
    return network.eval()


def test_distance_to_itself_is_zero_and_to_another_is_positive() -> None:
    network = _fresh()
    a, b = torch.rand(2, 3, 40, 40) * 2 - 1, torch.rand(2, 3, 40, 40) * 2 - 1
    assert network(a, a).tolist() == [0, 0]
    assert (network(a, b) > 0).all() and network(a, b).shape == (2,)


def test_distance_by_hand() -> None:
    network = _fresh(1.0)
    a, b = torch.rand(1, 3, 40, 40) * 2 - 1, torch.rand(1, 3, 40, 40) * 2 - 1
    total = 0.0
    x, y = ((image - torch.tensor(SHIFT).view(1, 3, 1, 1)) / torch.tensor(SCALE).view(1, 3, 1, 1) for image in (a, b))
    for place, layer in enumerate(network.features):
        x, y = layer(x), layer(y)
        if place in (1, 4, 7, 9, 11):
            unit = [torch.nn.functional.normalize(v, dim=1) for v in (x, y)]
            total += float(((unit[0] - unit[1]) ** 2).sum() / unit[0][0, 0].numel())
    assert network(a, b).item() == pytest.approx(total, rel=1e-4)


def test_file_round_trip_accepts_heads_in_the_published_shape(tmp_path: Path) -> None:
    network = _fresh()
    published = {n: t.view(1, -1, 1, 1) if n.startswith("lin") else t for n, t in network.state_dict().items()}
    save_file(published, tmp_path / "lpips.safetensors")
    torch.testing.assert_close(load_lpips(tmp_path / "lpips.safetensors").state_dict(), network.state_dict())


def test_negative_heads_are_refused(tmp_path: Path) -> None:
    save_file(_fresh(-1.0).state_dict(), tmp_path / "lpips.safetensors")
    with pytest.raises(WeightsError, match="negative"):
        load_lpips(tmp_path / "lpips.safetensors")
