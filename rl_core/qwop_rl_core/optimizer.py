"""One optimizer over all weights of a network as one vector, with clipping by the gradient's norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from qwop_rl_core.ranks import average

OptimizerName = Literal["adam", "muon"]
OPTIMIZERS: tuple[str, ...] = get_args(OptimizerName)

# Keller Jordan, "Muon: An optimizer for hidden layers in neural networks", 2024: coefficients that raise
# small singular values quickly. After three steps they are near 1, which is enough.
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
POLYNOMIAL_STEPS = 3
MOMENTUM = 0.95
STEP_SIZE = 0.4
"""Step of Muon relative to Adam's, in units of sqrt(larger side of the matrix)."""


def flatten_parameters(module: nn.Module) -> nn.Parameter:
    """Move a module's parameters into one vector.

    Each parameter becomes a view of its part of the vector, and its gradient a view of the vector's gradient.
    Norms, clipping and optimizer steps are then one operation instead of one for each parameter. Gradients
    have to be set to zero in place (`zero_grad(set_to_none=False)`). The module has to stay on its device.

    Args:
        module: module whose parameters are on one device.

    Returns:
        The vector [number of weights], with a gradient of zeros.
    """
    parameters = list(module.parameters())
    flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    flat.grad = torch.zeros_like(flat)
    sizes = [parameter.numel() for parameter in parameters]
    parts = zip(parameters, torch.split(flat.detach(), sizes), torch.split(flat.grad, sizes), strict=True)
    for parameter, values, gradient in parts:
        parameter.data, parameter.grad = values.view_as(parameter), gradient.view_as(parameter)
    return flat


def flat_optimizer(module: nn.Module, learning_rate: float, name: OptimizerName = "adam") -> torch.optim.Adam:
    """Flatten a module's parameters and return an Adam (epsilon 1e-5) or a `Muon` over the vector."""
    if name == "muon":
        return Muon(module, learning_rate)
    return torch.optim.Adam([flatten_parameters(module)], lr=learning_rate, eps=1e-5, fused=True)


class Muon(torch.optim.Adam):
    """Muon (Jordan 2024) for the weights of the hidden layers, Adam for biases and the last layer.

    Muon moves a weight matrix along its momentum with all singular values made equal, so directions with
    small gradients are learned as fast as those with large ones:

        M <- 0.95 M + 0.05 G,  U = orthogonalize(0.95 M + 0.05 G),  W <- W - 0.4 lr sqrt(max(W.shape)) U

    (the step size in units of Adam's: Liu et al. 2025, "Muon is scalable for LLM training", section 2.2).
    `torch.optim.Muon` computes in bfloat16, which is slow on CPUs without AMX and too coarse to repeat a
    training on another one; here it is float32.

    Args:
        module: linear layers; it is flattened.
        learning_rate: Adam's step size.
    """

    def __init__(self, module: nn.Module, learning_rate: float) -> None:
        *hidden, _last, _bias = module.parameters()
        self._matrices: list[tuple[slice, torch.Size]] = []
        at = 0
        for parameter in hidden:
            if parameter.ndim == 2:
                self._matrices.append((slice(at, at + parameter.numel()), parameter.shape))
            at += parameter.numel()
        super().__init__([flatten_parameters(module)], lr=learning_rate, eps=1e-5, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step; there is no closure."""
        assert closure is None
        (group,) = self.param_groups
        (weights,) = group["params"]
        before = [weights[part].clone() for part, _ in self._matrices]
        super().step()
        state = self.state[weights]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weights)
        momentum = state["momentum"]
        momentum.lerp_(weights.grad, 1.0 - MOMENTUM)
        update = weights.grad.lerp(momentum, MOMENTUM)
        for (part, shape), values in zip(self._matrices, before, strict=True):
            direction = orthogonalize(update[part].view(shape)).reshape(-1)
            torch.sub(values, direction, alpha=STEP_SIZE * group["lr"] * max(shape) ** 0.5, out=weights[part])


def orthogonalize(matrix: Tensor) -> Tensor:
    """Return a matrix with the singular vectors of another one, and singular values of about 1.

    X <- a X + b (X X') X + c (X X')^2 X, from X = matrix / its norm: a polynomial of the singular values.

    Args:
        matrix: float32 [m, n].

    Returns:
        float32 [m, n]. Singular values of a hundredth of the norm or less stay small.
    """
    a, b, c = POLYNOMIAL
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.t()
    x = x.div(x.square().sum().sqrt() + 1e-7)
    for _ in range(POLYNOMIAL_STEPS):
        gram = x.mm(x.t())
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.t()


def optimizer_step(loss: Tensor, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> None:
    """Take one step down a loss [], with the gradient clipped by its norm.

    Args:
        loss: float [], a function of the weights of `optimizer`.
        optimizer: what `flat_optimizer` returned, or another one over what `flatten_parameters` did.
        max_grad_norm: bound of the gradient's norm.
    """
    (weights,) = optimizer.param_groups[0]["params"]
    weights.grad.zero_()
    loss.backward()
    average(weights.grad)
    weights.grad.mul_((max_grad_norm / (weights.grad.norm() + 1e-6)).clamp(max=1.0))
    optimizer.step()


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the step size of all of an optimizer's parameters."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
