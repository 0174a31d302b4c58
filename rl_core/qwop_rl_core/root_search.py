"""Search from the states of play: what actions are worth in the exact game, and the better policy.

Numbers in brackets are the implementation details listed in expert_iteration.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qwop_rl_core.devices import to_numpy
from qwop_rl_core.losses import log_softmax
from qwop_rl_core.networks import ActorCritic
from qwop_rl_core.vector_env import final_observations

LARGEST_CHANGE = 4.0
"""Bound of the change of a log-probability by a search, nats: otherwise the few falls would decide alone."""


class SimulatedGames(Protocol):
    """Copies of the environments' games, which are played on from where those are, and thrown away."""

    repeat_probability: float
    """Probability, at every decision, that the action before is repeated."""
    frame_skip: int
    """Frames a step."""

    def branch(self, copies: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Copy the present state of each of the N environments so often.

        Returns:
            Observations [N * copies, D], and the action held before, int64 [N * copies]. The copies of an
            environment lie side by side.
        """
        ...

    def step(
        self, actions: NDArray[np.int64], /
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Play a step of all copies: as a vector environment's `step`."""
        ...


@dataclass(frozen=True)
class Search:
    """What a search from N states found."""

    logits: Tensor
    """float32 [N, A], of the policy."""
    values: Tensor
    """float32 [N], of the critic, in units of return."""
    q: Tensor
    """float32 [N, A], returns of the actions that were tried; 0 elsewhere."""
    tried: Tensor
    """bool [N, A]."""


@torch.inference_mode()
def search(
    games: SimulatedGames,
    policy: ActorCritic,
    features: Tensor,
    *,
    actions: int,
    rollouts: int,
    horizon: int,
    gamma: float,
    generator: torch.Generator,
) -> Search:
    """Try some actions in each of N states: play each of them, and then what the policy chooses.

    Args:
        games: where to play.
        policy: policy and critic.
        features: float32 [N, D], observations of the states.
        actions: number of actions to try in each state.
        rollouts: number of times that each of them is tried.
        horizon: decisions to play, the first one included; the critic judges what follows.
        gamma: discount per step.
        generator: source of all draws.
    """
    logits, values = policy(features)
    count, num_actions, device = len(features), policy.num_actions, features.device
    actions = min(actions, num_actions)
    # The largest `actions` of logit + Gumbel noise are draws without replacement (Kool et al. 2019).
    first = (log_softmax(logits) + gumbel((count, num_actions), generator, device)).topk(actions).indices
    copies = actions * rollouts
    observation, previous = games.branch(copies)
    held = to_numpy(first.repeat_interleave(rollouts, dim=1).flatten())
    total = torch.zeros(count * copies, device=device)
    future = torch.zeros_like(total)
    going = np.ones(count * copies, bool)
    for step in range(horizon):
        if step > 0:
            scores = policy.logits(torch.as_tensor(observation, device=device))
            noise = gumbel((count, rollouts, num_actions), generator, device)  # [3]
            repeated = torch.rand((count, rollouts), generator=generator, device=device)
            noise = noise[:, None].expand(-1, actions, -1, -1).reshape(-1, num_actions)
            repeated = repeated[:, None].expand(-1, actions, -1).reshape(-1) < games.repeat_probability
            held = np.where(to_numpy(repeated), previous, to_numpy((scores + noise).argmax(-1)))
        observation, reward, terminated, truncated, infos = games.step(held)
        previous = held
        total += gamma**step * torch.as_tensor(reward * going, dtype=torch.float32, device=device)
        cut = truncated & going
        if cut.any():
            last = final_observations(infos, truncated, observation)[cut]
            future[torch.as_tensor(cut, device=device)] = gamma ** (step + 1) * policy.values(
                torch.as_tensor(last, dtype=torch.float32, device=device)
            )
        going &= ~(terminated | truncated)
    on = torch.as_tensor(going, device=device)
    future[on] = gamma**horizon * policy.values(torch.as_tensor(observation[going], device=device))
    mean = (total + future).view(count, actions, rollouts).mean(-1)
    q = torch.zeros_like(logits).scatter(1, first, mean)
    return Search(logits, values, q, torch.zeros_like(q, dtype=torch.bool).scatter(1, first, True))


def gumbel(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Draw from the standard Gumbel distribution: argmax(logits + draws) is a draw from softmax(logits)."""
    return -torch.empty(shape, device=device).exponential_(generator=generator).log()


def search_values(search: Search) -> Tensor:
    """Return what the policy's own play is worth by the search, [N].

    It is the mean of the tried actions' returns, weighted by the policy's probabilities.
    """
    weight = log_softmax(search.logits).exp() * search.tried
    return (weight * search.q).sum(-1) / weight.sum(-1)


def spread(search: Search) -> Tensor:
    """Return the standard deviation [] of the tried actions' returns around `search_values`."""
    difference = (search.q - search_values(search).unsqueeze(-1))[search.tried]
    return difference.square().mean().sqrt()


def improved_policy(search: Search, temperature: Tensor | float) -> Tensor:
    """Return the probabilities [N, A] of a policy that is better than the one that searched.

        pi'    = softmax(logits + completed_q / temperature)         (Danihelka et al. 2022, equation 11)
        v_mix  = (v + n sum_a pi(a) q(a) / sum_a pi(a)) / (1 + n)    (their equation 33; sums over the n
                                                                      actions that were tried)
    completed_q is q for the actions that were tried, and v_mix for the others. In exact arithmetic pi' is the
    policy that maximizes its return less temperature * KL(pi' || pi).

    Args:
        search: what was found.
        temperature: in units of return.
    """
    n = search.tried.sum(-1)
    mixed = (search.values + n * search_values(search)) / (1 + n)
    advantage = torch.where(search.tried, search.q - mixed.unsqueeze(-1), 0.0) / temperature
    advantage = advantage.clamp(-LARGEST_CHANGE, LARGEST_CHANGE)
    return (log_softmax(search.logits) + advantage).softmax(-1)
