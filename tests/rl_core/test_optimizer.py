"""Muon: its directions and its step against the formulas, its state, and what it leaves to Adam."""

import copy

import pytest
import torch

from qwop_rl_core.checkpoint import optimizer_tensors, restore_optimizer
from qwop_rl_core.networks import mlp
from qwop_rl_core.optimizer import Muon, flat_optimizer, optimizer_step, orthogonalize

LEARNING_RATE = 0.01


def network(seed=0):
    return mlp([7, 12, 5, 3], 1.0, "tanh", torch.Generator().manual_seed(seed))


def inputs(seed=0):
    return torch.randn((16, 7), generator=torch.Generator().manual_seed(seed))


def take_step(module, optimizer, x):
    optimizer_step(module(x).square().sum(), optimizer, max_grad_norm=1e9)


@pytest.mark.parametrize("shape", [(20, 40), (40, 20), (16, 16)])
def test_a_direction_has_singular_values_near_1(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    found = u.T @ orthogonalize(5.0 * matrix) @ v.T  # diagonal: the singular vectors stay
    assert torch.allclose(found, torch.diag(found.diagonal()), atol=1e-4)
    large = s > 0.1 * s.max()
    assert ((found.diagonal()[large] > 0.3) & (found.diagonal()[large] < 1.3)).all()


def test_no_gradient_no_direction():
    assert not orthogonalize(torch.zeros(3, 4)).any()


def test_hidden_weights_take_muons_steps_and_the_rest_adams():
    module, by_adam = network(), network()
    optimizer, adam = flat_optimizer(module, LEARNING_RATE, "muon"), flat_optimizer(by_adam, LEARNING_RATE)
    assert isinstance(optimizer, Muon) and not isinstance(adam, Muon)
    expected = [p.detach().clone() for p in module.parameters()]
    momenta = [torch.zeros_like(p) for p in expected]
    for step in range(3):
        before = [p.detach().clone() for p in module.parameters()]
        for mine, other in zip(module.parameters(), by_adam.parameters(), strict=True):
            other.data.copy_(mine)  # the same gradients
        take_step(module, optimizer, inputs(step))
        take_step(by_adam, adam, inputs(step))
        for i, (mine, other) in enumerate(zip(module.parameters(), by_adam.parameters(), strict=True)):
            assert mine.grad is not None and other.grad is not None
            assert torch.equal(mine.grad, other.grad)
            if mine.ndim == 1 or i == 4:
                assert torch.equal(mine, other)
                continue
            momenta[i] = 0.95 * momenta[i] + 0.05 * mine.grad
            direction = orthogonalize(0.95 * momenta[i] + 0.05 * mine.grad)
            size = 0.4 * LEARNING_RATE * max(mine.shape) ** 0.5
            assert torch.allclose(mine, before[i] - size * direction, atol=1e-6)
            assert not torch.allclose(mine, other, atol=1e-4)


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_its_state_is_stored_and_restored(name):
    module = network()
    optimizer = flat_optimizer(module, LEARNING_RATE, name)
    for step in range(2):
        take_step(module, optimizer, inputs(step))
    stored = copy.deepcopy(optimizer_tensors(optimizer))
    other = network()
    other.load_state_dict(module.state_dict())
    restored = flat_optimizer(other, LEARNING_RATE, name)
    restore_optimizer(restored, stored)
    take_step(module, optimizer, inputs(2))
    take_step(other, restored, inputs(2))
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))

    one_of_the_other_kind = flat_optimizer(network(), LEARNING_RATE, "adam" if name == "muon" else "muon")
    with pytest.raises(ValueError, match="moments are not complete"):
        restore_optimizer(one_of_the_other_kind, stored)
