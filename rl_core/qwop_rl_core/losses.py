"""Losses: pure functions of tensors, with the paper's equation named. N is a batch of any order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PolicyLoss(NamedTuple):
    loss: Tensor  # [] to be minimised
    approx_kl: Tensor  # [] estimate of KL(old || new), nats
    clip_fraction: Tensor  # [] share of samples whose ratio left [1 - clip, 1 + clip]


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities of a categorical distribution: logits [..., A] -> [..., A], nats.

    Worked out with the actions first in memory, where PyTorch does whole batches at once: a tenth of the time
    that it takes over a short last axis.
    """
    return logits.movedim(-1, 0).log_softmax(0).movedim(0, -1)


def log_prob(logits: Tensor, action: Tensor) -> Tensor:
    """Log-probability of discrete actions: logits [..., A], action int64 [...] -> [...], nats."""
    return log_softmax(logits).gather(-1, action.unsqueeze(-1)).squeeze(-1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of a categorical distribution: logits [..., A] -> [...], nats."""
    log_p = log_softmax(logits)
    return -(log_p.exp() * log_p).sum(-1)


def log_prob_and_entropy(logits: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    """`log_prob` and `entropy` from one log-softmax, which is most of their work."""
    log_p = log_softmax(logits)
    return log_p.gather(-1, action.unsqueeze(-1)).squeeze(-1), -(log_p.exp() * log_p).sum(-1)


def kl_between(logits: Tensor, reference_logits: Tensor) -> Tensor:
    """KL(p || q) of two categorical distributions: both [..., A] -> [...], nats.

    p is the policy, q the reference, so the anchor punishes putting probability where the reference has
    none more than it punishes leaving some of the reference's actions.
    """
    log_p = log_softmax(logits)
    return (log_p.exp() * (log_p - log_softmax(reference_logits))).sum(-1)


def ppo_loss(log_prob_new: Tensor, log_prob_old: Tensor, advantage: Tensor, clip: float) -> PolicyLoss:
    """The clipped surrogate objective, negated.

        L = -mean min(ratio * A, clip(ratio, 1 - clip, 1 + clip) * A)       (Schulman et al. 2017, equation 7)

    log_prob_new, log_prob_old, advantage: float [N]
    approx_kl = mean (ratio - 1 - ln ratio), Schulman 2020, "Approximating KL divergence": unbiased, never
    negative.
    """
    log_ratio = log_prob_new - log_prob_old
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
    loss = -torch.minimum(ratio * advantage, clipped * advantage).mean()
    with torch.no_grad():
        approx_kl = (ratio - 1.0 - log_ratio).mean()
        clip_fraction = ((ratio - 1.0).abs() > clip).float().mean()
    return PolicyLoss(loss, approx_kl, clip_fraction)


def value_loss(value: Tensor, target: Tensor) -> Tensor:
    """Half the mean squared error: both [N] -> []. (Schulman et al. 2017, equation 9; without PPO's
    value clipping, which Andrychowicz et al. 2021, "Advantage estimation", found to hurt.)"""
    return 0.5 * (value - target).pow(2).mean()


def demonstration_loss(logits: Tensor, action: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Weighted negative log-likelihood of demonstrated actions: [N, A], int64 [N], [N] or scalar -> [].

    Its gradient is the second sum of the augmented gradient of DAPG, divided by the number of
    demonstrations in the batch (Rajeswaran et al. 2018, "RL fine-tuning with augmented loss"):
        g_aug = sum_{(s,a) in rollout} grad ln pi(a|s) A(s,a) + sum_{(s,a) in demos} grad ln pi(a|s) w(s,a)
    with their heuristic weight w = lambda_0 * lambda_1^k * max A over the rollout (see `decayed`).
    """
    return -(weight * log_prob(logits, action)).mean()


def q_target(
    reward_t: Tensor,
    discount_t: Tensor,
    q_t: Tensor,
    q_t_selector: Tensor | None = None,
    double: bool = False,
) -> Tensor:
    """The value that Q(o_tm1, a_tm1) is drawn to.

        DQN:         r + discount * max_a Q(o_t, a; target)                     (Mnih et al. 2015)
        Double DQN:  r + discount * Q(o_t, argmax_a Q(o_t, a; online); target)
                                                                    (van Hasselt et al. 2016, "Double DQN")

    reward_t: float [N], of one step or n-step; discount_t: float [N], gamma^k, 0 after a termination
    q_t: float [N, A], target network; q_t_selector: float [N, A], online network, needed when double
    """
    if not double:
        return reward_t + discount_t * q_t.amax(-1)
    if q_t_selector is None:
        raise ValueError("double=True needs q_t_selector, the online network's values")
    best = q_t_selector.argmax(-1, keepdim=True)
    return reward_t + discount_t * q_t.gather(-1, best).squeeze(-1)


def td_loss(
    q_tm1: Tensor, action_tm1: Tensor, target: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Half the squared temporal-difference error, averaged, and the error itself.

    q_tm1: float [N, A]; action_tm1: int64 [N]; target: float [N], without gradient
    weight: float [N], importance-sampling weights (Schaul et al. 2016, section 3.4), or None for ones
    returns: loss [], error [N] = target - Q(o_tm1, a_tm1), without gradient

    Not the error clipping (Huber loss) of Mnih et al. 2015: it leans to the median of the targets wherever
    errors exceed 1. Their rewards are clipped to 1; where returns reach tens, the rare target that ends in a
    fall then hardly counts, and values grow as if nobody fell. Gradients are clipped by norm instead.
    """
    q = q_tm1.gather(-1, action_tm1.unsqueeze(-1)).squeeze(-1)
    error = target - q
    loss = 0.5 * error.pow(2)
    if weight is not None:
        loss = loss * weight
    return loss.mean(), error.detach()


def large_margin_loss(q: Tensor, expert_action: Tensor, margin: float) -> Tensor:
    """Supervised loss of DQfD for demonstrated transitions, each at least zero.

        J_E = max_a [Q(s, a) + l(a_E, a)] - Q(s, a_E),  l = margin where a != a_E, else 0
                                            (Hester et al. 2018, "large margin classification loss")
    q: float [N, A]; expert_action: int64 [N] -> [N]
    """
    index = expert_action.unsqueeze(-1)
    margins = torch.full_like(q, margin).scatter(-1, index, 0.0)
    return (q + margins).amax(-1) - q.gather(-1, index).squeeze(-1)
