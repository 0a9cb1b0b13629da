"""Muon: momentum whose matrices are made orthogonal before each step, so that every direction learns equally fast.

Jordan et al., 2024 (kellerjordan.github.io/posts/muon), with the scale of Liu et al., arXiv 2502.16982, by which a
learning rate means what it means to Adam. PyTorch has one too, for matrices alone and in bf16, which CPUs without it
are slow at; this one takes convolutions, all of one shape at once, in their own precision.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Muon", "orthogonal"]

MOMENTUM = 0.95
ADAM_RMS = 0.2  # of Adam's usual step, as a share of its learning rate
ITERATIONS = 5
QUINTIC = 3.4445, -4.7750, 2.0315  # steepest at 0; singular values end between about 0.7 and 1.2
RGB = 3


class Muon(torch.optim.Optimizer):
    """Convolutions between feature maps by Muon; those from and to RGB, and all else, by Adam.

    One learning rate for both, of Adam's size.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float]) -> None:
        """`betas`: Adam's."""
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for parameter in parameters:
            is_matrix = parameter.ndim == 4 and min(parameter.shape[:2]) > RGB
            (matrices if is_matrix else others).append(parameter)
        super().__init__([{"params": matrices}, {"params": others}], {"lr": lr})
        self._adam = torch.optim.Adam(others, lr, betas)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override] # one form
        """One step with the gradients that backward left."""
        loss = closure() if closure else None
        matrices, others = self.param_groups
        alike: defaultdict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in matrices["params"]:
            if parameter.grad is not None:
                alike[parameter.shape].append(parameter)
        for shape, parameters in alike.items():
            steps = orthogonal(torch.stack([self._direction(each).flatten(1) for each in parameters]))
            size = ADAM_RMS * max(steps.shape[1:]) ** 0.5
            for parameter, change in zip(parameters, steps, strict=True):
                parameter.sub_(change.view(shape), alpha=matrices["lr"] * size)
        for group in self._adam.param_groups:
            group["lr"] = others["lr"]
        self._adam.step()
        return loss

    def _direction(self, parameter: nn.Parameter) -> Tensor:
        """The gradient with Nesterov's momentum."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
        return parameter.grad.lerp(state["momentum"], MOMENTUM)

    def state_dict(self) -> dict[str, Any]:
        """Both parts' state."""
        return {"muon": super().state_dict(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises what torch's optimisers raise of another's state, and KeyError."""
        super().load_state_dict(state_dict["muon"])
        self._adam.load_state_dict(state_dict["adam"])


def orthogonal(matrices: Tensor) -> Tensor:
    """[n, rows, columns]: nearly U V^T of each one's singular value decomposition U S V^T, by Newton and Schulz.

    Of a matrix of zeros: zeros.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-12)  # no singular value above 1
    gram = x @ x.mT
    factor = identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):  # x becomes step @ x, all steps gathered in `factor`: the wide matrix is touched twice
        step = a * identity + b * gram + c * (gram @ gram)
        factor = step @ factor
        gram = step @ gram @ step
    x = factor @ x
    return x.mT if tall else x
