"""One Adam over all weights of a network as one vector, with clipping by the gradient's norm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qwop_rl_core.ranks import average


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


def flat_adam(module: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Flatten a module's parameters and return an Adam (epsilon 1e-5) over the vector."""
    return torch.optim.Adam([flatten_parameters(module)], lr=learning_rate, eps=1e-5, fused=True)


def optimizer_step(loss: Tensor, optimizer: torch.optim.Optimizer, max_grad_norm: float) -> None:
    """Take one step down a loss [], with the gradient clipped by its norm.

    Args:
        loss: float [], a function of the weights of `optimizer`.
        optimizer: what `flat_adam` returned, or another one over what `flatten_parameters` did.
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
