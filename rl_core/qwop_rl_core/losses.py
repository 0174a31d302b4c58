"""Losses: pure functions of tensors, with the paper's equation named. N is a batch of any order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PolicyLoss(NamedTuple):
    """PPO's loss of a minibatch, and how far the policy has moved."""

    loss: Tensor  # [] to be minimized
    approx_kl: Tensor  # [] estimate of KL(old || new), nats
    clip_fraction: Tensor  # [] share of samples whose ratio left [1 - clip, 1 + clip]


def log_softmax(logits: Tensor) -> Tensor:
    """Return the log-probabilities [..., A] of categorical distributions with logits [..., A], in nats.

    The actions come first in memory, where PyTorch handles whole batches at once. That takes a tenth of the
    time that it needs for a short last axis.
    """
    return logits.movedim(-1, 0).log_softmax(0).movedim(0, -1)


def log_prob(logits: Tensor, action: Tensor) -> Tensor:
    """Return the log-probability [...] of actions int64 [...] under logits [..., A], in nats."""
    return log_softmax(logits).gather(-1, action.unsqueeze(-1)).squeeze(-1)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy [...] of categorical distributions with logits [..., A], in nats."""
    log_p = log_softmax(logits)
    return -(log_p.exp() * log_p).sum(-1)


def log_prob_and_entropy(logits: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
    """Return `log_prob` and `entropy` from one log-softmax, which is most of their work."""
    log_p = log_softmax(logits)
    return log_p.gather(-1, action.unsqueeze(-1)).squeeze(-1), -(log_p.exp() * log_p).sum(-1)


def kl_between(logits: Tensor, reference_logits: Tensor) -> Tensor:
    """Return KL(p || q) of two categorical distributions, in nats.

    p is the policy and q the reference. The loss is therefore large where the policy puts probability on
    actions that the reference avoids, and small where the policy drops some of the reference's actions.

    Args:
        logits: float [..., A], of p.
        reference_logits: float [..., A], of q.

    Returns:
        float [...].
    """
    log_p = log_softmax(logits)
    return (log_p.exp() * (log_p - log_softmax(reference_logits))).sum(-1)


def ppo_loss(log_prob_new: Tensor, log_prob_old: Tensor, advantage: Tensor, clip: float) -> PolicyLoss:
    """Compute the clipped surrogate objective, negated.

        L = -mean min(ratio * A, clip(ratio, 1 - clip, 1 + clip) * A)       (Schulman et al. 2017, equation 7)

    Args:
        log_prob_new: float [N], log-probability of each action under the policy that learns, nats.
        log_prob_old: float [N], the same under the policy that played.
        advantage: float [N].
        clip: clipping range of the ratio.

    Returns:
        The loss; approx_kl = mean (ratio - 1 - ln ratio), unbiased and never negative (Schulman 2020,
        "Approximating KL divergence"); the share of clipped samples.
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
    """Return half the mean squared error [] of values [N] and targets [N].

    Schulman et al. 2017, equation 9, without PPO's value clipping, which Andrychowicz et al. 2021, "Advantage
    estimation", found harmful.
    """
    return 0.5 * (value - target).pow(2).mean()


def demonstration_loss(logits: Tensor, action: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Return the weighted negative log-likelihood [] of demonstrated actions.

    Its gradient is the second sum of the augmented gradient of DAPG, divided by the number of
    demonstrations in the batch (Rajeswaran et al. 2018, "RL fine-tuning with augmented loss"):
        g_aug = sum_{(s,a) in rollout} grad ln pi(a|s) A(s,a) + sum_{(s,a) in demos} grad ln pi(a|s) w(s,a)
    with their heuristic weight w = lambda_0 * lambda_1^k * max A over the rollout.

    Args:
        logits: float [N, A].
        action: int64 [N].
        weight: float [N], or one number.
    """
    return -(weight * log_prob(logits, action)).mean()


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy [] of a categorical distribution, logits [N, A], to probabilities [N, A].

    Its gradient is that of KL(targets || policy).
    """
    return -(targets * log_softmax(logits)).sum(-1).mean()


def q_target(
    reward_t: Tensor,
    discount_t: Tensor,
    q_t: Tensor,
    q_t_selector: Tensor | None = None,
    double: bool = False,
) -> Tensor:
    """Return the values float [N] to which Q(o_tm1, a_tm1) is regressed.

        DQN:         r + discount * max_a Q(o_t, a; target)                     (Mnih et al. 2015)
        Double DQN:  r + discount * Q(o_t, argmax_a Q(o_t, a; online); target)
                                                                    (van Hasselt et al. 2016, "Double DQN")

    Args:
        reward_t: float [N], reward of one step or return of n steps.
        discount_t: float [N], gamma^k; 0 after a termination.
        q_t: float [N, A], of the target network.
        q_t_selector: float [N, A], of the online network; needed for Double DQN.
        double: compute Double DQN's target.

    Raises:
        ValueError: Double DQN without `q_t_selector`.
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
    """Compute half the mean squared temporal-difference error, and the error itself.

    This is not the error clipping (Huber loss) of Mnih et al. 2015, which estimates the median of the targets
    where errors exceed 1. Their rewards are clipped to 1. With returns of tens the rare target that ends in a
    fall then hardly counts, and values grow as if there were no falls. Gradients are clipped by norm instead.

    Args:
        q_tm1: float [N, A].
        action_tm1: int64 [N].
        target: float [N], without gradient.
        weight: float [N], importance-sampling weights (Schaul et al. 2016, section 3.4); None: ones.

    Returns:
        Loss []; error [N] = target - Q(o_tm1, a_tm1), without gradient.
    """
    q = q_tm1.gather(-1, action_tm1.unsqueeze(-1)).squeeze(-1)
    error = target - q
    loss = 0.5 * error.pow(2)
    if weight is not None:
        loss = loss * weight
    return loss.mean(), error.detach()


def large_margin_loss(q: Tensor, expert_action: Tensor, margin: float) -> Tensor:
    """Return DQfD's supervised loss [N] of demonstrated transitions, each at least zero.

        J_E = max_a [Q(s, a) + l(a_E, a)] - Q(s, a_E),  l = margin where a != a_E, else 0
                                            (Hester et al. 2018, "large margin classification loss")

    Args:
        q: float [N, A].
        expert_action: int64 [N], the demonstrated actions.
        margin: in units of return.
    """
    index = expert_action.unsqueeze(-1)
    margins = torch.full_like(q, margin).scatter(-1, index, 0.0)
    return (q + margins).amax(-1) - q.gather(-1, index).squeeze(-1)
