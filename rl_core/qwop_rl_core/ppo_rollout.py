"""PPO's experience: play a rollout, compute advantages and value targets from it, draw minibatches.

Numbers in brackets are the implementation details listed in ppo.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qwop_rl_core.devices import to_numpy
from qwop_rl_core.errors import TrainingError
from qwop_rl_core.losses import log_prob
from qwop_rl_core.networks import ActorCritic
from qwop_rl_core.policy import sample_actions
from qwop_rl_core.ppo_state import PPOState
from qwop_rl_core.ranks import largest, mean_and_std
from qwop_rl_core.returns import gae
from qwop_rl_core.two_networks import start_call
from qwop_rl_core.vector_env import Environments, final_observations

# Per iteration: the critic's units follow the returns within some ten iterations.
RETURN_STATISTICS_RATE = 0.1


@dataclass(frozen=True)
class Rollout:
    """Arrays for T steps of N environments; made once, and filled by every `collect_rollout`."""

    features: Tensor
    """float32 [T + 1, N, D], the observations."""
    inputs: Tensor
    """[T + 1, N, D], the normalized observations, in the precision of the hidden layers."""
    logits: Tensor
    """float32 [T, N, A], of the policy that played."""
    actions: Tensor
    """int64 [T, N]."""
    rewards: NDArray[np.float32]
    """float32 [T, N]."""
    terminated: NDArray[np.bool_]
    """bool [T, N]."""
    truncated: NDArray[np.bool_]
    """bool [T, N]."""
    final_observations: list[NDArray[Any]]
    """[K, D] each: final observations of the truncated steps, in their order."""

    @classmethod
    def allocate(cls, length: int, num_envs: int, policy: ActorCritic, device: torch.device) -> Rollout:
        """Make arrays of zeros for rollouts of `length` steps."""
        features = torch.zeros((length + 1, num_envs, policy.feature_size), device=device)
        return cls(
            features=features,
            inputs=torch.zeros_like(features, dtype=policy.policy.precision),
            logits=torch.zeros((length, num_envs, policy.num_actions), device=device),
            actions=torch.zeros((length, num_envs), dtype=torch.int64, device=device),
            rewards=np.zeros((length, num_envs), np.float32),
            terminated=np.zeros((length, num_envs), bool),
            truncated=np.zeros((length, num_envs), bool),
            final_observations=[],
        )


@dataclass(frozen=True)
class Targets:
    """What the networks learn from a rollout of B = T N samples."""

    inputs: Tensor
    """[B, D], the normalized observations."""
    actions: Tensor
    """int64 [B]."""
    log_prob_old: Tensor
    """float32 [B], log-probability of each action under the policy that played, nats."""
    advantages: Tensor
    """float32 [B], of zero mean and unit variance."""
    values: Tensor
    """float32 [B], the critic's targets, in standard deviations of the returns."""
    max_advantage: Tensor
    """float32 []."""
    explained_variance: Tensor
    """float32 [], share of the variance of the value targets that the critic explained before its update."""


class Minibatch(NamedTuple):
    """M samples of a rollout; see `Targets`."""

    sample: Tensor
    """int64 [M], their places in the rollout."""
    inputs: Tensor
    actions: Tensor
    log_prob_old: Tensor
    advantages: Tensor
    values: Tensor


@torch.inference_mode()  # [5]
def collect_rollout(rollout: Rollout, envs: Environments, state: PPOState) -> None:
    """Play T steps of every environment with the current policy, and write them to `rollout`.

    Args:
        rollout: arrays to fill.
        envs: environments.
        state: state of the training; its observation, statistics and generator move on.

    Raises:
        TrainingError: a reward is NaN or infinite.
    """
    policy, length = state.policy, len(rollout.actions)
    rollout.final_observations.clear()
    for t in range(length):
        rollout.features[t] = torch.as_tensor(state.observation)
        rollout.inputs[t] = policy.normalizer(rollout.features[t])
        rollout.logits[t] = policy.policy(rollout.inputs[t])
        rollout.actions[t] = sample_actions(rollout.logits[t], state.generator)
        observation, reward, terminated, truncated, infos = envs.step(to_numpy(rollout.actions[t]))
        rollout.rewards[t], rollout.terminated[t], rollout.truncated[t] = reward, terminated, truncated
        if truncated.any():
            rollout.final_observations.append(final_observations(infos, truncated, observation)[truncated])
        state.statistics.step(rollout.rewards[t], terminated | truncated, infos)
        state.observation = observation
    rollout.features[length] = torch.as_tensor(state.observation)
    rollout.inputs[length] = policy.normalizer(rollout.features[length])
    if not np.isfinite(rollout.rewards).all():
        raise TrainingError(
            f"a reward is NaN or infinite, near step {state.steps}; look at the reward function"
        )


@torch.no_grad()
def compute_targets(
    rollout: Rollout, state: PPOState, gamma: float, gae_lambda: float, executor: Executor | None
) -> Targets:
    """Compute advantages and value targets, and move the critic's units towards those of the targets.

    Args:
        rollout: what `collect_rollout` filled.
        state: state of the training.
        gamma: discount per step.
        gae_lambda: lambda of generalized advantage estimation.
        executor: second thread, or None.

    Returns:
        Samples in the order of the rollout, step by step.
    """
    policy, device = state.policy, rollout.features.device
    half = len(rollout.inputs) // 2
    first_values = start_call(executor, _values, policy, rollout.inputs[:half])  # [13]
    later_values = _values(policy, rollout.inputs[half:])
    values = torch.cat((first_values(), later_values))
    value_tm1, value_t = values[:-1], values[1:].clone()
    if rollout.final_observations:  # [6]
        final = torch.as_tensor(
            np.concatenate(rollout.final_observations), dtype=torch.float32, device=device
        )
        t, index = (torch.as_tensor(i, device=device) for i in rollout.truncated.nonzero())
        value_t[t, index] = policy.values(final)
    advantages = gae(  # [7]
        torch.as_tensor(rollout.rewards, device=device),
        value_tm1,
        value_t,
        torch.as_tensor(rollout.terminated, device=device),
        torch.as_tensor(rollout.truncated, device=device),
        gamma,
        gae_lambda,
    )
    targets = advantages + value_tm1
    values = in_units_of_critic(policy, targets, state.iteration)
    explained = 1.0 - (targets - value_tm1).var() / (targets.var() + 1e-8)
    advantages_mean, advantages_std = mean_and_std(advantages)
    advantages = (advantages - advantages_mean) / (advantages_std + 1e-8)  # [8]
    return Targets(
        inputs=rollout.inputs[:-1].flatten(0, 1),
        actions=rollout.actions.flatten(),
        log_prob_old=log_prob(rollout.logits, rollout.actions).flatten(),
        advantages=advantages.flatten(),
        values=values.flatten(),
        max_advantage=largest(advantages.max()),
        explained_variance=explained,
    )


def in_units_of_critic(policy: ActorCritic, targets: Tensor, iteration: int) -> Tensor:
    """Move the critic's units towards those of its targets (Pop-Art), and return the targets in them.

    Args:
        policy: policy and critic.
        targets: float32 [...], in units of return.
        iteration: number of the iteration, from 0: the first one sets the units.

    Returns:
        float32 [...], in standard deviations of the returns.
    """
    rate = 1.0 if iteration == 0 else RETURN_STATISTICS_RATE
    targets_mean, targets_std = mean_and_std(targets)
    mean = policy.value_mean + rate * (targets_mean - policy.value_mean)
    std = policy.value_std + rate * (targets_std - policy.value_std)
    std = torch.maximum(std, 0.02 * mean.abs() + 1e-4)  # a lower bound, for returns that are all equal
    policy.rescale_values(mean, std)
    return (targets - mean) / std


def minibatches(
    targets: Targets, epochs: int, minibatch_size: int, generator: torch.Generator
) -> Iterator[Minibatch]:
    """Yield all samples in minibatches of `minibatch_size` or fewer, in a new random order every epoch."""
    arrays = targets.inputs, targets.actions, targets.log_prob_old, targets.advantages, targets.values
    for _ in range(epochs):
        order = torch.randperm(len(targets.actions), generator=generator, device=generator.device)
        # once an epoch, and not by array[order], which takes four times as long
        shuffled = [order, *(array.index_select(0, order) for array in arrays)]
        for part in zip(*(torch.split(array, minibatch_size) for array in shuffled), strict=True):
            yield Minibatch(*part)


@torch.no_grad()  # the gradient mode belongs to a thread
def _values(policy: ActorCritic, inputs: Tensor) -> Tensor:
    return policy.values_of_normalized(inputs)
