"""PPO's state: start, storage and resume."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from qwop_rl_core.checkpoint import (
    Checkpoint,
    explained,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    section,
)
from qwop_rl_core.devices import select_device, select_precision
from qwop_rl_core.networks import ActorCritic
from qwop_rl_core.optimizer import flat_optimizer
from qwop_rl_core.ranks import num_ranks, seed_of_rank, whole_of_share
from qwop_rl_core.run_state import (
    Stateful,
    capture_parts,
    load_run,
    part_of_rank,
    restore_parts,
    restore_run,
    save_run,
)
from qwop_rl_core.vector_env import Environments, EpisodeStatistics, check_spaces

if TYPE_CHECKING:
    from qwop_rl_core.expert_iteration import ExpertIterationConfig
    from qwop_rl_core.ppo import PPOConfig


@dataclass
class PPOState:
    """Everything that changes during training."""

    policy: ActorCritic
    optimizers: dict[str, torch.optim.Adam]
    """Of the "policy" network and of the "value" network."""
    generator: torch.Generator
    statistics: EpisodeStatistics
    observation: NDArray[Any]
    """[N, D], the environments' current observations."""
    steps: int = 0
    """Environment steps done."""
    iteration: int = 0
    """Rollouts done."""
    average: AveragedModel | None = None
    """Running mean of the "policy" network's weights, which checkpoints play; None: they play the newest."""

    def playing(self) -> ActorCritic:
        """Return the network that a checkpoint plays: `policy`, or a copy of it with the mean weights."""
        if self.average is None:
            return self.policy
        network = copy.deepcopy(self.policy)
        network.policy.load_state_dict(self.average.module.state_dict())
        return network

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Return the moments of both optimizers, by their names in a checkpoint."""
        moments: dict[str, Tensor] = {}
        for name, optimizer in self.optimizers.items():
            moments |= prefixed(f"optimizer.{name}", optimizer_tensors(optimizer))
        return moments

    def capture(self) -> dict[str, Any]:
        """Return a copy of the networks and their optimizers, for `roll_back`."""
        return capture_parts(self._parts())

    def roll_back(self, captured: Mapping[str, Any]) -> None:
        """Return networks and optimizers to a capture; steps, schedules and environments stay."""
        restore_parts(self._parts(), captured)

    def _parts(self) -> dict[str, Stateful]:
        average = {} if self.average is None else {"average": self.average}
        return {"network": self.policy, **self.optimizers, **average}


def start(config: PPOConfig, envs: Environments, policy: ActorCritic) -> PPOState:
    """Begin a training at step 0, with environments reset and new optimizers.

    Args:
        config: settings.
        envs: environments with discrete actions and flat observations.
        policy: networks to train, in place.

    Returns:
        The state that `train` takes.

    Raises:
        TrainingError: the parts do not fit each other, or the device is not available.
    """
    device = select_device(config.device)
    policy.to(device).compute_in(select_precision(config.precision, device))
    state = PPOState(**new_parts(config, envs, policy, device))
    if config.average_steps > 0:
        steps = config.num_envs * config.rollout_length * num_ranks()
        state.average = AveragedModel(policy.policy, avg_fn=running_mean(steps / config.average_steps))
    return state


def running_mean(rate: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Return a function that moves a mean towards a new value.

        mean + max(rate, 1 / (count + 1)) (new - mean)

    The first 1 / rate values weigh the same; after that, each weighs 1 - rate times as much as the next one.

    Args:
        rate: above 0.
    """

    def move(mean: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        return torch.lerp(mean, new, min(max(rate, 1.0 / (int(count) + 1)), 1.0))

    return move


def new_parts(
    config: PPOConfig | ExpertIterationConfig, envs: Environments, policy: ActorCritic, device: torch.device
) -> dict[str, Any]:
    """Return the fields of a state at step 0, with environments reset. Raises TrainingError as `start`."""
    check_spaces(envs, config.num_envs, policy.feature_size, policy.num_actions)
    observation, _ = envs.reset(seed=seed_of_rank(config.seed))
    return {
        "policy": policy,
        "optimizers": {
            name: flat_optimizer(network, config.learning_rate, config.optimizer)  # detail 3 of ppo.py
            for name, network in (("policy", policy.policy), ("value", policy.value))
        },
        "generator": torch.Generator(device).manual_seed(seed_of_rank(config.seed)),
        "statistics": EpisodeStatistics(config.num_envs),
        "observation": observation,
    }


def save_state(
    path: str | os.PathLike[str],
    state: PPOState,
    envs: Environments,
    config: PPOConfig,
    metadata: Mapping[str, Any],
) -> None:
    """Write a checkpoint that plays (`Policy.load`) and from which `resume` continues exactly.

    Args:
        path: file to write.
        state: state of the training.
        envs: environments; their state is stored if they offer it (see `vector_env.environment_state`).
        config: settings.
        metadata: what the policy needs to play, and how it was made.

    Raises:
        CheckpointError: the file cannot be written.
    """
    newest = {} if state.average is None else prefixed("newest", state.policy.policy.state_dict())
    save_run(
        path,
        network=state.playing(),
        state=state,
        envs=envs,
        config=whole_of_share(config),
        tensors={
            **newest,
            **state.optimizer_tensors(),
            "generator": state.generator.get_state(),
        },
        training={"algorithm": "ppo", "iteration": state.iteration},
        own=("generator",),
        metadata=metadata,
    )


def resume(
    config: PPOConfig, envs: Environments, checkpoint: Checkpoint, where: str = "checkpoint"
) -> PPOState:
    """Continue a training that `save_state` stored.

    With the same settings the results equal those of an uninterrupted training bit for bit (CPU, same number
    of threads), provided that the environments can be restored. Otherwise new episodes start.

    Args:
        config: settings.
        envs: environments made the same way as before.
        checkpoint: what `load_checkpoint` read.
        where: name of the file, for messages.

    Returns:
        The state that `train` takes.

    Raises:
        CheckpointError: it is not a checkpoint of a PPO training.
        TrainingError: the parts do not fit each other.
    """
    with explained(where):
        policy, _ = load_run(checkpoint, "ppo", ActorCritic, whole_of_share(config).num_envs, where)
        checkpoint = part_of_rank(checkpoint)
        state = start(config, envs, policy)
        for name, optimizer in state.optimizers.items():
            restore_optimizer(optimizer, _optimizer_moments(checkpoint, name, policy))
        if "generator" in checkpoint.tensors:  # not after a change of the number of ranks
            state.generator.set_state(checkpoint.tensors["generator"])
        restore_run(checkpoint, state, envs, "iteration")
        newest = section(checkpoint.tensors, "newest")
        if newest:  # the stored network is their mean
            if not all(torch.isfinite(tensor).all() for tensor in newest.values()):
                raise ValueError("a weight is not finite")
            policy.policy.load_state_dict(newest)
        if state.average is not None:
            state.average.n_averaged.fill_(state.iteration)
    return state


def _optimizer_moments(checkpoint: Checkpoint, name: str, policy: ActorCritic) -> dict[str, Tensor]:
    """Return one network's `optimizer_tensors`, also from files that store them for each parameter."""
    tensors = section(checkpoint.tensors, "optimizer")
    if any(key.startswith(("policy.", "value.")) for key in tensors):
        return section(tensors, name)
    # Before 22 November 2026: the policy's parameters, numbered, and then the value network's.
    count = len(list(policy.policy.parameters()))
    numbers = range(count) if name == "policy" else range(count, 2 * count)
    if f"{numbers[0]}.step" not in tensors:  # saved during the critic's warm-up, before its first step
        return {}
    moments = {
        f"0.{moment}": torch.cat([tensors[f"{i}.{moment}"].flatten() for i in numbers])
        for moment in ("exp_avg", "exp_avg_sq")
    }
    return {"0.step": tensors[f"{numbers[0]}.step"], **moments}
