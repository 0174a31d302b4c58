"""Worked numbers for every loss."""

import math

import pytest
import torch
from torch import tensor

from qwop_rl_core.losses import (
    demonstration_loss,
    entropy,
    kl_between,
    large_margin_loss,
    log_prob,
    log_prob_and_entropy,
    ppo_loss,
    q_target,
    td_loss,
    value_loss,
)


def logits_of(*probabilities):
    """Any constant may be added to logits: 3.7 here, so that nothing relies on normalized ones."""
    return tensor(probabilities).log() + 3.7


def test_log_prob_and_entropy():
    logits = logits_of([0.5, 0.25, 0.25], [0.1, 0.8, 0.1])
    assert log_prob(logits, tensor([1, 1])).tolist() == pytest.approx([math.log(0.25), math.log(0.8)])
    # 0.5 ln 2 + 2 * 0.25 ln 4 = 1.5 ln 2;  -(0.2 ln 0.1 + 0.8 ln 0.8) = 0.46052 + 0.17851
    assert entropy(logits).tolist() == pytest.approx([1.5 * math.log(2), 0.63903], abs=1e-5)
    both = log_prob_and_entropy(logits, tensor([1, 1]))
    assert torch.equal(both[0], log_prob(logits, tensor([1, 1]))) and torch.equal(both[1], entropy(logits))


def test_kl_between():
    # KL([1/2, 1/2] || [1/4, 3/4]) = 0.5 ln 2 + 0.5 ln(2/3) = 0.5 ln(4/3) = 0.143841
    # the other way round: 0.25 ln(1/2) + 0.75 ln(3/2) = -0.173287 + 0.304099 = 0.130812
    p, q = logits_of([0.5, 0.5]), logits_of([0.25, 0.75])
    assert kl_between(p, q).item() == pytest.approx(0.143841, abs=1e-6)
    assert kl_between(q, p).item() == pytest.approx(0.130812, abs=1e-6)
    assert kl_between(p, p + 5.0).item() == pytest.approx(0.0, abs=1e-6)


def test_ppo_loss_clips_only_what_would_overshoot():
    # ratio, A (clip 0.2): 1.5, 2 -> min(3, 2.4) = 2.4;  0.5, 2 -> min(1, 1.6) = 1
    #                      1.5, -2 -> min(-3, -2.4) = -3;  0.5, -2 -> min(-1, -1.6) = -1.6
    ratio = tensor([1.5, 0.5, 1.5, 0.5])
    new = ratio.log().requires_grad_()
    result = ppo_loss(new, torch.zeros(4), tensor([2.0, 2, -2, -2]), 0.2)
    assert result.loss.item() == pytest.approx(-(2.4 + 1 - 3 - 1.6) / 4)
    assert result.clip_fraction.item() == 1.0
    # mean of ratio - 1 - ln ratio: (0.5 - 0.405465 - 0.5 + 0.693147) / 2 = 0.143841
    assert result.approx_kl.item() == pytest.approx(0.143841, abs=1e-6)
    # gradient of -mean(ratio * A) is -ratio * A / 4 where the unclipped term is the smaller one, else 0
    result.loss.backward()
    assert new.grad.tolist() == pytest.approx([0.0, -0.25, 0.75, 0.0])


def test_value_loss():
    assert value_loss(tensor([1.0, 4.0]), tensor([3.0, 3.0])).item() == pytest.approx(0.5 * (4 + 1) / 2)


def test_demonstration_loss():
    logits = logits_of([0.5, 0.5], [0.2, 0.8])
    action = tensor([0, 0])
    expected = -(math.log(0.5) + math.log(0.2)) / 2
    assert demonstration_loss(logits, action).item() == pytest.approx(expected)
    weighted = -(3 * math.log(0.5) + 1 * math.log(0.2)) / 2
    assert demonstration_loss(logits, action, tensor([3.0, 1.0])).item() == pytest.approx(weighted)


def test_q_target_of_dqn_and_double_dqn_differ_where_the_networks_disagree():
    target_q = tensor([[1.0, 5.0, 2.0], [0.0, -1.0, -2.0]])
    online_q = tensor([[9.0, 0.0, 1.0], [0.0, 0.0, 3.0]])
    reward, discount = tensor([1.0, 2.0]), tensor([0.5, 0.0])
    # DQN: 1 + 0.5 * 5; the second is terminal: 2
    assert q_target(reward, discount, target_q).tolist() == [3.5, 2.0]
    # Double: online chooses action 0, the target values it 1: 1 + 0.5 * 1
    assert q_target(reward, discount, target_q, online_q, double=True).tolist() == [1.5, 2.0]
    with pytest.raises(ValueError, match="q_t_selector"):
        q_target(reward, discount, target_q, double=True)


def test_td_loss():
    q = tensor([[1.0, 2.0], [5.0, 0.0]], requires_grad=True)
    # errors 2.5 - 2 = 0.5 and 2 - 5 = -3: half squares 0.125 and 4.5
    loss, error = td_loss(q, tensor([1, 0]), tensor([2.5, 2.0]))
    assert loss.item() == pytest.approx((0.125 + 4.5) / 2)
    assert error.tolist() == [0.5, -3.0] and not error.requires_grad
    weighted, _ = td_loss(q, tensor([1, 0]), tensor([2.5, 2.0]), tensor([1.0, 0.1]))
    assert weighted.item() == pytest.approx((0.125 + 0.45) / 2)
    weighted.backward()
    # d/dq: -0.5 * 1 / 2 for action 1 of the first, 3 * 0.1 / 2 for action 0 of the second
    assert q.grad.flatten().tolist() == pytest.approx([0.0, -0.25, 0.15, 0.0])


def test_large_margin_loss():
    q = tensor([[1.0, 0.9, 0.0], [2.0, 0.0, 0.5], [3.0, 0.0, 0.0]])
    # margin 0.8, expert 0, 2, 0: max(1, 1.7, 0.8) - 1 = 0.7;  max(2.8, 0.8, 0.5) - 0.5 = 2.3;
    # 3 exceeds the others by more than the margin: 0
    assert large_margin_loss(q, tensor([0, 2, 0]), 0.8).tolist() == pytest.approx([0.7, 2.3, 0.0])
