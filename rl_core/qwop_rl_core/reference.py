"""A reference policy in the reward of Q-learning, so that it stays near the policy that it starts from.

    r'(s, a) = r(s, a) + c ln p(a | s)

with the reference policy p. For a policy that always takes one action, -ln p(a | s) is its KL divergence from
p. Fox et al. 2016 ("Taming the noise in reinforcement learning via soft updates") and Jaques et al. 2017
("Sequence Tutor") regularize Q-learning by a prior policy in this way.

A network with Q(s, a) = V(s) + c ln p(a | s) has the values of a return in which the first action alone
differs from what p does, as if no action were better than p's in the game itself. Where training starts from
it, an action is preferred to p's only when its return is better by more than c times their difference in
ln p. Errors of the values that are smaller than that change no action.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from qwop_rl_core.buffers import Transitions
from qwop_rl_core.devices import to_numpy
from qwop_rl_core.errors import TrainingError
from qwop_rl_core.losses import log_softmax
from qwop_rl_core.networks import ActorCritic

LEAST_LOG_PROBABILITY = -10.0
"""Bound of ln p, nats: an action that the reference policy never takes costs so much."""


@dataclass(frozen=True)
class Reference:
    """The reference policy and its weight c, in units of return a nat."""

    policy: ActorCritic
    coef: float

    @torch.no_grad()
    def of_actions(self, observation: Tensor) -> Tensor:
        """Return c ln p(a | s), float32 [..., A], of every action in observations [..., D]."""
        device = self.policy.value_mean.device
        log_p = log_softmax(self.policy.logits(observation.to(device)))
        return self.coef * log_p.clamp(min=LEAST_LOG_PROBABILITY)

    def of_chosen(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return c ln p(a | s), float32 [...], of actions int64 [...] in observations [..., D]."""
        values = self.of_actions(observation)
        return values.gather(-1, action.to(values.device).unsqueeze(-1)).squeeze(-1)

    def differences(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return c (ln p(b | s) - ln p(a | s)), float32 [..., A], of all actions b and one action a each."""
        values = self.of_actions(observation)
        return values - values.gather(-1, action.unsqueeze(-1))

    def shaped(self, transitions: Transitions) -> Transitions:
        """Return transitions with the reward r'."""
        observation, action = torch.from_numpy(transitions.observation), torch.from_numpy(transitions.action)
        reward = transitions.reward + to_numpy(self.of_chosen(observation, action))
        return dataclasses.replace(transitions, reward=reward)


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
