"""Q-learning that stays near a reference policy p, such as the clone that it starts from.

    maximize  E sum_t gamma^t (r_t - c KL(pi || p))      with  pi(a | s) = exp((Q(s, a) - V(s)) / c)
    Q(s, a) = c ln p(a | s) + r + gamma V(s'),                V(s) = c ln sum_a exp(Q(s, a) / c)

This is Psi-learning of Jaques et al. 2017 ("Sequence Tutor", equation 8; Rawlik et al. 2012), in units of the
return: the prior is part of Q, so the best action of pi is the best one of Q. As c falls to 0 it becomes
Q-learning.

`QNetwork.from_policy(p, temperature=c)` is such a Q with pi = p. Training from there prefers another action
only where its return is better by more than c times the difference in ln p. Errors of the values that are
smaller than that change no action.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from qwop_rl_core.errors import TrainingError
from qwop_rl_core.losses import log_softmax
from qwop_rl_core.networks import ActorCritic

LARGEST_LOG_RATIO = 10.0
"""Bound of ln p and of ln p - ln pi, nats: an action that the reference policy never takes costs so much."""


@dataclass(frozen=True)
class Reference:
    """The reference policy p and its weight c, in units of return a nat."""

    policy: ActorCritic
    coef: float

    @torch.no_grad()
    def of_actions(self, observation: Tensor) -> Tensor:
        """Return c ln p(a | s), float32 [..., A], of every action in observations [..., D]."""
        log_p = log_softmax(self.policy.logits(observation))
        return self.coef * log_p.clamp(min=-LARGEST_LOG_RATIO)

    def of_chosen(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return c ln p(a | s), float32 [...], of actions int64 [...] in observations [..., D]."""
        return self.of_actions(observation).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def state_values(self, q: Tensor) -> Tensor:
        """Return V(s), float [...], of action values [..., A]."""
        return self.coef * torch.logsumexp(q / self.coef, -1)


def make_reference(policy: ActorCritic | None, coef: float, device: torch.device) -> Reference | None:
    """Return the reference policy with its weight, or None for a weight of 0.

    Args:
        policy: the policy; it is copied.
        coef: its weight c.
        device: device of the copy.

    Raises:
        TrainingError: there is a weight, but no policy.
    """
    if coef == 0:
        return None
    if policy is None:
        raise TrainingError(
            "reference_kl_coef is set, but there is no reference policy: start from a checkpoint"
        )
    return Reference(copy.deepcopy(policy).to(device).requires_grad_(False), coef)
