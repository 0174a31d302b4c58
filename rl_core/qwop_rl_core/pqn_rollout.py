"""PQN's experience: played rollouts, demonstrated ones beside them, and their Q(lambda) targets.

Numbers in brackets are the implementation details listed in pqn.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qwop_rl_core.buffers import Transitions
from qwop_rl_core.devices import to_numpy
from qwop_rl_core.errors import TrainingError
from qwop_rl_core.networks import QNetwork
from qwop_rl_core.pqn_state import PQNState
from qwop_rl_core.reference import LARGEST_LOG_RATIO, Reference
from qwop_rl_core.returns import gae
from qwop_rl_core.vector_env import Environments, final_observations

if TYPE_CHECKING:
    from qwop_rl_core.pqn import PQNConfig


@dataclass(frozen=True)
class Rollout:
    """T steps of B environments, or of B windows of demonstrations."""

    observation: Tensor
    """float32 [T + 1, B, D]."""
    action: Tensor
    """int64 [T, B]."""
    reward: Tensor
    """float32 [T, B]."""
    terminated: Tensor
    """bool [T, B]."""
    truncated: Tensor
    """bool [T, B]."""
    final_observation: Tensor
    """float32 [K, D], final observations of the truncated steps, in their order."""
    is_demonstration: Tensor
    """bool [T, B]."""


class Targets(NamedTuple):
    """What a rollout of T steps and B columns teaches."""

    values: Tensor  # float32 [T, B], to which the action values are regressed
    log_ratio: Tensor  # float32 [T, B], ln pi(a | s) - ln p(a | s) with the reference policy p; 0 without one


class Batch(NamedTuple):
    """M samples, M at most minibatch_size.

    observation: float32 [M, D]; action: int64 [M]; target: float32 [M]; is_demonstration: bool [M]
    """

    observation: Tensor
    action: Tensor
    target: Tensor
    is_demonstration: Tensor


@torch.no_grad()
def collect_rollout(config: PQNConfig, envs: Environments, state: PQNState, epsilon: float) -> Rollout:
    """Play rollout_length steps of every environment.

    Args:
        config: settings.
        envs: environments.
        state: state of the training; its observation, statistics and random generator move on.
        epsilon: share of random actions.

    Raises:
        TrainingError: a reward is NaN or infinite.
    """
    length, count, network, device = config.rollout_length, config.num_envs, state.network, state.device
    observation = torch.zeros((length + 1, count, network.feature_size), device=device)
    actions, rewards = np.zeros((length, count), np.int64), np.zeros((length, count), np.float32)
    terminated, truncated = np.zeros((length, count), bool), np.zeros((length, count), bool)
    final = [torch.zeros((0, network.feature_size), device=device)]
    for t in range(length):
        observation[t] = torch.as_tensor(state.observation)
        action = to_numpy(network(observation[t]).argmax(-1))
        explore = state.rng.random(count) < epsilon  # [3]
        actions[t] = np.where(explore, state.rng.integers(0, network.num_actions, count), action)
        following, rewards[t], terminated[t], truncated[t], infos = envs.step(actions[t])
        if truncated[t].any():  # [7]
            last = final_observations(infos, truncated[t], following)[truncated[t]]
            final.append(torch.as_tensor(last, dtype=torch.float32, device=device))
        state.statistics.step(rewards[t], terminated[t] | truncated[t], infos)
        state.observation = following
    observation[length] = torch.as_tensor(state.observation)
    if not np.isfinite(rewards).all():
        raise TrainingError(
            f"a reward is NaN or infinite, near step {state.steps}; look at the reward function"
        )
    return Rollout(
        observation=observation,
        action=torch.as_tensor(actions, device=device),
        reward=torch.as_tensor(rewards, device=device),
        terminated=torch.as_tensor(terminated, device=device),
        truncated=torch.as_tensor(truncated, device=device),
        final_observation=torch.cat(final),
        is_demonstration=torch.zeros((length, count), dtype=torch.bool, device=device),
    )


def demonstrated_rollout(config: PQNConfig, state: PQNState, transitions: Transitions) -> Rollout:
    """Draw windows of rollout_length demonstrated steps, so many that they are demo_fraction of the whole.

    A window may hold the end of one episode and the start of another: returns do not cross the end. Windows
    at the end of the last episode go on with the first one.
    """
    length, device = config.rollout_length, state.device
    count = max(1, round(config.num_envs * config.demo_fraction / (1.0 - config.demo_fraction)))
    first = state.rng.integers(0, len(transitions), count)
    window = (first + np.arange(length)[:, None]) % len(transitions)
    truncated = transitions.truncated[window]
    observation = np.concatenate([transitions.observation[window], transitions.next_observation[window[-1:]]])

    def tensor(array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array, device=device)

    return Rollout(
        observation=tensor(observation),
        action=tensor(transitions.action[window]),
        reward=tensor(transitions.reward[window]),
        terminated=tensor(transitions.terminated[window]),
        truncated=tensor(truncated),
        final_observation=tensor(transitions.next_observation[window[truncated]]),
        is_demonstration=torch.ones((length, count), dtype=torch.bool, device=device),
    )


def joined(played: Rollout, demonstrated: Rollout) -> Rollout:
    """Return two rollouts side by side."""
    # final observations are in the order of the truncated steps, time first
    truncated = torch.cat((played.truncated, demonstrated.truncated), 1)
    final = played.final_observation.new_zeros((*truncated.shape, played.observation.shape[-1]))
    split = played.truncated.shape[1]
    final[:, :split][played.truncated] = played.final_observation
    final[:, split:][demonstrated.truncated] = demonstrated.final_observation
    return Rollout(
        observation=torch.cat((played.observation, demonstrated.observation), 1),
        action=torch.cat((played.action, demonstrated.action), 1),
        reward=torch.cat((played.reward, demonstrated.reward), 1),
        terminated=torch.cat((played.terminated, demonstrated.terminated), 1),
        truncated=truncated,
        final_observation=final[truncated],
        is_demonstration=torch.cat((played.is_demonstration, demonstrated.is_demonstration), 1),
    )


@torch.no_grad()
def lambda_targets(
    rollout: Rollout, network: QNetwork, reference: Reference | None, gamma: float, lambda_: float
) -> Targets:
    """Compute the values to which the action values of a rollout are regressed.

        G_tm1 = r_t + gamma ((1 - lambda) max_a Q(o_t, a) + lambda G_t)      (Gallici et al. 2024, equation 4)

    With a reference policy, V of reference.py takes the place of the maximum, and every step costs c times
    the logarithm of the ratio of the two policies.

    Args:
        rollout: steps of the environments.
        network: action values, before the update.
        reference: reference policy.
        gamma: discount per step.
        lambda_: weight of longer returns.
    """

    def state_values(q: Tensor) -> Tensor:
        return q.amax(-1) if reference is None else reference.state_values(q)

    q = network(rollout.observation)
    values = state_values(q)
    value_tm1, value_t = values[:-1], values[1:].clone()
    if len(rollout.final_observation):  # [7]
        value_t[rollout.truncated] = state_values(network(rollout.final_observation))
    ended = rollout.terminated, rollout.truncated
    if reference is None:
        targets = value_tm1 + gae(rollout.reward, value_tm1, value_t, *ended, gamma, lambda_)
        return Targets(targets, torch.zeros_like(targets))
    q_tm1 = q[:-1].gather(-1, rollout.action.unsqueeze(-1)).squeeze(-1)
    cost = (q_tm1 - value_tm1) - reference.of_chosen(rollout.observation[:-1], rollout.action)  # [5]
    cost = cost.clamp(-LARGEST_LOG_RATIO * reference.coef, LARGEST_LOG_RATIO * reference.coef)
    error = gae(rollout.reward - cost, value_tm1, value_t, *ended, gamma, lambda_)
    return Targets(q_tm1 + error, cost / reference.coef)


def minibatches(
    rollout: Rollout, targets: Tensor, epochs: int, minibatch_size: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """Yield all samples in minibatches of `minibatch_size` or fewer, in a new random order every epoch."""
    arrays = rollout.observation[:-1], rollout.action, targets, rollout.is_demonstration
    flat = [array.flatten(0, 1) for array in arrays]
    for _ in range(epochs):
        order = torch.as_tensor(rng.permutation(len(flat[1])), device=targets.device)
        shuffled = [array.index_select(0, order) for array in flat]
        for part in zip(*(torch.split(array, minibatch_size) for array in shuffled), strict=True):
            yield Batch(*part)
