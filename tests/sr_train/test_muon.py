"""Muon: what a step changes, and that it learns and resumes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from sr_train.muon import ADAM_RMS, Muon, orthogonal

BETAS = (0.9, 0.999)


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.PReLU(), nn.Conv2d(8, 3, 3, padding=1)
    )


def _step(network: nn.Sequential, optimizer: torch.optim.Optimizer, seed: int) -> float:
    pixels = torch.rand((2, 3, 12, 12), generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    loss = functional.mse_loss(network(pixels), 1 - pixels.flip(1))
    loss.backward()  # type: ignore[no-untyped-call] # of torch
    optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("shape", [(3, 8, 24), (2, 24, 8)])
def test_singular_values_become_nearly_one_and_directions_stay(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    along = u.mT @ orthogonal(matrices) @ v.mT  # in the original's own directions
    assert torch.diagonal(along, dim1=1, dim2=2).sub(1).abs().max() < 0.35
    assert (along - torch.diag_embed(torch.diagonal(along, dim1=1, dim2=2))).abs().max() < 1e-9


def test_single_precision_is_enough_for_directions_of_next_to_no_gradient() -> None:
    random = torch.Generator().manual_seed(2)
    u, _, v = torch.linalg.svd(torch.randn(16, 64, generator=random, dtype=torch.float64), full_matrices=False)
    matrices = ((u * torch.logspace(0, -6, 16, dtype=torch.float64)) @ v)[None]
    torch.testing.assert_close(orthogonal(matrices.float()).double(), orthogonal(matrices), atol=1e-3, rtol=0)


def test_matrix_of_zeros_stays_one() -> None:
    assert orthogonal(torch.zeros(1, 4, 9)).abs().max() == 0


def test_step_has_adams_size_whatever_the_gradients() -> None:
    for factor in (1e-6, 1.0, 1e6):
        network = _network()
        before = [parameter.detach().clone() for parameter in network.parameters()]
        optimizer = Muon(network.parameters(), 1e-3, BETAS)
        (network(torch.ones(1, 3, 8, 8)).square().sum() * factor).backward()
        optimizer.step()
        changes = [(a - b).detach() for a, b in zip(network.parameters(), before, strict=True)]
        inner = changes[2]  # of the convolution between feature maps; here few directions have a gradient
        assert 0.2 * ADAM_RMS * 1e-3 < inner.square().mean().sqrt() < 1.3 * ADAM_RMS * 1e-3
        assert changes[0].abs().max() == pytest.approx(1e-3, rel=0.02)  # from RGB: Adam's first step


def test_learns_faster_than_adam_of_the_same_rate() -> None:
    ends = []
    for make in (Muon, torch.optim.Adam):
        network = _network()
        optimizer = make(network.parameters(), 3e-3, BETAS)
        ends.append([_step(network, optimizer, seed) for seed in range(60)])
    assert sum(ends[0][-10:]) < sum(ends[1][-10:]) < sum(ends[1][:10])


def test_goes_on_from_its_state_bit_for_bit() -> None:
    whole, broken = _network(), _network()
    one, two = Muon(whole.parameters(), 1e-3, BETAS), Muon(broken.parameters(), 1e-3, BETAS)
    for seed in range(3):
        _step(whole, one, seed)
        _step(broken, two, seed)
    following = Muon(broken.parameters(), 1e-3, BETAS)
    following.load_state_dict(two.state_dict())
    for seed in range(3, 6):
        _step(whole, one, seed)
        _step(broken, following, seed)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), broken.parameters(), strict=True))
