"""Networks and the observation normalizer."""

import math

import pytest
import torch

from qwop_rl_core import tanh_mlp
from qwop_rl_core.networks import ActorCritic, QNetwork, build_network
from qwop_rl_core.normalizer import RunningNormalizer
from qwop_rl_core.optimizer import flatten_parameters


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_initial_policy_is_nearly_uniform_and_weights_are_orthogonal():
    network = ActorCritic(7, 9, (32, 16), seeded())
    logits, values = network(torch.randn(5, 11, 7, generator=seeded()))
    assert logits.shape == (5, 11, 9) and values.shape == (5, 11)
    assert logits.abs().max() < 0.05
    second = network.policy[2].weight  # [16, 32]: rows orthogonal, of length sqrt(2)
    torch.testing.assert_close(second @ second.T, 2.0 * torch.eye(16), rtol=0, atol=1e-5)
    head = network.policy[4].weight
    torch.testing.assert_close(head @ head.T, 1e-4 * torch.eye(9), rtol=0, atol=1e-8)
    assert all((m.bias == 0).all() for m in network.modules() if isinstance(m, torch.nn.Linear))


def test_same_generator_seed_gives_the_same_weights():
    first, second, other = (ActorCritic(4, 3, (8,), seeded(s)).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not torch.equal(first["policy.0.weight"], other["policy.0.weight"])


def test_policy_and_value_share_no_weights():
    network = ActorCritic(4, 3, (8,), seeded())
    network.values(torch.randn(6, 4)).sum().backward()
    assert all(p.grad is None for p in network.policy.parameters())
    assert all(p.grad is not None for p in network.value.parameters())


def test_bfloat16_rounds_hidden_layers_and_nothing_else():
    network = ActorCritic(6, 3, (8, 5), seeded())
    x = torch.randn(50, 6, generator=seeded())
    exact = network.logits(x).detach()
    # by hand: operands, sums and activations of the hidden layers rounded to 8 bits of mantissa, not the head
    h = x
    for i in (0, 2):
        layer = network.policy[i]
        h = (
            h.bfloat16().float() @ layer.weight.bfloat16().float().T + layer.bias.bfloat16().float()
        ).bfloat16()
        h = h.float().tanh().bfloat16().float()
    rounded = network.policy[4](h).detach()

    network.compute_in(torch.bfloat16)
    logits = network.logits(x)
    assert logits.dtype == torch.float32 and network.values(x).dtype == torch.float32
    torch.testing.assert_close(logits.detach(), rounded, rtol=0, atol=1e-4)
    assert 1e-6 < (logits - exact).abs().max() < 2**-7 * exact.abs().max()
    (logits.sum() + network.values(x).sum()).backward()
    assert all(p.grad.dtype == p.dtype == torch.float32 for p in network.parameters())
    assert all(t.dtype != torch.bfloat16 for t in network.state_dict().values())
    network.compute_in(None)
    assert torch.equal(network.logits(x), exact)


def test_float32_by_hand_is_float32_by_autograd():
    network = ActorCritic(6, 3, (32, 16), seeded())
    x, weight = 3 * torch.randn(500, 6, generator=seeded()), torch.randn(500, 3, generator=seeded(1))
    outputs, gradients = [], []
    for precision in (None, torch.float32):
        network.compute_in(precision).zero_grad()
        outputs.append(network.logits(x))
        (outputs[-1] * weight).sum().backward()
        gradients.append([p.grad for p in network.policy.parameters()])
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)
    for own, by_hand in zip(*gradients, strict=True):
        assert (by_hand - own).norm() < 1e-5 * own.norm()
    with torch.no_grad():
        assert torch.equal(network.logits(x), outputs[1])


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_gradients_follow_float32s(monkeypatch, native):
    """By hand in bfloat16, by autograd in float32; the difference is rounding, some 2^-8 of each."""
    if not native:
        monkeypatch.setattr(tanh_mlp, "_ONEDNN", False)  # as where oneDNN has no bfloat16
    network = ActorCritic(6, 3, (32, 16), seeded())
    x, weight = torch.randn(500, 6, generator=seeded()), torch.randn(500, 3, generator=seeded(1))
    gradients = []
    for precision in (None, torch.bfloat16):
        network.compute_in(precision).zero_grad()
        (network.logits(x) * weight).sum().backward()
        gradients.append([p.grad for p in network.policy.parameters()])
    for exact, rounded in zip(*gradients, strict=True):
        assert (rounded - exact).norm() < 0.02 * exact.norm()
    assert not torch.equal(gradients[0][0], gradients[1][0])


def test_bfloat16_takes_any_shape():
    network = ActorCritic(4, 3, (8,), seeded()).compute_in(torch.bfloat16)
    x = torch.randn(6, 5, 4, generator=seeded())
    assert network.values(x).shape == (6, 5) and network.logits(x[0, 0]).shape == (3,)
    torch.testing.assert_close(network.logits(x)[2], network.logits(x[2]))


def test_flattened_parameters_are_the_network():
    network = ActorCritic(4, 3, (8,), seeded())
    before = {name: t.clone() for name, t in network.state_dict().items()}
    flat = flatten_parameters(network.policy)
    assert flat.shape == (4 * 8 + 8 + 8 * 3 + 3,)
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    network.logits(torch.randn(5, 4, generator=seeded())).square().sum().backward()
    assert torch.equal(flat.grad, torch.cat([p.grad.flatten() for p in network.policy.parameters()]))
    assert flat.grad.abs().max() > 0 and network.value[0].weight.grad is None
    with torch.no_grad():
        flat.zero_()
    assert (network.logits(torch.ones(1, 4)) == 0).all() and (network.value[0].weight != 0).any()


def test_rescaling_keeps_every_value():
    network = ActorCritic(4, 3, (8,), seeded())
    x = torch.randn(50, 4, generator=seeded())
    before = network.values(x).detach()
    network.rescale_values(mean=30.0, std=12.0)
    torch.testing.assert_close(network.values(x), before, rtol=0, atol=1e-5)
    network.rescale_values(mean=-2.0, std=0.5)
    torch.testing.assert_close(network.values(x), before, rtol=0, atol=1e-5)
    # the MLP itself now speaks in units of 0.5 around -2
    torch.testing.assert_close(network.value(x).squeeze(-1), (before + 2.0) / 0.5, rtol=0, atol=1e-4)


def test_dueling_head_separates_value_from_advantage():
    network = QNetwork(4, 3, (8,), dueling=True, generator=seeded())
    x = torch.randn(6, 4, generator=seeded())
    q = network(x)
    # Q = V + A - mean A, so the mean over actions is V
    value = network.value(network.trunk(network.normalizer(x))).squeeze(-1)
    torch.testing.assert_close(q.mean(-1), value)
    # adding a constant to all advantages changes nothing
    with torch.no_grad():
        network.advantage[0].bias += 5.0
    torch.testing.assert_close(network(x), q)


@pytest.mark.parametrize("dueling", [False, True])
def test_q_network_from_a_policy_ranks_actions_as_the_policy_does(dueling):
    policy = ActorCritic(6, 5, (16, 16), seeded())
    x = torch.randn(200, 6, generator=seeded()) * 3 + 1
    policy.normalizer.update(x)
    q = QNetwork.from_policy(policy, dueling)(x)
    logits = policy.logits(x)
    assert torch.equal(q.argmax(-1), logits.argmax(-1))
    torch.testing.assert_close(q - q.mean(-1, keepdim=True), logits - logits.mean(-1, keepdim=True))


@pytest.mark.parametrize(
    "network",
    [
        ActorCritic(4, 3, (8, 5)),
        QNetwork(4, 3, (8, 5)),
        QNetwork(4, 3, (8,), dueling=True, activation="tanh"),
    ],
)
def test_architecture_builds_an_equal_network(network):
    copy = build_network(network.architecture)
    copy.load_state_dict(network.state_dict())
    x = torch.randn(10, 4)
    first, second = (n.logits(x) if isinstance(n, ActorCritic) else n(x) for n in (network, copy))
    assert torch.equal(first, second)


def test_unknown_kind_and_activation():
    with pytest.raises(ValueError, match="'transformer'"):
        build_network({"kind": "transformer", "feature_size": 1, "num_actions": 1, "hidden": [1]})
    with pytest.raises(ValueError, match="'gelu'"):
        QNetwork(1, 1, (1,), activation="gelu")


def test_normalizer_only_clips_before_data():
    normalizer = RunningNormalizer(2, clip=3.0, epsilon=0.0)
    assert normalizer(torch.tensor([[1.0, -100.0]])).tolist() == [[1.0, -3.0]]


def test_normalizer_merges_batches():
    # feature 0: 1, 3 then 5, 7, 9: mean 5, variance (16 + 4 + 0 + 4 + 16) / 5 = 8
    normalizer = RunningNormalizer(1, epsilon=0.0)
    normalizer.update(torch.tensor([[1.0], [3.0]]))
    assert (normalizer.mean.item(), normalizer.var.item(), normalizer.count.item()) == (2.0, 1.0, 2.0)
    normalizer.update(torch.tensor([[5.0], [7.0], [9.0]]))
    assert normalizer.mean.item() == pytest.approx(5.0)
    assert normalizer.var.item() == pytest.approx(8.0)
    assert normalizer(torch.tensor([[9.0]])).item() == pytest.approx(4.0 / math.sqrt(8.0))
    normalizer.update(torch.zeros(0, 1))
    assert normalizer.count.item() == 5.0


def test_normalizer_is_exact_far_from_zero():
    """Merging by means, not by sums of squares: 10^6 +- 1 keeps its variance."""
    x = 1e6 + torch.tensor([[-1.0], [1.0]]).repeat(500, 1)
    normalizer = RunningNormalizer(1)
    for batch in x.split(100):
        normalizer.update(batch)
    assert normalizer.var.item() == pytest.approx(1.0, abs=1e-9)


def test_normalizer_travels_with_the_state_dict():
    first = RunningNormalizer(3)
    first.update(torch.randn(100, 3))
    second = RunningNormalizer(3)
    second.load_state_dict(first.state_dict())
    batch = torch.randn(50, 3)
    first.update(batch)
    second.update(batch)
    assert all(torch.equal(a, b) for a, b in zip(first.buffers(), second.buffers(), strict=True))
