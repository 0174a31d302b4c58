"""Expert iteration's state: start, storage and resume."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from qwop_rl_core.checkpoint import (
    Checkpoint,
    explained,
    optimizer_tensors,
    restore_optimizer,
    section,
)
from qwop_rl_core.devices import select_device
from qwop_rl_core.networks import ActorCritic
from qwop_rl_core.optimizer import flat_adam
from qwop_rl_core.run_state import capture_parts, load_run, restore_parts, restore_run, save_run
from qwop_rl_core.vector_env import Environments, EpisodeStatistics, check_spaces

if TYPE_CHECKING:
    from qwop_rl_core.expert_iteration import ExpertIterationConfig


@dataclass
class ExpertState:
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
    """Updates done."""
    frames: int = 0
    """Frames simulated, those of the searches included."""

    def capture(self) -> dict[str, Any]:
        """Return a copy of the networks and their optimizers, for `roll_back`."""
        return capture_parts({"network": self.policy, **self.optimizers})

    def roll_back(self, captured: Mapping[str, Any]) -> None:
        """Return networks and optimizers to a capture; steps, schedules and environments stay."""
        restore_parts({"network": self.policy, **self.optimizers}, captured)


def start(config: ExpertIterationConfig, envs: Environments, policy: ActorCritic) -> ExpertState:
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
    policy.to(device).compute_in(torch.float32)
    check_spaces(envs, config.num_envs, policy.feature_size, policy.num_actions)
    observation, _ = envs.reset(seed=config.seed)
    return ExpertState(
        policy=policy,
        optimizers={
            name: flat_adam(network, config.learning_rate)
            for name, network in (("policy", policy.policy), ("value", policy.value))
        },
        generator=torch.Generator(device).manual_seed(config.seed),
        statistics=EpisodeStatistics(config.num_envs),
        observation=observation,
    )


def save_state(
    path: str | os.PathLike[str],
    state: ExpertState,
    envs: Environments,
    config: ExpertIterationConfig,
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
    optimizers = {
        f"optimizer.{name}.{key}": tensor
        for name, optimizer in state.optimizers.items()
        for key, tensor in optimizer_tensors(optimizer).items()
    }
    save_run(
        path,
        network=state.policy,
        state=state,
        envs=envs,
        config=config,
        tensors={**optimizers, "generator": state.generator.get_state()},
        training={"algorithm": "expert-iteration", "iteration": state.iteration, "frames": state.frames},
        metadata=metadata,
    )


def resume(
    config: ExpertIterationConfig, envs: Environments, checkpoint: Checkpoint, where: str = "checkpoint"
) -> ExpertState:
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
        CheckpointError: it is not a checkpoint of such a training.
        TrainingError: the parts do not fit each other.
    """
    with explained(where):
        policy, _ = load_run(checkpoint, "expert-iteration", ActorCritic, config.num_envs, where)
        state = start(config, envs, policy)
        for name, optimizer in state.optimizers.items():
            restore_optimizer(optimizer, section(section(checkpoint.tensors, "optimizer"), name))
        state.generator.set_state(checkpoint.tensors["generator"])
        restore_run(checkpoint, state, envs, "iteration", "frames")
    return state
